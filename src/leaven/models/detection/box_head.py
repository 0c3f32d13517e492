"""What a two-stage detector says of a region: its class, and where its box should be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.faster_rcnn import TwoMLPHead

BETA = 1 / 9
"""Where the smooth L1 loss turns from square to linear."""


@dataclass(frozen=True, slots=True)
class RegionOutputs:
    """What a box head says of R regions.

    Attributes:
        logits: (R, K + 1) float32, of the K classes and, last, of the background.
        location: (R, ...) float32, in the code of the head.
        quality: (R,) float32 logits of the IoU of the refined box with the truth, or None.
    """

    logits: Tensor
    location: Tensor
    quality: Tensor | None = None

    @property
    def probs(self) -> Tensor:
        """(R, K + 1) rows that sum to 1, the background last."""
        return self.logits.softmax(1)


class BoxHead(nn.Module, ABC):
    """Pooled features (R, C, s, s) to ``RegionOutputs``.

    Args:
        channels: C.
        resolution: s.
        width: units of the two hidden layers.
        num_classes: K.
        quality: with a linear output for the IoU of the box (005).
    """

    ranks_by_certainty = False
    """Whether suppression orders boxes by class score times certainty."""

    def __init__(
        self, channels: int, resolution: int, width: int, num_classes: int, *, quality: bool = False
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.hidden = TwoMLPHead(channels * resolution**2, width)
        self.class_logits = nn.Linear(width, num_classes + 1)
        self.quality = nn.Linear(width, 1) if quality else None

    def forward(self, pooled: Tensor) -> RegionOutputs:
        hidden = self.hidden(pooled)
        quality = None if self.quality is None else self.quality(hidden)[:, 0].float()
        return RegionOutputs(
            self.class_logits(hidden).float(), self.locate(hidden).float(), quality
        )

    @abstractmethod
    def locate(self, hidden: Tensor) -> Tensor:
        """(R, width) to the location code."""

    @abstractmethod
    def decode(self, location: Tensor, boxes: Tensor) -> Tensor:
        """The refined box of each region for each class, (R, K, 4), from regions (R, 4)."""

    @abstractmethod
    def location_loss(
        self, location: Tensor, boxes: Tensor, classes: Tensor, targets: Tensor
    ) -> Tensor:
        """(P,) the loss of each positive region ``boxes`` (P, 4) of class ``classes`` (P,) against
        its true box ``targets`` (P, 4)."""

    def certainty(self, outputs: RegionOutputs) -> Tensor | None:
        """(R,) in [0, 1], how certain the place of each region is; None where nothing says it."""
        return None if outputs.quality is None else outputs.quality.sigmoid()


class DeltaHead(BoxHead):
    """Four deltas per class: the box regression of Faster R-CNN (Ren et al., 2015).

    A region of centre x, y and sides w, h becomes ``x + w dx / 10``, ``w exp(dw / 5)`` and so on;
    the loss of a positive is the smooth L1 of its four deltas, summed.
    """

    def __init__(
        self, channels: int, resolution: int, width: int, num_classes: int, *, quality: bool = False
    ) -> None:
        super().__init__(channels, resolution, width, num_classes, quality=quality)
        self.deltas = nn.Linear(width, 4 * num_classes)
        self.coder = BoxCoder((10.0, 10.0, 5.0, 5.0))

    def locate(self, hidden: Tensor) -> Tensor:
        return self.deltas(hidden)

    def decode(self, location: Tensor, boxes: Tensor) -> Tensor:
        return self.coder.decode_single(location, boxes).view(len(boxes), self.num_classes, 4)

    def location_loss(
        self, location: Tensor, boxes: Tensor, classes: Tensor, targets: Tensor
    ) -> Tensor:
        rows = torch.arange(len(boxes), device=boxes.device)
        deltas = location.view(len(boxes), self.num_classes, 4)[rows, classes]
        wanted = self.coder.encode_single(targets, boxes)
        return F.smooth_l1_loss(deltas, wanted, beta=BETA, reduction="none").sum(1)
