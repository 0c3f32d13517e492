"""The engine with what segmentation adds: segmenters, their metrics, a class per pixel."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from leaven.data import ImageSet
from leaven.data.pixel_maps import PixelMaps
from leaven.data.placement import contents
from leaven.labels import PixelLabels
from leaven.labels.pixels import VOID, inside
from leaven.propose import predict_maps
from leaven.quality.segmentation import SegmentationMeter
from leaven.train.engine import Engine
from leaven.train.found import found_pixels

if TYPE_CHECKING:
    from leaven.models.segmentation import Segmenter

DEFAULT = "unet"
"""The net where none is named."""

BATCH = 16
"""Pictures that are looked at together where nothing is learned."""


class PixelTrainer(Engine[PixelMaps]):
    """Services for one run of one method that learns a class for each pixel; see ``Engine``."""

    looked_at: ClassVar[int | None] = 64

    def count_classes(self) -> Tensor:
        """(K,) labelled pixels of each class."""
        labels, count = self.drawn.labels, len(self.data.classes)
        counts = torch.zeros(count + 1)
        for start in range(0, len(labels), BATCH):
            classes = labels[torch.arange(start, min(start + BATCH, len(labels)))].cpu()
            counts += torch.bincount(classes.flatten() + 1, minlength=count + 1)
        return counts[1:]

    def model(self) -> Segmenter:
        """A fresh segmenter for the data, on the device.

        Every call draws new first weights, but for those that ``settings.weights`` give: so two
        nets on published weights differ in their heads.
        """
        from leaven.models.segmentation import build_segmenter

        settings = self.settings
        return self.built(
            lambda mean, std: build_segmenter(
                DEFAULT if settings.model == "auto" else settings.model,
                self.data.classes,
                self.data.shape,
                mean=mean,
                std=std,
                weights=settings.weights,
                options=settings.options,
            )
        )

    def predict(self, model: nn.Module, images: ImageSet[PixelMaps]) -> Iterator[Tensor]:
        """(b, K, H, W) probabilities of one batch of pictures after the other, in eval mode."""
        return predict_maps(model, images.pixels, BATCH)

    def measure(self, model: nn.Module, images: ImageSet[PixelMaps] | None) -> dict[str, float]:
        """The metrics of ``model`` on labelled pictures; empty without any."""
        if images is None or len(images) == 0:
            return {}
        return self.judge(model, images).metrics()

    def judge(self, model: nn.Module, images: ImageSet[PixelMaps]) -> SegmentationMeter:
        """What ``model`` says of labelled pictures beside their labels, counted."""
        meter = SegmentationMeter(len(self.data.classes))
        first, extents = 0, self._extents(images)
        for probs in self.predict(model, images):
            rows = slice(first, first + len(probs))
            truth = images.labels[torch.arange(rows.start, rows.stop)]
            confidence, classes = probs.max(1)
            shown = None
            if extents is not None:
                shown = inside(extents[rows].to(classes.device), classes.shape[1:])
            meter.add(classes, truth.to(classes.device), confidence, shown)
            first = rows.stop
        return meter

    def label(
        self, model: nn.Module, images: ImageSet[PixelMaps], threshold: float | Tensor = 0.0
    ) -> PixelLabels:
        """What ``model`` says of pictures, trusted where its confidence reaches ``threshold``.

        Args:
            threshold: in [0, 1], or one for each class (K,).
        """
        _, height, width = self.data.shape
        count = len(images)
        classes = torch.full((count, height, width), VOID, dtype=torch.uint8)
        confidence = torch.zeros(count, height, width, dtype=torch.float16)
        weight = torch.zeros(count, height, width, dtype=torch.float16)
        first = 0
        for probs in self.predict(model, images):
            rows = slice(first, first + len(probs))
            highest, found = probs.max(1)
            limit = threshold[found] if isinstance(threshold, Tensor) else threshold
            classes[rows], confidence[rows] = found.to(torch.uint8).cpu(), highest.half().cpu()
            weight[rows] = (highest >= limit).half().cpu()
            first += len(probs)
        return PixelLabels.from_model(classes, confidence, weight, self._extents(images))

    def shown(self, items: Tensor, stream: str = "unlabelled") -> Tensor | None:
        """(b, H, W) bool: the pixels that show the pictures ``items`` (b,) of a stream; None where
        every picture of that stream fills the frame.

        The stream ``labelled`` is of ``data.labelled``, all others are of ``data.unlabelled``.
        """
        extents = self.extents["labelled" if stream == "labelled" else "unlabelled"]
        return None if extents is None else inside(extents[items], self.data.shape[1:])

    @cached_property
    def extents(self) -> dict[str, Tensor | None]:
        """Of ``data.labelled`` and ``data.unlabelled``: (n, 2) height and width of the part of the
        frame that shows each picture, on the device; None where every picture fills it."""
        found: dict[str, Tensor | None] = {}
        for name, images in (
            ("labelled", self.data.labelled),
            ("unlabelled", self.data.unlabelled),
        ):
            parts = self._extents(images)
            if parts is not None and bool((parts == torch.tensor(self.data.shape[1:])).all()):
                parts = None
            found[name] = None if parts is None else parts.to(self.device)
        return found

    def _extents(self, images: ImageSet[PixelMaps]) -> Tensor | None:
        """(n, 2) height and width of the part that shows each picture; None where all of it does."""
        _, height, width = self.data.shape
        return None if images.sizes is None else contents(images.sizes, (height, width))

    def save_labels(self, number: int, labels: PixelLabels) -> None:
        """Writes round ``number``: the labels people gave, and ``labels`` of ``data.unlabelled``."""
        self.last_round = number
        if self.label_store is None or self.replaying:
            return
        self.label_store.write_pixels(
            self.first_round + number, found_pixels(self.data.train, labels), self.data.classes
        )
