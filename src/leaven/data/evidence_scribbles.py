"""Scribbles: strokes along the regions of a map, as people draw them instead of outlines."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from torch import Tensor

from leaven.errors import DataError
from leaven.labels.pixels import VOID

_SMOOTH = 7
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))


def scribble_labels(
    maps: Tensor,
    seed: int,
    *,
    width: int = 3,
    length: float = 0.8,
    min_pixels: int = 16,
) -> Tensor:
    """Maps in which a stroke in each region is known.

    A region is what hangs together of one class, over edges and corners of pixels. In each one a
    stroke leads from a random end to the one farthest from it, found by two sweeps of shortest
    paths, along the middle: a step of length ``s`` between pixels ``p`` and ``q`` costs
    ``s (1 / d_p + 1 / d_q) / 2`` with ``d`` the Euclidean distance to the outside. A random stretch
    of it is kept, smoothed over 7 pixels, widened, and cut to the region, so that no pixel of it
    has another class than in the map. Regions below ``min_pixels`` have no stroke, but for the
    largest one of each class in a picture.

    Args:
        maps: (n, H, W) uint8, ``VOID`` (255) where the class is not known.
        seed: which strokes. A picture's strokes depend on the seed and its position.
        width: of the strokes in pixels, at least 1.
        length: share of the whole path that is kept, in (0, 1].
        min_pixels: see above.

    Returns:
        (n, H, W) uint8, ``VOID`` where there is no stroke.

    Raises:
        DataError: maps of another kind, a width below 1 or a length outside (0, 1].

    Source: after D. Lin et al., ScribbleSup, 2016 (arXiv:1604.05144), who had people draw them.
    Systems: 013 learns from them.
    """
    if maps.dtype != torch.uint8 or maps.ndim != 3:
        raise DataError(
            f"The maps are {maps.dtype} of shape {tuple(maps.shape)}.",
            f"torch.uint8 of shape (n, H, W), {VOID} where the class is not known",
            "convert them; the -1 of batches becomes 255 with maps.to(torch.uint8).",
        )
    if width < 1 or not 0 < length <= 1:
        raise DataError(
            f"Strokes of the width {width} and the length {length} are wanted.",
            "a width of at least one pixel, and a share of the path in (0, 1]",
            "correct the numbers.",
        )
    out = torch.full_like(maps, VOID, device="cpu")
    for number, picture in enumerate(maps.cpu().numpy()):
        random = np.random.default_rng((seed % 2**63, number))
        drawn = np.full_like(picture, VOID)
        for label in np.unique(picture[picture != VOID]):
            for box, region in _regions(picture == label, min_pixels):
                drawn[box][_stroke(region, random, width, length)] = label
        out[number] = torch.from_numpy(drawn)
    return out


def _regions(
    mask: NDArray[np.bool_], min_pixels: int
) -> list[tuple[tuple[slice, slice], NDArray[np.bool_]]]:
    """The parts that hang together, each in its box: the large ones, and the largest."""
    numbers, _ = ndimage.label(mask, np.ones((3, 3)))
    area = np.bincount(numbers.ravel())[1:]
    boxes = ndimage.find_objects(numbers)
    wanted = (area >= min_pixels) | (np.arange(len(area)) == area.argmax())
    return [(boxes[i], numbers[boxes[i]] == i + 1) for i in np.flatnonzero(wanted)]


def _stroke(
    region: NDArray[np.bool_], random: np.random.Generator, width: int, length: float
) -> NDArray[np.bool_]:
    """A stroke in a region that hangs together, as a mask of its shape."""
    path = _middle_path(region, random)
    kept = max(1, round(length * len(path)))
    start = int(random.integers(0, len(path) - kept + 1))
    path = path[start : start + kept]
    window = min(_SMOOTH, len(path))
    smooth = ndimage.uniform_filter1d(path.astype(np.float64), window, axis=0, mode="nearest")
    # Twice as many points as pixels, so that the line has no gaps.
    place = np.linspace(0, len(path) - 1, 2 * len(path))
    fine = np.stack([np.interp(place, np.arange(len(path)), axis) for axis in smooth.T], 1)
    pixels = np.rint(fine).astype(np.int64)
    # In a bend the smoothed line may leave the region; the path does not.
    given = path[np.rint(place).astype(np.int64)]
    pixels = np.where(region[tuple(pixels.T)][:, None], pixels, given)
    line = np.zeros_like(region)
    line[tuple(pixels.T)] = True
    return region & (ndimage.distance_transform_edt(~line) <= width / 2)


def _middle_path(region: NDArray[np.bool_], random: np.random.Generator) -> NDArray[np.int64]:
    """(k, 2) rows and columns of neighbouring pixels, from an end of the region to another."""
    depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    places = np.argwhere(region)
    steps, middle = _graphs(region, depth)
    somewhere = int(random.integers(len(places)))
    one = int(dijkstra(steps, directed=False, indices=somewhere).argmax())
    other = int(dijkstra(steps, directed=False, indices=one).argmax())
    _, before = dijkstra(middle, directed=False, indices=one, return_predecessors=True)
    path = [other]
    while path[-1] != one:
        path.append(int(before[path[-1]]))
    return places[path]


def _graphs(region: NDArray[np.bool_], depth: NDArray[np.float64]) -> tuple[csr_array, csr_array]:
    """The pixels of a region as nodes, tied to their neighbours by length and by cost."""
    number = np.full(np.add(region.shape, 2), -1)
    inner = (slice(1, -1), slice(1, -1))
    count = int(region.sum())
    number[inner][region] = np.arange(count)
    price = 1 / depth[region]
    rows, columns = np.nonzero(region)
    ends, lengths = [], []
    for down, right in _NEIGHBOURS:
        near = number[rows + 1 + down, columns + 1 + right]
        tied = np.flatnonzero(near >= 0)
        ends.append(np.stack([tied, near[tied]]))
        lengths.append(np.full(len(tied), np.hypot(down, right)))
    pairs, length = np.concatenate(ends, 1), np.concatenate(lengths)
    cost = length * (price[pairs[0]] + price[pairs[1]]) / 2
    shape = (count, count)
    return csr_array((length, pairs), shape), csr_array((cost, pairs), shape)
