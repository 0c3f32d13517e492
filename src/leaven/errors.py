"""The errors that leaven raises at its border.

Every message has three parts: what was found, what was expected, and what to do next.
The command line prints them and exits with code 2; nothing that was there before is lost.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LeavenError(Exception):
    """Something the user can put right.

    Args:
        found: what was found, in words, with the offending value.
        expected: what would have been right.
        do: what to do next.
    """

    def __init__(self, found: str, expected: str = "", do: str = "") -> None:
        self.found, self.expected, self.do = found, expected, do
        super().__init__(found, expected, do)

    def __str__(self) -> str:
        lines = [self.found]
        if self.expected:
            lines.append(f"Expected: {self.expected}")
        if self.do:
            lines.append(f"Do: {self.do}")
        return "\n".join(lines)


class DataError(LeavenError):
    """The data cannot be used as it is."""


class ConfigError(LeavenError):
    """A name, a type or a value of the configuration is wrong."""


class ModelError(LeavenError):
    """A model or its weights cannot be built or loaded."""


class RunError(LeavenError):
    """A run folder cannot be written, read or resumed."""


class MissingExtraError(LeavenError):
    """An optional package is needed and not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"The package {package!r} is not installed; {purpose} needs it.",
            f"leaven installed with its extra {extra!r}",
            f'pip install "leaven[{extra}]"',
        )


def expected_by(message: str) -> str:
    """What a message of pydantic says was expected, to be read after "Expected:"."""
    text = message.removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def nearest(name: str, names: Iterable[str], count: int = 3) -> str:
    """The most similar of ``names`` as a sentence, or all of them when none is similar."""
    names = sorted(names)
    close = difflib.get_close_matches(name, names, n=count, cutoff=0.5)
    if close:
        return "Did you mean " + " or ".join(repr(c) for c in close) + "?"
    return "Known names: " + ", ".join(names)
