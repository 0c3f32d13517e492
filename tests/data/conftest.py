"""Small picture files for the tests of the data room."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def picture(value: int, side: int = 12) -> Image.Image:
    """A colour picture of one value."""
    return Image.new("RGB", (side, side), (value, value // 2, 255 - value))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def png_of() -> Callable[[int], bytes]:
    """The PNG file of a one-coloured picture."""
    return lambda value: png(picture(value))


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes ``{relative name: picture or bytes or None}``; None is a picture of its own colour."""

    def make(files: dict[str, Image.Image | bytes | None], name: str = "pets") -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        for number, (place, content) in enumerate(files.items()):
            path = root / place
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                (content or picture(number * 5 % 256)).save(path)
        return root

    return make


@pytest.fixture
def noise() -> Callable[..., np.ndarray]:
    """Random uint8 values of a shape."""
    generator = np.random.default_rng(0)
    return lambda *shape: generator.integers(0, 256, shape, dtype=np.uint8)
