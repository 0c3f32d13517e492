"""A method that makes pictures, measured and written."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, NoReturn

from torch import Tensor

from leaven.data import Data
from leaven.job.config import RunConfig
from leaven.job.stage import Stage
from leaven.methods import Fitted, Method
from leaven.models.backbone import load_backbone
from leaven.quality.generation import FEWEST, picture_figures
from leaven.report.grid import Samples, write_grid

COMPARED = ("fid", "kid", "kid_std", "precision", "recall", "density", "coverage")
"""What an extractor adds to the metrics."""


class PictureStage(Stage[Any]):
    """What ``Stage`` is for models that make pictures: a grid of samples is the gallery.

    Where the configuration names an extractor it is loaded before anything is trained, so that a
    wrong name costs no run.
    """

    def __init__(
        self, method: Method, data: Data[Any], config: RunConfig, *rest: Any, **named: Any
    ) -> None:
        name, self.extractor = config.extractor, None
        if name is not None:
            self.extractor = load_backbone(name, self.made_shape(data))
        super().__init__(method, data, config, *rest, **named)

    @staticmethod
    def made_shape(data: Data[Any]) -> tuple[int, ...]:
        """(C, H, W) of the pictures that are made."""
        return data.shape

    def compared(
        self, real: Iterable[Tensor], made: Iterable[Tensor], count: int
    ) -> dict[str, float | None]:
        """``COMPARED`` of ``count`` real pictures and as many made ones, given in batches; nothing
        without an extractor, and None of each of too few pictures."""
        if self.extractor is None:
            return {}
        if count < FEWEST:
            self.add_note(
                f"{count} pictures are too few to compare made with real ones: it takes {FEWEST}."
            )
            return dict.fromkeys(COMPARED)
        extractor = self.extractor.to(self.trainer.device)
        found = picture_figures(real, made, extractor, seed=self.trainer.settings.seed)
        self.add_note(
            f"FID, KID, precision and recall are of {found['made']} made and {found['real']} real "
            f"pictures by {found['extractor']}: compare them with nothing else."
        )
        return {name: found[name] for name in COMPARED}

    def add_note(self, text: str) -> None:
        """Something more that people are to know."""
        self.note = f"{self.note} {text}".strip()

    @property
    def pictured(self) -> bool:
        return True

    def promised(self, labels: Any, held: Any, items: Any, data: Any, asked: Any) -> NoReturn:
        raise NotImplementedError("nothing is promised of pictures")

    @abstractmethod
    def samples(self, fitted: Fitted[Any, Any]) -> Samples:
        """Pictures for people to look at, and what they were made from."""

    def write_gallery(self, fitted: Fitted[Any, Any]) -> None:
        write_grid(self.folder / "samples.png", self.samples(fitted))
