"""The classes of masks, from a list of names or from the masks themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from leaven.data.faults import Faults
from leaven.data.label_maps import VOID_NAMES, MaskCode, stored_values, unexplained_colours
from leaven.data.listing import some
from leaven.data.readers.class_names import ClassNames
from leaven.data.sources import SourceList
from leaven.errors import DataError
from leaven.labels.pixels import VOID


@dataclass(frozen=True)
class MaskClasses:
    """The classes and how masks say them."""

    classes: tuple[str, ...]
    code: MaskCode
    notes: tuple[str, ...] = ()


def mask_classes(
    said: ClassNames | None, sources: SourceList, names: Sequence[str], void: int | None
) -> MaskClasses:
    """The classes of ``said``, or, where nobody said them, of the values of all masks.

    Args:
        said: the class names in the order of their values.
        sources: the masks, None where there is none.
        names: of their pictures, for errors.
        void: a further value that says nothing.

    Raises:
        DataError: there are too many classes, a mask has colours and nothing explains them, or
            fewer than half of the values up to the highest are in any mask and nobody said them.
    """
    if void is not None and not 0 <= void <= VOID:
        raise DataError(f"void is {void}.", f"0 to {VOID}", "give a value of the masks.")
    if said is None:
        return _from_values(sources, names, void)
    values: list[int] = []
    classes: list[str] = []
    for name in said.names:
        values.append(VOID if name.lower() in VOID_NAMES else len(classes))
        classes += [] if name.lower() in VOID_NAMES else [name]
    if not 1 <= len(classes) <= VOID:
        raise DataError(
            f"{said.file} has {len(classes)} classes beside void.",
            f"1 to {VOID} classes of pixels",
            "correct the list of classes.",
        )
    found = MaskClasses(tuple(classes), MaskCode.of(values, void, said.colours))
    plain = said.colours is None and values == [0, 1]
    if plain and _values(sources, names) == {0, VOID}:
        return _two_valued(found)
    return found


def _from_values(sources: SourceList, names: Sequence[str], void: int | None) -> MaskClasses:
    found = _values(sources, names, strict=True)
    if found == {0, VOID} and void is None:
        return _two_valued(MaskClasses(("background", "foreground"), MaskCode.of([0, 1])))
    classes = found - {VOID, void}
    if not classes or max(classes) > VOID or min(classes) < 0:
        raise DataError(
            f"The masks have the values {', '.join(map(str, sorted(found)[-5:])) or 'of no pixel'}.",
            f"classes from 0 to {VOID - 1}, and {VOID} where nothing is said",
            "write the names of the classes into classes.txt, or correct the masks.",
        )
    count = max(classes) + 1
    if 2 * len(classes) < count:
        raise DataError(
            f"The masks have the values {some([str(value) for value in sorted(classes)], 10)} and "
            f"no other up to {count - 1}, and no file names the classes.",
            "values that count the classes from 0, or a file that says what they are",
            "write classes.json with the value of each class as its grey, "
            '[{"name": "cat", "color": [127, 127, 127]}, ...], or classes.txt with a name in each '
            "line for the values from 0.",
        )
    note = f"No file names the classes of the masks; they are numbered 0 to {count - 1}."
    return MaskClasses(tuple(map(str, range(count))), MaskCode.of(range(count), void), (note,))


def _two_valued(found: MaskClasses) -> MaskClasses:
    """Masks of 0 and 255 alone are black and white, and not without a label."""
    values = found.code.values.copy()
    values[1], values[VOID] = -1, 1
    note = f"The masks have the values 0 and {VOID} alone; {VOID} is {found.classes[1]}."
    code = replace(found.code, values=values, words=f"0 and {VOID}, as the other masks have")
    return replace(found, code=code, notes=(*found.notes, note))


def _values(sources: SourceList, names: Sequence[str], *, strict: bool = False) -> set[int]:
    """The values of all masks; with ``strict``, colours are an error.

    Without, it stops at the first mask that is not of 0 and 255.
    """
    found, faults = set[int](), Faults()
    for item, name in enumerate(names):
        if (source := sources[item]) is None:
            continue
        with faults:
            stored = stored_values(source, f"of {name}")
            if stored.ndim == 3 and strict:
                raise unexplained_colours(f"of {name}")
            found |= {int(value) for value in np.unique(stored)} if stored.ndim == 2 else {-1}
        if not strict and not found <= {0, VOID}:
            break
    faults.check()
    return found
