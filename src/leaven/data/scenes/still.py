"""Still scenes: pictures with everything that is to be known about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leaven.data.scenes.domains import Domain, domain_of
from leaven.data.scenes.layout import FAR, Layout, draw_layout
from leaven.data.scenes.paint import paint
from leaven.data.scenes.raster import Raster, rasterize
from leaven.data.scenes.stereo import RightView, disparities, right_view
from leaven.data.scenes.things import MIN_VISIBLE, Things, per_pixel, things, visible_masks
from leaven.labels import BoxLabels, Masks

CLASSES = ("background", *(str(digit) for digit in range(10)))
"""The classes of pixels. Those of boxes are the digits alone, so one less each."""


@dataclass(frozen=True)
class Scenes:
    """``n`` pictures of real handwritten digits over real photos, and the whole truth about them.

    Object ``l`` of ``L`` lies nearer than all objects before it, and covers them. What is not kept
    is made when it is asked for.

    Attributes:
        layout: what the scenes are painted from.
        images: (n, 3, S, S) uint8.
        semantic: (n, S, S) uint8, positions in ``CLASSES``.
        instances: (n, S, S) uint8, the object that is seen: 1 + ``l``, 0 for the background.
        things: the objects as a table.
    """

    layout: Layout
    images: Tensor
    semantic: Tensor
    instances: Tensor
    things: Things

    def __len__(self) -> int:
        return len(self.images)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of pixels, ``background`` first."""
        return CLASSES

    @property
    def thing_classes(self) -> tuple[str, ...]:
        """The classes of boxes and tags: the digits."""
        return CLASSES[1:]

    @property
    def present(self) -> Tensor:
        """(n, L) bool: the scene has that object, seen or not."""
        return self.things.present

    @property
    def panoptic(self) -> Tensor:
        """(n, S, S) int32, ``1000 * class + instance`` with both as in the two maps."""
        return self.semantic.int() * 1000 + self.instances.int()

    @property
    def amodal(self) -> Tensor:
        """(n, L, S, S) bool, the objects whole, also where others cover them."""
        parts = []
        for _, part in self.layout.chunks():
            masks = rasterize(part, amodal=True).amodal
            assert masks is not None
            parts.append(torch.from_numpy(masks))
        return torch.cat(parts)

    @property
    def depth(self) -> Tensor:
        """(n, S, S) float32, metres; the background is ``FAR`` away."""
        depth = torch.nn.functional.pad(self.things.depth, (1, 0), value=FAR)
        return per_pixel(self.instances, depth)

    def disparity(self, baseline: float) -> Tensor:
        """(n, S, S) float32, ``baseline * S / depth`` in pixels.

        The pixel at x of this picture is at ``x - disparity`` of the right one.

        Args:
            baseline: metres from this camera to the other one, at its right; the focal length of
                both is S pixels.
        """
        return per_pixel(self.instances, torch.from_numpy(disparities(self.layout, baseline)))

    def right_view(self, baseline: float) -> RightView:
        """The same scenes from a camera at the right: rectified pairs, with what is hidden there.

        Raises:
            ConfigError: a baseline that is not finite.
        """
        return right_view(self.layout, self.instances, baseline)

    def tags(self, min_visible: float = MIN_VISIBLE) -> Tensor:
        """(n, 10) bool: the digits of which an object shows the share ``min_visible``."""
        return self.things.tags(min_visible)

    def captions(self, min_visible: float = MIN_VISIBLE) -> list[str]:
        """n sentences, as ``a three left of a seven, a seven above a two``."""
        return self.things.captions(min_visible)

    def boxes(
        self,
        kind: Literal["visible", "amodal"] = "visible",
        min_visible: float = MIN_VISIBLE,
        masks: bool = True,
    ) -> BoxLabels:
        """Boxes and masks of the objects, the far ones first; classes 0..9 are the digits.

        Args:
            kind: what a box and its mask hold: the part that is seen, or the whole.
            min_visible: objects that show a smaller share of their pixels are left out.
            masks: whether they are wanted; boxes alone are found much faster.

        Raises:
            ConfigError: a share outside [0, 1].
        """
        shown = self.things.shown(min_visible)
        if kind == "visible":
            found = visible_masks(self.instances, shown) if masks else None
            return self.things.labels(shown, self.things.boxes, found)
        found = Masks.from_dense(self.amodal[shown]) if masks else None
        return self.things.labels(shown, self.things.amodal_boxes, found)

    def ids(self, min_visible: float = MIN_VISIBLE) -> Tensor:
        """(m,) int64, the number in ``instances`` of each row of ``boxes(min_visible=...)``."""
        return self.things.shown(min_visible).nonzero()[:, 1] + 1


def scenes(
    count: int,
    *,
    seed: int = 0,
    size: int = 96,
    objects: tuple[int, int] = (1, 5),
    domain: str | Domain = "day",
    first: int = 0,
) -> Scenes:
    """Makes the scenes ``first``, ..., ``first + count - 1`` of a seed.

    Handwritten digits of scikit-learn (8x8, enlarged with bicubic interpolation, turned by up to 25
    degrees) lie at growing nearness over a cutting of one of its two photos, nearer ones larger.
    Every scene depends on the seed and its number alone; in another domain it has the same layout.

    Args:
        count: how many.
        seed: equal seeds give equal scenes.
        size: the side S of the pictures in pixels, at least 32.
        objects: the fewest and the most objects in a scene, all numbers alike.
        domain: ``day``, ``night``, ``noise``, ``texture``, or a ``Domain``.
        first: the number of the first scene; scenes of other numbers are other scenes.

    Raises:
        ConfigError: an unknown domain, or a number outside its range.
    """
    return render(draw_layout(first, count, seed, size, objects, domain_of(domain)))


def render(layout: Layout) -> Scenes:
    """The scenes of a layout."""
    count, size = len(layout.items), layout.size
    images = np.empty((count, 3, size, size), np.uint8)
    semantic = np.empty((count, size, size), np.uint8)
    instances = np.empty_like(semantic)
    rasters: list[Raster] = []
    for place, part in layout.chunks():
        raster = rasterize(part)
        images[place] = paint(part, raster)
        semantic[place], instances[place] = raster.classes, raster.instances
        rasters.append(raster)
    return Scenes(
        layout,
        torch.from_numpy(images),
        torch.from_numpy(semantic),
        torch.from_numpy(instances),
        things(layout, rasters),
    )
