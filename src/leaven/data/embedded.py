"""Data that come with the installation and need no download."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from leaven.data.listing import Listing

DIGITS = "digits"
"""The name of the embedded digits."""


def digits() -> Listing:
    """The handwritten digits of scikit-learn: 1,797 grey pictures of 8x8, 10 classes, all labelled.

    The stored counts 0..16 become 0..255 by ``round(x * 255 / 16)``.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    count = len(images)
    return Listing(
        DIGITS,
        [Image.fromarray(image) for image in images],
        [f"{DIGITS}/{row:04d}" for row in range(count)],
        torch.from_numpy(bunch.target).long(),
        ["train"] * count,
        tuple(str(name) for name in bunch.target_names),
    )
