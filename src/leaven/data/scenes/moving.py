"""Scenes that move: the same pictures over time, with true tracks and flow."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from leaven.data.scenes.domains import Domain, domain_of
from leaven.data.scenes.layout import MOTION, Floats, Layout, draw_layout
from leaven.data.scenes.numbers import Numbers
from leaven.data.scenes.still import Scenes, render
from leaven.data.scenes.things import per_pixel
from leaven.errors import ConfigError

_SPEED = 0.03
_PAN = 0.01
_SPIN, _WHOLE_SPIN = np.deg2rad(6), np.deg2rad(45)


@dataclass(frozen=True)
class Frames:
    """``n`` films of ``T`` pictures. An object keeps its number, so that numbers are tracks.

    Attributes:
        images: (n, T, 3, S, S) uint8.
        semantic: (n, T, S, S) uint8.
        instances: (n, T, S, S) uint8, 1 + object as seen, 0 for the background.
        steps: T scenes with all their truth, which share the pictures and maps above.
    """

    images: Tensor
    semantic: Tensor
    instances: Tensor
    steps: tuple[Scenes, ...]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def boxes(self) -> Tensor:
        """(n, T, L, 4) float32, the tracks: around what is seen, zeros where nothing is."""
        return torch.stack([step.things.boxes for step in self.steps], 1)

    @property
    def amodal_boxes(self) -> Tensor:
        """(n, T, L, 4) float32, the tracks of the whole objects as far as the picture goes."""
        return torch.stack([step.things.amodal_boxes for step in self.steps], 1)

    @property
    def visible_share(self) -> Tensor:
        """(n, T, L) float32 in [0, 1]: how much of each object is seen."""
        return torch.stack([step.things.visible_share for step in self.steps], 1)

    @property
    def centres(self) -> Tensor:
        """(n, T, L, 2) float32, the middles x, y of the digits' frames in pixels."""
        return torch.stack([torch.from_numpy(step.layout.centres) for step in self.steps], 1)

    def flow(self, start: int, end: int) -> tuple[Tensor, Tensor]:
        """Where the pixels of frame ``start`` are in frame ``end``.

        A point ``p`` of an object goes to ``c' + R(a' - a)(p - c)`` with its middle ``c`` and its
        angle ``a``; the background is moved as a whole.

        Returns:
            (n, 2, S, S) float32, pixels to the right and down, and (n, S, S) bool, whether the
            point is not seen there: at its nearest pixel lies another object, or it is outside.

        Raises:
            ConfigError: there is no such frame.
        """
        for number in (start, end):
            if not 0 <= number < len(self.steps):
                raise ConfigError(
                    f"There is no frame {number}.",
                    f"0 to {len(self.steps) - 1}",
                    "ask for another frame, or make longer films.",
                )
        return _flow(self.steps[start], self.steps[end])


def moving(
    count: int,
    *,
    frames: int = 8,
    seed: int = 0,
    size: int = 96,
    objects: tuple[int, int] = (1, 5),
    domain: str | Domain = "day",
    first: int = 0,
) -> Frames:
    """Makes films whose first pictures are ``scenes`` with the same arguments.

    Every object moves with a constant velocity of up to 3 % of the side per frame along x and y,
    less where its middle would leave the picture, and turns by a constant angle of up to 6 degrees,
    45 in the whole film; the background moves by up to 1 %. Noise is new in every picture.

    Args:
        count: how many films.
        frames: pictures in each, at least 1.
        seed, size, objects, domain, first: see ``scenes``.

    Raises:
        ConfigError: an unknown domain, or a number outside its range.
    """
    if frames < 1:
        raise ConfigError(
            f"Films of {frames} frames are wanted.", "at least one frame", "correct the number."
        )
    layout = draw_layout(first, count, seed, size, objects, domain_of(domain))
    steps = [render(at) for at in _poses(layout, frames)]
    images = torch.stack([step.images for step in steps], 1)
    semantic = torch.stack([step.semantic for step in steps], 1)
    instances = torch.stack([step.instances for step in steps], 1)
    shared = tuple(
        replace(
            step,
            images=images[:, number],
            semantic=semantic[:, number],
            instances=instances[:, number],
        )
        for number, step in enumerate(steps)
    )
    return Frames(images, semantic, instances, shared)


def _poses(layout: Layout, frames: int) -> list[Layout]:
    """The layouts of all frames."""
    most = layout.classes.shape[1]
    draws = Numbers(layout.seed, layout.items, MOTION)
    last, size = max(frames - 1, 1), layout.size
    speed = _SPEED * size
    goal = layout.centres + last * draws.uniform(most, 2, low=-speed, high=speed)
    velocity = (np.clip(goal, 0, size) - layout.centres) / last
    # Turned further, a six would be a nine.
    fastest = min(_SPIN, _WHOLE_SPIN / last)
    spin = draws.uniform(most, low=-fastest, high=fastest)
    pan = draws.uniform(2, low=-_PAN * size, high=_PAN * size)
    return [
        replace(
            layout,
            centres=(layout.centres + time * velocity).astype(np.float32),
            angles=(layout.angles + time * spin).astype(np.float32),
            corners=(layout.corners - time * pan).astype(np.float32),
            # The salt after each is that of the right view.
            salt=2 * time,
        )
        for time in range(frames)
    ]


def _flow(start: Scenes, end: Scenes) -> tuple[Tensor, Tensor]:
    one, other, size = start.layout, end.layout, start.layout.size
    still = np.zeros_like(one.corners)
    place = torch.arange(size) + 0.5
    turn = _pixels(other.angles - one.angles, still[:, 0], start)
    step = other.centres - one.centres
    pan = one.corners - other.corners
    right = _pixels(step[..., 0], pan[:, 0], start)
    down = _pixels(step[..., 1], pan[:, 1], start)
    x = place - _pixels(one.centres[..., 0], still[:, 0], start)
    y = place[:, None] - _pixels(one.centres[..., 1], still[:, 0], start)
    cosine, sine = turn.cos() - 1, turn.sin()
    flow = torch.stack([right + cosine * x - sine * y, down + sine * x + cosine * y], 1)
    column = (place + flow[:, 0]).floor().long()
    row = (place[:, None] + flow[:, 1]).floor().long()
    outside = (column < 0) | (column >= size) | (row < 0) | (row >= size)
    target = row.clamp(0, size - 1) * size + column.clamp(0, size - 1)
    found = end.instances.flatten(1).gather(1, target.flatten(1)).view(target.shape)
    return flow, outside | (found != start.instances)


def _pixels(objects: Floats, background: Floats, scenes: Scenes) -> Tensor:
    """(n, S, S) float32, of every pixel the value (n, L) of its object or (n,) of the background."""
    values = np.concatenate([background[:, None], objects], 1)
    return per_pixel(scenes.instances, torch.from_numpy(values))
