"""The folder of pictures that were made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leaven.job.given import Given
from leaven.report.generate_page import Group, Made, write_generate_page
from leaven.report.grid import Samples, write_grid, write_png
from leaven.report.thumbnails import fitted, thumbnail

MOST_IN_GRID = 64
MOST_ON_PAGE = 400
"""A page or a grid of thousands of pictures is no longer looked at, or opened."""

_MOST_COLUMNS = 16


@dataclass(frozen=True)
class Generated:
    """What was made.

    Attributes:
        folder: of all files.
        settings: what all pictures have in common, as in each of them.
        pictures: of each its file, what it was made of, and its seed.
        left_out: by prompt, the tokens that had no place.
    """

    folder: Path
    settings: dict[str, Any]
    pictures: list[dict[str, Any]]
    left_out: dict[str, int]

    @property
    def grid(self) -> Path:
        return self.folder / "grid.png"

    @property
    def page(self) -> Path:
        return self.folder / "generate.html"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "out": str(self.folder),
            "grid": str(self.grid),
            "page": str(self.page),
            "settings": self.settings,
            "pictures": self.pictures,
            "left_out": self.left_out,
        }


class Desk:
    """Takes pictures one by one, in the order of what they were made of, and writes them.

    Args:
        folder: of the files.
        given: what they are made of.
        settings: what they have in common.
        count: pictures of each.
    """

    def __init__(
        self, folder: Path, given: Sequence[Given], settings: dict[str, Any], count: int
    ) -> None:
        self.folder, self.given, self.settings, self.count = folder, given, settings, count
        self._translated = any(isinstance(one.value, Tensor) for one in given)
        self._key = "given" if self._translated else "prompt"
        self._pictures: list[dict[str, Any]] = []
        self._groups: dict[int, Group] = {}
        self._grid: list[Tensor] = []

    def add(self, row: int, seed: int, picture: Tensor) -> None:
        """Writes a picture (C, H, W) uint8 of ``given[row]``."""
        one = self.given[row]
        file = f"{len(self._pictures) + 1:05d}.png"
        own = {self._key: one.name, "seed": seed}
        write_png(self.folder / file, picture, {**self.settings, **own})
        self._pictures.append({"file": file, **own})
        if len(self._pictures) > MOST_ON_PAGE:
            return
        if row not in self._groups:
            self._begin(row)
        self._groups[row].pictures.append(Made(file, seed, thumbnail(picture)))
        self._grid.append(fitted(picture))

    def close(self) -> Generated:
        """Writes the grid and the page."""
        left_out = {one.name: one.left_out for one in self.given if one.left_out}
        made = Generated(self.folder, self.settings, self._pictures, left_out)
        columns = self.count + self._translated
        shown = self._grid[: max(MOST_IN_GRID // columns, 1) * columns][:MOST_IN_GRID]
        several = len(self.given) > 1 or self._translated
        samples = Samples(
            torch.stack(shown),
            list(dict.fromkeys(one.name for one in self.given)),
            columns if several and columns <= _MOST_COLUMNS else None,
            self.settings,
        )
        write_grid(made.grid, samples)
        write_generate_page(
            made.page, self.settings, list(self._groups.values()), len(self._pictures)
        )
        return made

    def _begin(self, row: int) -> None:
        one = self.given[row]
        self._groups[row] = Group(one.name, left_out=one.left_out)
        if isinstance(one.value, Tensor):
            self._groups[row].given = thumbnail(one.value)
            self._grid.append(fitted(one.value))
