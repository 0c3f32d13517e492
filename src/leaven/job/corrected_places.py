"""Label maps, boxes and masks that people accepted or drew, as labels of the training pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Generic, TypeVar

import torch
from torch import Tensor

from leaven.data import Data, JoinedPixels, MemoryPixels
from leaven.data.map_files import FoundMaps
from leaven.data.pixel_maps import PixelMaps
from leaven.data.placement import placed_boxes, placed_map
from leaven.errors import LeavenError, RunError
from leaven.labels import VOID, BoxLabels, Correction, LabelStore
from leaven.labels.box_table import BoxRound
from leaven.labels.correction_fields import masks_of
from leaven.labels.masks import Masks
from leaven.labels.pixel_table import PixelRound

R = TypeVar("R", PixelRound, BoxRound)

WHOLE = frozenset({"label-studio", "cvat"})
"""Who gives whole label maps: what no box covers is not known."""


def corrected_maps(
    data: Data[PixelMaps],
    said: Mapping[int, Correction],
    rejected: Tensor,
    store: LabelStore,
) -> tuple[PixelMaps, FoundMaps | None]:
    """The label maps of ``data.train`` with what people said, and the same as they said it.

    An accept gives the map of the round that was looked at, whole. A relabel paints the regions of
    its ``boxes`` over that map, in their order: the mask of a box, or its rectangle where it has
    none. The boxes of ``WHOLE`` are painted on nothing.

    Args:
        data: with pictures in one shape.
        said: by training item, the accepts, relabels and rejects.
        rejected: (n,) bool, the items whose maps are taken away.
        store: the rounds of labels.

    Raises:
        RunError: a round, a picture in it or a class is not there, or a mask has another size.
    """
    labels, rounds = data.train.labels, _Rounds(store.read_pixels)
    _, height, width = data.train.pixels.shape
    known, order = labels.known.clone(), torch.arange(len(labels))
    known[rejected] = False
    tags = None if labels.tags is None else labels.tags.clone()
    painted: list[Tensor] = []
    for row, one in said.items():
        if one.action == "reject":
            continue
        stored = _painted(one, rounds, data.classes)
        if tags is not None:
            shown = stored.unique()
            tags[row] = False
            tags[row, shown[shown != VOID].long()] = True
        order[row] = len(labels) + len(painted)
        painted.append(stored)
        known[row] = True
    first = data.train.as_found
    if not painted:
        return PixelMaps(labels.maps, known, tags), first if isinstance(first, FoundMaps) else None
    if isinstance(first, FoundMaps):
        first = FoundMaps.joined([first, FoundMaps.of([map.numpy() for map in painted])])
    placed = torch.stack([placed_map(map, (height, width)) for map in painted])
    maps = JoinedPixels([labels.maps, MemoryPixels(placed[:, None])], order)
    found = first.select(order) if isinstance(first, FoundMaps) else None
    return PixelMaps(maps, known, tags), found


def _painted(one: Correction, rounds: _Rounds[PixelRound], classes: tuple[str, ...]) -> Tensor:
    """(h, w) uint8, the map that a correction gives, in the size of the picture as it was found."""
    found, number = rounds.of(one)
    stored = found.picture(number).classes.clone()
    if one.boxes is None:
        if one.action == "relabel":
            raise useless(one, "gives a class for the whole picture", "regions, each of a class")
        return stored
    masks = _masks(one, (stored.shape[0], stored.shape[1]))
    if one.by in WHOLE:
        stored.fill_(VOID)
    for region, box in enumerate(one.boxes):
        stored[masks.one(region)] = _index(one, box["class"], classes)
    return stored


def corrected_boxes(
    data: Data[BoxLabels],
    said: Mapping[int, Correction],
    rejected: Tensor,
    store: LabelStore,
    *,
    masks: bool,
) -> tuple[BoxLabels, BoxLabels | None]:
    """The boxes of ``data.train`` with what people said, and the same as they said it.

    An accept gives the accepted boxes of the round that was looked at, or its own ``boxes`` where
    it has some; a relabel gives its ``boxes``. Each is all there is in the picture.

    Args:
        data, said, rejected, store: as for ``corrected_maps``.
        masks: whether boxes have masks; one without is filled.

    Raises:
        RunError: as for ``corrected_maps``.
    """
    train, rounds = data.train, _Rounds(store.read_boxes)
    _, height, width = train.pixels.shape
    labels, rows, drawn = train.labels.hidden(~rejected), [], []
    for row, one in said.items():
        if one.action != "reject":
            drawn.append(_boxes(one, rounds, data.classes, _size(data, row), masks))
            rows.append(row)
    first = train.as_found if isinstance(train.as_found, BoxLabels) else None
    if not rows:
        return labels, first
    sizes, said_now = torch.tensor([_size(data, row) for row in rows]), BoxLabels.joined(drawn)
    placed = placed_boxes(said_now, sizes, (height, width))
    order = torch.arange(len(labels))
    order[torch.tensor(rows)] = len(labels) + torch.arange(len(rows))
    found = None if first is None else BoxLabels.joined([first, said_now]).select(order)
    return BoxLabels.joined([labels, placed]).select(order), found


def _boxes(
    one: Correction,
    rounds: _Rounds[BoxRound],
    classes: tuple[str, ...],
    size: tuple[int, int],
    masks: bool,
) -> BoxLabels:
    """One picture of height and width ``size``; what lies beside it is cut off."""
    if one.boxes is None:
        if one.action == "relabel":
            raise useless(one, "gives a class for the whole picture", "boxes, each of a class")
        found, number = rounds.of(one)
        labels = found.labels.select(torch.tensor([number]))
        labels = labels.keep(labels.accepted)
        person = BoxLabels.from_person([labels.boxes], [labels.classes], masks=labels.masks)
        return replace(person, crowd=labels.crowd)
    corners = torch.tensor([list(box["box"]) for box in one.boxes]).float().view(-1, 4)
    corners = corners.minimum(torch.tensor(size).flip(0).repeat(2))
    index = torch.tensor([_index(one, box["class"], classes) for box in one.boxes]).long()
    drawn = _masks(one, size) if masks else None
    labels = BoxLabels.from_person([corners], [index], masks=drawn)
    return labels.keep((labels.sides > 0).all(1))


def _masks(one: Correction, size: tuple[int, int]) -> Masks:
    assert one.boxes is not None
    try:
        return masks_of(one.boxes, size)
    except LeavenError as error:
        raise useless(one, f"cannot be drawn: {error.found}", error.expected) from None


def _size(data: Data[BoxLabels], row: int) -> tuple[int, int]:
    if data.train.sizes is None:
        _, height, width = data.train.pixels.shape
        return height, width
    height, width = data.train.sizes[row].tolist()
    return height, width


class _Rounds(Generic[R]):
    """Where pictures are in rounds of labels, each round read once."""

    def __init__(self, read: Callable[[int], R]) -> None:
        self._read: Callable[[int], R] = read
        self._found: dict[int, tuple[R, dict[str, int]]] = {}

    def of(self, one: Correction) -> tuple[R, int]:
        """The round that a correction is about, and the number of its picture there."""
        if one.round not in self._found:
            found = self._read(one.round)
            self._found[one.round] = found, {name: row for row, name in enumerate(found.names)}
        found, place = self._found[one.round]
        if one.item not in place:
            raise useless(one, f"is about round {one.round}, which lacks it", "a round that has it")
        return found, place[one.item]


def _index(one: Correction, name: str, classes: tuple[str, ...]) -> int:
    if name not in classes:
        raise useless(one, f"names the class {name!r}", f"one of the run's {len(classes)} classes")
    return classes.index(name)


def useless(one: Correction, what: str, expected: str) -> RunError:
    """The error for a correction that the run cannot use; ``what`` is wrong with it."""
    return RunError(
        f"Correction {one.id} ({one.action} of {one.item!r}) {what}.",
        expected,
        "undo it in `leaven review`, and say it again",
    )
