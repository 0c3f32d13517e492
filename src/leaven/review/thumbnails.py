"""Pictures for the page: made when they are wanted, small ones kept up to a bound."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import torch
from PIL import Image

from leaven.data import PictureError, decode
from leaven.data.files import probe
from leaven.data.sources import Source

SIDE = 320
"""The longer side of a thumbnail, at most."""

LARGEST = 2048
"""The longer side of a picture in the large view, at most."""

KEPT_BYTES = 64 * 2**20
"""Of thumbnails in memory."""

AT_ONCE = 4
"""Pictures that are decoded at the same time: a large one takes hundreds of MB."""

Drawing = Callable[[torch.Tensor, tuple[int, int]], Image.Image]
"""Draws labels over a picture (3, h, w) uint8 that was found in that height and width."""

_decoding = threading.BoundedSemaphore(AT_ONCE)


class Thumbnails:
    """Encoded small pictures, the ones used last kept up to ``limit`` bytes."""

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self.limit, self.bytes = limit, 0
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """What is kept under ``key``, or what ``make`` gives."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            if key not in self._kept and len(made) <= self.limit:
                self._kept[key] = made
                self.bytes += len(made)
            while self.bytes > self.limit:
                _, gone = self._kept.popitem(last=False)
                self.bytes -= len(gone)
        return made


def thumbnail(source: Source, name: str, draw: Drawing | None = None) -> bytes:
    """A picture of at most ``SIDE`` pixels a side, with labels over it where ``draw`` is given.

    Raises:
        PictureError: it cannot be read.
    """
    with _decoding:
        picture, size = _read(source, name, SIDE)
        return encode(_image(picture) if draw is None else draw(picture, size))


def large(source: Source, name: str) -> bytes:
    """A picture of at most ``LARGEST`` pixels a side.

    Raises:
        PictureError: it cannot be read.
    """
    with _decoding:
        return encode(_image(_read(source, name, LARGEST)[0]))


def encode(image: Image.Image) -> bytes:
    """As PNG where that is small, else as JPEG: never the bytes that were found."""
    written = io.BytesIO()
    if max(image.size) <= SIDE // 2:
        image.save(written, "PNG")
    else:
        image.save(written, "JPEG", quality=90)
    return written.getvalue()


def media_type(encoded: bytes) -> str:
    """Of what ``encode`` gives."""
    return "image/png" if encoded.startswith(b"\x89PNG") else "image/jpeg"


def _read(source: Source, name: str, side: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """(3, h, w) uint8 of at most that side, and the height and width as found."""
    info = probe(source, name)
    size = (info.height, info.width)
    wanted = None
    if max(size) > side:
        factor = side / max(size)
        wanted = (max(1, round(size[0] * factor)), max(1, round(size[1] * factor)))
    try:
        return torch.from_numpy(decode(source, wanted, 3, name)), size
    except MemoryError as error:
        raise PictureError(name, "too large for the memory") from error


def _image(picture: torch.Tensor) -> Image.Image:
    return Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())
