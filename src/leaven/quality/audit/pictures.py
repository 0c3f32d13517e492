"""One look at every picture as it was found: what is wrong with it, and what tells it from others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from leaven.data.files import PictureError, decode, pool
from leaven.data.sources import SourceList

THUMBNAIL = 16
"""The side of thumbnails: what is finer is lost in a re-saved copy."""

TINY = 8
"""A shorter side of fewer pixels shows next to nothing."""

SMALL = 8.0
"""A picture whose sides are so many times smaller than the usual is out of place."""

LONG = 5.0
"""A longer side of more than so many times the shorter one is a strip ..."""

UNUSUAL = 2.0
"""... where it is so many times that of the usual picture."""

FLAT = 4
"""Pixels that differ by fewer levels of 256 in every channel show nothing."""

_DIGEST = 16
_CHUNK = 64


@dataclass(frozen=True)
class Looks:
    """What was seen of ``n`` pictures in their full size.

    Attributes:
        reasons: n, why the picture cannot be read; empty where it can.
        sizes: (n, 2) int64, height and width; 0 of what cannot be read.
        spread: (n,) int64, the largest difference of two pixels in one channel, in 0..255.
        digests: (n, 16) uint8, a hash of size and pixels: equal where all pixels are.
        thumbnails: (n, 3, 16, 16) uint8, the whole picture, stretched.
    """

    reasons: tuple[str, ...]
    sizes: Tensor
    spread: Tensor
    digests: Tensor
    thumbnails: Tensor

    def __len__(self) -> int:
        return len(self.reasons)

    @property
    def readable(self) -> Tensor:
        """(n,) bool."""
        return torch.tensor([not reason for reason in self.reasons], dtype=torch.bool)


@dataclass(frozen=True)
class PictureFault:
    """What is wrong with a picture: ``kind`` is "unreadable", "constant", "tiny" or "strip";
    ``score`` in [0, 1] is 1 where nothing can be seen at all."""

    item: int
    kind: str
    score: float
    text: str


def look_at(
    sources: SourceList,
    names: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
) -> Looks:
    """Decodes every picture once, in its own size and in colour; none that fails stops it.

    Args:
        sources: the n pictures.
        names: how they are called.
        progress: called with the pictures done and all.
    """
    count = len(names)
    reasons = [""] * count
    sizes = torch.zeros(count, 2, dtype=torch.int64)
    spread = torch.zeros(count, dtype=torch.int64)
    digests = torch.zeros(count, _DIGEST, dtype=torch.uint8)
    thumbnails = torch.zeros(count, 3, THUMBNAIL, THUMBNAIL, dtype=torch.uint8)

    def look(items: range) -> int:
        for item in items:
            try:
                pixels = decode(sources[item], None, 3, names[item])
            except PictureError as error:
                reasons[item] = error.reason
                continue
            sizes[item] = torch.tensor(pixels.shape[1:])
            flat = pixels.reshape(3, -1)
            spread[item] = int((flat.max(1).astype(int) - flat.min(1)).max())
            digests[item] = torch.frombuffer(bytearray(_digest(pixels)), dtype=torch.uint8)
            thumbnails[item] = _thumbnail(pixels)
        return len(items)

    chunks = [range(at, min(at + _CHUNK, count)) for at in range(0, count, _CHUNK)]
    done = 0
    for future in as_completed([pool().submit(look, chunk) for chunk in chunks]):
        done += future.result()
        if progress is not None:
            progress(done, count)
    return Looks(tuple(reasons), sizes, spread, digests, thumbnails)


def picture_faults(looks: Looks) -> list[PictureFault]:
    """Pictures that cannot be read, show one colour alone, or have an odd size.

    - unreadable: decoding fails; damaged, truncated, empty, of an unknown format;
    - constant: in no channel do two pixels differ by 4 levels or more;
    - tiny: the shorter side is under 8 pixels, or the geometric mean of the sides is less than an
      eighth of the median one; small pictures are no fault where the median picture is as small;
    - strip: the longer side is more than 5 times the shorter one, and twice as many times as of
      the median picture.

    The worst come first: unreadable, constant, then the others by how odd they are.
    """
    readable = looks.readable
    faults = [
        PictureFault(item, "unreadable", 1.0, f"cannot be read: {reason}")
        for item, reason in enumerate(looks.reasons)
        if reason
    ]
    if not bool(readable.any()):
        return faults
    constant = readable & (looks.spread < FLAT)
    faults += [
        PictureFault(item, "constant", 1.0, "shows one colour alone")
        for item in constant.nonzero().squeeze(1).tolist()
    ]
    sides = looks.sizes.double().clamp_min(1)
    mean, ratio = sides.prod(1).sqrt(), sides.amax(1) / sides.amin(1)
    usual, usual_ratio = mean[readable].median(), ratio[readable].median()
    usual_side = sides.amin(1)[readable].median()
    small = (sides.amin(1) < TINY) & (usual_side >= TINY)
    tiny = readable & (small | (mean * SMALL < usual))
    strip = readable & (ratio > LONG) & (ratio > UNUSUAL * usual_ratio)
    odd = []
    for item in (tiny | strip).nonzero().squeeze(1).tolist():
        height, width = looks.sizes[item].tolist()
        if bool(tiny[item]):
            score = 1 - float(mean[item] / usual)
            text = f"is {width}x{height}, the usual picture about {float(usual):.0f} a side"
            odd.append(PictureFault(item, "tiny", max(0.0, score), text))
        else:
            score = 1 - float(usual_ratio / ratio[item])
            text = f"is a strip of {width}x{height}"
            odd.append(PictureFault(item, "strip", score, text))
    return faults + sorted(odd, key=lambda fault: -fault.score)


def _digest(pixels: np.ndarray) -> bytes:
    made = hashlib.blake2b(str(pixels.shape).encode(), digest_size=_DIGEST)
    made.update(pixels.tobytes())
    return made.digest()


def _thumbnail(pixels: np.ndarray) -> Tensor:
    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    small = image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1)
