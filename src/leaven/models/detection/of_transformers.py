"""RT-DETR of the transformers library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import box_convert

from leaven.draws import Draws
from leaven.errors import MissingExtraError, ModelError
from leaven.labels.boxes import BoxLabels
from leaven.models.classifier import ModelSpec
from leaven.models.detection.detector import Detections, Detector
from leaven.models.detection.regions import SMALLEST, clipped, suppress

_DIVISOR = 32
_TERMS = {"loss_vfl": "class", "loss_bbox": "box", "loss_giou": "giou"}


class RTDetr(Detector):
    """``transformers:rt-detr``: queries instead of anchors (Zhao et al., 2024).

    Terms: ``class`` (varifocal), ``box`` (L1) and ``giou``, each weighted as the configuration says
    and summed over decoder layers, encoder and denoising queries. Its targets are matched one to
    one, so that there is no region of a query: ``crowd`` rows are left out of the targets, as DETR
    does, and what is found there counts as a negative.

    Args:
        network: ``RTDetrForObjectDetection``.

    Attributes:
        statistics: mean and spread that its published weights were trained with.
    """

    statistics = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def __init__(self, spec: ModelSpec, network: nn.Module) -> None:
        super().__init__(spec, _DIVISOR)
        self.network = network

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The logits (B, Q, K) and boxes (B, Q, 4) in pixels of the queries of the last layer."""
        pictures = self.normalise(images).expand(-1, 3, -1, -1)
        with self._autocast():
            found = self.network(pixel_values=pictures)
        boxes = box_convert(found.pred_boxes.float(), "cxcywh", "xyxy")
        return found.logits.float(), boxes * _sides(pictures)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits, boxes = self.outputs(images)
        return logits.sigmoid(), clipped(boxes, (images.shape[-2], images.shape[-1]))

    def losses(self, images: Tensor, targets: BoxLabels, draws: Draws) -> dict[str, Tensor]:
        pictures = self.normalise(images).expand(-1, 3, -1, -1)
        labels = _labels(targets, _sides(pictures))
        # The library draws its denoising queries from torch's global generator.
        seed = int(draws.host().integers(1, high=2**31 - 1))
        with torch.random.fork_rng(), self._autocast():
            torch.manual_seed(seed)
            terms: dict[str, Tensor] = self.network(pixel_values=pictures, labels=labels).loss_dict
        return {
            name: torch.stack([v.float() for key, v in terms.items() if key.startswith(term)]).sum()
            for term, name in _TERMS.items()
        }

    def detections(
        self, images: Tensor, *, score: float = 0.05, nms: float = 0.5, most: int = 100
    ) -> Detections:
        scores, boxes = self(images)
        large = (boxes[..., 2:] - boxes[..., :2]).amin(-1) >= SMALLEST
        pictures, queries, classes = ((scores > score) & large[..., None]).nonzero(as_tuple=True)
        values, boxes = scores[pictures, queries, classes], boxes[pictures, queries]
        kept = suppress(boxes, values, classes, pictures, nms=nms, most=most)
        counts = torch.bincount(pictures[kept], minlength=len(scores))
        return Detections(boxes[kept], classes[kept], values[kept], counts)


def _sides(pictures: Tensor) -> Tensor:
    """(4,) what boxes in units of the padded picture are multiplied by."""
    height, width = pictures.shape[-2:]
    return torch.tensor([width, height, width, height], device=pictures.device)


def _labels(targets: BoxLabels, sides: Tensor) -> list[dict[str, Tensor]]:
    there = (targets.sides.amin(1) >= SMALLEST) & ~targets.crowd
    kept = targets.keep(there).to(sides.device)
    boxes = box_convert(kept.boxes / sides, "xyxy", "cxcywh")
    counts = kept.counts.tolist()
    pairs = zip(boxes.split(counts), kept.classes.split(counts), strict=True)
    return [{"boxes": rows, "class_labels": classes} for rows, classes in pairs]


def rt_detr(
    spec: ModelSpec, folder: Path | None = None, *, config: dict[str, Any] | None = None
) -> RTDetr:
    """RT-DETR by its configuration, with random weights, or with those in a local folder.

    Args:
        folder: with ``config.json`` and ``model.safetensors``; a class head of another number of
            classes starts anew.
        config: values of ``RTDetrConfig``, over those of the folder.

    Raises:
        MissingExtraError: without transformers.
        ModelError: the folder or the configuration is not of RT-DETR.
    """
    try:
        from transformers import RTDetrConfig, RTDetrForObjectDetection
    except ImportError as error:
        raise MissingExtraError("transformers", "transformers", "RT-DETR") from error
    names = dict(enumerate(spec.classes))
    try:
        values: dict[str, Any] = {}
        if folder is not None:
            values = RTDetrConfig.from_pretrained(folder, local_files_only=True).to_dict()
        settings = RTDetrConfig.from_dict({**values, **(config or {}), "id2label": names})
        if folder is None:
            return RTDetr(spec, RTDetrForObjectDetection(settings))
        network = RTDetrForObjectDetection.from_pretrained(
            folder, config=settings, ignore_mismatched_sizes=True, local_files_only=True
        )
    except Exception as error:
        raise ModelError(
            f"The model 'transformers:rt-detr' cannot be built: {str(error)[:300]}.",
            "values of RTDetrConfig, and a folder with config.json and model.safetensors",
            "Change the option 'config', or the folder.",
        ) from error
    return RTDetr(spec, network)
