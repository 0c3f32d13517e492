"""Pictures in rows and columns, in one PNG that says how they were made."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from leaven.atomic import replacing

GAP = 4
"""Pixels between two pictures."""

SETTINGS = "leaven"
"""The name of the text in a PNG that holds how it was made, as JSON."""


@dataclass(frozen=True)
class Samples:
    """Pictures to look at.

    Attributes:
        pictures: (n, C, H, W) uint8, with one or three channels.
        texts: n texts, what each picture was made from; or none.
        columns: in a row; about as many as there are rows when None.
        settings: how they were made, JSON values.
    """

    pictures: Tensor
    texts: Sequence[str] = ()
    columns: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)


def grid(pictures: Tensor, columns: int | None = None) -> Tensor:
    """(3, H', W') uint8: pictures (n, C, H, W) in rows of ``columns``, on white with gaps of 4.

    Raises:
        ValueError: there is no picture.
    """
    count, channels, height, width = pictures.shape
    if count == 0:
        raise ValueError("a grid needs a picture")
    columns = min(count, columns or math.ceil(math.sqrt(count)))
    rows = -(-count // columns)
    sheet = torch.full((rows * columns, 3, height + GAP, width + GAP), 255, dtype=torch.uint8)
    shown = pictures.cpu().expand(-1, 3, -1, -1) if channels == 1 else pictures.cpu()
    sheet[:count, :, :height, :width] = shown
    whole = sheet.view(rows, columns, 3, height + GAP, width + GAP).permute(2, 0, 3, 1, 4)
    return whole.reshape(3, rows * (height + GAP), columns * (width + GAP))[:, :-GAP, :-GAP]


def write_grid(path: Path, samples: Samples) -> Path:
    """Writes the pictures as one PNG; texts and settings are inside it, see ``read_settings``."""
    settings = {**samples.settings, "texts": list(samples.texts)}
    return write_png(path, grid(samples.pictures, samples.columns), settings)


def write_png(path: Path, picture: Tensor, settings: dict[str, Any]) -> Path:
    """Writes a picture (C, H, W) uint8 of one or three channels, with its settings inside."""
    values = picture.cpu().permute(1, 2, 0).contiguous().numpy()
    image = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)
    text = PngImagePlugin.PngInfo()
    text.add_itxt(SETTINGS, json.dumps(settings, ensure_ascii=False))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        image.save(beside, format="PNG", pnginfo=text)
    return path


def read_settings(path: Path) -> dict[str, Any]:
    """How a PNG of ``write_png`` was made; empty of other pictures."""
    with Image.open(path) as image:
        image.load()
        return dict(json.loads(image.info.get(SETTINGS, "{}")))
