"""Embedded scenes whose look their label map tells: pairs of which the second can be learned."""

from __future__ import annotations

import colorsys
from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.embedded_scenes import COUNT, SCENES
from leaven.data.scenes.domains import domain_of
from leaven.data.scenes.layout import Layout, draw_layout
from leaven.data.scenes.still import CLASSES, render

OBJECTS = (1, 5)

SIDE = 64
"""Of the pictures where nobody says what."""


def listed_told_scenes(seed: int = 0, size: int = SIDE, count: int = COUNT) -> AnnotatedListing:
    """Scenes with label maps, in which a digit has the colour of its class, on one background.

    In the usual scenes a digit has any colour, on any cutting of two photos: no label map tells which.

    Args:
        seed: equal seeds give equal scenes.
        size: the side of the pictures, at least 32.
        count: how many.
    """
    made = render(_told(draw_layout(0, count, seed, size, OBJECTS, domain_of("day"))))
    return AnnotatedListing(
        name=SCENES,
        sources=[Image.fromarray(image.numpy()) for image in made.images.permute(0, 2, 3, 1)],
        names=[f"{SCENES}/{number:05d}" for number in range(count)],
        splits=["train"] * count,
        classes=CLASSES,
        sizes=torch.full((count, 2), size),
        known=torch.ones(count, dtype=torch.bool),
        maps=list(made.semantic.numpy()),
    )


def _told(layout: Layout) -> Layout:
    """The same scenes with the colours of their classes, before the same background."""
    hues = np.arange(10) / 10
    fills = np.array([colorsys.hsv_to_rgb(hue, 0.75, 1.0) for hue in hues], dtype=np.float32) * 255
    rims = np.array([colorsys.hsv_to_rgb(hue, 0.75, 0.2) for hue in hues], dtype=np.float32) * 255
    return replace(
        layout,
        fills=fills[layout.classes],
        rims=rims[layout.classes],
        backdrops=np.zeros_like(layout.backdrops),
        corners=np.broadcast_to(layout.corners[:1], layout.corners.shape).copy(),
    )
