"""The one shape of a detector: pictures in; losses against labels, or the things it finds, out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leaven.draws import Draws
from leaven.labels.boxes import BoxLabels
from leaven.labels.masks import Masks
from leaven.models.classifier import ModelSpec, channels, normalised
from leaven.models.precision import autocast


@dataclass(frozen=True, slots=True)
class Detections:
    """What a detector finds in ``n`` pictures: m rows in order of picture and falling score.

    Attributes:
        boxes: (m, 4) float32, x1, y1, x2, y2 in pixels, inside the picture.
        classes: (m,) int64 in 0 ... K - 1.
        scores: (m,) float32 in [0, 1], the certainty of the class.
        counts: (n,) int64, rows of each picture.
        quality: (m,) float32 in [0, 1], the certainty of the place (predicted overlap with the
            truth, or certainty of the four sides); None of a network that does not say.
        masks: (m, H, W) bool, or None.
    """

    boxes: Tensor
    classes: Tensor
    scores: Tensor
    counts: Tensor
    quality: Tensor | None = None
    masks: Tensor | None = None

    @property
    def pictures(self) -> Tensor:
        """(m,) int64, the picture of each row."""
        return torch.repeat_interleave(self.counts)

    def keep(self, rows: Tensor) -> Detections:
        """The ``rows`` (m,) bool alone, of the same pictures."""
        return Detections(
            self.boxes[rows],
            self.classes[rows],
            self.scores[rows],
            torch.bincount(self.pictures[rows], minlength=len(self.counts)),
            None if self.quality is None else self.quality[rows],
            None if self.masks is None else self.masks[rows],
        )

    def labels(self) -> BoxLabels:
        """The same as labels of a model, with the score as confidence."""
        masks = None if self.masks is None else Masks.from_dense(self.masks)
        return BoxLabels.from_model(self.boxes, self.classes, self.scores, self.counts, masks)


class Detector(nn.Module, ABC):
    """Pictures (B, C, H, W) of one size, as uint8 or float in [0, 1]; normalised inside.

    Pictures are padded with the mean at the right and the bottom to a multiple of ``divisor``;
    boxes are in pixels of the picture as it was given.

    Args:
        spec: how it was built; saved with the weights.
        divisor: what the network wants height and width to be divisible by, in pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: ModelSpec, divisor: int) -> None:
        super().__init__()
        self.spec, self.divisor = spec, divisor
        self.register_buffer("mean", channels(spec.mean, 3))
        self.register_buffer("std", channels(spec.std, 3))
        self.precision: torch.dtype | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the K classes of things."""
        return self.spec.classes

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.spec.classes)

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 or [0, 1] pictures to zero mean and unit spread per channel, padded with zeros.

        A network for three channels takes a grey picture as three equal ones.
        """
        pictures = normalised(images, self.mean, self.std)
        below, right = (-images.shape[-2]) % self.divisor, (-images.shape[-1]) % self.divisor
        return F.pad(pictures, (0, right, 0, below)) if below or right else pictures

    @abstractmethod
    def losses(self, images: Tensor, targets: BoxLabels, draws: Draws) -> dict[str, Tensor]:
        """The terms of the training loss by name, each 0-d; their sum is what is trained.

        Rows that are ``crowd`` are ignore regions: what covers them is neither a positive nor a
        negative. Boxes without area count as not there. Every term is finite and has a gradient,
        also of pictures without any box. Every picture is taken as known, and ``weight`` is not
        looked at: keep the rows and pictures that are to be learned from.

        Args:
            images: (B, C, H, W), uint8 or float in [0, 1].
            targets: of the B pictures.
            draws: for the networks that learn from a sample of their regions.
        """

    @abstractmethod
    def detections(
        self, images: Tensor, *, score: float = 0.05, nms: float = 0.5, most: int = 100
    ) -> Detections:
        """As ``detect``, with what labels have no place for, in the mode the network is in."""

    def detect(
        self, images: Tensor, *, score: float = 0.05, nms: float = 0.5, most: int = 100
    ) -> BoxLabels:
        """The things in each picture, with masks where the network gives them.

        In evaluation mode and without gradient; each submodule is in its former mode afterwards.

        Args:
            images: (B, C, H, W), uint8 or float in [0, 1].
            score: only above this score, in [0, 1].
            nms: of boxes of one class that overlap by more than this IoU, the best is kept.
            most: of one picture, at most so many.
        """
        with torch.no_grad(), evaluating(self):
            return self.detections(images, score=score, nms=nms, most=most).labels()

    def _autocast(self) -> AbstractContextManager[Any]:
        return autocast(self.mean, self.precision)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode in this block; each submodule is in its former mode afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def mean_of(values: Tensor, count: Tensor | float) -> Tensor:
    """``sum(values) / max(count, 1)``: finite, with a gradient, also of no values."""
    count = torch.as_tensor(count, dtype=values.dtype, device=values.device)
    return values.sum() / count.clamp_min(1)
