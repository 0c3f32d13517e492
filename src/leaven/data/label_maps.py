"""Label maps that are decoded or painted when they are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco
from torch import Tensor

from leaven.data.files import is_turned, open_picture
from leaven.data.sources import Source, SourceList
from leaven.errors import DataError
from leaven.labels.boxes import BoxLabels
from leaven.labels.pixels import VOID
from leaven.plain import counted

BACKGROUND = "background"
"""The class of the pixels that no annotation covers."""

VOID_NAME = "void"
"""What void pixels are called where they need a name."""

VOID_NAMES = frozenset({VOID_NAME, "ignore", "unlabelled", "unlabeled"})
"""The class names, in lower case, whose pixels are void."""

_WRONG = -1
_LEVELS = 256


@dataclass(frozen=True)
class MaskCode:
    """How the pixels of a mask file say classes.

    Attributes:
        values: (256,) int16, the class of each stored value; ``VOID`` (255) where it says none, -1
            where it must not come.
        colours: the class of each red * 65536 + green * 256 + blue in a mask of colours; None
            where colours mean nothing.
        words: what the values may be, for errors.
    """

    values: NDArray[np.int16]
    words: str
    colours: dict[int, int] | None = None

    @classmethod
    def of(
        cls,
        classes: Sequence[int],
        void: int | None = None,
        colours: Sequence[tuple[int, int, int]] | None = None,
    ) -> MaskCode:
        """The code in which the value is the position in ``classes``, and 255 and ``void`` say
        nothing. Where all colours are greys, the grey of a class is a further value of it.

        Args:
            classes: the class of each value, ``VOID`` for one that says nothing.
            void: a further value that says nothing.
            colours: of each value, for masks of colours.
        """
        values = np.full(_LEVELS, _WRONG, dtype=np.int16)
        values[: len(classes)] = classes
        values[VOID] = VOID
        if void is not None:
            values[void] = VOID
        words = f"the values 0 to {len(classes) - 1}, and {VOID} where nothing is said"
        if colours is None:
            return cls(values, words if void is None else f"{words}, or {void}")
        if all(r == g == b for r, g, b in colours):
            greys = {r: classes[i] for i, (r, _, _) in enumerate(colours) if r >= len(classes)}
            values[list(greys)] = list(greys.values())
        packed = {(r << 16) + (g << 8) + b: int(values[i]) for i, (r, g, b) in enumerate(colours)}
        return cls(values, f"{words}; or the colours of the classes", packed)


def stored_values(source: Source, name: str) -> NDArray[np.integer]:
    """The pixels of a mask file, (H, W) of values or indices of a palette, or (H, W, 3) of colours.

    Colours that are all greys are values.

    Raises:
        DataError: it cannot be read.
    """
    # The decoders raise errors of any type on damaged input: each means an unreadable mask.
    try:
        with _opened(source) as image:
            image.load()
            plain = image if image.mode in ("P", "L", "1") else None
            if image.mode.startswith("I"):
                return np.asarray(image).astype(np.int64)
            if plain is None:
                colours = np.asarray(image.convert("RGB"))
                grey = (colours == colours[..., :1]).all()
                return colours[..., 0] if grey else colours
            return np.asarray(plain).astype(np.uint8)
    except Exception as error:
        raise DataError(
            f"The mask {name} could not be read: {str(error) or type(error).__name__}.",
            "a whole PNG of values, of a palette, or of colours",
            "replace the file or remove it.",
        ) from error


def _opened(source: Source) -> Image.Image:
    if isinstance(source, Image.Image):
        return source.copy()
    assert source is not None
    return open_picture(source)


def classes_of(stored: NDArray[np.integer], code: MaskCode, name: str) -> NDArray[np.uint8]:
    """(H, W) uint8, the classes that the pixels of a mask say.

    Raises:
        DataError: a value or a colour says no class.
    """
    values = stored.astype(np.int64)
    if stored.ndim == 3:
        values = values @ np.array([1 << 16, 1 << 8, 1])
        found = _of_colours(values, code, name)
    else:
        within = (values >= 0) & (values < _LEVELS)
        found = np.where(within, code.values[np.where(within, values, 0)], _WRONG)
    wrong = np.unique(values[found == _WRONG])
    if len(wrong):
        shown = [
            f"#{value:06x}" if stored.ndim == 3 else str(value) for value in wrong[:5].tolist()
        ]
        raise DataError(
            f"The mask {name} has {counted(int((found == _WRONG).sum()), 'pixel')} of "
            f"{counted(len(wrong), 'value')} that {'is' if len(wrong) == 1 else 'are'} no class: "
            f"{', '.join(shown)}.",
            code.words,
            "correct the mask or the list of classes; a class called void says nothing.",
        )
    return found.astype(np.uint8)


def _of_colours(packed: NDArray[np.int64], code: MaskCode, name: str) -> NDArray[np.int16]:
    if code.colours is None:
        raise unexplained_colours(name)
    colours, place = np.unique(packed, return_inverse=True)
    classes = [code.colours.get(colour, _WRONG) for colour in colours.tolist()]
    return np.array(classes, dtype=np.int16)[place.reshape(packed.shape)]


def unexplained_colours(name: str) -> DataError:
    """The error where the colours of a mask mean nothing."""
    return DataError(
        f"The mask {name} is of colours, and nothing says which colour is which class.",
        "values, a palette, or a classes.json with the colour of each class",
        'write classes.json: [{"name": "cat", "color": [128, 0, 0]}, ...].',
    )


class EncodedMaps:
    """Label maps in mask files.

    Args:
        sources: the n mask files, None where nothing is said of the picture.
        names: how the pictures are called, for errors.
        sizes: (n, 2) int64, height and width of the pictures.
        code: what the values mean.
    """

    def __init__(
        self, sources: SourceList, names: Sequence[str], sizes: Tensor, code: MaskCode
    ) -> None:
        self._sources, self._names, self._sizes, self.code = sources, names, sizes, code

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int, /) -> NDArray[np.uint8] | None:
        """The map of a picture.

        Raises:
            DataError: it cannot be read, has another size than the picture, or a foreign value.
        """
        source, name = self._sources[index], self._names[index]
        if source is None:
            return None
        stored = stored_values(source, f"of {name}")
        if stored.shape[:2] != tuple(self._sizes[index].tolist()):
            raise other_size(name, (stored.shape[0], stored.shape[1]), self._sizes[index].tolist())
        return classes_of(stored, self.code, f"of {name}")


def other_size(
    name: str, found: tuple[int, int], wanted: Sequence[int], picture: Source = None
) -> DataError:
    """The error where a mask has another size than its picture.

    Args:
        name: what the picture is called.
        found: height and width of the mask.
        wanted: those of the picture, as it is shown.
        picture: where it is, to see whether it is shown turned.
    """
    if picture is not None and found == (wanted[1], wanted[0]) and is_turned(picture, name):
        return DataError(
            f"The mask of {name} is {found[1]}x{found[0]}; the picture is {wanted[1]}x{wanted[0]} "
            "as it is shown, for its EXIF orientation turns it.",
            "masks that lie on their pictures as they are shown",
            "turn the mask as the orientation turns the picture, or take the orientation out of "
            "the picture where the mask was drawn on it unturned.",
        )
    return DataError(
        f"The mask of {name} is {found[1]}x{found[0]}; the picture is {wanted[1]}x{wanted[0]}.",
        "masks of the size of their pictures",
        "scale the mask to the picture by nearest pixel, or put the right one there.",
    )


class PaintedMaps:
    """Label maps that are painted from masks, small over large.

    Args:
        labels: of n pictures, with masks.
        sizes: (n, 2) int64, height and width of the pictures.
        values: the value of each class of ``labels``.
        base: the value of what no mask covers.
    """

    def __init__(self, labels: BoxLabels, sizes: Tensor, values: Sequence[int], base: int) -> None:
        self._labels, self._sizes, self._values, self._base = labels, sizes, values, base

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int, /) -> NDArray[np.uint8] | None:
        if not bool(self._labels.known[index]):
            return None
        chosen = self._labels.select(torch.tensor([index]))
        height, width = self._sizes[index].tolist()
        painted = np.full((height, width), self._base, dtype=np.uint8)
        masks = chosen.masks
        if masks is None:
            return painted
        runs = masks.coco()
        for row in masks.area().argsort(descending=True, stable=True).tolist():
            painted[coco.decode(runs[row]).astype(bool)] = self._values[int(chosen.classes[row])]
        return painted


def mask_size(source: Path | bytes, name: str) -> tuple[int, int]:
    """Height and width of a mask file, from its header.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with _opened(source) as image:
            return image.height, image.width
    except Exception as error:
        raise DataError(
            f"The mask {name} could not be read: {str(error) or type(error).__name__}.",
            "a whole PNG file",
            "replace the file or remove it.",
        ) from error
