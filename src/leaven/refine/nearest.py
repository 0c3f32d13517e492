"""The nearest neighbours of every row among the others, through faiss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from leaven.errors import MissingExtraError

Metric = Literal["euclidean", "cosine"]
Search = Literal["auto", "exact", "cells"]

EXACT_UP_TO = 10_000
"""Rows up to which every pair is compared when ``search`` is ``"auto"``."""

_POINTS_PER_CELL = 20
_ROUNDS = 4
_MEAN_AT_MOST = 500
"""Of the sizes of cells: larger ones leave no room in the cache for their distances."""
_LARGEST = 4
"""No cell is larger than so many times the mean; a crowd of equal rows is cut into several."""
_SAMPLE = 16
"""Cells that show how far away the neighbours of the others lie."""
_NEAR_ENOUGH = 0.995
"""Share of the neighbours found for a cell of the sample that the nearer cells have to hold."""
_FAR = 64
"""Times the mean square of the width of a cell that the square of its way to the mean may be."""
_GROUPS = 64
_CHUNK = 65_536
_PLACE_BITS, _VALUE_BITS = 22, 31
"""Of a key that sorts distances; what is left of 64 numbers the rows of a cell."""

_MOST_ROWS = 1 << 64 - _PLACE_BITS - _VALUE_BITS
_VALUE, _ROW = np.uint64(_PLACE_BITS), np.uint64(_PLACE_BITS + _VALUE_BITS)
_PLACES, _VALUES = np.uint64((1 << _PLACE_BITS) - 1), np.uint64((1 << _VALUE_BITS) - 1)


class Neighbours(NamedTuple):
    """The neighbours of n rows, the nearest first.

    Attributes:
        items: (n, k) int64.
        distance: (n, k) float32, euclidean, of normalised rows for the metric cosine.
    """

    items: Tensor
    distance: Tensor


def nearest_neighbours(
    rows: Tensor,
    count: int,
    *,
    metric: Metric = "euclidean",
    search: Search = "auto",
    probes: int = 6,
    threads: int | None = None,
    seed: int = 0,
) -> Neighbours:
    """The ``count`` nearest other rows of each row.

    ``exact`` compares every pair. ``cells`` divides the rows by k-means into ``sqrt(n)`` cells
    (n / 500 where that is more) and compares the rows of a cell, all at once, with those of the
    nearest cells that hold ``probes`` times the mean size of a cell; a neighbour beyond these is
    missed. Larger ``probes`` miss fewer and take longer in proportion, up to where they find
    nothing more: how far out 99.5 % of the found neighbours lie is seen on 16 cells, and beyond
    the farthest of these no other cell searches. ``auto`` is exact up to 10,000 rows.

    Args:
        rows: (n, D) float32 or float16, on the CPU; may be memory-mapped.
        count: k, at least 1; at most n - 1.
        metric: ``cosine`` compares directions: distances of rows of length 1.
        search: see above.
        probes: see above, at least 1.
        threads: how many compute; torch's number when None.
        seed: of the k-means.

    Returns:
        The neighbours; a row is never its own neighbour.

    Raises:
        MissingExtraError: cells without faiss; an exact search takes scikit-learn then.
        ValueError: arguments out of their range, rows that are not finite.

    Source: Johnson et al., Billion-scale similarity search with GPUs, 2017 (arXiv:1702.08734).
    """
    n = len(rows)
    if not 1 <= count < max(n, 2) or probes < 1:
        raise ValueError(f"{count} neighbours among {n} rows, probes={probes}")
    exact = search == "exact" or (search == "auto" and n <= EXACT_UP_TO)
    table = _prepared(rows, metric)
    threads = torch.get_num_threads() if threads is None else threads
    if exact:
        squares, index = _of_every_pair(table, table, count + 1, threads)
    else:
        with _faiss(threads) as faiss:
            squares, index = _by_cells(faiss, table, count + 1, probes, threads, seed)
    squares, index = _without_self(squares, index)
    distance = np.sqrt(np.maximum(squares, 0, out=squares), out=squares)
    return Neighbours(torch.from_numpy(index), torch.from_numpy(distance))


def nearest_of(
    rows: Tensor,
    others: Tensor,
    count: int,
    *,
    metric: Metric = "euclidean",
    threads: int | None = None,
) -> Neighbours:
    """The ``count`` nearest of ``rows`` (n, D) to each of ``others`` (m, D), every pair compared.

    See ``nearest_neighbours``.
    """
    if not 1 <= count <= len(rows):
        raise ValueError(f"{count} neighbours among {len(rows)} rows")
    table, asked = _prepared(rows, metric), _prepared(others, metric)
    threads = torch.get_num_threads() if threads is None else threads
    squares, index = _of_every_pair(table, asked, count, threads)
    distance = np.sqrt(np.maximum(squares, 0))
    return Neighbours(torch.from_numpy(index), torch.from_numpy(distance))


def _prepared(rows: Tensor, metric: Metric) -> np.ndarray:
    """The rows as contiguous float32, of length 1 for cosine."""
    table = np.ascontiguousarray(rows.detach().numpy(), dtype=np.float32)
    parts = [table[i : i + _CHUNK] for i in range(0, len(table), _CHUNK)]
    largest = np.max([np.abs(part).max() for part in parts])
    if not np.isfinite(largest):
        raise ValueError("rows with values that are not finite have no neighbours")
    if 4 * table.shape[1] * float(largest) ** 2 > np.finfo(np.float32).max:
        raise ValueError(
            f"rows with values up to {largest:.2g} have squared distances that float32 cannot hold; "
            "scale them down"
        )
    if metric == "cosine":
        length = np.linalg.norm(table, axis=1, keepdims=True)
        table = table / np.maximum(length, np.finfo(np.float32).tiny)
    return table


class _Cells(NamedTuple):
    """Rows dealt into cells, and the cells next to one another.

    Attributes:
        order: (n,) the numbers of the rows, those of a cell after one another.
        ends: of C + 1 places, where a cell begins in ``order``, and the end.
        around: the cells that the rows of each cell are compared with, itself first.
        far: (C,) bool, cells so far from the mean of all rows, for their width, that products of
            their rows say little of how near these are.
    """

    order: np.ndarray
    ends: list[int]
    around: list[list[int]]
    far: np.ndarray

    def slices(self, cell: int) -> list[slice]:
        """Where the rows that those of ``cell`` are compared with lie in ``order``."""
        return [slice(self.ends[one], self.ends[one + 1]) for one in self.around[cell]]

    def within(self, depth: int, least: int) -> _Cells:
        """The same without the cells that begin beyond ``depth`` rows around a cell, and beyond
        the ``least``."""
        sizes, depth = np.diff(self.ends), max(depth, least - 1)
        kept = [
            near[: 1 + int(np.searchsorted(np.cumsum(sizes[near])[:-1], depth, side="right"))]
            for near in self.around
        ]
        return self._replace(around=kept)

    def most(self) -> tuple[int, int]:
        """The most rows that those of a cell are compared with, in groups, and the most pairs."""
        sizes = np.diff(self.ends)
        reached = [_in_groups(int(sizes[near].sum())) for near in self.around]
        return max(reached), int((sizes * reached).max())


class _Space:
    """Memory that is filled for one cell after another: fresh memory would cost more than sorting.

    Attributes:
        rows: of a cell and those around it.
        gaps: between all of these and the cell's own.
    """

    def __init__(self, rows: int, pairs: int, width: int) -> None:
        self.rows = np.empty((rows, width), np.float32)
        self.gaps = np.empty(pairs, np.float32)


def _by_cells(
    faiss: Any, table: np.ndarray, count: int, probes: int, threads: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances and positions, (n, count) each, nearest first, with the rows themselves."""
    squares = np.empty((len(table), count), dtype=np.float32)
    index = np.empty((len(table), count), dtype=np.int64)
    cells = _cells(faiss, table, count, probes, seed)
    # The rows of a cell lie side by side: whole pieces of memory are read and not row after row.
    placed = np.empty((len(table), table.shape[1] + 1), np.float32)
    mean = table.mean(0)
    for part in (slice(i, i + _CHUNK) for i in range(0, len(table), _CHUNK)):
        np.subtract(table[cells.order[part]], mean, out=placed[part, :-1])
    _square(placed)

    def work(left: Iterator[int], cells: _Cells, depths: list[float] | None) -> None:
        faiss.omp_set_num_threads(1)
        space = _Space(*cells.most(), placed.shape[1])
        for cell in left:  # Each thread takes the next one.
            slices = cells.slices(cell)
            found = _least(placed, slices, count, space, bool(cells.far[cell]))
            if found is None:
                second = np.concatenate([placed[one, :-1] for one in slices])
                own = slices[0].stop - slices[0].start
                found = faiss.knn(second[:own], second, count)
            near, place = found
            own = cells.order[slices[0]]
            others = np.concatenate([cells.order[one] for one in slices])
            squares[own], index[own] = near, others[place]
            if depths is not None:
                depths.append(float(np.quantile(place, _NEAR_ENOUGH)))

    # A thread per cell and not several on each: the cells are many and small.
    with _blas().limit(limits=1), ThreadPoolExecutor(threads, "leaven-neighbours") as pool:

        def search(some: Iterable[int], cells: _Cells, depths: list[float] | None = None) -> None:
            left = iter(some)
            for done in [pool.submit(work, left, cells, depths) for _ in range(threads)]:
                done.result()

        number = len(cells.around)
        sample = range(0, number, -(-number // _SAMPLE))
        depths: list[float] = []
        search(sample, cells, depths)
        rest = [cell for cell in range(number) if cell not in sample]
        search(rest, cells.within(int(max(depths)), count))
    return squares, index


@cache
def _blas() -> Any:
    """The libraries of linear algebra of this process; finding them takes milliseconds."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def _square(placed: np.ndarray) -> None:
    """Puts the squared length of each row into the last column."""
    np.einsum("ij,ij->i", placed[:, :-1], placed[:, :-1], out=placed[:, -1])


def _least(
    table: np.ndarray, slices: list[slice], count: int, space: _Space, far: bool
) -> tuple[np.ndarray, np.ndarray] | None:
    """The ``count`` least squared distances of each row of the first slice of ``table`` to the rows
    of all, and where these are among them; None where too many are equal, or too few are there,
    for a short cut to pay.

    The distances are one product of matrices, |y|^2 - 2 x y, to which |x|^2 comes at last. Of each
    row they are dealt into groups; the ``count``-th least of the least of the groups is a bound
    that at least ``count`` distances keep and few others, and only these are sorted. ``table`` has
    squares in its last column. What is ``far`` is moved to the middle first: small numbers lose
    less.
    """
    size = sum(one.stop - one.start for one in slices)
    own = slices[0].stop - slices[0].start
    if not 2 * _GROUPS <= size < 1 << _PLACE_BITS or own > _MOST_ROWS or 2 * count > _GROUPS:
        return None
    right = space.rows[: _in_groups(size)]
    seen = np.concatenate([table[one] for one in slices], out=right[:size])
    if far:
        seen[:, :-1] -= seen[:own, :-1].mean(0)
        _square(seen)
    right[size:, :-1], right[size:, -1] = 0, np.inf
    left = -2 * right[:own]
    left[:, -1] = 1
    gaps = space.gaps[: len(right) * own].reshape(len(right), own)
    np.matmul(right, left.T, out=gaps)
    least = gaps.reshape(-1, _GROUPS, own).min(0)
    least.partition(count - 1, axis=0)
    kept = np.flatnonzero(gaps <= least[count - 1])
    if len(kept) > 3 * count * own:
        return None
    place, row = np.divmod(kept, own)
    # Bits of numbers that are not negative are in the order of the numbers: one key sorts the rows,
    # of each its distances, and brings the places along.
    values = np.abs(np.maximum(gaps.ravel()[kept] + seen[row, -1], 0)).view(np.uint32)
    keys = row.astype(np.uint64) << _ROW | values.astype(np.uint64) << _VALUE
    keys |= place.astype(np.uint64)
    keys.sort()
    each = np.bincount(row, minlength=own)
    keys = keys[(np.cumsum(each) - each)[:, None] + np.arange(count)]
    values = (keys >> _VALUE & _VALUES).astype(np.uint32)
    return values.view(np.float32), (keys & _PLACES).astype(np.int64)


def _in_groups(size: int) -> int:
    """``size`` rounded up to whole groups."""
    return -(-size // _GROUPS) * _GROUPS


def _cells(faiss: Any, table: np.ndarray, count: int, probes: int, seed: int) -> _Cells:
    """The cells of rows, by k-means; a crowded one is cut."""
    n, width = table.shape
    wanted = max(1, round(n**0.5), n // _MEAN_AT_MOST)
    means = faiss.Kmeans(
        width,
        wanted,
        niter=_ROUNDS,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=_POINTS_PER_CELL,
    )
    means.train(table)
    away, nearest = (found[:, 0] for found in means.index.search(table, 1))
    # Few bits sort faster.
    order = np.argsort(nearest.astype(np.min_scalar_type(wanted)), kind="stable")
    crowds = np.bincount(nearest, minlength=wanted)
    width_of = np.bincount(nearest, away, minlength=wanted) / np.maximum(crowds, 1)
    reach = np.square(means.centroids - table.mean(0)).sum(1)
    largest = _LARGEST * -(-n // wanted)
    # A crowd of c rows is cut into ceil(c / largest) cells; one without rows is none.
    cuts = -(-crowds // largest)
    centres = np.repeat(np.arange(wanted), cuts)
    part = np.arange(len(centres)) - np.repeat(np.cumsum(cuts) - cuts, cuts)
    begins = np.repeat(np.cumsum(crowds) - crowds, cuts) + part * largest
    ends = np.append(begins, n)
    sizes = np.diff(ends)
    centroids = means.centroids[centres]
    least = max(count, probes * n // wanted)
    ranked = faiss.knn(centroids, centroids, min(len(sizes), 16 * probes))[1]
    each = np.arange(len(sizes))[:, None]
    crowded_out = (ranked != each).all(1)
    ranked[crowded_out, -1] = each[crowded_out, 0]
    ranked = np.take_along_axis(ranked, np.argsort(ranked != each, axis=1, kind="stable"), 1)
    reached = np.cumsum(sizes[ranked], 1)
    kept = (reached < least).sum(1) + 1
    around = [near[:some].tolist() for near, some in zip(ranked, kept.tolist(), strict=True)]
    for own in np.flatnonzero(reached[:, -1] < count).tolist():  # All but empty ones around it.
        near = np.concatenate([[own], np.delete(each[:, 0], own)])
        around[own] = near[: int(np.searchsorted(np.cumsum(sizes[near]), least)) + 1].tolist()
    far = (reach > _FAR * width_of)[centres]
    return _Cells(order, ends.tolist(), around, far)


@contextmanager
def _faiss(threads: int) -> Iterator[Any]:
    """The library, computing with so many threads.

    Raises:
        MissingExtraError: it is not there.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError("faiss-cpu", "features", "searching neighbours") from error
    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(threads)
        yield faiss
    finally:
        faiss.omp_set_num_threads(before)


def _of_every_pair(
    table: np.ndarray, asked: np.ndarray, count: int, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """The squared distances of rows to their nearest in ``table``, and the numbers of these; without
    faiss scikit-learn finds them."""
    try:
        with _faiss(threads) as faiss:
            found: tuple[np.ndarray, np.ndarray] = faiss.knn(asked, table, count)
            return found
    except MissingExtraError:
        from sklearn.neighbors import NearestNeighbors

        distance, index = NearestNeighbors(algorithm="brute").fit(table).kneighbors(asked, count)
        return np.square(distance).astype(np.float32), index


def _without_self(squares: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each row without itself; without its last neighbour where equal rows crowded it out."""
    own = index == np.arange(len(index))[:, None]
    missing = ~own.any(1)
    own[missing, -1] = True
    shape = (len(index), index.shape[1] - 1)
    return squares[~own].reshape(shape), index[~own].reshape(shape)
