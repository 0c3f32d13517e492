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


def count_rows(
    scores: Tensor, wrong: Tensor | None, pictures: Tensor, count: int, thresholds: Tensor
) -> Counts:
    """Counts rows of labels.

    Args:
        scores: (r,); NaN reaches no threshold.
        wrong: (r,) bool; None where the truth is not known.
        pictures: (r,) int64 in 0..count-1.
        count: pictures.
        thresholds: (T,) falling.
    """
    scores, pictures = scores.detach().cpu().double(), pictures.cpu()
    # The first of the falling thresholds that a score reaches; T for none.
    level = torch.searchsorted(-thresholds.cpu().double(), -scores)
    level = torch.where(scores.isnan(), len(thresholds), level)
    accepted = _cumulated(level, pictures, count, len(thresholds))
    if wrong is None:
        return Counts(accepted, torch.zeros_like(accepted))
    bad = wrong.cpu().bool()
    return Counts(accepted, _cumulated(level[bad], pictures[bad], count, len(thresholds)))


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
