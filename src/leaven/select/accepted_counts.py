"""How many labels of each picture a threshold accepts, and how many of these are wrong."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 32
"""Pictures whose pixels are counted together."""

_HALF_VALUES = 0x7C00
"""float16 numbers from 0 up to infinity, in the order of their bits."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Of n pictures at T falling thresholds.

    Attributes:
        accepted: (n, T) int64, labels that reach the threshold.
        wrong: (n, T) int64, those of them that are wrong; 0 where nobody knows.
    """

    accepted: Tensor
    wrong: Tensor


@dataclass(frozen=True, slots=True)
class Rows:
    """Labels of which a picture has several.

    Attributes:
        scores: (r,); NaN is never accepted.
        pictures: (r,) int64 in 0..count-1, whose they are.
        count: pictures, those without any label included.
        wrong: (r,) bool; None where the truth is not known.
        judged: (r,) bool, others count neither as accepted nor as wrong; None where all are judged.
    """

    scores: Tensor
    pictures: Tensor
    count: int
    wrong: Tensor | None = None
    judged: Tensor | None = None

    def levels(self, thresholds: Tensor) -> Tensor:
        """(r,) the first of the falling ``thresholds`` (T,) that a score reaches; T for none."""
        scores = self.scores.detach().cpu().double()
        level = torch.searchsorted(-thresholds.cpu().double(), -scores)
        return torch.where(scores.isnan(), len(thresholds), level)

    def ranks(self) -> Tensor:
        """(r,) see ``ranks_within``."""
        return ranks_within(self.scores, self.pictures)

    def counts(self, level: Tensor, width: int) -> Counts:
        """What is accepted when each row is from its ``level`` (r,) on, in 0..width."""
        pictures = self.pictures.cpu()
        if self.judged is not None:
            level = torch.where(self.judged.cpu(), level, width)
        accepted = _cumulated(level, pictures, self.count, width)
        if self.wrong is None:
            return Counts(accepted, torch.zeros_like(accepted))
        bad = self.wrong.cpu().bool()
        return Counts(accepted, _cumulated(level[bad], pictures[bad], self.count, width))


def ranks_within(scores: Tensor, groups: Tensor) -> Tensor:
    """(r,) int64: 0 for the row of the highest score in its group, 1 for the next; NaN is last, equal
    scores by their places."""
    if len(scores) == 0:
        return torch.zeros(0, dtype=torch.int64, device=scores.device)
    order = scores.double().nan_to_num(-torch.inf).argsort(descending=True, stable=True)
    order = order[groups[order].argsort(stable=True)]
    sizes = torch.bincount(groups)
    first = sizes.cumsum(0) - sizes
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=order.device) - first[groups[order]]
    return ranks


def most_per_picture(level: Tensor, ranks: Tensor, width: int, share: float) -> Tensor:
    """(width,) int64, never falling: so many labels of a picture, its best, make up ``share`` of all
    labels that a threshold accepts, at least 1.

    Args:
        level: (r,) from which threshold on a label is accepted, in 0..width.
        ranks: (r,) of the labels within their pictures.
        width: thresholds.
        share: in (0, 1].
    """
    if width == 0 or len(level) == 0:
        return torch.ones(width, dtype=torch.int64)
    table = _cumulated(level, ranks, int(ranks.max()) + 1, width).cumsum(0)
    enough = table >= share * table[-1]
    return (enough.int().argmax(0) + 1).cummax(0).values


def within_most(level: Tensor, ranks: Tensor, most: Tensor) -> Tensor:
    """(r,) from which threshold on labels are accepted, when of a picture only its ``most`` (T,) best
    are: the set grows from threshold to threshold as ``most`` does."""
    return torch.maximum(level, torch.searchsorted(most, ranks, right=True))


def count_pixels(
    confidence: Tensor, wrong: Tensor, judged: Tensor, others: Tensor, most: int
) -> tuple[Tensor, Counts, Counts]:
    """Thresholds that accept evenly more pixels of ``others``, and what they accept.

    Args:
        confidence: (n, H, W) of held-out pictures; negative or NaN is never accepted.
        wrong, judged: (n, H, W) bool; what is not judged is not counted.
        others: (m, H, W) confidences.
        most: thresholds, at most.

    Returns:
        thresholds (T,) float64, falling; the counts of the held-out pictures and of the others.
    """
    histogram = torch.zeros(_HALF_VALUES + 1, dtype=torch.int64)
    for part in others.split(CHUNK):
        histogram += torch.bincount(_bits(part).flatten(), minlength=_HALF_VALUES + 1)
    # Without what is never accepted; the largest first.
    reached = histogram[:-1].flip(0).cumsum(0)
    total = int(reached[-1])
    if total == 0:
        none = torch.zeros(len(confidence), 0, dtype=torch.int64)
        return torch.zeros(0, dtype=torch.float64), Counts(none, none), Counts(none[:0], none[:0])
    ranks = torch.linspace(1, total, min(most, total), dtype=torch.float64).round().long()
    codes = (_HALF_VALUES - 1 - torch.searchsorted(reached, ranks)).unique().flip(0)
    level = torch.searchsorted(-codes, -torch.arange(_HALF_VALUES))
    level = torch.cat([level, torch.tensor([len(codes)])])
    thresholds = codes.to(torch.int16).view(torch.float16).double()
    accepted = _by_picture(confidence, judged, level, len(codes))
    bad = _by_picture(confidence, judged & wrong, level, len(codes))
    there = _by_picture(others, None, level, len(codes))
    return thresholds, Counts(accepted, bad), Counts(there, torch.zeros_like(there))


def _by_picture(confidence: Tensor, chosen: Tensor | None, level: Tensor, width: int) -> Tensor:
    parts = [torch.zeros(0, width, dtype=torch.int64)]
    for first in range(0, len(confidence), CHUNK):
        some = confidence[first : first + CHUNK]
        levels = level[_bits(some)].flatten(1)
        pictures = torch.arange(len(some))[:, None].expand_as(levels)
        if chosen is not None:
            wanted = chosen[first : first + CHUNK].cpu().flatten(1)
            levels, pictures = levels[wanted], pictures[wanted]
        parts.append(_cumulated(levels.flatten(), pictures.flatten(), len(some), width))
    return torch.cat(parts)


def _bits(confidence: Tensor) -> Tensor:
    """int64 in the order of the confidences as float16; ``_HALF_VALUES`` for what is never
    accepted."""
    half = confidence.detach().cpu().half().contiguous()
    # Zero may be negative, and its bits then are those of the least number.
    bits = torch.where(half == 0, torch.zeros_like(half), half).view(torch.int16).long()
    return torch.where((half >= 0) & half.isfinite(), bits, _HALF_VALUES)


def _cumulated(level: Tensor, pictures: Tensor, count: int, width: int) -> Tensor:
    """(count, width) int64: rows of each picture whose level is that place or before it."""
    place = pictures * (width + 1) + level
    table = torch.bincount(place, minlength=count * (width + 1)).view(count, width + 1)
    return table[:, :width].cumsum(1)
