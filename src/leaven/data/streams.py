"""Endless shuffled batches whose order depends on the seed and the position alone."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, cast

import torch
from torch import Tensor

from leaven.data.dataset import ImageSet, T
from leaven.data.pixels import MemoryPixels
from leaven.errors import ConfigError


@dataclass(slots=True)
class Sample:
    """One batch of one stream.

    Attributes:
        images: (b, C, H, W) uint8 on the model's device.
        targets: (b,) class indices, (b, K) soft targets, or (b, H, W) classes of pixels; -1 where a
            class is unknown. ``BoxLabels`` where the pictures have boxes.
        items: (b,) int64, the positions in the stream's image set.
    """

    images: Tensor
    targets: Any
    items: Tensor

    def __len__(self) -> int:
        return len(self.items)


class Stream(Generic[T]):
    """Shuffled batches without end; the state is one number.

    The items of all epochs form one sequence: epoch ``e`` is the permutation of the items that
    the seed and ``e`` give. Batch ``b`` is items ``b * size ... (b + 1) * size - 1`` of it, so a
    batch may span epochs and a set smaller than a batch is repeated. With ``whole_epochs`` every
    epoch is cut to whole batches: each item comes at most once in it and the rest is left out.

    Args:
        images: the set to draw from.
        size: items per (global) batch, at least 1.
        targets: what to learn: the set's labels when None; of classes also (n, K) distributions.
        index: which items of the set to draw, (m,) int64; all when None.
        whole_epochs: see above; needs at least ``size`` items.
    """

    def __init__(
        self,
        images: ImageSet[T],
        size: int,
        *,
        targets: T | None = None,
        index: Tensor | None = None,
        whole_epochs: bool = False,
    ) -> None:
        if size < 1:
            raise ValueError(f"a batch has at least one item, not {size}")
        if len(images) == 0:
            raise ValueError("a stream needs at least one item")
        self.pixels = images.pixels
        self.size = size
        self.whole_epochs = whole_epochs
        self._seed, self._rank, self._world = 0, 0, 1
        self._device = torch.device("cpu")
        self._targets: T = images.labels if targets is None else targets
        # Label maps and boxes are part of the data, and made again when a run is resumed.
        self._replaced = isinstance(targets, Tensor)
        self.truth: T = images.truth
        self._orders: dict[int, Tensor] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._ahead: tuple[int, Tensor, Future[Tensor]] | None = None
        self.index = torch.arange(len(images)) if index is None else index
        self.position = 0

    @property
    def index(self) -> Tensor:
        """(m,) int64, the items that are drawn. It is replaced as a whole, never changed in place."""
        return self._index

    @index.setter
    def index(self, index: Tensor) -> None:
        least = self.size if self.whole_epochs else 1
        if len(index) < least:
            raise ValueError(f"the stream needs at least {least} items, there are {len(index)}")
        self._index = index.cpu()
        self._orders.clear()
        self._ahead = None

    @property
    def targets(self) -> T:
        """What is learned, on the device of the batches. Of classes it may be replaced, and is saved
        then; boxes and label maps are replaced by a new image set."""
        return self._targets

    @targets.setter
    def targets(self, targets: T) -> None:
        self._targets = cast("T", targets.to(self._device))
        self._replaced = True

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return max(1, len(self.index) // self.size)

    @property
    def epoch(self) -> int:
        """Whole epochs given out so far."""
        return self.position * self.size // self._length

    def start(self, seed: int, device: torch.device, rank: int = 0, world: int = 1) -> None:
        """Sets the seed, the device of the batches and this process's slice of them.

        Raises:
            ConfigError: the batch cannot be divided equally over the processes.
        """
        if self.size % world:
            raise ConfigError(
                f"A batch of {self.size} items is to be divided over {world} processes.",
                "the same number of items for each process",
                f"choose a batch size that is a multiple of {world}, or another number of "
                "processes.",
            )
        self._seed, self._device, self._rank, self._world = seed, device, rank, world
        self.pixels = self.pixels.to(device)
        self._targets = cast("T", self._targets.to(device))
        self.truth = cast("T", self.truth.to(device))
        self._orders.clear()
        self._ahead = None

    def next(self) -> Sample:
        """The batch at ``position``, which moves on by one."""
        sample = self._take(self.position)
        self.position += 1
        return sample

    def state_dict(self) -> dict[str, Any]:
        return {
            "position": self.position,
            "index": self.index.cpu(),
            # What the data say needs no copy in every checkpoint.
            "targets": self.targets.to(torch.device("cpu")) if self._replaced else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = int(state["position"])
        self.index = state["index"]
        if state["targets"] is not None:
            self.targets = state["targets"]

    @property
    def _length(self) -> int:
        """Items in an epoch."""
        return self.steps_per_epoch * self.size if self.whole_epochs else len(self.index)

    def _take(self, position: int) -> Sample:
        items, images = self._decoded(position)
        items = items.to(self._device, non_blocking=True)
        # The targets may have been replaced since the pictures were asked for.
        return Sample(images.to(self._device, non_blocking=True), self.targets[items], items)

    def _decoded(self, position: int) -> tuple[Tensor, Tensor]:
        if isinstance(self.pixels, MemoryPixels):
            items = self._items(position)
            return items, self.pixels.batch(items)
        # Decoding takes longer than a step may: make the next batch while this one is used.
        ahead = self._ahead
        if ahead is None or ahead[0] != position:
            ahead = self._ask(position)
        images = ahead[2].result()
        self._ahead = self._ask(position + 1)
        return ahead[1], images

    def _ask(self, position: int) -> tuple[int, Tensor, Future[Tensor]]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="leaven-batches")
        items = self._items(position)
        return position, items, self._pool.submit(self.pixels.batch, items)

    def _items(self, position: int) -> Tensor:
        """This process's items of the batch at ``position``."""
        first, parts, wanted = position * self.size, [], self.size
        self._forget(first // self._length)
        while wanted:
            epoch, offset = divmod(first, self._length)
            part = self._order(epoch)[offset : min(offset + wanted, self._length)]
            parts.append(part)
            first, wanted = first + len(part), wanted - len(part)
        return torch.cat(parts)[self._rank :: self._world]

    def _forget(self, epoch: int) -> None:
        """Drops the orders of the epochs before ``epoch``."""
        for earlier in [known for known in self._orders if known < epoch]:
            del self._orders[earlier]

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self._orders:
            generator = torch.Generator().manual_seed((self._seed * 1_000_003 + epoch) % 2**63)
            self._orders[epoch] = self.index[torch.randperm(len(self.index), generator=generator)]
        return self._orders[epoch]
