"""A small one-stage instance segmenter: a grid of cells, each with a kernel for its own mask."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from leaven.draws import Draws
from leaven.labels.boxes import BoxLabels
from leaven.models.classifier import ModelSpec
from leaven.models.detection.backbones import SmallPyramid
from leaven.models.detection.dense_head import rows_of
from leaven.models.detection.detector import Detections, Detector, mean_of
from leaven.models.detection.mask_branch import mask_iou, quality_loss
from leaven.models.detection.regions import (
    BACKGROUND,
    IGNORED,
    SMALLEST,
    Targets,
    clipped,
    compare,
    sample,
    suppress,
)
from leaven.models.detection.two_stage import dense_masks
from leaven.models.small import Norm, norm_layer

_STRIDE = 8
_MASK_CHANNELS = 8
_LAYERS = ((_MASK_CHANNELS + 2, 8), (8, 8), (8, 1))
_REACH = 64.0
"""Pixels that are 1 in the relative coordinates of a kernel."""
_PRIOR = 0.01


@dataclass(frozen=True, slots=True)
class CellOutputs:
    """What the network says at each of N = h w cells of a grid of stride 8, row after row.

    Attributes:
        logits: (B, N, K) float32, of the sigmoid of each class.
        boxes: (B, N, 4) float32, x1, y1, x2, y2 in pixels, not cut at the border.
        kernels: (B, N, 169) float32, three layers of 1x1 convolutions.
        quality: (B, N) float32 logits of the IoU of the cell's own mask with the truth.
        features: (B, 8, H / 2, W / 2) float32, what the kernels are applied to.
        points: (N, 2) float32, the centre of each cell, x and y in pixels.
        size: (height, width) of the pictures.
    """

    logits: Tensor
    boxes: Tensor
    kernels: Tensor
    quality: Tensor
    features: Tensor
    points: Tensor
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class InstanceWeights:
    """How much each of the m rows of labels counts in the loss.

    Attributes:
        classes: (m,) at least 0, for the class of the cells that are assigned to the row.
        masks: (m,) at least 0, for their boxes and masks.
        background: at least 0, for the class of the cells that are assigned to none.
    """

    classes: Tensor
    masks: Tensor
    background: float = 1.0

    @classmethod
    def equal(cls, count: int, device: torch.device) -> InstanceWeights:
        """1 each."""
        ones = torch.ones(count, device=device)
        return cls(ones, ones)


class ConvInstance(Detector):
    """``conv-instance-small``: class, box, mask kernel and mask quality of each cell of a grid.

    A mask is what three 1x1 convolutions of 8, 8 and 1 channels, whose weights the cell gives, make
    of the common features and the coordinates relative to the cell (conditional convolutions, Tian
    et al., 2020). The quality of a mask is read from the features that its kernel is read from
    (linear, layer norm, ReLU, linear, as in 005).

    A cell is a positive of a true box that it lies in, when it is nearer than one stride to its
    centre along each axis, and of the smallest of several; the cell nearest to the centre of a box
    is one in any case. Terms: ``class`` (focal), ``box`` (``1 - GIoU``), ``mask`` (dice and
    binary cross entropy) and ``quality`` (binary cross entropy against the IoU of the binarised
    mask), each over the number of positives; masks of at most ``masks`` positives per picture.

    Args:
        widths: channels of the four stages.
        channels: of the maps and towers.
        depth: convolutions of each tower.
        masks: positives of a picture whose masks are trained in a step.
        norm: of the stages.

    Used by: 005.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        widths: tuple[int, int, int, int] = (24, 48, 80, 112),
        channels: int = 48,
        depth: int = 2,
        masks: int = 32,
        norm: Norm = "group",
    ) -> None:
        super().__init__(spec, 16)
        self.masks = masks
        self.backbone = SmallPyramid(spec.shape[0], tuple(widths), channels, norm, levels=2)
        self.class_tower = _tower(channels, channels, depth)
        self.cell_tower = _tower(channels, channels, depth)
        self.class_logits = nn.Conv2d(channels, self.num_classes, 3, padding=1)
        self.location = nn.Conv2d(channels, 4, 3, padding=1)
        self.kernels = nn.Conv2d(channels, sum(i * o + o for i, o in _LAYERS), 3, padding=1)
        self.quality = nn.Sequential(
            nn.Linear(channels, channels),
            nn.LayerNorm(channels),
            nn.ReLU(),
            nn.Linear(channels, 1),
        )
        self.fine = nn.Conv2d(widths[0], channels, 1)
        self.mask_tower = _tower(channels, channels // 2, 1)
        self.mask_features = nn.Conv2d(channels // 2, _MASK_CHANNELS, 1)
        for layer in (self.class_logits, self.location, self.kernels):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.class_logits.bias, -math.log((1 - _PRIOR) / _PRIOR))  # type: ignore[arg-type]

    def outputs(self, images: Tensor) -> CellOutputs:
        """What the network says of pictures (B, C, H, W)."""
        pictures = self.normalise(images)
        with self._autocast():
            stem, maps = self.backbone.with_stem(pictures)
            classed, cells = self.class_tower(maps[1]), self.cell_tower(maps[1])
            enlarged = F.interpolate(maps[0], stem.shape[-2:], mode="bilinear", align_corners=False)
            features = self.mask_features(self.mask_tower(enlarged + self.fine(stem)))
            logits = rows_of(self.class_logits(classed), self.num_classes)
            location = rows_of(self.location(cells), 4)
            kernels = rows_of(self.kernels(cells), self.kernels.out_channels)
            quality = self.quality(cells.flatten(2).transpose(1, 2))[..., 0]
        points = _points(maps[1], _STRIDE)
        size = images.shape[-2], images.shape[-1]
        boxes = _boxes(location.float(), points)
        return CellOutputs(
            logits.float(), boxes, kernels.float(), quality.float(), features.float(), points, size
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Scores (B, N, K), boxes (B, N, 4), kernels (B, N, 169), qualities (B, N) in [0, 1] and
        mask features (B, 8, h, w), which is also what an exported network gives."""
        found = self.outputs(images)
        boxes = clipped(found.boxes, found.size)
        return found.logits.sigmoid(), boxes, found.kernels, found.quality.sigmoid(), found.features

    def mask_logits(self, outputs: CellOutputs, pictures: Tensor, cells: Tensor) -> Tensor:
        """The masks of M cells, (M, H, W) in the size of the pictures.

        Args:
            pictures, cells: (M,) int64, which cell of which picture.
        """
        kernels = outputs.kernels[pictures, cells]
        features = outputs.features[pictures]
        height, width = features.shape[-2:]
        grid = _points(features, 2)
        away = (outputs.points[cells][:, None] - grid) / _REACH
        values = torch.cat([features.flatten(2), away.transpose(1, 2)], 1)
        start = 0
        for number, (inputs, out) in enumerate(_LAYERS):
            weight = kernels[:, start : start + inputs * out].view(-1, out, inputs)
            bias = kernels[:, start + inputs * out : start + inputs * out + out, None]
            values = torch.baddbmm(bias, weight, values)
            values = values.relu() if number + 1 < len(_LAYERS) else values
            start += inputs * out + out
        logits = F.interpolate(
            values.view(-1, 1, height, width), scale_factor=2, mode="bilinear", align_corners=False
        )
        return logits[:, 0, : outputs.size[0], : outputs.size[1]]

    def assign(self, outputs: CellOutputs, targets: Targets) -> Tensor:
        """(B, N) int64: the place in ``targets`` of each cell, ``BACKGROUND`` or ``IGNORED``."""
        points = outputs.points[None, :, None]
        boxes = targets.boxes[:, None]
        away = (points - (boxes[..., :2] + boxes[..., 2:]) / 2).abs().amax(-1)
        inside = (torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], -1) > 0).all(-1)
        fits = (inside & (away < _STRIDE)) | (away == away.amin(1, keepdim=True))
        sizes = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
        sizes = torch.where(fits & targets.true[:, None], sizes, torch.inf)
        smallest, place = sizes.min(2)
        half = _STRIDE / 2
        cells = torch.cat([outputs.points - half, outputs.points + half], 1)
        _, covered = compare(cells.expand(len(boxes), -1, 4), targets)
        return torch.where(smallest.isfinite(), place, torch.where(covered, IGNORED, BACKGROUND))

    def losses(self, images: Tensor, targets: BoxLabels, draws: Draws) -> dict[str, Tensor]:
        return self.losses_of(self.outputs(images), targets, draws)

    def losses_of(
        self,
        outputs: CellOutputs,
        targets: BoxLabels,
        draws: Draws,
        *,
        weights: InstanceWeights | None = None,
        places: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The terms of ``losses`` of what the network says of the pictures.

        Args:
            weights: of each row and of the background; 1 each when None. A term is the weighted
                sum of its cells over their number.
            places: (B, N) int64, what each cell is to be, as ``assign`` gives it; that when None.
        """
        blocks = Targets.of(targets, outputs.logits.device)
        places = self.assign(outputs, blocks) if places is None else places
        weights = weights or InstanceWeights.equal(len(targets.boxes), outputs.logits.device)
        pictures, cells = (places >= 0).nonzero(as_tuple=True)
        place = places[pictures, cells]
        rows = blocks.rows[pictures, place]
        wanted = torch.zeros_like(outputs.logits)
        wanted[pictures, cells, blocks.classes[pictures, place]] = 1
        counted = torch.where(places == IGNORED, 0.0, weights.background)
        counted[pictures, cells] = weights.classes[rows].to(counted)
        each = sigmoid_focal_loss(outputs.logits, wanted).sum(2) * counted
        boxes = generalized_box_iou_loss(
            outputs.boxes[pictures, cells], blocks.boxes[pictures, place]
        )
        boxes = boxes * weights.masks[rows]
        chosen, _ = sample(torch.ones_like(place), pictures, self.masks, 1.0, draws)
        pictures, cells, rows = pictures[chosen], cells[chosen], rows[chosen]
        dense = dense_masks(targets, outputs.size).to(outputs.logits.device)
        true = dense[rows].float()
        logits = self.mask_logits(outputs, pictures, cells)
        cross, dice = mask_terms(logits, true)
        return {
            "class": mean_of(each, len(boxes)),
            "box": mean_of(boxes, len(boxes)),
            "mask": mean_of((cross + dice) * weights.masks[rows], len(true)),
            "quality": quality_loss(outputs.quality[pictures, cells], mask_iou(logits, true)),
        }

    def detections(
        self, images: Tensor, *, score: float = 0.05, nms: float = 0.5, most: int = 100
    ) -> Detections:
        outputs = self.outputs(images)
        scores = outputs.logits.sigmoid()
        pictures, cells, classes = (scores > score).nonzero(as_tuple=True)
        values = scores[pictures, cells, classes]
        boxes = clipped(outputs.boxes[pictures, cells], outputs.size)
        large = ((boxes[:, 2:] - boxes[:, :2]) >= SMALLEST).all(1)
        boxes, values, pictures, cells, classes = (
            rows[large] for rows in (boxes, values, pictures, cells, classes)
        )
        kept = suppress(boxes, values, classes, pictures, nms=nms, most=most)
        pictures, cells = pictures[kept], cells[kept]
        return Detections(
            boxes[kept],
            classes[kept],
            values[kept],
            torch.bincount(pictures, minlength=len(scores)),
            outputs.quality[pictures, cells].sigmoid(),
            self.mask_logits(outputs, pictures, cells) > 0,
        )


def mask_terms(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The two losses of each mask (P, H, W) against its truth in [0, 1], each (P,).

    ``cross``: the mean over the pixels of the binary cross entropy. ``dice``:
    ``1 - 2 sum(p y) / (sum(p^2) + sum(y^2) + eps)`` (Milletari et al., 2016).

    Used by: 005.
    """
    cross = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean((1, 2))
    probs = logits.sigmoid()
    total = probs.square().sum((1, 2)) + targets.square().sum((1, 2))
    return cross, 1 - 2 * (probs * targets).sum((1, 2)) / (total + 1e-6)


def _tower(inputs: int, outputs: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            norm_layer("group", outputs),
            nn.ReLU(),
        ]
        inputs = outputs
    return nn.Sequential(*layers)


def _points(level: Tensor, stride: int) -> Tensor:
    """(h w, 2) the centres of the cells of a map, x and y in pixels."""
    height, width = level.shape[-2:]
    y = (torch.arange(height, device=level.device) + 0.5) * stride
    x = (torch.arange(width, device=level.device) + 0.5) * stride
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(-1, 2)


def _boxes(location: Tensor, points: Tensor) -> Tensor:
    """Centre offset and logarithm of the sides, in strides, to boxes (B, N, 4)."""
    centres = points + _STRIDE * location[..., :2]
    half = _STRIDE / 2 * location[..., 2:].clamp(-4, 4).exp()
    return torch.cat([centres - half, centres + half], -1)
