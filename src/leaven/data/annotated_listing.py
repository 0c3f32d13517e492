"""What a reader of pixels, boxes or masks found: where every picture is, and what is in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leaven.data.sources import SourceList
from leaven.labels.boxes import BoxLabels
from leaven.labels.pixel_table import PicturePixels

Task = Literal["segmentation", "detection", "instance"]
"""What is said of the pictures: a class per pixel, boxes, or boxes with masks."""

TASKS: tuple[Task, ...] = ("segmentation", "detection", "instance")
"""The tasks whose data have pixels, boxes or masks."""


class LabelMaps(Protocol):
    """``n`` label maps; taking one may decode it. A list of arrays will do."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> NDArray[np.uint8] | None:
        """(H, W) uint8 in the size of the picture, ``VOID`` (255) where nothing is said; None
        where nothing is said of the picture."""


@runtime_checkable
class BelievedMaps(LabelMaps, Protocol):
    """Label maps with how far each pixel is believed."""

    def believed(self, index: int, /) -> PicturePixels:
        """What is believed about the pixels of a picture, accepted or not."""


@dataclass(frozen=True)
class AnnotatedListing:
    """Pictures that were found and not yet decoded, with boxes or label maps in their own size.

    Attributes:
        name: what the data are called.
        sources: where the n pictures are.
        names: n stable identifiers.
        splits: n of "train", "val", "test".
        classes: the class names in the order of their indices.
        sizes: (n, 2) int64, height and width of each picture as it is shown.
        known: (n,) bool, whether anybody has said what is in the picture.
        boxes: what is in the pictures, in their pixels, with masks where the task has them; None
            where the task is segmentation.
        maps: the label maps where the task is segmentation, else None.
        notes: what people should know.
    """

    name: str
    sources: SourceList
    names: Sequence[str]
    splits: Sequence[str]
    classes: tuple[str, ...]
    sizes: Tensor
    known: Tensor
    boxes: BoxLabels | None = None
    maps: LabelMaps | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.names)
        if (self.boxes is None) == (self.maps is None):
            raise ValueError("a listing has either boxes or label maps")
        for attribute in ("sources", "splits", "sizes", "known", "boxes", "maps"):
            value = getattr(self, attribute)
            if value is not None and len(value) != count:
                raise ValueError(f"{attribute} has {len(value)} items, names has {count}")
        if self.boxes is not None and not torch.equal(self.boxes.known.cpu(), self.known.cpu()):
            raise ValueError("the boxes are known of other pictures than the listing says")

    def __len__(self) -> int:
        return len(self.names)
