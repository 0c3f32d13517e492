"""Captions as a table: one row per picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import torch

from leaven.labels.captions import Captions
from leaven.labels.classes import Source

_SOURCES = tuple(source.name.lower() for source in Source)

SCHEMA = pa.schema(
    [
        ("item", pa.string()),
        ("caption", pa.string()),
        ("raw", pa.string()),
        ("by", pa.string()),
        ("source", pa.string()),
        ("round", pa.int32()),
    ]
)


@dataclass(frozen=True, slots=True)
class CaptionRound:
    """A round of captions.

    Attributes:
        names: n stable item names.
        labels: n captions.
        raw: the captions that came with the pictures; empty where there was none.
        by: who wrote each caption: the name of a captioner; empty for people and nobody.
    """

    names: list[str]
    labels: Captions
    raw: list[str]
    by: list[str]


def caption_table(round: int, said: CaptionRound) -> pa.Table:
    """One row per picture: ``item``, ``caption`` (null where nothing is said), ``raw`` (the caption
    that came with the picture, or null), ``by`` (the captioner, or null), ``source``, ``round``.

    Raises:
        ValueError: there are not as many names, raw captions or captioners as captions.
    """
    n = len(said.labels)
    if {len(said.names), len(said.raw), len(said.by)} != {n}:
        raise ValueError(
            f"{n} captions with {len(said.names)} names, {len(said.raw)} raw captions and "
            f"{len(said.by)} captioners"
        )
    columns = [
        pa.array(said.names, pa.string()),
        _texts(said.labels.texts),
        _texts(said.raw),
        _texts(said.by),
        pa.array([_SOURCES[number] for number in said.labels.source.tolist()], pa.string()),
        pa.array([round] * n, pa.int32()),
    ]
    metadata = {"round": str(round), "task": "captions"}
    return pa.Table.from_arrays(columns, schema=SCHEMA.with_metadata(metadata))


def caption_round(table: pa.Table) -> CaptionRound:
    """What ``caption_table`` wrote."""
    texts, raw, by = (
        [text or "" for text in table[name].to_pylist()] for name in ("caption", "raw", "by")
    )
    sources = [_SOURCES.index(name) for name in table["source"].to_pylist()]
    labels = Captions(tuple(texts), torch.tensor(sources, dtype=torch.int64))
    return CaptionRound(table["item"].to_pylist(), labels, raw, by)


def _texts(texts: Sequence[str]) -> pa.Array:
    """Null where a text is empty."""
    return pa.array([text or None for text in texts], pa.string())
