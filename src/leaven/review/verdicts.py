"""What the log of corrections says of each item, kept up to date as it grows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from leaven.labels.corrections import Correction
from leaven.review.items import Status


@dataclass(slots=True)
class Verdict:
    """What was said of one item.

    Attributes:
        version: the id of the last correction of it, undos and skips included; 0 for none.
        said: what was said and is not undone, in order.
    """

    version: int = 0
    said: list[Correction] = field(default_factory=list)

    @property
    def last(self) -> Correction | None:
        """What was said last and is not undone."""
        return self.said[-1] if self.said else None

    @property
    def evidence(self) -> Correction | None:
        """The accept, reject or relabel that stands; a skip says nothing."""
        return next((one for one in reversed(self.said) if one.action != "skip"), None)

    @property
    def status(self) -> Status | None:
        """``CORRECTED`` or ``SKIPPED``; None where the round's status holds."""
        if self.evidence is not None:
            return Status.CORRECTED
        return Status.SKIPPED if self.said else None


class Verdicts:
    """What was said of all items, from the corrections in the order of their ids."""

    def __init__(self, corrections: Iterable[Correction] = ()) -> None:
        self._of: dict[str, Verdict] = {}
        self.last_id = 0
        self.tokens: dict[str, Correction] = {}
        self.add(corrections)

    def add(self, corrections: Iterable[Correction]) -> None:
        """Takes further ones, those after ``last_id``."""
        for one in corrections:
            verdict = self._of.setdefault(one.item, Verdict())
            if one.action == "undo":
                verdict.said = [said for said in verdict.said if said.id != one.undoes]
            else:
                verdict.said.append(one)
            verdict.version = self.last_id = one.id
            if one.token is not None:
                self.tokens[one.token] = one

    def of(self, item: str) -> Verdict:
        """What was said of an item."""
        return self._of.get(item) or Verdict()

    def items(self) -> list[tuple[str, Verdict]]:
        """Every item of which something was said, also where it was undone."""
        return list(self._of.items())
