"""The engine for methods that make pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from leaven.data import ImageSet
from leaven.labels import Captions
from leaven.labels.caption_table import CaptionRound
from leaven.quality import Health
from leaven.train.engine import Engine
from leaven.train.threads import fastest_here


class PictureTrainer(Engine[Any]):
    """Services for one run of one method that makes pictures; see ``Engine``.

    Networks are the method's own: it builds them through ``built`` or ``placed``.
    """

    def count_classes(self) -> Tensor:
        """One kind of thing: pictures."""
        return torch.ones(1)

    def watch(self, prior: Tensor | None) -> Health:
        return Health(1, class_names=("picture",))

    def model(self) -> NoReturn:
        raise NotImplementedError("a method that makes pictures builds its own networks")

    def choose_threads(self, work: Callable[[], None]) -> None:
        """Computes with the number of threads that is fastest for ``work``, a training step, where
        nobody said how many: called before networks are built that take more than a picture."""
        if self.threads:
            return
        alone = self.device.type == "cpu" and self.world == 1
        self.threads = fastest_here(work) if alone else torch.get_num_threads()
        torch.set_num_threads(self.threads)

    def measure(self, model: nn.Module, images: ImageSet[Any] | None) -> dict[str, float]:
        """Nothing: pictures are compared when the run has ended."""
        return {}

    def save_labels(self, number: int, said: Captions, by: str = "") -> None:
        """Writes round ``number``: what the training pictures are said to show."""
        self.last_round = number
        if self.label_store is None or self.replaying:
            return
        names = list(self.data.train.names)
        nothing = [""] * len(names)
        self.label_store.write_captions(
            number, CaptionRound(names, said, nothing, [by if text else "" for text in said.texts])
        )
