"""What the tests of methods share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from leaven.data import Data
from leaven.train import Budget, Settings, Trainer

# Tests are imported by path, so a module beside them has to be made known.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def trainer_for() -> Callable[..., Trainer]:
    """``trainer_for(data, steps, folder=None)``: on one thread, with a narrow net."""

    def make(data: Data, steps: int, folder: Path | None = None, **settings: Any) -> Trainer:
        chosen = Settings(
            budget=Budget(steps=steps),
            threads=1,
            device="cpu",
            precision="fp32",
            options={"width": 8},
            **settings,
        )
        return Trainer(data, folder, chosen)

    return make
