"""Pictures that are unlike everything that was labelled."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

NEIGHBOURS = 5
"""The distance to so many neighbours' last one counts; a lone labelled oddity is no neighbourhood."""

FALSE_ALARMS = 0.01
"""The share of items of the labelled kind that lie as far as what is called foreign."""

_BLOCK = 1024

Metric = Literal["cosine", "euclidean"]


def neighbour_distance(
    rows: Tensor,
    reference: Tensor,
    *,
    count: int = NEIGHBOURS,
    metric: Metric = "cosine",
    leave_out: bool = False,
) -> Tensor:
    """(m,) float32: the distance of each row to the ``count``-th nearest row of ``reference``.

    Args:
        rows: (m, D).
        reference: (n, D).
        count: k, at least 1; fewer where ``reference`` has fewer.
        metric: ``cosine`` compares directions: distances of rows of length 1.
        leave_out: ``rows`` is ``reference``, and no row is its own neighbour.

    Raises:
        ValueError: no row to compare with.

    Source: Sun et al., Out-of-distribution detection with deep nearest neighbors, ICML 2022.
    """
    available = len(reference) - leave_out
    if count < 1 or available < 1:
        raise ValueError(f"{count} neighbours among {available} rows")
    count = min(count, available)
    if metric == "cosine":
        rows, reference = normalize(rows.float(), dim=1), normalize(reference.float(), dim=1)
    rows, reference = rows.float(), reference.float()
    found = []
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK]
        gaps = torch.cdist(part, reference)
        if leave_out:
            own = torch.arange(start, start + len(part))
            gaps[torch.arange(len(part)), own] = torch.inf
        found.append(gaps.kthvalue(count, dim=1).values)
    return torch.cat(found) if found else torch.zeros(0)


def share_as_far(distance: Tensor, calibration: Tensor) -> Tensor:
    """(m,) float64 in (0, 1]: the share of the labelled kind that lies at least as far.

    ``p_i = (1 + #{j: c_j >= d_i}) / (n + 1)``, the conformal p-value. Where an item is of the same
    kind as those of ``calibration`` (n,), ``P(p_i <= a) <= a`` for every a.

    Args:
        distance: (m,), of the items in question.
        calibration: (n,), of labelled items, each measured without itself.

    Source: Bates et al., Testing for outliers with conformal p-values, 2023.
    """
    ordered = calibration.double().sort().values
    below = torch.searchsorted(ordered, distance.double().contiguous())
    return (1 + len(ordered) - below).double() / (len(ordered) + 1)


def folded_share(distances: list[Tensor], calibrations: list[Tensor]) -> Tensor:
    """As ``share_as_far`` where each fold has a net of its own, which has seen other labels.

    ``p_i = (1 + sum over folds f of #{j in f: c_j >= d_if}) / (n + 1)``: items are compared with
    those that the same net has not seen either.

    Args:
        distances: of the m items, under the net of each fold, (m,) each.
        calibrations: of the items that the net of the fold has not seen.
    """
    total = sum(len(one) for one in calibrations)
    above = torch.zeros(len(distances[0]), dtype=torch.float64)
    for distance, calibration in zip(distances, calibrations, strict=True):
        share = share_as_far(distance, calibration)
        above += share * (len(calibration) + 1) - 1
    return (1 + above) / (total + 1)
