"""leaven: from a few, weak or noisy labels to labels of known quality and a trained model.

``import leaven`` is light; what is named here is loaded when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from leaven.errors import LeavenError
from leaven.version import __version__

if TYPE_CHECKING:
    from leaven.data import Data, open_data
    from leaven.job import Result, RunConfig, run
    from leaven.job import load_result as load
    from leaven.job.audit import audit
    from leaven.job.caption import caption
    from leaven.job.features import on_features
    from leaven.job.suggest import suggest
    from leaven.methods import find_method
    from leaven.train import Settings, Trainer

_HOMES = {
    "Data": ("leaven.data", "Data"),
    "Result": ("leaven.job", "Result"),
    "RunConfig": ("leaven.job", "RunConfig"),
    "Settings": ("leaven.train", "Settings"),
    "Trainer": ("leaven.train", "Trainer"),
    "audit": ("leaven.job.audit", "audit"),
    "caption": ("leaven.job.caption", "caption"),
    "find_method": ("leaven.methods", "find_method"),
    "load": ("leaven.job", "load_result"),
    "on_features": ("leaven.job.features", "on_features"),
    "open_data": ("leaven.data", "open_data"),
    "run": ("leaven.job", "run"),
    "suggest": ("leaven.job.suggest", "suggest"),
}
_ROOMS = (
    "data", "labels", "learn", "methods", "models", "propose", "quality", "refine", "select",
    "synthesize", "train",
)  # fmt: skip

__all__ = [
    "Data",
    "LeavenError",
    "Result",
    "RunConfig",
    "Settings",
    "Trainer",
    "__version__",
    "audit",
    "caption",
    "find_method",
    "load",
    "on_features",
    "open_data",
    "run",
    "suggest",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        module, attribute = _HOMES[name]
        return getattr(importlib.import_module(module), attribute)
    if name in _ROOMS:
        return importlib.import_module(f"leaven.{name}")
    raise AttributeError(f"module 'leaven' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_ROOMS})
