"""Plain values of a method that a checkpoint must hold."""

from __future__ import annotations

from typing import Any

import torch


class Keep:
    """Named values (tensors, numbers, strings, lists, dicts, None) that are saved and restored.

    ``keep = trainer.keep("rounds", best=0.0, labels=None)`` then ``keep.best = 0.9``.
    """

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"nothing is kept under the name {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.__dict__:
            raise AttributeError(f"{name!r} was not named when the values were first kept")
        self.__dict__[name] = value

    def state_dict(self) -> dict[str, Any]:
        return {name: _copied(value) for name, value in self.__dict__.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            mine = self.__dict__.get(name)
            if isinstance(value, torch.Tensor) and isinstance(mine, torch.Tensor):
                value = value.to(mine.device)
            self.__dict__[name] = value


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value
