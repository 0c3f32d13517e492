"""How long a run may take: in steps or in time."""

from __future__ import annotations

import re
from dataclasses import dataclass

from leaven.errors import ConfigError
from leaven.plain import counted

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_STEPS = re.compile(r"^\s*(\d[\d_]*)\s*(steps?)?\s*$")
_TIME = re.compile(r"^\s*((\d+(\.\d+)?\s*[smhd]\s*)+)$")
_PIECE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")


@dataclass(frozen=True)
class Budget:
    """A number of optimisation steps or a number of seconds; exactly one of the two.

    Raises:
        ConfigError: neither or both are given, or the one given is not positive.
    """

    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.steps, self.seconds) if value is not None]
        if len(given) != 1 or given[0] <= 0:
            raise ConfigError(
                f"The budget is steps={self.steps}, seconds={self.seconds}.",
                "either a positive number of steps or a positive time",
                "write for example --budget 2000 or --budget 10m",
            )

    @classmethod
    def parse(cls, text: str | int | Budget) -> Budget:
        """Reads ``900``, ``"900 steps"``, ``"90s"``, ``"10m"``, ``"1h30m"``."""
        if isinstance(text, Budget):
            return text
        if match := _STEPS.match(str(text)):
            return cls(steps=int(match[1]))
        if _TIME.match(str(text)):
            pieces = _PIECE.findall(str(text))
            return cls(seconds=sum(float(amount) * _UNITS[unit] for amount, unit in pieces))
        raise ConfigError(
            f"The budget {text!r} cannot be read.",
            "a number of steps (2000) or a time (45s, 10m, 1h30m)",
            "write for example --budget 2000 or --budget 10m",
        )

    def share(self, share: float) -> Budget:
        """The part ``share`` in (0, 1] of this budget, at least one step."""
        if self.steps is not None:
            return Budget(steps=max(1, round(self.steps * share)))
        assert self.seconds is not None
        return Budget(seconds=self.seconds * share)

    def progress(self, step: int, seconds: float) -> float:
        """How much is spent, in [0, 1]."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
        assert self.seconds is not None
        return min(1.0, seconds / self.seconds)

    def __str__(self) -> str:
        return counted(self.steps, "step") if self.steps is not None else f"{self.seconds:g}s"
