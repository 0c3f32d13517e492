"""Label maps, boxes and masks drawn over pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from leaven.labels.boxes import BoxLabels
from leaven.labels.pixels import VOID
from leaven.quality.instances import paint
from leaven.report.palette import palette, readable_on

SIDE = 320
"""The longer side of a drawing, in pixels."""

TINT, MASK_TINT = 0.55, 0.4
"""How much of a class's colour lies over a picture."""

STRIPE = 8
"""The period of hatching, in pixels along x."""

DARKER = 0.55
"""A border has the colour of its class, so much darker."""

TEXT = 12
"""Height of text, in pixels."""

WIDE_TEXT, FEW, MANY = 1.5, 8, 16
"""Text may be so many times as wide as its box; in a picture of few things as wide as it is. In one
of many, colours tell classes: there is a score where it fits into the box, and no name."""

HEAT = np.array(
    [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], dtype=np.float64
)
"""Colours from no doubt to much: black, purple, red, orange, pale yellow, ever lighter."""

ERROR = np.array([213, 40, 30], dtype=np.float64)
"""The colour of what is wrong."""

MUCH_DOUBT = 0.5
"""The doubt that has the last colour of ``HEAT``: no class has half of the probability."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Canvas:
    """A picture in the size in which it is drawn on.

    Attributes:
        pixels: (h, w, 3) uint8.
        factor: by how much it is larger than the picture was, along x and y.
    """

    pixels: Pixels
    factor: tuple[float, float]


def canvas(picture: Tensor, side: int = SIDE) -> Canvas:
    """A picture (1 | 3 | more, H, W) uint8 as colour, stretched until its longer side is ``side``."""
    channels = picture.cpu()
    channels = channels.expand(3, -1, -1) if len(channels) < 3 else channels[:3]
    image = Image.fromarray(channels.permute(1, 2, 0).contiguous().numpy())
    scale = side / max(image.size)
    size = tuple(max(1, round(scale * length)) for length in image.size)
    large = np.asarray(image.resize((size[0], size[1]), Image.Resampling.BICUBIC))
    return Canvas(large, (size[0] / image.width, size[1] / image.height))


def draw_picture(picture: Tensor) -> Image.Image:
    """The picture alone, in the size of the other drawings."""
    return Image.fromarray(canvas(picture).pixels)


def draw_classes(
    picture: Tensor, classes: Tensor, num_classes: int, accepted: Tensor | None = None
) -> Image.Image:
    """A label map over its picture: a colour per class, darker where two classes meet.

    Pixels that are believed and not accepted are hatched in the colour of their class, and those of
    which nothing is believed in grey.

    Args:
        picture: (C, H, W) uint8.
        classes: (H, W) uint8, ``VOID`` (255) where nothing is believed.
        num_classes: K.
        accepted: (H, W) bool; all that are believed when None.
    """
    ground = canvas(picture)
    shown = _stretched(classes.cpu().numpy(), ground)
    void = shown == VOID
    firm = ~void if accepted is None else _stretched(accepted.cpu().numpy(), ground) & ~void
    colours = np.vstack([palette(num_classes), np.full((1, 3), 128, np.uint8)])
    numbers = np.where(void, num_classes, shown)
    return Image.fromarray(_tinted(ground.pixels, numbers, colours, firm, TINT))


def draw_boxes(picture: Tensor, labels: BoxLabels, names: Sequence[str]) -> Image.Image:
    """The boxes of a picture with their names and scores, and their masks where there are some.

    Boxes that are not accepted are dashed, and crowds too. The surest lie on top. With one class
    every thing has a colour of its own and no name. Text is left out where it would cover another
    or, of many things, its own.

    Args:
        picture: (C, H, W) uint8.
        labels: of this picture alone.
        names: K class names.

    Raises:
        ValueError: ``labels`` are of several pictures.
    """
    if len(labels) != 1:
        raise ValueError(f"labels of {len(labels)} pictures, to be drawn on one")
    labels, ground = labels.cpu(), canvas(picture)
    things = np.arange(len(labels.boxes)) if len(names) == 1 else labels.classes.numpy()
    colours = palette(max(len(names), 7))
    each = colours[things % len(colours)]
    pixels = ground.pixels
    if labels.masks is not None and len(labels.masks):
        pixels = _masked(ground, labels, each)
    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    order = labels.confidence.argsort(stable=True).tolist()
    corners = labels.boxes.double().numpy() * np.tile(ground.factor, 2)
    firm = (labels.accepted & ~labels.crowd).tolist()
    for row in order:
        _draw_frame(pen, corners[row], each[row], firm[row], thin=labels.masks is not None)
    taken: list[tuple[float, float, float, float]] = []
    for row in reversed(order):
        many = len(order) > MANY
        text = _tag([""] if many else names, labels, row)
        width = pen.textlength(text, ImageFont.load_default(TEXT))
        room = (1 if many else WIDE_TEXT) * (corners[row, 2] - corners[row, 0])
        if text and (width <= room or len(order) <= FEW):
            _draw_tag(pen, image.size, corners[row], text, each[row], taken)
    return image


def draw_errors(picture: Tensor, classes: Tensor, truth: Tensor) -> Image.Image:
    """Where a label map is wrong, in red over the grey picture; unknown pixels stay grey.

    Args:
        picture: (C, H, W) uint8.
        classes, truth: (H, W) uint8, ``VOID`` (255) where nothing is believed or known.
    """
    ground = canvas(picture)
    wrong = (classes != truth) & (classes != VOID) & (truth != VOID)
    pale = 90 + ground.pixels.mean(-1, keepdims=True).repeat(3, -1) * 0.5
    shown = _stretched(wrong.cpu().numpy(), ground)
    return Image.fromarray(np.where(shown[..., None], ERROR, pale).round().astype(np.uint8))


def draw_doubt(picture: Tensor, confidence: Tensor) -> Image.Image:
    """Where a label map is in doubt: the grey picture under ``1 - confidence`` as heat.

    Args:
        picture: (C, H, W) uint8.
        confidence: (H, W) in [0, 1].
    """
    ground = canvas(picture)
    doubt = _stretched(1 - confidence.cpu().float().numpy(), ground) / MUCH_DOUBT
    place = np.nan_to_num(doubt, nan=1.0).clip(0, 1) * (len(HEAT) - 1)
    colours = np.stack(
        [np.interp(place, np.arange(len(HEAT)), HEAT[:, channel]) for channel in range(3)], -1
    )
    grey = ground.pixels.mean(-1, keepdims=True) * 0.5
    part = 0.25 + 0.75 * place[..., None] / (len(HEAT) - 1)
    return Image.fromarray((grey * (1 - part) + colours * part).round().astype(np.uint8))


def png(image: Image.Image) -> bytes:
    """As PNG of at most 256 colours, a third of the size of all colours and hardly another look."""
    written = io.BytesIO()
    image.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(written, "PNG", optimize=True)
    return written.getvalue()


def _stretched(values: NDArray, ground: Canvas) -> NDArray:
    """(H, W) values in the size of the canvas, each pixel the nearest one."""
    height, width = ground.pixels.shape[:2]
    rows = ((np.arange(height) + 0.5) * len(values) / height).astype(int)
    columns = ((np.arange(width) + 0.5) * values.shape[1] / width).astype(int)
    return values[rows[:, None], columns]


def _tinted(
    pixels: Pixels, numbers: NDArray, colours: Pixels, firm: NDArray[np.bool_], tint: float
) -> Pixels:
    """The colour of each pixel's number over it: whole where ``firm``, else in stripes."""
    height, width = numbers.shape
    stripe = (np.arange(height)[:, None] + np.arange(width)) % STRIPE < STRIPE * 3 // 8
    part = np.where(firm, tint, np.where(stripe, 0.75, 0.0))[..., None]
    colour = colours[numbers].astype(np.float64)
    edge = _edges(numbers) & firm
    part[edge], colour[edge] = 1.0, colour[edge] * DARKER
    return (pixels * (1 - part) + colour * part).round().astype(np.uint8)


