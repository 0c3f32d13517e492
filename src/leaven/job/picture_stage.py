"""A method that makes pictures, measured and written."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NoReturn

from leaven.job.stage import Stage
from leaven.methods import Fitted
from leaven.report.grid import Samples, write_grid


class PictureStage(Stage[Any]):
    """What ``Stage`` is for models that make pictures: a grid of samples is the gallery."""

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
