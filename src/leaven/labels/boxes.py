"""Boxes, and the masks in them: what is believed to be where in each picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from leaven.labels.classes import Source
from leaven.labels.masks import Masks


@dataclass(frozen=True, slots=True)
class BoxLabels:
    """The things in ``n`` pictures: ``m`` rows, those of one picture after those of the last.

    A picture that is ``known`` and has no rows is empty: somebody looked, and there is nothing.

    Attributes:
        boxes: (m, 4) float32, x1, y1, x2, y2 in pixels; a box of the whole picture is 0, 0, W, H.
        classes: (m,) int64, the class index.
        confidence: (m,) float32 in [0, 1], the probability that the proposer gave that class.
        weight: (m,) float32 in [0, 1], how far the row is trusted; 0 is not at all.
        source: (m,) int64, a ``Source``.
        counts: (n,) int64, rows of each picture.
        known: (n,) bool, whether anybody has said what is in the picture.
        crowd: (m,) bool, the row is a group or unclear, and neither demanded nor punished.
        masks: m masks in the size of their pictures, or None where there are boxes alone.
    """

    boxes: Tensor
    classes: Tensor
    confidence: Tensor
    weight: Tensor
    source: Tensor
    counts: Tensor
    known: Tensor
    crowd: Tensor
    masks: Masks | None = None

    def __post_init__(self) -> None:
        rows = len(self.boxes)
        if self.boxes.shape != (rows, 4):
            raise ValueError(f"boxes are (m, 4), not {tuple(self.boxes.shape)}")
        for name in ("classes", "confidence", "weight", "source", "crowd", "masks"):
            value = getattr(self, name)
            if value is not None and len(value) != rows:
                raise ValueError(f"{name} has {len(value)} rows, boxes has {rows}")
        if len(self.known) != len(self.counts):
            raise ValueError(f"{len(self.counts)} counts, {len(self.known)} known flags")
        if rows != int(self.counts.sum()):
            raise ValueError(f"{rows} boxes where the counts say {int(self.counts.sum())}")

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, index: Tensor) -> BoxLabels:
        return self.select(index)

    @property
    def pictures(self) -> Tensor:
        """(m,) int64, the picture of each row."""
        return torch.repeat_interleave(self.counts)

    @property
    def accepted(self) -> Tensor:
        """(m,) bool: trusted at all."""
        return self.weight > 0

    @property
    def accepted_share(self) -> float:
        """The share of accepted rows in [0, 1]; 0 of no rows."""
        return float(self.accepted.float().mean()) if len(self.boxes) else 0.0

    @property
    def sides(self) -> Tensor:
        """(m, 2) float32, width and height."""
        return self.boxes[:, 2:] - self.boxes[:, :2]

    def select(self, index: Tensor) -> BoxLabels:
        """The labels of the pictures ``index`` (int64 positions or a bool mask), in that order."""
        if index.dtype == torch.bool:
            index = index.nonzero().squeeze(1)
        index = index.to(self.counts.device)
        counts = self.counts[index]
        starts = (self.counts.cumsum(0) - self.counts)[index]
        # Row r of the k-th chosen picture is starts[k] + r.
        offset = torch.arange(int(counts.sum()), device=counts.device)
        offset = offset - (counts.cumsum(0) - counts).repeat_interleave(counts)
        rows = starts.repeat_interleave(counts) + offset
        return self._rows(rows, counts, self.known[index])

    def keep(self, rows: Tensor) -> BoxLabels:
        """The labels of the same pictures with the ``rows`` (m,) bool alone."""
        pictures = self.pictures[rows]
        counts = torch.bincount(pictures, minlength=len(self))
        return self._rows(rows, counts, self.known)

    def hidden(self, kept: Tensor) -> BoxLabels:
        """The same labels, of which only those of the pictures ``kept`` (n,) bool are known."""
        labels = self.keep(kept[self.pictures])
        return replace(labels, known=labels.known & kept)

    def _rows(self, rows: Tensor, counts: Tensor, known: Tensor) -> BoxLabels:
        return BoxLabels(
            self.boxes[rows],
            self.classes[rows],
            self.confidence[rows],
            self.weight[rows],
            self.source[rows],
            counts,
            known,
            self.crowd[rows],
            None if self.masks is None else self.masks.select(rows),
        )

    def with_weight(self, weight: Tensor) -> BoxLabels:
        """The same labels, trusted by ``weight`` (m,)."""
        return replace(self, weight=weight)

    def scaled(self, factor: Tensor) -> BoxLabels:
        """The boxes in pictures that are stretched by ``factor`` (n, 2), along x and y.

        Masks stay as they are: see ``Masks.resized``.
        """
        each = factor.to(self.boxes)[self.pictures]
        return replace(self, boxes=self.boxes * each.repeat(1, 2))

    def to(self, device: torch.device | str) -> BoxLabels:
        """The same labels on ``device``; masks stay in main memory."""
        moved = {
            name: getattr(self, name).to(device)
            for name in (
                "boxes", "classes", "confidence", "weight", "source", "counts", "known", "crowd",
            )
        }  # fmt: skip
        return BoxLabels(**moved, masks=self.masks)

    def cpu(self) -> BoxLabels:
        """The same labels in main memory."""
        return self.to("cpu")

    def filled(self, labels: BoxLabels) -> BoxLabels:
        """These labels with the pictures that are not known replaced by ``labels``, in their order.

        Raises:
            ValueError: there are not as many such pictures as ``labels``.
        """
        unknown = ~self.known
        if int(unknown.sum()) != len(labels):
            raise ValueError(f"{int(unknown.sum())} pictures are to be filled, {len(labels)} given")
        order = torch.empty(len(self), dtype=torch.int64)
        order[self.known] = torch.arange(int(self.known.sum()))
        order[unknown] = int(self.known.sum()) + torch.arange(len(labels))
        return BoxLabels.joined([self.select(self.known), labels]).select(order)

    @classmethod
    def from_person(
        cls,
        boxes: Sequence[Tensor],
        classes: Sequence[Tensor],
        *,
        known: Tensor | None = None,
        crowd: Sequence[Tensor] | None = None,
        masks: Masks | None = None,
    ) -> BoxLabels:
        """Labels given by people, a tensor (m_i, 4) and (m_i,) for each picture.

        Every picture is ``known`` when that is None.
        """
        counts = torch.tensor([len(rows) for rows in boxes], dtype=torch.int64)
        total = int(counts.sum())
        ones = torch.ones(total)
        return cls(
            torch.cat([torch.zeros(0, 4), *boxes]).float(),
            torch.cat([torch.zeros(0, dtype=torch.int64), *classes]),
            ones,
            ones.clone(),
            torch.full((total,), int(Source.PERSON)),
            counts,
            torch.ones(len(counts), dtype=torch.bool) if known is None else known,
            torch.cat([torch.zeros(0, dtype=torch.bool), *(crowd or [])])
            if crowd is not None
            else torch.zeros(total, dtype=torch.bool),
            masks,
        )

    @classmethod
    def from_model(
        cls,
        boxes: Tensor,
        classes: Tensor,
        confidence: Tensor,
        counts: Tensor,
        masks: Masks | None = None,
    ) -> BoxLabels:
        """Proposals of a model for ``len(counts)`` pictures, fully trusted."""
        return cls(
            boxes.float(),
            classes,
            confidence.float(),
            torch.ones_like(confidence, dtype=torch.float32),
            torch.full_like(classes, int(Source.MODEL)),
            counts,
            torch.ones_like(counts, dtype=torch.bool),
            torch.zeros_like(classes, dtype=torch.bool),
            masks,
        )

    @classmethod
    def nothing(cls, count: int) -> BoxLabels:
        """``count`` pictures of which nothing is known."""
        none = [torch.zeros(0, 4)] * count
        classes = [torch.zeros(0, dtype=torch.int64)] * count
        return cls.from_person(none, classes, known=torch.zeros(count, dtype=torch.bool))

    @classmethod
    def joined(cls, several: Sequence[BoxLabels]) -> BoxLabels:
        """The pictures of ``several`` labels, one after the other; masks where all have some."""
        names = (
            "boxes", "classes", "confidence", "weight", "source", "counts", "known", "crowd",
        )  # fmt: skip
        columns = {name: torch.cat([getattr(one, name) for one in several]) for name in names}
        masks = [one.masks for one in several if one.masks is not None]
        empty = all(one.masks is not None or len(one.boxes) == 0 for one in several)
        return cls(**columns, masks=Masks.joined(masks) if masks and empty else None)

    @classmethod
    def combined(cls, several: Sequence[BoxLabels]) -> BoxLabels:
        """All rows of ``several`` labels of the same pictures, without masks; a picture is known
        where one of them knows it.

        Raises:
            ValueError: the numbers of pictures differ.
        """
        if len({len(one) for one in several}) != 1:
            raise ValueError(f"labels of {[len(one) for one in several]} pictures are combined")
        pictures = torch.cat([one.pictures for one in several])
        order = pictures.argsort(stable=True)
        rows = {
            name: torch.cat([getattr(one, name) for one in several])[order]
            for name in ("boxes", "classes", "confidence", "weight", "source", "crowd")
        }
        known = torch.stack([one.known for one in several]).any(0)
        counts = torch.bincount(pictures, minlength=len(known))
        return cls(**rows, counts=counts, known=known, masks=None)
