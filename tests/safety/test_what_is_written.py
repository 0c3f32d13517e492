"""Labelled data sets of hostile names stay in their folder, apart, and are what they were."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.safety.hostile import FILES, NAMES, png, put

from leaven.data import ImageSet, MemoryPixels, open_data, write_csv, write_folder, write_parquet
from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.csv_cells import read_cell, written_cell
from leaven.data.file_names import LONGEST_PART, FreeNames, safe_part, safe_path
from leaven.data.formats import (
    write_coco,
    write_instance_maps,
    write_label_studio,
    write_masks,
    write_voc,
    write_yolo,
)
from leaven.data.formats.folder import Written
from leaven.data.readers.annotated import read_annotated
from leaven.errors import DataError
from leaven.labels import BoxLabels, ClassLabels, LabelStore, Masks

DEVICES = {"con", "prn", "aux", "nul", "com1", "lpt1"}


def class_set() -> tuple[ImageSet, ClassLabels]:
    """A picture of each hostile name, each of a class of its own name."""
    count = len(NAMES)
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    unknown = torch.full((count,), -1)
    pixels = MemoryPixels(images.contiguous())
    return ImageSet(pixels, unknown, unknown.clone(), list(NAMES)), ClassLabels.from_person(
        torch.arange(count)
    )


def places(*, masks: bool, classes: tuple[str, ...] = ("cat", "dog")) -> AnnotatedListing:
    """A picture of each hostile name, with a box or a mask in it."""
    count = len(NAMES)
    sizes = torch.tensor([[6, 8]]).expand(count, 2).contiguous()
    mask = Masks.from_dense(torch.ones(count, 6, 8, dtype=torch.bool)) if masks else None
    boxes = BoxLabels.from_person(
        [torch.tensor([[0.0, 0, 8, 6]])] * count, [torch.tensor([1])] * count, masks=mask
    )
    pictures = [Image.new("L", (8, 6), item) for item in range(count)]
    known = torch.ones(count, dtype=torch.bool)
    splits = ["train", *["val"] * (count - 1)]
    return AnnotatedListing("x", pictures, NAMES, splits, classes, sizes, known, boxes=boxes)


def maps() -> AnnotatedListing:
    listing = places(masks=False)
    return replace(listing, boxes=None, maps=[np.ones((6, 8), np.uint8)] * len(NAMES))


def check_folder(root: Path) -> None:
    """Nothing beside it, and every name in it does on every file system."""
    assert [path.name for path in root.parent.iterdir()] == [root.name]
    seen = set()
    for path in root.rglob("*"):
        assert path.resolve().is_relative_to(root.resolve()) and not path.is_symlink()
        name = path.name
        assert (
            len(name.encode()) <= 255
            and name.replace("\u200d", "").isprintable()
            and "\\" not in name
        )
        assert not name.startswith(".") and not name.endswith((".", " "))
        assert name.partition(".")[0].lower() not in DEVICES
        key = unicodedata.normalize("NFC", str(path.relative_to(root)).casefold())
        assert key not in seen
        seen.add(key)


WRITERS: dict[str, Callable[[Path], Written]] = {
    "coco": lambda path: write_coco(path, places(masks=False)),
    "coco of masks": lambda path: write_coco(path, places(masks=True), polygons=True),
    "coco of maps": lambda path: write_coco(path, maps()),
    "voc": lambda path: write_voc(path, places(masks=False)),
    "yolo": lambda path: write_yolo(path, places(masks=True)),
    "masks": lambda path: write_masks(path, maps()),
    "instances": lambda path: write_instance_maps(path, places(masks=True)),
}
TASK = {"coco of masks": "instance", "coco of maps": "segmentation", "yolo": "instance",
        "masks": "segmentation", "instances": "instance"}  # fmt: skip


@pytest.mark.parametrize("form", WRITERS)
def test_pictures_of_hostile_names_stay_in_the_folder(tmp_path: Path, form: str) -> None:
    root = tmp_path / "base" / "out"
    written = WRITERS[form](root)
    check_folder(root)
    task: Any = TASK.get(form, "detection")
    found = read_annotated(root, task)
    assert written.pictures == len(NAMES) == len(found)
    # The grey value of a picture says which one it was.
    values = sorted(int(np.asarray(Image.open(source))[0, 0]) for source in found.sources)
    assert values == list(range(len(NAMES)))


def test_tasks_of_label_studio_stay_in_the_folder(tmp_path: Path) -> None:
    write_label_studio(tmp_path / "base/out", places(masks=False))
    check_folder(tmp_path / "base/out")


def test_classes_of_hostile_names_are_folders_of_their_own(tmp_path: Path) -> None:
    images, labels = class_set()
    root = tmp_path / "base" / "out"
    write_folder(root, images, labels, NAMES)
    check_folder(root)
    assert len(list(root.iterdir())) == len(NAMES)
    data = open_data(root)
    assert len(data.classes) == len(NAMES) == len(data.train)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Cat", "cat"), ("a/b", "a%2Fb"), ("a\u0301", "\u00e1"), ("CON", "con"), ("x.", "x"),
     (" 2E", "\u202e"), ("a" * 300, "a" * 299 + "b"), ("ſ", "s"), ("unlabelled", "Unlabelled")],
)  # fmt: skip
def test_two_classes_are_told_apart_on_every_file_system(
    tmp_path: Path, one: str, other: str
) -> None:
    images, labels = class_set()
    two = torch.tensor([0, 1])
    images, labels = images.subset(two), ClassLabels.from_person(two)
    write_folder(tmp_path / "base/out", images, labels, (one, other))
    check_folder(tmp_path / "base/out")
    assert len(list((tmp_path / "base/out").iterdir())) == 2


def test_csv_and_parquet_keep_every_name(tmp_path: Path) -> None:
    images, labels = class_set()
    write_parquet(tmp_path / "x.parquet", images, labels, NAMES)
    data = open_data(tmp_path / "x.parquet")
    assert data.classes == NAMES and list(data.train.names) == list(NAMES)
    write_csv(tmp_path / "x.csv", images, labels, NAMES)
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    assert [read_cell(row[0]) for row in rows] == list(NAMES)
    assert [read_cell(row[1]) for row in rows] == list(NAMES)
    for row in rows:
        assert not any(cell[0] in "=@" or cell.startswith(("+", "-rf")) for cell in row[:2])


def test_csv_of_hostile_files_is_read_back(tmp_path: Path) -> None:
    files = [
        *(f"{name}.png" for name in FILES if name[0] != "."),
        "'=x.png",
        "''+x.png",
        " a .png",
        "a\\b.png",
    ]
    for name in files:
        put(tmp_path / "data" / name, png())
    count = len(files)
    listing = open_data(tmp_path / "data", classes=["cat", "=1+1"])
    names = list(listing.train.names)
    assert sorted(names) == sorted(files)
    labels = ClassLabels.from_person(torch.arange(count) % 2)
    write_csv(tmp_path / "data" / "labels.csv", listing.train, labels, ["cat", "=1+1"])
    data = open_data(tmp_path / "data")
    assert set(data.classes) == {"cat", "=1+1"}
    said = {name: data.classes[label] for name, label in zip(data.train.names, data.train.labels)}
    assert said == {name: ("cat", "=1+1")[i % 2] for i, name in enumerate(names)}


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.text(st.sampled_from("='+-@ \t\rab1."), max_size=6))
def test_a_cell_is_what_was_written_and_no_formula(text: str) -> None:
    cell = written_cell(text)
    assert read_cell(cell) == text
    stripped = cell.lstrip()
    if stripped[:1] in ("=", "+", "-", "@") and len(stripped) > 1:
        float(stripped)


@settings(max_examples=250, deadline=None, derandomize=True, database=None)
@given(st.lists(st.text(st.sampled_from("aA./\\ \u0301é%:\n\u202e-1"), max_size=9)
                | st.sampled_from(["CON", "nul.x", "a.png", "a.png/b", "A.PNG/b", "a", "a-2"]), max_size=8))  # fmt: skip
def test_free_names_never_meet(names: list[str]) -> None:
    free, taken = FreeNames(), []
    for name in names:
        stem = safe_path(name)
        stem = stem.with_suffix("") if stem.suffix.lower() == ".png" else stem
        taken.append(f"{free.take(stem.as_posix())}.png")
    keys = [unicodedata.normalize("NFC", name.casefold()) for name in taken]
    folders = {str(folder) for key in keys for folder in Path(key).parents}
    assert len(set(keys)) == len(keys) and not folders & set(keys)
    assert all(part not in ("", ".", "..") for key in keys for part in key.split("/"))


def test_very_many_equal_names_are_quick() -> None:
    free = FreeNames()
    assert len({free.take("image", ".png") for _ in range(30_000)}) == 30_000


@pytest.mark.parametrize("name", NAMES)
def test_a_part_is_one_name_of_bounded_length(name: str) -> None:
    part = safe_part(name, also="/")
    assert "/" not in part and part not in ("", ".", "..")
    assert len(part.encode()) <= LONGEST_PART
    assert safe_part("größe 1.v2") == "größe 1.v2" and safe_part("👩‍👩‍👧") == "👩‍👩‍👧"


def test_xml_refuses_class_names_that_it_does_not_keep(tmp_path: Path) -> None:
    for name in ("\x00", "a\x1bb", "\u202ex", "two\nlines"):
        listing = places(masks=False, classes=("cat", name))
        for write in (write_voc, write_label_studio):
            with pytest.raises(DataError, match="XML does not keep the class name"):
                write(tmp_path / "base/out", listing)
    assert not (tmp_path / "base").exists() or not list((tmp_path / "base").iterdir())


def test_markup_in_class_names_stays_text_in_xml(tmp_path: Path) -> None:
    name = "<object>&lt;\"'</name><script>"
    write_label_studio(tmp_path / "a", places(masks=False, classes=("cat", name)))
    root = ElementTree.parse(tmp_path / "a/label_config.xml")
    assert [label.get("value") for label in root.iter("Label")] == ["cat", name]
    write_voc(tmp_path / "b", places(masks=False, classes=("cat", name)))
    assert read_annotated(tmp_path / "b", "detection").classes == ("cat", name)


def test_the_label_store_keeps_every_name(tmp_path: Path) -> None:
    labels = ClassLabels.from_person(torch.arange(len(NAMES)))
    LabelStore(tmp_path).write(0, NAMES, labels, NAMES)
    names, _, classes, _ = LabelStore(tmp_path).read()
    assert names == classes == list(NAMES)
