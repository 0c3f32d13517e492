"""The same picture twice: pixel by pixel, or saved, scaled, turned or mirrored again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

NEAR = 0.11
"""Two pictures are near where they differ by so much of what two at random differ by."""

_BLOCK = 2048
_MOST = 8
_PAIRS = 4096
_KEPT = 8
"""Frequencies along each axis in the descriptor; what is finer is compared in the end alone."""
_SAMPLE = 2048
_ROUNDING = 1e-3
_LEAST_SPREAD = 4.0


@dataclass(frozen=True)
class Pairs:
    """Pairs of pictures that show the same.

    Attributes:
        first, second: (p,) int64, first < second.
        distance: (p,) float32; 0 where all pixels are equal.
        exact: (p,) bool, all pixels are equal.
    """

    first: Tensor
    second: Tensor
    distance: Tensor
    exact: Tensor

    def __len__(self) -> int:
        return len(self.first)


def equal_rows(digests: Tensor) -> Tensor:
    """(n,) int64: for each row of (n, D), the first row that is equal to it."""
    if len(digests) == 0:
        return torch.zeros(0, dtype=torch.int64)
    _, group = digests.unique(dim=0, return_inverse=True)
    first = torch.full((int(group.max()) + 1,), len(group), dtype=torch.int64)
    first = first.scatter_reduce(0, group, torch.arange(len(group)), "amin")
    return first[group]


def standardised(thumbnails: Tensor) -> Tensor:
    """(n, C, S, S) float32: each picture less its mean, of length 1; zeros of a constant one.

    So brightness and contrast of the whole do not count.
    """
    rows = thumbnails.float()
    rows = rows - rows.mean((1, 2, 3), keepdim=True)
    length = rows.flatten(1).norm(dim=1)
    length = torch.where(length < _LEAST_SPREAD, torch.inf, length)
    return rows / length[:, None, None, None]


def orientations(rows: Tensor) -> Tensor:
    """(8, n, C, S, S): the four quarter turns of (n, C, S, S), each also mirrored."""
    turned = [rows.rot90(quarter, (2, 3)) for quarter in range(4)]
    return torch.stack([*turned, *(one.flip(3) for one in turned)])


def descriptor(rows: Tensor) -> Tensor:
    """(n, D) float32, the same for all eight orientations of a picture (n, C, S, S).

    With ``F`` the orthonormal 2-D cosine transform of each channel: ``F_00``, ``|F_ii|`` and
    ``sqrt(F_ij^2 + F_ji^2)`` for i < j < 8. A mirror changes the signs of ``F_ij``, a transposition
    swaps ``F_ij`` and ``F_ji``. The transform keeps lengths and no step makes a difference larger,
    so ``|d(x) - d(y)| <= min over orientations g of |x - g(y)|``: what is far here is far.
    """
    from scipy.fft import dctn

    found = torch.from_numpy(dctn(rows.numpy(), axes=(2, 3), norm="ortho"))
    found = found[:, :, :_KEPT, :_KEPT]
    i, j = torch.triu_indices(_KEPT, _KEPT, 1)
    both = torch.hypot(found[:, :, i, j], found[:, :, j, i])
    along = found.diagonal(dim1=2, dim2=3)
    return torch.cat([along[:, :, 0], along[:, :, 1:].abs().flatten(1), both.flatten(1)], 1)


def least_distance(first: Tensor, second: Tensor) -> Tensor:
    """(p,) float32: the least distance of each (p, C, S, S) to the eight orientations of the other,
    both as ``standardised`` gives them; 2 for a constant one, which is like nothing."""
    turned = orientations(second)
    # |x - y|^2 = 2 - 2 <x, y> for rows of length 1.
    product = torch.einsum("pcij,gpcij->gp", first, turned).amax(0)
    distance = (2 - 2 * product).clamp_min(0).sqrt()
    shown = (first.flatten(1).norm(dim=1) > 0) & (second.flatten(1).norm(dim=1) > 0)
    return torch.where(shown, distance, 2.0)


def radius_of(rows: Tensor, near: float = NEAR, seed: int = 0) -> float:
    """``near`` times the median distance of two pictures at random, rows (n, C, S, S).

    So that alike pictures - digits, microscope slides - have to be closer to count as the same.
    """
    shown = rows[rows.flatten(1).norm(dim=1) > 0].flatten(1)
    if len(shown) < 2:
        return 0.0
    order = torch.randperm(len(shown), generator=torch.Generator().manual_seed(seed))[:_SAMPLE]
    half = len(order) // 2
    gaps = (shown[order[:half]] - shown[order[half : 2 * half]]).norm(dim=1)
    return near * float(gaps.median())


def duplicate_pairs(
    digests: Tensor,
    thumbnails: Tensor,
    readable: Tensor | None = None,
    *,
    near: float = NEAR,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Pairs:
    """The pictures that are there more than once.

    Exact: equal ``digests``; each is paired with the first one equal to it. Near: thumbnails, less
    their mean and of length 1, that lie within ``radius_of`` of each other in one of the eight
    orientations; copies that were saved with losses, scaled, made brighter, mirrored or turned by
    quarters. Copies that were cut or turned by a few degrees are not found. Every pair is compared:
    first by ``descriptor``, which cannot lose one, in blocks sorted along the direction in which
    the data spread most, so that far blocks are left out. Of a row with more than 8 near ones in a
    block the nearest 8 are kept.

    Args:
        digests: (n, D) uint8, of all pixels.
        thumbnails: (n, C, S, S) uint8.
        readable: (n,) bool, which pictures take part; all when None.
        near: see ``radius_of``; 0 for exact ones alone.
        seed: of the sample that the radius comes from.
        progress: called with the blocks done and all.

    Returns:
        the pairs, exact ones first, then by distance.
    """
    group, own = equal_rows(digests), torch.arange(len(digests))
    readable = torch.ones_like(own, dtype=torch.bool) if readable is None else readable
    copies = (readable & (group != own)).nonzero().squeeze(1)
    exact = Pairs(
        group[copies], copies, torch.zeros(len(copies)), torch.ones(len(copies), dtype=torch.bool)
    )
    single = (readable & (group == own)).nonzero().squeeze(1)
    rows = standardised(thumbnails[single])
    radius = radius_of(rows, near, seed)
    if radius == 0.0:
        return exact
    first, second, distance = _near(rows, radius, progress)
    # Numbers in the data; ties by number, so that the order is the same everywhere.
    first, second = single[first], single[second]
    order = torch.from_numpy(np.lexsort((second, first, distance)))
    return Pairs(
        torch.cat([exact.first, first[order]]),
        torch.cat([exact.second, second[order]]),
        torch.cat([exact.distance, distance[order]]),
        torch.cat([exact.exact, torch.zeros(len(order), dtype=torch.bool)]),
    )


def connected(count: int, pairs: Pairs) -> Tensor:
    """(count,) int64, the same number for pictures that pairs lead from one to the other."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs), dtype=bool)
    graph = coo_matrix((ones, (pairs.first.numpy(), pairs.second.numpy())), (count, count))
    return torch.from_numpy(connected_components(graph, directed=False)[1]).long()