def _edges(numbers: NDArray) -> NDArray[np.bool_]:
    """(h, w) bool: pixels whose neighbour to the right or below has another number."""
    edge = np.zeros(numbers.shape, dtype=bool)
    edge[:, :-1] |= numbers[:, :-1] != numbers[:, 1:]
    edge[:-1] |= numbers[:-1] != numbers[1:]
    return edge


def _masked(ground: Canvas, labels: BoxLabels, each: Pixels) -> Pixels:
    """Masks over the canvas, the surest on top; where there is none the canvas stays as it is."""
    assert labels.masks is not None
    height, width = labels.masks.sizes[0].tolist()
    numbers = _stretched(paint(labels.masks, labels.confidence, height, width).numpy(), ground)
    accepted = np.append(False, (labels.accepted & ~labels.crowd).numpy())
    there = numbers > 0
    colours = np.vstack([np.zeros((1, 3), np.uint8), each])
    tinted = _tinted(ground.pixels, numbers, colours, accepted[numbers], MASK_TINT)
    return np.where(there[..., None], tinted, ground.pixels)


def _tag(names: Sequence[str], labels: BoxLabels, row: int) -> str:
    """The name and the score; a number for a name that the font cannot write."""
    index = int(labels.classes[row])
    name = names[index] if len(names) > 1 else ""
    try:
        name.encode("latin-1")
    except UnicodeEncodeError:
        name = f"#{index}"
    if bool(labels.crowd[row]):
        return f"{name} crowd".strip()
    confidence = float(labels.confidence[row])
    return name if confidence == 1 else f"{name} {confidence:.2f}".strip()


def _draw_frame(
    pen: ImageDraw.ImageDraw, box: NDArray, colour: Pixels, firm: bool, thin: bool
) -> None:
    left, top, right, bottom = box[0], box[1], max(box[2] - 1, box[0]), max(box[3] - 1, box[1])
    ink, width = tuple(colour.tolist()), 1 if thin else 2
    if firm:
        pen.rectangle((left, top, right, bottom), outline=ink, width=width)
        return
    for x in np.arange(left, right, 8):
        for y in (top, bottom):
            pen.line((x, y, min(x + 4, right), y), fill=ink, width=width)
    for y in np.arange(top, bottom, 8):
        for x in (left, right):
            pen.line((x, y, x, min(y + 4, bottom)), fill=ink, width=width)


def _draw_tag(
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    box: NDArray,
    text: str,
    colour: Pixels,
    taken: list[tuple[float, float, float, float]],
) -> None:
    """Writes ``text`` above the box, else inside or below, where nothing has been written yet."""
    font = ImageFont.load_default(TEXT)
    width, height = pen.textlength(text, font) + 6, TEXT + 3
    left = min(max(box[0], 0), max(size[0] - width, 0))
    for top in (box[1] - height, box[1], box[3]):
        place = (left, top, left + width, top + height)
        free = all(
            place[2] <= other[0] or other[2] <= place[0] or place[3] <= other[1] or other[3] <= top
            for other in taken
        )
        if free and top >= 0 and place[3] <= size[1]:
            taken.append(place)
            pen.rectangle(place, fill=tuple(colour.tolist()))
            pen.text((left + 3, top + 1), text, fill=readable_on(colour), font=font)
            return
