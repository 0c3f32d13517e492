"""A class per pixel, with confidence and trust."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from leaven.labels.classes import Source

VOID = 255
"""The stored class of a pixel of which nobody has said what it shows. In batches it is -1."""


def inside(extents: Tensor, size: Sequence[int]) -> Tensor:
    """(n, H, W) bool: the pixels of the upper left parts of height and width ``extents`` (n, 2)."""
    tall, wide = extents[:, :, None, None].unbind(1)
    rows = torch.arange(size[0], device=extents.device)[:, None]
    return (rows < tall) & (torch.arange(size[1], device=extents.device) < wide)


@dataclass(frozen=True, slots=True)
class PixelLabels:
    """What is believed about the pixels of ``n`` pictures of one size.

    Attributes:
        classes: (n, H, W) uint8, the class index, ``VOID`` (255) where nothing is believed.
        confidence: (n, H, W) float16 in [0, 1], the probability that the proposer gave it.
        weight: (n, H, W) float16 in [0, 1], how far the pixel is trusted; 0 is not at all.
        source: (n,) int64, a ``Source``, for each picture.
        extents: (n, 2) int64, height and width of the part in the upper left that shows the picture;
            None where all of it does. What lies beside it counts nowhere.
    """

    classes: Tensor
    confidence: Tensor
    weight: Tensor
    source: Tensor
    extents: Tensor | None = None

    def __post_init__(self) -> None:
        if self.extents is not None and self.extents.shape != (len(self.classes), 2):
            raise ValueError(
                f"extents are (n, 2) of {len(self.classes)} pictures, "
                f"not {tuple(self.extents.shape)}"
            )
        for name in ("confidence", "weight"):
            if getattr(self, name).shape != self.classes.shape:
                raise ValueError(
                    f"{name} is {tuple(getattr(self, name).shape)}, "
                    f"classes {tuple(self.classes.shape)}"
                )
        if len(self.source) != len(self.classes):
            raise ValueError(f"{len(self.source)} sources for {len(self.classes)} pictures")

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def shown(self) -> Tensor:
        """(n, H, W) bool: the pixels that show a picture."""
        if self.extents is None:
            return torch.ones_like(self.classes, dtype=torch.bool)
        return inside(self.extents.to(self.classes.device), self.classes.shape[1:])

    @property
    def areas(self) -> Tensor:
        """(n,) int64, the pixels that show each picture."""
        count, height, width = self.classes.shape
        if self.extents is None:
            return torch.full((count,), height * width, device=self.classes.device)
        return self.extents.prod(1).to(self.classes.device)

    @property
    def accepted(self) -> Tensor:
        """(n, H, W) bool: shown, known and trusted at all."""
        accepted = (self.weight > 0) & (self.classes != VOID)
        return accepted if self.extents is None else accepted & self.shown

    @property
    def shares(self) -> Tensor:
        """(n,) float32, the share of accepted pixels among those that show each picture."""
        return self.accepted.sum((1, 2)) / self.areas

    @property
    def accepted_share(self) -> float:
        """The share of accepted pixels in [0, 1]; 0 of no pixels."""
        return float(self.accepted.sum() / self.areas.sum()) if self.classes.numel() else 0.0

    @property
    def doubt(self) -> Tensor:
        """(n,) float32, one less the mean confidence of each picture."""
        confidence = self.confidence.float()
        if self.extents is None:
            return 1 - confidence.mean((1, 2))
        return 1 - (confidence * self.shown).sum((1, 2)) / self.areas

    def select(self, index: Tensor) -> PixelLabels:
        """The labels of the pictures ``index`` (int64 positions or a bool mask)."""
        return PixelLabels(
            self.classes[index],
            self.confidence[index],
            self.weight[index],
            self.source[index],
            None if self.extents is None else self.extents[index],
        )

    def with_weight(self, weight: Tensor) -> PixelLabels:
        """The same labels, trusted by ``weight`` (n, H, W)."""
        return replace(self, weight=weight.to(self.weight))

    def accuracy(self, truth: Tensor) -> float | None:
        """The share of accepted pixels that equal ``truth`` (n, H, W) where that is not ``VOID``.

        None when there is no accepted pixel with a known truth.
        """
        judged = self.accepted & (truth != VOID)
        if not bool(judged.any()):
            return None
        return float((self.classes[judged] == truth[judged]).float().mean())

    def cpu(self) -> PixelLabels:
        """The same labels in main memory."""
        return PixelLabels(
            self.classes.cpu(),
            self.confidence.cpu(),
            self.weight.cpu(),
            self.source.cpu(),
            None if self.extents is None else self.extents.cpu(),
        )

    def filled(self, labels: PixelLabels, rows: Tensor) -> PixelLabels:
        """These labels with the pictures ``rows`` (n,) bool replaced by ``labels``, in order.

        Raises:
            ValueError: there are not as many such pictures as ``labels``.
        """
        if int(rows.sum()) != len(labels):
            raise ValueError(f"{int(rows.sum())} pictures are to be filled, {len(labels)} given")
        made = {}
        for name in ("classes", "confidence", "weight", "source"):
            made[name] = getattr(self, name).clone()
            made[name][rows] = getattr(labels, name).to(made[name])
        return PixelLabels(**made, extents=self.extents)

    @classmethod
    def from_person(cls, classes: Tensor) -> PixelLabels:
        """Label maps given by people (n, H, W) uint8; confidence and weight 1 where not void."""
        known = (classes != VOID).half()
        any_known = (classes != VOID).flatten(1).any(1)
        source = torch.where(any_known, int(Source.PERSON), int(Source.NOBODY))
        return cls(classes, known, known.clone(), source)

    @classmethod
    def from_model(
        cls, classes: Tensor, confidence: Tensor, weight: Tensor, extents: Tensor | None = None
    ) -> PixelLabels:
        """Proposals of a model, (n, H, W) each, and ``extents`` (n, 2) of the pictures."""
        source = torch.full((len(classes),), int(Source.MODEL), device=classes.device)
        return cls(classes, confidence, weight, source, extents)

    @classmethod
    def from_probs(cls, probs: Tensor, weight: Tensor | None = None) -> PixelLabels:
        """Proposals of a model: class = argmax, confidence = max of ``probs`` (n, K, H, W).

        Without ``weight`` (n, H, W) every pixel is trusted fully.
        """
        confidence, classes = probs.max(1)
        weight = torch.ones_like(confidence) if weight is None else weight
        return cls.from_model(classes.to(torch.uint8), confidence.half(), weight.half())
