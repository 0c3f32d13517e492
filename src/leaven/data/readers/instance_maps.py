"""Maps of instance numbers as masks."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco

from leaven.data.label_maps import other_size
from leaven.data.sources import Source
from leaven.errors import DataError
from leaven.labels.masks import Masks


def instances_of(
    stored: NDArray[np.integer], size: tuple[int, int], name: str, picture: Source
) -> tuple[list[bytes], list[int], list[list[float]]]:
    """The masks in a stored map of instance numbers, their numbers and their tight boxes.

    Args:
        stored: the map.
        size: height and width of its picture.
        name: what the picture is called.
        picture: where it is.

    Raises:
        DataError: it has colours, or another size than its picture.
    """
    if stored.ndim == 3:
        raise DataError(
            f"The instance map of {name} is of colours.",
            "a grey PNG of 8 or 16 bits whose values are instance numbers, 0 for none",
            "write the numbers as a grey PNG.",
        )
    if stored.shape != size:
        raise other_size(name, (stored.shape[0], stored.shape[1]), size, picture)
    runs, numbers = runs_of_map(stored)
    masks = Masks(runs, torch.tensor([size] * len(runs), dtype=torch.int64).reshape(-1, 2))
    return runs, numbers, masks.boxes().tolist()


def runs_of_map(instances: NDArray[np.integer]) -> tuple[list[bytes], list[int]]:
    """The masks of a map (H, W) of instance numbers, 0 for none, in ascending order.

    Returns:
        Their compressed COCO run lengths, and their numbers.
    """
    # COCO counts down the columns.
    flat = instances.ravel(order="F")
    starts = np.flatnonzero(np.diff(flat, prepend=flat[:1] - 1)) if len(flat) else flat[:0]
    ends = np.append(starts[1:], len(flat)).astype(np.int64)
    order = flat[starts].argsort(kind="stable")
    numbers, first = np.unique(flat[starts][order], return_index=True)
    runs, size = [], list(instances.shape)
    for number, rows in zip(numbers.tolist(), np.split(order, first[1:])):
        if number == 0:
            continue
        # Zeros before, ones, zeros between, ones, ..., zeros after.
        edges = np.stack([starts[rows], ends[rows]], 1).reshape(-1)
        counts = np.diff(edges, prepend=0, append=len(flat)).tolist()
        # Runs end with the last that has a length.
        counts = counts if counts[-1] else counts[:-1]
        runs.append(coco.frPyObjects({"size": size, "counts": counts}, *size)["counts"])
    return runs, [number for number in numbers.tolist() if number]
