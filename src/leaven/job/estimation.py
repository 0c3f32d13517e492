"""What ``leaven estimate`` finds, in figures, as JSON and as a table of pictures."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from leaven.atomic import replacing
from leaven.data import ImageSet
from leaven.data.csv_cells import written_cell
from leaven.errors import DataError
from leaven.job.output_paths import check_file
from leaven.methods.classification.second_opinion import Opinions
from leaven.quality import Estimate, best_estimate
from leaven.quality.accuracy import LikelyRange, Shift

TABLE = pa.schema(
    [
        ("item", pa.string()),
        ("class", pa.string()),
        ("confidence", pa.float32()),
        ("second_opinion", pa.string()),
        ("probably_wrong", pa.bool_()),
        ("truth", pa.string()),
    ]
)


@dataclass(frozen=True)
class Estimation:
    """What is known of a model on pictures.

    Attributes:
        estimates: by name, see ``quality.estimate_accuracy``.
        images: the n pictures; ``truth`` is what is known about them, for measuring alone.
        classes: the class names.
        probs: (n, K) what the model says.
        opinions: of its adapted copy, None where it was not asked.
        notes: what people should know.
        learnt: (n,) bool, the model has learnt the label of the picture, which so tells nothing.
        told: where the accuracy lies as far as held-out pictures tell; None without any, or where
            these pictures are unlike them.
        shift: how far these pictures lie from the held-out ones; None without any.
    """

    estimates: dict[str, Estimate]
    images: ImageSet[Tensor]
    classes: tuple[str, ...]
    probs: Tensor
    opinions: Opinions | None
    notes: tuple[str, ...]
    learnt: Tensor
    told: LikelyRange | None = None
    shift: Shift | None = None

    @property
    def likely(self) -> LikelyRange | None:
        """``told``, widened to hold the estimate to believe where that was made in another way."""
        return None if self.told is None else self.told.around(self.best.accuracy)

    @property
    def best(self) -> Estimate:
        """The estimate to believe."""
        best = best_estimate(self.estimates)
        assert best is not None
        return best

    @property
    def known(self) -> Tensor:
        """(n,) bool: the truth is known, and not from what the model has learnt."""
        return (self.images.truth >= 0) & ~self.learnt

    @property
    def right(self) -> Tensor:
        """(n,) bool: the model says what is known to be true."""
        return self.probs.argmax(1) == self.images.truth

    @property
    def accuracy(self) -> float | None:
        """The true accuracy, where labels are known; None without any."""
        known = self.known
        return float(self.right[known].double().mean()) if bool(known.any()) else None

    def found_wrong(self, name: str) -> tuple[float | None, float | None]:
        """Precision and recall of the flags of an estimator, of what is known; None where nothing
        is flagged, or nothing is wrong."""
        flagged = self.estimates[name].wrong & self.known
        wrong = ~self.right & self.known
        both = int((flagged & wrong).sum())
        precision = both / int(flagged.sum()) if bool(flagged.any()) else None
        return precision, both / int(wrong.sum()) if bool(wrong.any()) else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the figures, without the pictures."""
        rows: dict[str, Any] = {}
        for name, one in self.estimates.items():
            rows[name] = {"accuracy": one.accuracy, "probably_wrong": int(one.wrong.sum())}
            if self.accuracy is not None:
                precision, recall = self.found_wrong(name)
                rows[name] |= {"error": one.accuracy - self.accuracy}
                rows[name] |= {"flag_precision": precision, "flag_recall": recall}
        return {
            "items": len(self.images),
            "best": self.best.name,
            "estimated_accuracy": self.best.accuracy,
            "estimated_range": None if self.likely is None else [self.likely.low, self.likely.high],
            "shift": None if self.shift is None else self.shift.as_dict(),
            "accuracy": self.accuracy,
            "known": int(self.known.sum()),
            "learnt": int(self.learnt.sum()),
            "estimates": rows,
            "notes": list(self.notes),
        }

    def write(self, path: Path) -> None:
        """One row for each picture as ``.csv`` or ``.parquet``; see ``TABLE``.

        Raises:
            DataError, RunError: another ending, or it cannot be written.
        """
        check_out(path)
        rows = self._rows()
        with replacing(path) as beside:
            if path.suffix.lower() == ".parquet":
                pq.write_table(pa.Table.from_pylist(rows, schema=TABLE), beside)
                return
            with beside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
                writer = csv.DictWriter(file, TABLE.names)
                writer.writeheader()
                writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)

    def _rows(self) -> list[dict[str, Any]]:
        confidence, said = self.probs.max(1)
        other = None if self.opinions is None else self.opinions.perturbed.tolist()

        def name(place: int) -> str | None:
            return None if place < 0 else self.classes[place]

        return [
            {
                "item": item,
                "class": name(int(said[row])),
                "confidence": float(confidence[row]),
                "second_opinion": None if other is None else name(other[row]),
                "probably_wrong": bool(self.best.wrong[row]),
                "truth": name(int(self.images.truth[row])),
            }
            for row, item in enumerate(self.images.names)
        ]


def _cell(value: object) -> object:
    if isinstance(value, str):
        return written_cell(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.6g}" if isinstance(value, float) else value


def check_out(path: Path) -> None:
    """Refuses what is neither CSV nor Parquet or cannot be written, before anything is computed.

    Raises:
        DataError, RunError: one of these.
    """
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise DataError(
            f"Flags cannot be written as {path.name}.",
            "a file that ends in .csv or .parquet",
            "change --out",
        )
    check_file(path)
