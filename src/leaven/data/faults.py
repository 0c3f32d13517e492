"""What is wrong with many items, told at once."""

from __future__ import annotations

from types import TracebackType

from leaven.errors import DataError

_NAMED = 5
"""Items of one kind of fault that are named."""


class Faults:
    """Keeps the faults of items, so that all of a kind are told together.

    Stands around the reading of each item, ``with faults: ...``: a ``DataError`` in the block ends
    the block alone. Faults are of one kind where the same was expected of them and the same is to
    be done. What is kept does not grow with their number.
    """

    def __init__(self) -> None:
        self._named: dict[tuple[str, str], list[DataError]] = {}
        self._counts: dict[tuple[str, str], int] = {}

    def __enter__(self) -> Faults:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if not isinstance(error, DataError):
            return False
        key = error.expected, error.do
        self._counts[key] = self._counts.get(key, 0) + 1
        if len(named := self._named.setdefault(key, [])) < _NAMED:
            named.append(error)
        return True

    def check(self) -> None:
        """Ends the reading where there was a fault.

        Raises:
            DataError: there was one. It tells how many there are of the kind of the first, names
                some of them, and counts those of other kinds.
        """
        if not self._counts:
            return
        key = next(iter(self._counts))
        named, count = self._named[key], self._counts[key]
        others = sum(self._counts.values()) - count
        if count == 1 and not others:
            raise named[0]
        lines = [error.found for error in named]
        if count > 1:
            lines.insert(0, f"{count} faults of one kind:")
        if count > len(named):
            lines.append(f"and {count - len(named)} more.")
        if others:
            first = list(self._named.values())[1][0].found
            faults = "one of another kind" if others == 1 else f"{others} of other kinds, the first"
            lines.append(f"Besides, {faults}: {first}")
        raise DataError("\n".join(lines), *key) from named[0]
