"""What an audit says: one row for each thing that is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

Box = tuple[float, float, float, float]

KINDS = {
    "label": "labels that are probably wrong",
    "leak": "pictures that lie in two splits",
    "duplicate": "pictures that are there twice",
    "foreign": "unlabelled pictures unlike all labelled ones",
    "imbalance": "classes with few labels",
    "broken": "pictures that cannot be used",
}
"""The kinds of findings in the order in which they are told."""

SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("item", pa.string()),
        ("split", pa.string()),
        ("score", pa.float32()),
        ("fault", pa.string()),
        ("given", pa.string()),
        ("suggested", pa.string()),
        ("other", pa.string()),
        ("other_split", pa.string()),
        ("contradicts", pa.bool_()),
        ("x1", pa.float32()),
        ("y1", pa.float32()),
        ("x2", pa.float32()),
        ("y2", pa.float32()),
        ("text", pa.string()),
    ]
)


@dataclass(frozen=True)
class AuditFinding:
    """One thing that is wrong.

    Attributes:
        kind: one of ``KINDS``.
        item: the name of the picture; of the class where classes are unevenly spread.
        split: of the picture: "train", "val" or "test".
        score: in [0, 1], higher is surer or worse; comparable within a kind and a fault.
        fault: what it is more closely: "class", "place", "missing" or "pixels" of a label,
            "exact" or "near" of pairs, "unreadable", "constant", "tiny" or "strip" of a picture.
        given, suggested: class names of labels; None where there is none.
        other, other_split: the other picture of a pair.
        contradicts: of a pair, whether what is said of the two differs; None where that is not
            known.
        box: x1, y1, x2, y2 in pixels of the picture as it was found.
        text: the finding in a sentence.
    """

    kind: str
    item: str
    split: str | None
    score: float
    text: str
    fault: str | None = None
    given: str | None = None
    suggested: str | None = None
    other: str | None = None
    other_split: str | None = None
    contradicts: bool | None = None
    box: Box | None = None

    def row(self) -> dict[str, object]:
        """As a row of the table."""
        values = {
            field.name: getattr(self, field.name, None) for field in SCHEMA if len(field.name) > 2
        }
        corners: Sequence[float | None] = self.box or (None,) * 4
        return {**values, **dict(zip(("x1", "y1", "x2", "y2"), corners))}


def ordered(findings: Sequence[AuditFinding]) -> list[AuditFinding]:
    """The findings by kind, the worst of each first."""
    rank = {kind: place for place, kind in enumerate(KINDS)}
    return sorted(findings, key=lambda one: (rank[one.kind], -one.score, one.item, one.text))


def findings_table(findings: Sequence[AuditFinding]) -> pa.Table:
    """One row for each finding; the columns are ``SCHEMA``."""
    return pa.Table.from_pylist([one.row() for one in findings], schema=SCHEMA)
