"""What every stored table of labels has, checked when it is read: a run folder may be anyone's."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from leaven.plain import read_json


def stored_classes(table: pa.Table) -> list[str]:
    """The class names in the metadata of the schema.

    Raises:
        KeyError, ValueError: there are none, or they are no list of words.
    """
    classes = read_json((table.schema.metadata or {})[b"classes"].decode())
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError("the class names are no list of words")
    return classes


def stored_items(table: pa.Table) -> list[str]:
    """The item names.

    Raises:
        KeyError, ValueError: there are none, or one is null or no text.
    """
    items: list[str] = table["item"].to_pylist()
    if not all(isinstance(name, str) for name in items):
        raise ValueError("an item without a name")
    return items


def check_columns(table: pa.Table, schema: pa.Schema) -> None:
    """Whether the columns of ``schema`` are there, with their types.

    Raises:
        KeyError, ValueError: one is not.
    """
    for field in schema:
        if not table[field.name].type.equals(field.type):
            raise ValueError(f"the column {field.name} has the type {table[field.name].type}")


def check_indices(column: pa.ChunkedArray, count: int) -> None:
    """Whether all values that are not null are in 0..``count`` - 1.

    Raises:
        ValueError: one is not.
    """
    least, most = pc.min_max(column).values()
    if least.is_valid and not 0 <= least.as_py() <= most.as_py() < count:
        raise ValueError(f"classes {least} to {most} where there are {count}")


def check_shares(column: pa.ChunkedArray) -> None:
    """Whether all values that are not null are in [0, 1].

    Raises:
        ValueError: one is not.
    """
    within = pc.and_(pc.greater_equal(column, 0), pc.less_equal(column, 1))
    if not pc.all(within, min_count=0).as_py():
        raise ValueError("a confidence or weight that is not in [0, 1]")
