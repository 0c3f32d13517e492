"""data.yaml, which tells the classes and the splits of a YOLO folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from leaven.data.listing import SPLITS, some
from leaven.data.readers.class_names import check_names
from leaven.data.readers.tree import Tree
from leaven.errors import DataError
from leaven.plain import brief
from leaven.plain import read_yaml as read_yaml_text

YAML_FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
"""The names of the file."""

_LONGEST = 64


@dataclass(frozen=True)
class YoloYaml:
    """What the file says.

    Attributes:
        names: the classes, None where it says none.
        splits: the split of each picture of a folder that it names.
        lists: the split of each list of pictures that it names.
        notes: what it names that is not there.
    """

    names: tuple[str, ...] | None = None
    splits: dict[str, str] = field(default_factory=dict)
    lists: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_yaml(tree: Tree, photos: Sequence[str]) -> YoloYaml:
    """The file at the top of the folder, where there is one.

    Its ``path`` and what it names outside the folder, such as the place where somebody else had
    the data, is not followed; a leading ``../`` is passed over, as some programs write it.

    Raises:
        DataError: it is not YAML, or its ``names`` cannot be understood.
    """
    file = next((name for name in YAML_FILES if name in tree.files), None)
    if file is None:
        return YoloYaml()
    where = str(tree.root / file)
    text = tree.text(file)
    try:
        said = read_yaml_text(text)
    except ValueError as error:
        raise _refused(where, f"is not YAML ({str(error)[:200]})") from error
    if not isinstance(said, dict):
        raise _refused(where, "is YAML of another kind")
    names = _names(said, where)
    splits: dict[str, str] = {}
    lists: dict[str, str] = {}
    gone = []
    for key, split in SPLITS.items():
        given = said.get(key)
        for entry in given if isinstance(given, list) else [given]:
            if entry is None:
                continue
            place = _place(entry, where)
            below = [name for name in photos if place == "." or name.startswith(place + "/")]
            if place in tree.files:
                lists[place] = split
            elif below:
                splits.update({name: split for name in below if name not in splits})
            else:
                gone.append(f"{entry} ({split})")
    notes = (f"{file} names {some(gone)}, which is not in the folder.",) if gone else ()
    return YoloYaml(names, splits, lists, notes)


def _names(said: dict[Any, Any], where: str) -> tuple[str, ...] | None:
    names = said.get("names")
    if isinstance(names, dict):
        if not all(type(key) is int for key in names) or sorted(names) != [*range(len(names))]:
            raise _refused(where, "has names whose numbers are not 0, 1, 2, ...")
        names = [names[key] for key in range(len(names))]
    if names is None:
        return None
    if not isinstance(names, list) or not all(map(_is_name, names)):
        raise _refused(where, "has names that are no list of words")
    found = tuple(str(name) for name in names)
    check_names(found, where)
    if type(count := said.get("nc", len(found))) is not int or count != len(found):
        raise _refused(where, f"has nc: {brief(count)} and {len(found)} names")
    return found


def _is_name(name: object) -> bool:
    """Words, and what YAML takes for numbers or dates; not a number that cannot be written out."""
    if isinstance(name, int):
        return name.bit_length() < _LONGEST
    return isinstance(name, str | float | date)


def _place(entry: Any, where: str) -> str:
    if not isinstance(entry, str):
        raise _refused(where, f"has the split {brief(entry)}, which is no path")
    place = entry.replace("\\", "/")
    while place.startswith(("../", "./")):
        place = place.partition("/")[2]
    return place.rstrip("/") or "."


def _refused(where: str, problem: str) -> DataError:
    return DataError(
        f"{where} {problem}.",
        "names: [cat, dog], and maybe train: images/train, val: images/val",
        "correct the file.",
    )
