"""The objects of pictures as a table, and the labels that are read from it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from leaven.data.scenes.layout import Layout
from leaven.data.scenes.raster import Raster
from leaven.data.scenes.words import caption, multi_hot
from leaven.errors import ConfigError
from leaven.labels import BoxLabels, Masks

MIN_VISIBLE = 0.25
"""Share of an object that has to be seen for it to be in boxes, tags and captions."""


@dataclass(frozen=True)
class Things:
    """Up to ``L`` objects in each of ``n`` pictures; columns without an object are -1, 0 or zeros.

    Attributes:
        classes: (n, L) int64, the digit 0..9, or -1.
        depth: (n, L) float32, metres.
        boxes: (n, L, 4) float32, tight around what is seen of each; zeros where nothing is.
        amodal_boxes: (n, L, 4) float32, tight around the whole object as far as the picture goes.
        visible: (n, L) int64, pixels that are seen.
        whole: (n, L) int64, pixels of the object, also those that are covered or outside.
    """

    classes: Tensor
    depth: Tensor
    boxes: Tensor
    amodal_boxes: Tensor
    visible: Tensor
    whole: Tensor

    @property
    def present(self) -> Tensor:
        """(n, L) bool: there is an object, seen or not."""
        return self.classes >= 0

    @property
    def visible_share(self) -> Tensor:
        """(n, L) float32 in [0, 1], ``visible / whole``."""
        return self.visible / self.whole.clamp_min(1)

    def shown(self, min_visible: float) -> Tensor:
        """(n, L) bool: there is an object of which the share ``min_visible`` is seen, and a pixel.

        Raises:
            ConfigError: a share outside [0, 1].
        """
        if not 0 <= min_visible <= 1:
            raise ConfigError(
                f"min_visible is {min_visible}.",
                "a share in [0, 1] of the object's pixels",
                f"leave it out for {MIN_VISIBLE}.",
            )
        return self.present & (self.visible > 0) & (self.visible_share >= min_visible)

    def tags(self, min_visible: float) -> Tensor:
        """(n, 10) bool: which digits are shown."""
        return multi_hot(self.classes, self.shown(min_visible))

    def captions(self, min_visible: float) -> list[str]:
        """A sentence for each picture; see ``words.caption``."""
        shown = self.shown(min_visible)
        return [
            caption(classes[rows].tolist(), boxes[rows])
            for classes, boxes, rows in zip(self.classes, self.boxes, shown, strict=True)
        ]

    def labels(self, shown: Tensor, boxes: Tensor, masks: Masks | None) -> BoxLabels:
        """The objects ``shown`` (n, L) as labels by a person, with their ``boxes`` (n, L, 4)."""
        counts = shown.sum(1).tolist()
        return BoxLabels.from_person(
            boxes[shown].split(counts), self.classes[shown].split(counts), masks=masks
        )


def things(layout: Layout, rasters: list[Raster]) -> Things:
    """The table of the pictures in ``rasters``, which hold the scenes of ``layout`` in order."""

    def joined(name: str) -> Tensor:
        return torch.cat([torch.from_numpy(getattr(raster, name)) for raster in rasters])

    classes = torch.from_numpy(layout.classes)
    depth = torch.from_numpy(layout.depths)
    return Things(
        classes,
        torch.where(classes >= 0, depth, 0),
        joined("boxes"),
        joined("amodal_boxes"),
        joined("visible"),
        joined("whole"),
    )


def per_pixel(instances: Tensor, values: Tensor) -> Tensor:
    """(n, S, S), of every pixel the value of what it shows.

    Args:
        instances: (n, S, S) uint8, 1 + object, 0 for the background.
        values: (n, 1 + L), of the background and of each object.
    """
    return values.gather(1, instances.flatten(1).long()).view(instances.shape)


def visible_masks(instances: Tensor, shown: Tensor) -> Masks:
    """The masks of the objects ``shown`` (n, L) in maps (n, S, S) of 1 + object."""
    pictures, slots = shown.nonzero(as_tuple=True)
    # A block at a time: the dense masks of many pictures would fill the memory.
    blocks = [
        Masks.from_dense(instances[picture] == (slot + 1)[:, None, None].to(instances))
        for picture, slot in zip(pictures.split(_BLOCK), slots.split(_BLOCK), strict=True)
    ]
    return Masks.joined(blocks)


_BLOCK = 256
