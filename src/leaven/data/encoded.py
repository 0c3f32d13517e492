"""Pictures as the content of files, as they are copied to a labelled data set."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from leaven.data.files import SUFFIXES, open_picture
from leaven.data.sources import Source
from leaven.errors import DataError

_ENDINGS = {"MPO": ".jpg", "PPM": ".ppm"}


def encoded(source: Source, name: str) -> tuple[bytes, str]:
    """A picture as the content of a file, and the ending of such a file.

    Files and bytes are taken as they are, decoded pictures become PNG.

    Raises:
        DataError: it is gone, or no picture any more.
    """
    try:
        if isinstance(source, Path):
            with open_picture(source) as image:
                ending = source.suffix if source.suffix.lower() in SUFFIXES else _ending(image)
            return source.read_bytes(), ending
        if isinstance(source, bytes):
            with open_picture(source) as image:
                return source, _ending(image)
        if source is not None:
            buffer = io.BytesIO()
            source.save(buffer, "PNG")
            return buffer.getvalue(), ".png"
    # The decoders raise errors of any type on damaged input.
    except Exception as error:
        raise _gone(name, str(error) or type(error).__name__) from error
    raise _gone(name, "there is none")


def _ending(image: Image.Image) -> str:
    kind = image.format or "PNG"
    return _ENDINGS.get(kind, f".{kind.lower()}")


def _gone(name: str, reason: str) -> DataError:
    return DataError(
        f"The picture {name} cannot be copied: {reason}.",
        "the pictures where they were read",
        "put them back, or say where they are now.",
    )