def _near(
    rows: Tensor, radius: float, progress: Callable[[int, int], None] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs of rows (n, C, S, S) within ``radius``: (p,) first < second, and distances."""
    found = descriptor(rows)
    shown = (rows.flatten(1).norm(dim=1) > 0).nonzero().squeeze(1)
    found = found[shown]
    place = _along(found)
    order = place.argsort(stable=True)
    found, place, items = found[order], place[order], shown[order]
    blocks = found.split(_BLOCK)
    ends = [(float(part[0]), float(part[-1])) for part in place.split(_BLOCK)]
    limit = radius + _ROUNDING
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for i, block in enumerate(blocks):
        for j in range(i, len(blocks)):
            if ends[j][0] - ends[i][1] > limit:
                break
            one, other = _candidates(block, blocks[j], limit, same=i == j)
            one, other = items[one + i * _BLOCK], items[other + j * _BLOCK]
            parts += _verified(rows, torch.minimum(one, other), torch.maximum(one, other), radius)
        if progress is not None:
            progress(i + 1, len(blocks))
    if not parts:
        none = torch.zeros(0, dtype=torch.int64)
        return none, none, torch.zeros(0)
    first, second, distance = (torch.cat(column) for column in zip(*parts))
    return first, second, distance


def _along(found: Tensor) -> Tensor:
    """(n,) where rows (n, D) lie along the direction in which they spread most."""
    middle = (found - found.mean(0)).double()
    _, vectors = torch.linalg.eigh(middle.T @ middle)
    return (middle @ vectors[:, -1]).float()


def _candidates(block: Tensor, other: Tensor, limit: float, *, same: bool) -> tuple[Tensor, Tensor]:
    """Rows of two blocks that lie within ``limit``, each row with its nearest few."""
    gaps = block.square().sum(1)[:, None] + other.square().sum(1) - 2 * block @ other.T
    if same:
        gaps = torch.where(torch.ones_like(gaps, dtype=torch.bool).triu(1), gaps, torch.inf)
    inside = gaps <= limit**2
    crowded = bool((inside.sum(1) > _MOST).any())
    if crowded:
        nearest = gaps.topk(min(_MOST, gaps.shape[1]), dim=1, largest=False).indices
        inside &= torch.zeros_like(inside).scatter_(1, nearest, True)
    one, two = inside.nonzero().unbind(1)
    return one, two


def _verified(
    rows: Tensor, first: Tensor, second: Tensor, radius: float
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Of the pairs those that lie within ``radius``, with their distances."""
    kept = []
    for one, other in zip(first.split(_PAIRS), second.split(_PAIRS)):
        distance = least_distance(rows[one], rows[other])
        near = distance <= radius
        if bool(near.any()):
            kept.append((one[near], other[near], distance[near]))
    return kept
