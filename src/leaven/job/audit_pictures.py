"""The pictures of the worst findings, for the page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from leaven.data.files import PictureError, decode
from leaven.job.audit_data import Audited
from leaven.quality.audit import AuditFinding

SHOWN = {"label": 48, "leak": 24, "duplicate": 24, "foreign": 24, "broken": 24}
"""Findings of a kind that are shown with their pictures, the worst ones."""

SIDE = 240
"""Larger pictures are shrunk to this many pixels, so that the page stays small."""

SMALLEST = 96
"""Smaller pictures are drawn so large, each pixel a square."""

MARK = (232, 62, 40)


def cards(whole: Audited, findings: Sequence[AuditFinding]) -> list[dict[str, Any]]:
    """Of the worst findings of each kind their number among ``findings`` and their pictures as PNG:
    ``{"finding": number, "panels": [(name, bytes), ...]}``; none of what cannot be read."""
    place = {name: row for row, name in enumerate(whole.names)}
    shown: dict[str, int] = dict.fromkeys(SHOWN, 0)
    made = []
    for number, one in enumerate(findings):
        if one.kind not in SHOWN or shown[one.kind] >= SHOWN[one.kind]:
            continue
        shown[one.kind] += 1
        items = [(one.item, one.box)] + ([(one.other, None)] if one.other is not None else [])
        panels = [(name, _png(whole, place[name], box)) for name, box in items if name in place]
        made.append(
            {"finding": number, "panels": [(name, png) for name, png in panels if png is not None]}
        )
    return made


def _png(whole: Audited, row: int, box: tuple[float, ...] | None) -> bytes | None:
    try:
        pixels = decode(whole.listing.sources[row], None, 3, whole.names[row])
    except PictureError:
        return None
    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    longest = max(image.size)
    scale = SIDE / longest if longest > SIDE else max(1, SMALLEST // longest)
    size = tuple(max(1, round(scale * side)) for side in image.size)
    smooth = Image.Resampling.BILINEAR if scale < 1 else Image.Resampling.NEAREST
    image = image.resize((size[0], size[1]), smooth)
    if box is not None:
        corners = [scale * value for value in box]
        x1, y1 = min(corners[0], size[0] - 1), min(corners[1], size[1] - 1)
        x2, y2 = max(x1, corners[2] - 1), max(y1, corners[3] - 1)
        ImageDraw.Draw(image).rectangle((x1, y1, x2, y2), outline=MARK, width=2)
    written = io.BytesIO()
    image.save(written, "PNG", optimize=True)
    return written.getvalue()
