"""Small scenes of digits with exact captions, for generators that are trained in minutes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from leaven.data.captioned_listing import CaptionedListing
from leaven.data.scenes.words import NAMES, caption
from leaven.labels.described import Described

EMBEDDED_NAME = "digit scenes"
"""What they are called."""

DIGIT = 12
"""Pixels of a side of a digit; a scene is as high, and twice as wide."""

COUNT, TEST = 3000, 200
"""Scenes to learn from, and to measure on; these show digits of other writers."""

_SINGLE = 0.35
_NOISY = 0.2
_DEVIATION = 25.0


@dataclass(frozen=True)
class CaptionedScenes:
    """``n`` scenes with one or two digits and what they show.

    Attributes:
        images: (n, 1, 12, 24) uint8.
        captions: n sentences, as ``a three left of a seven``; see ``leaven.data.scenes.words``.
        classes: (n,) int64, the digit where there is one, else -1.
        clean: (n,) bool, the pictures without noise.
    """

    images: Tensor
    captions: list[str]
    classes: Tensor
    clean: Tensor


def captioned_scenes(count: int, *, seed: int = 0, held_out: bool = False) -> CaptionedScenes:
    """Handwritten digits of scikit-learn, enlarged from 8x8, bright on black.

    A third shows one digit anywhere; the others show two, side by side. One in five is noisy, as of a
    bad camera, and its caption does not say so.

    Args:
        count: how many.
        seed: equal seeds give equal scenes.
        held_out: the digits are those of the last fifth of the data set, else those of the others.
    """
    rng = np.random.default_rng([seed, int(held_out)])
    glyphs, digits = _glyphs(held_out)
    images, captions, classes = [], [], []
    clean = rng.random(count) >= _NOISY
    for plain in clean:
        number = 1 if rng.random() < _SINGLE else 2
        chosen = rng.integers(len(digits), size=number)
        lefts = [0, DIGIT] if number == 2 else [int(rng.integers(DIGIT + 1))]
        canvas = np.zeros((DIGIT, 2 * DIGIT), np.float32)
        for glyph, left in zip(chosen, lefts, strict=True):
            canvas[:, left : left + DIGIT] = glyphs[glyph]
        if not plain:
            canvas += rng.normal(0, _DEVIATION, canvas.shape).astype(np.float32)
        images.append(np.rint(canvas).clip(0, 255).astype(np.uint8))
        said = [int(digits[glyph]) for glyph in chosen]
        boxes = torch.tensor([[left, 0, left + DIGIT, DIGIT] for left in lefts]).float()
        captions.append(caption(said, boxes))
        classes.append(said[0] if number == 1 else -1)
    return CaptionedScenes(
        torch.from_numpy(np.stack(images))[:, None],
        captions,
        torch.tensor(classes),
        torch.from_numpy(clean),
    )


def listed_captions(seed: int = 0) -> CaptionedListing:
    """The embedded scenes as pictures that were found: those to learn from, and a test split.

    The clean ones are marked as good.
    """
    parts = {"train": (COUNT, False), "test": (TEST, True)}
    made = [captioned_scenes(count, seed=seed, held_out=held) for count, held in parts.values()]
    images = torch.cat([part.images for part in made])[:, 0].numpy()
    splits = [split for split, (count, _) in parts.items() for _ in range(count)]
    return CaptionedListing(
        name=EMBEDDED_NAME,
        sources=[Image.fromarray(image) for image in images],
        names=[f"scenes/{number:05d}" for number in range(len(images))],
        splits=splits,
        said=Described.of(
            [text for part in made for text in part.captions],
            classes=torch.cat([part.classes for part in made]),
            good=torch.cat([part.clean for part in made]),
        ),
        classes=NAMES,
    )


def _glyphs(held_out: bool) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Digits (m, 12, 12) of 0..255, and what they are."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    border = len(bunch.images) * 4 // 5
    rows = slice(border, None) if held_out else slice(0, border)
    large = [
        np.asarray(
            Image.fromarray((image * (255 / 16)).astype(np.float32)).resize(
                (DIGIT, DIGIT), Image.Resampling.BICUBIC
            )
        ).clip(0, 255)
        for image in bunch.images[rows]
    ]
    return np.stack(large).astype(np.float32), bunch.target[rows].astype(np.int64)
