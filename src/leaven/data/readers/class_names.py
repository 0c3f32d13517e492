"""Class names, and maybe their colours, as files beside the pictures say them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from leaven.data.readers.tree import Tree
from leaven.errors import DataError
from leaven.plain import brief, is_text, read_json

Colour = tuple[int, int, int]

_FILES = ("classes.json", "classes.txt", "labelmap.txt", "obj.names", "classes.names")
_EXPECTED = (
    'classes.json, ["cat", "dog"], [{"name": "cat", "color": [128, 0, 0]}, ...] or '
    '{"cat": [128, 0, 0], ...}; or classes.txt with a name in each line'
)


@dataclass(frozen=True)
class ClassNames:
    """The classes of a data set.

    Attributes:
        file: where they were said.
        names: in the order of their indices.
        colours: the colour of each, where the file says them.
    """

    file: str
    names: tuple[str, ...]
    colours: tuple[Colour, ...] | None = None


def class_names(tree: Tree) -> ClassNames | None:
    """What classes.json, classes.txt or labelmap.txt at the top of the folder says.

    Raises:
        DataError: the file cannot be understood, or a name comes twice.
    """
    file = next((name for name in _FILES if name in tree.files), None)
    if file is None:
        return None
    text = tree.text(file)
    if file.endswith(".json"):
        found = _from_json(text, str(tree.root / file))
    elif file == "labelmap.txt":
        found = _from_label_map(text, str(tree.root / file))
    else:
        lines = [line.strip() for line in text.splitlines()]
        found = ClassNames(file, tuple(line for line in lines if line))
    check_names(found.names, str(tree.root / file))
    return found


def check_names(names: tuple[str, ...], where: str) -> None:
    """Refuses an empty list of classes, empty names, broken names and names that come twice.

    Raises:
        DataError: one of these.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    broken = [name for name in names if not is_text(name)]
    if not names or "" in names or twice or broken:
        problem = f"the class {brief(twice[0])} twice" if twice else "a class without a name"
        if broken:
            problem = f"the class {brief(broken[0])} of letters that are none"
        raise DataError(
            f"{where} has {problem if names else 'no class'}.",
            "at least one class, each with a name of its own",
            "correct the list of classes.",
        )


def _from_json(text: str, where: str) -> ClassNames:
    try:
        said: Any = read_json(text)
    except ValueError as error:
        raise _refused(where, f"is not JSON ({error})") from error
    if isinstance(said, dict):
        if plain := [name for name, colour in said.items() if not isinstance(colour, list)]:
            raise _refused(where, f"is an object that gives {brief(plain[0])} no colour")
        said = [{"name": name, "color": colour} for name, colour in said.items()]
    if not isinstance(said, list):
        raise _refused(where, "is not a list of classes")
    if all(isinstance(entry, str) for entry in said):
        return ClassNames(where, tuple(said))
    names, colours = [], []
    for entry in said:
        if not (isinstance(entry, dict) and isinstance(entry.get("name"), str)):
            raise _refused(where, "has an entry without a name")
        names.append(entry["name"])
        if "color" in entry:
            colours.append(_colour(entry["color"], where))
    if colours and len(colours) < len(names):
        raise _refused(where, "has colours for some of the classes alone")
    return ClassNames(where, tuple(names), tuple(colours) or None)


def _from_label_map(text: str, where: str) -> ClassNames:
    """Lines ``name:red,green,blue:parts:actions``, as CVAT writes them beside VOC masks."""
    names, colours = [], []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        parts = rest.partition(":")[0].split(",")
        names.append(name.strip())
        colours.append(
            _colour([int(p) if p.strip().isdecimal() and len(p) < 9 else -1 for p in parts], where)
        )
    return ClassNames(where, tuple(names), tuple(colours))


def _colour(value: Any, where: str) -> Colour:
    whole = isinstance(value, list) and all(type(part) is int for part in value)
    if not whole or len(value) != 3 or not all(0 <= part <= 255 for part in value):
        raise _refused(where, f"has the colour {brief(value)}, which is not three numbers 0-255")
    return value[0], value[1], value[2]


def _refused(where: str, problem: str) -> DataError:
    return DataError(f"{where} {problem}.", _EXPECTED, "correct the file.")
