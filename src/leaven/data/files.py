"""Encoded pictures to uint8 arrays: probing, decoding, and sets that are decoded when wanted."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from leaven.data.placement import BESIDE, content
from leaven.data.sources import Source, Sources
from leaven.errors import DataError

SUFFIXES = frozenset(
    [
        ".bmp",
        ".gif",
        ".jfif",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".pbm",
        ".pgm",
        ".png",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
"""The file name endings that count as pictures, in lower case."""

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""The formats that are decoded, whatever the ending says. Pillow knows others, of which some start
a program (PostScript) or are seldom looked after."""

_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F"})
_ALPHA_MODES = frozenset({"RGBA", "RGBa", "LA", "La", "PA"})
_END_MARKS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND"}
_TAIL = 4096


class PictureError(DataError):
    """A picture cannot be read.

    Attributes:
        name: the file or item.
        reason: why, in a few words.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(
            f"The picture {name} could not be read: {reason}.",
            "a whole JPEG, PNG, BMP, GIF, WebP, TIFF or PNM file of 8 or 16 bits per channel",
            "replace the file or remove it.",
        )


@dataclass(frozen=True, slots=True)
class PictureInfo:
    """What the header of a picture says: its sides as shown, and whether it has no colour."""

    height: int
    width: int
    grey: bool


def probe(source: Source, name: str = "") -> PictureInfo:
    """The size and kind of a picture, from its header alone.

    Grey are the modes without colour and palettes of greys. A colour file whose pixels happen to
    be grey counts as colour: only decoding would tell.

    Raises:
        PictureError: there is no picture, or its header is not understood.
    """
    with _opened(source, name) as image:
        width, height = image.size
        if _is_turned(image):
            width, height = height, width
        return PictureInfo(height, width, _is_grey(image))


def is_turned(source: Source, name: str = "") -> bool:
    """Whether the EXIF orientation of a picture swaps its sides when it is shown.

    Raises:
        PictureError: there is no picture, or its header is not understood.
    """
    with _opened(source, name) as image:
        return _is_turned(image)


def decode(
    source: Source,
    size: int | tuple[int, int] | None,
    channels: int,
    name: str = "",
    *,
    whole: bool = False,
) -> NDArray[np.uint8]:
    """A picture as uint8 (channels, H, W).

    - The EXIF orientation is applied. Of an animation the first frame is taken.
    - Transparent parts are shown on white, as a page would show them.
    - 16-bit grey becomes 8-bit by ``round(x / 257)``, so that white stays white.
    - Palette, CMYK, YCbCr and black-and-white pictures are converted; colour becomes grey by
      luma (ITU-R 601-2) where ``channels`` is 1.
    - Another size is reached by the centre crop of the wanted aspect, scaled bilinearly with
      antialiasing: the aspect of what is shown stays. With ``whole`` nothing is cut: see
      ``leaven.data.placement`` for where the picture lies in the wanted size; the rest is grey.

    Args:
        source: encoded bytes, a file, or a Pillow picture.
        size: the wanted (H, W), a number for a square, or None for the picture's own size.
        channels: 1 or 3.
        name: how the picture is called in errors; the path when empty.
        whole: whether the whole picture is shown in ``size``.

    Raises:
        PictureError: unreadable, truncated, or of a kind whose range is not known (32 bits).
    """
    if isinstance(size, int):
        size = (size, size)
    with _opened(source, name) as image:
        if size is not None:
            # JPEG files are decoded at the smallest of their scales that still covers the size.
            image.draft(None, (max(size), max(size)))
        image = _eight_bits(image, channels)
        if size is not None:
            image = _contain(image, *size) if whole else _cover(image, *size)
        array = np.array(image)
    return array[None] if channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))


def check_end(source: Source, name: str = "") -> None:
    """Finds a truncated picture without decoding it, where its format marks its end.

    Only a JPEG or PNG file without its end mark in the last bytes is decoded to know for sure.

    Raises:
        PictureError: the picture is truncated.
    """
    if isinstance(source, Path):
        if not source.is_file():
            raise PictureError(name or source.as_posix(), "not a file")
        with source.open("rb") as file:
            head = file.read(2)
            file.seek(max(0, source.stat().st_size - _TAIL))
            tail = file.read()
    elif isinstance(source, bytes):
        head, tail = source[:2], source[-_TAIL:]
    else:
        return
    mark = _END_MARKS.get(head)
    if mark is not None and mark not in tail:
        decode(source, None, 3, name)


class FilePixels:
    """Pictures that are decoded when they are wanted, by a pool of threads.

    Args:
        sources: where they are.
        names: how they are called in errors.
        shape: (C, H, W) of every decoded picture; see ``decode``.
        whole: whether the whole picture is shown in that shape.
    """

    def __init__(
        self,
        sources: Sources,
        names: Sequence[str],
        shape: tuple[int, int, int],
        *,
        whole: bool = False,
    ) -> None:
        self.sources, self.names, self._shape, self.whole = sources, names, shape, whole

    @property
    def shape(self) -> tuple[int, int, int]:
        return self._shape

    def __len__(self) -> int:
        return len(self.sources)

    def batch(self, index: Tensor) -> Tensor:
        """The pictures at ``index`` (b,) as uint8 (b, C, H, W).

        Raises:
            PictureError: one of them cannot be read.
        """
        channels, height, width = self._shape
        images = np.empty((len(index), *self._shape), dtype=np.uint8)

        def fill(row: int, item: int) -> None:
            images[row] = decode(
                self.sources[item], (height, width), channels, self.names[item], whole=self.whole
            )

        for _ in pool().map(fill, range(len(index)), index.tolist()):
            pass
        return torch.from_numpy(images)

    def subset(self, index: Tensor) -> FilePixels:
        index = index.cpu()
        names = [self.names[item] for item in index.tolist()]
        return FilePixels(self.sources.subset(index), names, self._shape, whole=self.whole)

    def to(self, device: torch.device) -> FilePixels:
        return self


def pool() -> ThreadPoolExecutor:
    """The threads that decode; Pillow decodes without holding the interpreter."""
    # Threads do not survive a fork, so every process has its own pool.
    return _pool_of(os.getpid())


@cache
def _pool_of(process: int) -> ThreadPoolExecutor:
    available = getattr(os, "sched_getaffinity", None)
    count = len(available(0)) if available else os.cpu_count() or 1
    return ThreadPoolExecutor(min(16, count), thread_name_prefix="leaven-decode")


def open_picture(source: bytes | Path) -> Image.Image:
    """A picture in one of ``FORMATS``, of which only the header is read.

    Raises:
        OSError: it is none, or ``source`` is no file: a pipe would be waited for.
        Image.DecompressionBombError: it claims more pixels than Pillow decodes, twice
            ``PIL.Image.MAX_IMAGE_PIXELS``.
    """
    if isinstance(source, bytes):
        return Image.open(io.BytesIO(source), formats=FORMATS)
    if not source.is_file() and source.exists():
        raise IsADirectoryError("not a file")
    return Image.open(source, formats=FORMATS)


def _is_turned(image: Image.Image) -> bool:
    return "exif" in image.info and bool(image.getexif().get(0x0112, 1) >= 5)


@contextmanager
def _opened(source: Source, name: str) -> Iterator[Image.Image]:
    if not name:
        name = source.as_posix() if isinstance(source, Path) else "without a name"
    if source is None:
        raise PictureError(name, "there is no picture")
    # The decoders raise errors of any type on damaged input: each means an unreadable picture.
    try:
        if isinstance(source, Image.Image):
            yield source
        else:
            with open_picture(source) as image:
                yield image
    except Exception as error:
        raise PictureError(name, _reason(error, source)) from error


def _reason(error: Exception, source: Source) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, IsADirectoryError):
        return "not a file"
    if isinstance(error, Image.DecompressionBombError):
        return f"it claims more pixels than are decoded ({str(error).split(',')[0]})"
    if isinstance(error, PermissionError):
        return "reading it is not permitted"
    if isinstance(error, UnidentifiedImageError):
        empty = not source if isinstance(source, bytes) else _is_empty(source)
        return "the file is empty" if empty else "not a picture of a known format"
    if "truncated" in str(error).lower() or isinstance(error, EOFError):
        return "truncated"
    return str(error) or type(error).__name__


def _is_empty(source: Source) -> bool:
    return isinstance(source, Path) and source.stat().st_size == 0


def _is_grey(image: Image.Image) -> bool:
    if image.mode in _GREY_MODES or image.mode.startswith("I;16"):
        return True
    if image.mode not in ("P", "PA") or image.palette is None:
        return False
    order, colours = image.palette.getdata()
    if order[:3] not in ("RGB", "BGR"):
        return False
    table = np.frombuffer(bytes(colours), dtype=np.uint8)
    table = table[: len(table) // len(order) * len(order)].reshape(-1, len(order))
    return bool((table[:, :1] == table[:, :3]).all())


def _eight_bits(image: Image.Image, channels: int) -> Image.Image:
    """The upright picture in mode L or RGB."""
    wanted = "L" if channels == 1 else "RGB"
    deep = image.mode.startswith("I;16") or (
        image.mode == "I" and image.format in ("PNG", "PPM", "PGM")
    )
    if image.mode in ("I", "F") and not deep:
        raise ValueError("32 bits per pixel, whose range is not known")
    image.load()
    if "exif" in image.info or image.format == "TIFF":
        image = ImageOps.exif_transpose(image)
    if deep:
        values = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((values + 128) // 257).clip(0, 255).astype(np.uint8))
    elif image.mode in _ALPHA_MODES or "transparency" in image.info:
        shown = image.convert("RGBA")
        white = Image.new("RGBA", shown.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, shown)
    return image if image.mode == wanted else image.convert(wanted)


def _contain(image: Image.Image, height: int, width: int) -> Image.Image:
    """The whole picture in the upper left of that size, grey where it does not reach."""
    part = content((image.height, image.width), (height, width))
    scaled = image
    if part != (image.height, image.width):
        scaled = image.resize(part[::-1], Image.Resampling.BILINEAR, reducing_gap=3.0)
    if part == (height, width):
        return scaled
    canvas = Image.new(image.mode, (width, height), (BESIDE,) * len(image.getbands()))
    canvas.paste(scaled, (0, 0))
    return canvas


def _cover(image: Image.Image, height: int, width: int) -> Image.Image:
    """The centre of the picture with the aspect height : width, scaled to that size."""
    if image.size == (width, height):
        return image
    scale = min(image.width / width, image.height / height)
    left, top = (image.width - width * scale) / 2, (image.height - height * scale) / 2
    box = (left, top, left + width * scale, top + height * scale)
    return image.resize((width, height), Image.Resampling.BILINEAR, box=box, reducing_gap=3.0)
