"""What scenes are made of: real digits, real photos and noise, each prepared once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

CELLS = 10
"""Cells along a digit's frame: the 8 pixels of the digit and an empty one at each side."""

_ZOOMS = (1.4, 2.0, 3.0)
_NOISE = 2**21
NOISE_UNIT = 32
"""The standard deviation of the noise as it is stored."""


@dataclass(frozen=True)
class Digits:
    """The handwritten digits of scikit-learn in fine steps.

    Attributes:
        ink: (1797 * side * side,) uint8, 0 for paper and 255 for full ink, a digit after the other.
        side: fine pixels along a digit's frame of ``CELLS`` cells.
        order: (1797,) int64, the digits sorted by class.
        starts: (10,) int64, where each class begins in ``order``.
        counts: (10,) int64, digits of each class.
    """

    ink: NDArray[np.uint8]
    side: int
    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Backdrops:
    """Pictures that backgrounds are cut from.

    Attributes:
        pixels: all pictures one after the other, red, green, blue and a spare byte in each uint32.
        starts: where each picture begins.
        heights, widths: of each picture.
    """

    pixels: NDArray[np.uint32]
    starts: NDArray[np.int64]
    heights: NDArray[np.int64]
    widths: NDArray[np.int64]


@lru_cache(maxsize=4)
def digit_bank(size: int) -> Digits:
    """The digits, bicubic, fine enough for scenes of ``size`` pixels.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    fine = min(16, max(4, -(-size // 16)))
    framed = torch.from_numpy(np.pad(bunch.images / 16.0, ((0, 0), (1, 1), (1, 1))))
    side = CELLS * fine
    ink = torch.nn.functional.interpolate(
        framed[:, None].float(), (side, side), mode="bicubic", align_corners=False
    )
    # The rim is paper: what lies outside a frame is read from it.
    ink[..., [0, -1], :] = 0
    ink[..., [0, -1]] = 0
    target = np.asarray(bunch.target, np.int64)
    counts = np.bincount(target, minlength=10)
    return Digits(
        (ink.clamp(0, 1) * 255).round().to(torch.uint8).numpy().ravel(),
        side,
        np.argsort(target, kind="stable"),
        np.cumsum(counts) - counts,
        counts,
    )


@lru_cache(maxsize=8)
def backdrop_bank(size: int, texture: bool) -> Backdrops:
    """The two photos of scikit-learn at three scales, plain and mirrored.

    With ``texture`` the textures of the photos instead: see ``random_phase``. Their colours are
    exchanged as well, so that they differ in both.
    """
    from sklearn.datasets import load_sample_images

    made = []
    for number, photo in enumerate(load_sample_images().images):
        height, width = photo.shape[:2]
        for zoom in _ZOOMS:
            scale = zoom * size / min(height, width)
            wanted = (round(width * scale), round(height * scale))
            picture = np.asarray(Image.fromarray(photo).resize(wanted, Image.Resampling.BICUBIC))
            if texture:
                picture = np.roll(random_phase(picture, number), 1, axis=2)
            made += [picture, picture[:, ::-1]]
    packed = [np.concatenate([p, np.zeros_like(p[..., :1])], 2) for p in made]
    areas = np.array([p.shape[0] * p.shape[1] for p in packed])
    return Backdrops(
        np.concatenate([np.ascontiguousarray(p).view(np.uint32).ravel() for p in packed]),
        np.cumsum(areas) - areas,
        np.array([p.shape[0] for p in packed]),
        np.array([p.shape[1] for p in packed]),
    )


@lru_cache(maxsize=1)
def noise_bank() -> NDArray[np.int8]:
    """(2^21,) draws from a normal distribution, in units of 1 / ``NOISE_UNIT``."""
    drawn = np.random.default_rng(0).standard_normal(_NOISE, np.float32)
    return np.clip(np.rint(drawn * NOISE_UNIT), -127, 127).astype(np.int8)


def random_phase(picture: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """The texture of a picture: its amplitudes and colours, with phases of noise.

    ``F(out_c) = F(p_c) exp(i theta)`` with ``theta`` the phases of white noise, one for all
    channels, so that colours stay together, and ``p`` the periodic part of the picture, in which
    opposite edges meet: ``F(p) = F(u) - F(v) / (2 cos(2 pi q / H) + 2 cos(2 pi r / W) - 4)`` with
    ``v`` the jumps over the edges.

    Args:
        picture: (H, W, 3) uint8.
        seed: of the noise.

    Sources: L. Moisan, Periodic plus smooth image decomposition, 2011; B. Galerne, Y. Gousseau,
    J.-M. Morel, Random phase textures, 2011.
    """
    values = picture.astype(np.float64)
    height, width = values.shape[:2]
    jumps = np.zeros_like(values)
    jumps[0] += values[-1] - values[0]
    jumps[-1] += values[0] - values[-1]
    jumps[:, 0] += values[:, -1] - values[:, 0]
    jumps[:, -1] += values[:, 0] - values[:, -1]
    rows = 2 * np.cos(2 * np.pi * np.fft.fftfreq(height))
    columns = 2 * np.cos(2 * np.pi * np.fft.rfftfreq(width))
    divisor = rows[:, None] + columns[None] - 4
    divisor[0, 0] = 1
    smooth = np.fft.rfft2(jumps, axes=(0, 1)) / divisor[..., None]
    smooth[0, 0] = 0
    spectrum = np.fft.rfft2(values, axes=(0, 1)) - smooth
    noise = np.random.default_rng(seed).standard_normal((height, width))
    phases = np.fft.rfft2(noise)
    phases /= np.abs(phases)
    phases[0, 0] = 1
    texture = np.fft.irfft2(spectrum * phases[..., None], (height, width), axes=(0, 1))
    return np.clip(np.rint(texture), 0, 255).astype(np.uint8)
