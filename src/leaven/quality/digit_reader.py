"""Whether small scenes of digits show what their captions say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from leaven.data.scenes.words import NAMES

_INK = 80
"""Grey level from which a pixel counts as written on."""

_LEAST_INK = 8
_COUNTS = 16.0


class DigitReader:
    """Reads the digits of ``leaven.data.embedded_captions`` with a support vector machine that has
    learned scikit-learn's handwritten digits.

    Of a caption of two digits, one left of the other, the box around the ink is read in each half of
    the picture; of one digit the box around all ink. It knows nothing of generators,
    and of 100 real scenes without noise it says that 98 are right, of 100 with a wrong caption three.
    """

    def __init__(self) -> None:
        from sklearn.datasets import load_digits
        from sklearn.svm import SVC

        bunch = load_digits()
        # As they are read later: the box around the ink alone.
        boxes = [_box(image * (255 / _COUNTS)) for image in bunch.images]
        self._machine: Any = SVC(gamma=0.001, C=10)
        self._machine.fit(np.stack([_row(box) for box in boxes if box is not None]), bunch.target)

    def right(self, pictures: Tensor, captions: Sequence[str]) -> list[bool]:
        """Whether each picture (n, 1, H, W) uint8 shows the digits of its caption where it says.

        Raises:
            ValueError: a caption that says nothing of one or two digits.
        """
        parts: list[NDArray[np.float32]] = []
        wanted: list[list[int]] = []
        for picture, caption in zip(pictures[:, 0].cpu().numpy(), captions, strict=True):
            digits, halves = _said(caption, picture.astype(np.float32))
            wanted.append(digits)
            parts += halves
        boxes = [_box(part) for part in parts]
        found = [box for box in boxes if box is not None]
        read = iter(self._machine.predict(np.stack([_row(box) for box in found])) if found else [])
        answers = iter([None if box is None else int(next(read)) for box in boxes])
        return [[next(answers) for _ in digits] == digits for digits in wanted]


def _said(
    caption: str, picture: NDArray[np.float32]
) -> tuple[list[int], list[NDArray[np.float32]]]:
    """The digits of a caption, and the part of the picture where each is to be."""
    digits = [NAMES.index(word) for word in caption.split() if word in NAMES]
    if len(digits) not in (1, 2):
        raise ValueError(f"{caption!r} says nothing of one or two digits")
    if len(digits) == 1:
        return digits, [picture]
    middle = picture.shape[1] // 2
    return digits, [picture[:, :middle], picture[:, middle:]]


def _box(part: NDArray[Any]) -> NDArray[Any] | None:
    """The box around the ink; None where there is hardly any."""
    ink = part > _INK
    if ink.sum() < _LEAST_INK:
        return None
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    return part[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _row(box: NDArray[Any]) -> NDArray[np.float64]:
    """The digit in a box, scaled into 8x8 with its aspect kept, as 64 values of 0 to 16."""
    height, width = box.shape
    scale = 8 / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = Image.fromarray(box.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    canvas = np.zeros((8, 8))
    top, left = (8 - size[1]) // 2, (8 - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = np.asarray(image)
    return canvas.reshape(-1) * (_COUNTS / 255)
