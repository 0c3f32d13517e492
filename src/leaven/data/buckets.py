"""Pictures of several aspect ratios: which sizes there are, which one a picture gets, and batches
of one size each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from leaven.data.files import decode
from leaven.data.sources import Source
from leaven.errors import ConfigError, DataError

WIDEST = 4.0
"""Pictures with a longer side of more than so many shorter ones are left out."""

_UNITS = (
    (8, 32), (8, 31), (8, 30), (8, 29), (9, 28), (9, 27), (9, 26), (10, 25), (10, 24), (11, 23),
    (11, 22), (11, 21), (12, 21), (12, 20), (13, 19), (13, 18), (14, 18), (14, 17), (15, 17),
    (15, 16), (16, 16), (16, 15), (17, 15), (17, 14), (18, 14), (18, 13), (19, 13), (20, 12),
    (21, 12), (22, 11), (23, 11), (24, 10), (25, 10), (26, 9), (27, 9), (28, 9), (29, 8), (30, 8),
    (31, 8), (32, 8),
)  # fmt: skip
"""Height and width of the 40 sizes in sixteenths of the base size."""


def bucket_sizes(side: int, multiple: int = 1) -> list[tuple[int, int]]:
    """Height and width of 40 sizes of about ``side * side`` pixels, ratios 0.25 to 4.

    Sides are rounded to a multiple; where ``side`` is small, some sizes coincide and are there once.

    Args:
        side: of the square among them, a multiple of ``multiple``.
        multiple: of which all sides are: the patch times the pixels per row of the latents.

    Raises:
        ConfigError: ``side`` is no multiple.

    Source: Podell et al., SDXL, ICLR 2024; the table is that of PixArt-alpha. Used by: 001.
    """
    if side < multiple or side % multiple:
        raise ConfigError(
            f"Pictures of {side} x {side} pixels cannot be cut into patches of {multiple}.",
            f"a side that is a multiple of {multiple}",
            f"choose {max(1, round(side / multiple)) * multiple}.",
        )

    def rounded(units: int) -> int:
        return max(1, round(units * side / 16 / multiple)) * multiple

    return list(dict.fromkeys((rounded(height), rounded(width)) for height, width in _UNITS))


def nearest_bucket(sizes: Tensor, buckets: list[tuple[int, int]]) -> Tensor:
    """(n,) int64, for each picture the bucket with the nearest ratio of height to width; -1 for
    those with a ratio beyond 4 or 1 / 4.

    Args:
        sizes: (n, 2) height and width.
        buckets: see ``bucket_sizes``.

    Used by: 001.
    """
    ratios = sizes[:, 0] / sizes[:, 1].clamp_min(1)
    known = torch.tensor(buckets, dtype=torch.float64)
    offered = known[:, 0] / known[:, 1]
    chosen = (ratios[:, None].double() - offered).abs().argmin(1)
    return torch.where(fitting(sizes), chosen, -1)


def fitting(sizes: Tensor) -> Tensor:
    """(n,) bool, whether the ratio of height to width (n, 2) is in 1 / 4 ... 4."""
    long, short = sizes.amax(1), sizes.amin(1)
    return long <= WIDEST * short


def bucket_picture(
    source: Source, size: tuple[int, int], channels: int, name: str = ""
) -> NDArray[np.uint8]:
    """A picture as uint8 (channels, H, W): resized bicubically to cover the size, then its centre.

    Raises:
        PictureError: see ``decode``.
    """
    array = decode(source, None, channels, name)
    image = Image.fromarray(array[0] if channels == 1 else array.transpose(1, 2, 0))
    height, width = size
    if image.size != (width, height):
        scale = min(image.width / width, image.height / height)
        left, top = (image.width - width * scale) / 2, (image.height - height * scale) / 2
        box = (left, top, left + width * scale, top + height * scale)
        image = image.resize((width, height), Image.Resampling.BICUBIC, box=box)
    made = np.asarray(image)
    return made[None].copy() if channels == 1 else np.ascontiguousarray(made.transpose(2, 0, 1))


class BucketStream:
    """Shuffled batches without end, each from one bucket; the state is one number.

    Every epoch the seed and its number give an order to the items of each bucket, which are cut
    into whole batches, and an order to the batches of all buckets. What is left of a bucket is not
    shown in this epoch. It is to the engine what ``leaven.data.Stream`` is.

    Args:
        buckets: (n,) int64, the bucket of each item, -1 for those that are left out.
        size: items per (global) batch.
        take: makes a batch of a bucket and of items (b,) of it.

    Raises:
        DataError: no bucket has a whole batch.

    Used by: 001.
    """

    def __init__(self, buckets: Tensor, size: int, take: Callable[[int, Tensor], Any]) -> None:
        self.size, self.position = size, 0
        self.truth: Any = None
        self._take = take
        self._members = {
            number: (buckets == number).nonzero().squeeze(1)
            for number in buckets.unique().tolist()
            if number >= 0 and int((buckets == number).sum()) >= size
        }
        self._seed, self._rank, self._world = 0, 0, 1
        self._epoch: tuple[int, list[tuple[int, Tensor]]] | None = None
        self.steps_per_epoch = sum(len(items) // size for items in self._members.values())
        if self.steps_per_epoch == 0:
            raise DataError(
                f"{int((buckets >= 0).sum())} pictures make no batch of {size} of one size.",
                f"at least {size} pictures of about one ratio of height to width",
                "take a smaller batch (--set batch=N), or more pictures.",
            )

    @property
    def seen(self) -> int:
        """Items of the buckets that have a whole batch."""
        return sum(len(items) for items in self._members.values())

    def start(self, seed: int, device: torch.device, rank: int = 0, world: int = 1) -> None:
        """Sets the seed and this process's slice of the batches.

        Raises:
            ConfigError: the batch cannot be divided equally over the processes.
        """
        if self.size % world:
            raise ConfigError(
                f"A batch of {self.size} items is to be divided over {world} processes.",
                "the same number of items for each process",
                f"choose a batch size that is a multiple of {world}.",
            )
        self._seed, self._rank, self._world = seed, rank, world
        self._epoch = None

    def next(self) -> Any:
        """The batch at ``position``, which moves on by one."""
        epoch, place = divmod(self.position, self.steps_per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, self._order(epoch)
        self.position += 1
        bucket, items = self._epoch[1][place]
        return self._take(bucket, items[self._rank :: self._world])

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = int(state["position"])

    def _order(self, epoch: int) -> list[tuple[int, Tensor]]:
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + epoch) % 2**63)
        batches = []
        for number, items in self._members.items():
            shuffled = items[torch.randperm(len(items), generator=generator)]
            whole = len(items) // self.size * self.size
            batches += [(number, batch) for batch in shuffled[:whole].split(self.size)]
        places = torch.randperm(len(batches), generator=generator).tolist()
        return [batches[place] for place in places]
