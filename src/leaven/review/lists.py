"""Lists of items: filtered, sorted, and paged by a cursor that outlives the server."""

from __future__ import annotations

import base64
import binascii
import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated, Self

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from leaven.errors import DataError
from leaven.review.items import Index, Integers, Status
from leaven.review.ranking import Ranking
from leaven.review.verdicts import Verdicts

KEPT = 8
"""Lists that are remembered; others are made again when they are asked for."""

LONGEST_SEARCH = 200

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Wanted(BaseModel):
    """What a list holds, and in which order.

    With the round and the last correction at the time, it says all there is to say of a list: what
    is corrected later changes no list that is open, and a server that was started again gives the
    same one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sort: str = "doubt"
    reverse: bool = False
    status: Annotated[tuple[Status, ...], Field(max_length=len(Status))] = ()
    label: Annotated[int, Field(ge=-1)] | None = None
    low: Share = 0.0
    high: Share = 1.0
    search: Annotated[str, Field(max_length=LONGEST_SEARCH)] = ""
    round: Annotated[int, Field(ge=0)] = 0
    until: Annotated[int, Field(ge=0)] = 0

    def cursor(self) -> str:
        """The list as a short text."""
        packed = json.dumps(self.model_dump(mode="json", exclude_defaults=True))
        return base64.urlsafe_b64encode(packed.encode()).decode("ascii").rstrip("=")

    @classmethod
    def of_cursor(cls, text: str) -> Self:
        """The way back of ``cursor``.

        Raises:
            DataError: this is none.
        """
        try:
            packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            return cls.model_validate(json.loads(packed))
        except (ValueError, binascii.Error, RecursionError, ValidationError):
            raise DataError(
                "The list is not one that this server gave.", "the text as it was given", "reload"
            ) from None


class Lists:
    """The lists of an index.

    Args:
        index: of the round.
        ranking: of it.
    """

    def __init__(self, index: Index, ranking: Ranking) -> None:
        self._index, self._ranking = index, ranking
        self._kept: OrderedDict[Wanted, Integers] = OrderedDict()
        self._lock = threading.Lock()
        self.place = {name: item for item, name in enumerate(index.names)}

    def items(self, wanted: Wanted, verdicts: Callable[[], Verdicts]) -> Integers:
        """(m,) int64, the items of a list in its order.

        Args:
            wanted: the list.
            verdicts: gives them as they were at the correction ``wanted.until``.

        Raises:
            DataError: there is no such class, or no such way to sort.
        """
        with self._lock:
            if wanted in self._kept:
                self._kept.move_to_end(wanted)
                return self._kept[wanted]
        found = self._made(wanted, verdicts())
        with self._lock:
            self._kept[wanted] = found
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found

    def _made(self, wanted: Wanted, verdicts: Verdicts) -> Integers:
        index = self._index
        if wanted.label is not None and wanted.label >= len(index.classes):
            raise DataError(
                f"There is no class {wanted.label}.",
                f"-1 to {len(index.classes) - 1}",
                "choose one",
            )
        try:
            order = self._ranking.order(wanted.sort, wanted.reverse)
        except KeyError:
            ways = [sort.name for sort in self._ranking.sorts() if not sort.missing]
            raise DataError(
                f"Items cannot be sorted by {wanted.sort!r} here.", ", ".join(ways), "choose one"
            ) from None
        kept = (index.confidence >= wanted.low) & (index.confidence <= wanted.high)
        if wanted.status:
            kept &= np.isin(self.status(verdicts), [int(status) for status in wanted.status])
        if wanted.label is not None:
            kept &= self._having(wanted.label, verdicts)
        if wanted.search:
            found = pc.match_substring(index.text, wanted.search, ignore_case=True)
            kept &= found.to_numpy(zero_copy_only=False)
        return order[kept[order]]

    def status(self, verdicts: Verdicts) -> Integers:
        """(n,) int64, how every label stands."""
        status = self._index.status.copy()
        for name, verdict in verdicts.items():
            if (said := verdict.status) is not None and (item := self.place.get(name)) is not None:
                status[item] = said
        return status

    def _having(self, label: int, verdicts: Verdicts) -> NDArray[np.bool_]:
        """(n,) bool, the items of a class, by what a person said of it where one did."""
        kept = self._index.having(label).copy()
        name = self._index.classes[label] if label >= 0 else None
        for other, verdict in verdicts.items():
            item, said = self.place.get(other), verdict.evidence
            if item is None or said is None or said.action == "reject":
                continue
            if said.boxes is not None:
                classes = {box["class"] for box in said.boxes}
                kept[item] = name in classes if name is not None else not classes
            elif said.label is not None:
                kept[item] = said.label == name
        return kept
