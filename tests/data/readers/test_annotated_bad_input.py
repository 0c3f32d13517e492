import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco
from tests.data.annotated_cases import save

from leaven.data.annotated_listing import TASKS, Task
from leaven.data.open_annotated import open_annotated
from leaven.data.readers.annotated import read_annotated
from leaven.data.readers.segments import run_of_segment
from leaven.errors import DataError, LeavenError

SIZE = (20, 30)
SQUARE = [[2, 2, 8, 2, 8, 8, 2, 8]]


def photo(file: Path) -> None:
    save(file, Image.new("RGB", (SIZE[1], SIZE[0]), (9, 90, 200)))


def good() -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 30, "height": 20}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 6, 6], "segmentation": SQUARE}
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }


def put(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))


def refused(root: Path, words: str, task: Task = "detection", **options: Any) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read_annotated(root, task, **options)
    assert caught.value.expected and caught.value.do


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("bbox", [2, 2, -1, 6], r"annotation 1 of .*bbox \[2, 2, -1, 6\]"),
        ("bbox", [2, 2, float("nan"), 6], "annotation 1 .* nan"),
        ("bbox", [2, 2, float("inf"), 6], "annotation 1 .* inf"),
        ("bbox", [2, 2, "x", 6], "annotation 1 .* 'x'"),
        ("bbox", [2, 2, 6], "annotation 1 .* bbox"),
        ("bbox", [2, 2, True, 6], "annotation 1 .* True"),
        ("bbox", [40, 2, 6, 6], r"annotation 1 .* \(40, 2, 46, 8\)"),
        ("bbox", [10**400, 2, 6, 6], "annotation 1 .* number of the bbox"),
        ("category_id", 2, "annotation 1 .* category_id 2"),
        ("category_id", [1], "annotation 1 .* category_id"),
        ("image_id", 9, "annotation 1 .* image_id 9"),
        ("iscrowd", 3, "annotation 1 .* iscrowd 3"),
        ("score", 2, "annotation 1 .* score 2"),
        ("source", "me", "annotation 1 .* source 'me'"),
    ],
)
def test_an_annotation_that_cannot_be(tmp_path: Path, part: str, value: Any, words: str) -> None:
    photo(tmp_path / "a.jpg")
    content = good()
    content["annotations"][0][part] = value
    put(tmp_path / "train.json", content)
    refused(tmp_path, words)


@pytest.mark.parametrize(
    ("segment", "words"),
    [
        ([], "no segmentation"),
        ([[1, 2, 3, 4]], "2 corners"),
        ([[1, 2, 3, 4, 5, 6, 7]], "7 numbers"),
        ([[1, 2, 3, 4, 5, 1e9]], "corner at 1e"),
        (
            [[40, 2, 50, 2, 50, 9]],
            r"polygon within \(40, 2, 50, 9\) .* outside its picture of 30x20",
        ),
        ({"size": [30, 20], "counts": [600]}, r"size \[30, 20\]"),
        ({"size": [20, 30], "counts": [601]}, "601 pixels"),
        ({"size": [20, 30], "counts": [-1, 601]}, "below zero"),
        ({"size": [20, 30], "counts": [600.0]}, "no whole numbers"),
        ({"size": [20, 30], "counts": "zzzz"}, "damaged|pixels"),
        ({"size": [20, 30], "counts": ""}, "damaged"),
        ({"size": [20, 30], "counts": "oooooooooooooooo"}, "damaged"),
        ({"size": [20, 30], "counts": "ü"}, "damaged"),
    ],
)
def test_a_segmentation_that_cannot_be(tmp_path: Path, segment: Any, words: str) -> None:
    photo(tmp_path / "a.jpg")
    content = good()
    content["annotations"][0]["segmentation"] = segment
    put(tmp_path / "train.json", content)
    refused(tmp_path, f"annotation 1 .*({words})", "instance")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(images=3), "no list 'images'"),
        (lambda c: c.update(annotations=[3]), "list 'annotations' with other things"),
        (lambda c: c["images"].append(c["images"][0]), "image id 1 more than once"),
        (lambda c: c["images"].append({**c["images"][0], "id": 2}), "picture a.jpg more than once"),
        (lambda c: c["annotations"].append(c["annotations"][0]), "annotation id 1 more than once"),
        (lambda c: c["categories"].append(c["categories"][0]), "category id 1 more than once"),
        (lambda c: c["categories"].append({"id": 2, "name": "cat"}), "class 'cat' twice"),
        (lambda c: c["categories"].clear(), "no class"),
        (lambda c: c["images"].append({"id": 2, "file_name": "no.jpg"}), "not in .*: no.jpg"),
        (lambda c: c["images"][0].update(width=31), "is 31x20; the picture is 30x20"),
        (lambda c: c["images"][0].update(file_name="../../etc/passwd"), "etc/passwd"),
        (lambda c: c["images"][0].update(file_name="/etc/passwd"), "etc/passwd"),
        (lambda c: c["images"][0].update(file_name="..\\a.jpg"), "a.jpg"),
        (lambda c: c["images"][0].update(id=None), "id None"),
        (lambda c: c["images"][0].pop("file_name"), "file_name None"),
    ],
)
def test_a_coco_file_that_cannot_be(tmp_path: Path, change: Any, words: str) -> None:
    photo(tmp_path / "a.jpg")
    content = good()
    change(content)
    put(tmp_path / "train.json", content)
    refused(tmp_path, words)


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000, '{"images": NaN}'])
def test_json_of_another_kind(tmp_path: Path, content: str) -> None:
    photo(tmp_path / "a.jpg")
    put(tmp_path / "train.json", content)
    refused(tmp_path, r"train\.json")


def test_a_picture_in_two_coco_files(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg")
    put(tmp_path / "train.json", good())
    put(tmp_path / "val.json", good())
    refused(tmp_path, "list the same pictures: a.jpg")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 0.5 0.5 1", "Line 1 of .*a.txt has 4 numbers"),
        ("0 0.5 0.5 0.1 0.1\n0 0.5 x 1 1", "Line 2 of .*'x'"),
        ("0 0.5 0.5 nan 1", "Line 1 of .*nan"),
        ("0 0.5 0.5 -0.1 1", "Line 1 of .*width and height"),
        ("2 0.5 0.5 1 1", "Line 1 of .*class 2"),
        ("-1 0.5 0.5 1 1", "Line 1 of .*class -1"),
        ("0.5 0.5 0.5 1 1", "Line 1 of .*class 0.5"),
        ("0 1.8 0.5 0.4 1", "Line 1 of .*outside its picture of 30x20"),
        ("0 15 0.5 10 1", "Line 1 of .*number 15 .*pixels"),
        ("0 15 10 20 10 20 15", "Line 1 of .*number 20 .*pixels"),
        ("0 0.5 0.5 0.1 0.1 7", "Line 1 of .*confidence 7"),
    ],
)
def test_a_yolo_line_that_cannot_be(tmp_path: Path, text: str, words: str) -> None:
    photo(tmp_path / "images/a.jpg")
    put(tmp_path / "labels/a.txt", text)
    put(tmp_path / "classes.txt", "cat\ndog")
    refused(tmp_path, words)


def test_yolo_files_that_do_not_belong_together(tmp_path: Path) -> None:
    photo(tmp_path / "images/a.jpg")
    put(tmp_path / "labels/b.txt", "")
    refused(tmp_path, "1 label file of .* without a picture: labels/b.txt")
    (tmp_path / "labels/b.txt").rename(tmp_path / "labels/a.txt")
    put(tmp_path / "labels/a.txt", "0 0.5 0.5 1 1")
    refused(tmp_path, "Line 1 of .* has 5 numbers", "instance")
    for text in ("names: [a", "- 1", "names: 3", "names: {1: a}", "nc: 3\nnames: [a]", "names: []"):
        put(tmp_path / "data.yaml", text)
        refused(tmp_path, r"data\.yaml")
    put(tmp_path / "data.yaml", "names: !!python/object/apply:os.system ['true']")
    refused(tmp_path, "not YAML")
    (tmp_path / "data.yaml").unlink()
    put(tmp_path / "train.txt", "images/a.jpg\nimages/z.jpg\n")
    refused(tmp_path, "Line 2 of .*train.txt names 'images/z.jpg'")
    put(tmp_path / "train.txt", "images/a.jpg\n")
    put(tmp_path / "val.txt", "images/a.jpg\n")
    refused(tmp_path, "into val; it is in train already")


def xml(inner: str, filename: str = "a.jpg") -> str:
    return f"<annotation><filename>{filename}</filename>{inner}</annotation>"


def voc_object(name: str, box: str) -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), box.split())
    corners = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    return f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<annotation>", "is not XML"),
        ("", "is not XML"),
        ("<html/>", "root <html>"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><annotation>&a;</annotation>', "entities"),
        (xml(voc_object("cat", "1 1 x 5")), "Object 1 of .*'x'"),
        (xml(voc_object("cat", "1 1 5")), "Object 1 of .*ymax None"),
        (xml(voc_object("cat", "20 20 5 5")), r"Object 1 of .*a\.xml .*\(20, 20, 5, 5\)"),
        (xml(voc_object("cat", "50 1 60 5")), r"Object 1 of /.*/a\.xml .*\(50, 1, 60, 5\)"),
        (xml(voc_object("", "1 1 5 5")), r"a\.xml has an object without a name"),
        (xml("<object><name>cat</name></object>"), "no bndbox"),
        (
            xml("<size><width>9</width><height>9</height></size>"),
            "a.xml .* is 9x9; the picture is 30x20",
        ),
        (xml("", "../../etc/passwd"), "etc/passwd"),
    ],
)
def test_an_xml_file_that_cannot_be(tmp_path: Path, text: str, words: str) -> None:
    photo(tmp_path / "JPEGImages/a.jpg")
    put(tmp_path / "Annotations/a.xml", text)
    refused(tmp_path, words)


def test_xml_files_that_do_not_belong_together(tmp_path: Path) -> None:
    photo(tmp_path / "JPEGImages/a.jpg")
    put(tmp_path / "Annotations/b.xml", xml("", "b.jpg"))
    refused(tmp_path, r"1 XML file of .* without a picture of their own: Annotations/b\.xml")
    put(tmp_path / "Annotations/b.xml", xml(voc_object("cat", "1 1 5 5")))
    assert read_annotated(tmp_path, "detection").known.tolist() == [True]
    put(tmp_path / "classes.txt", "dog\n")
    refused(tmp_path, "the classes cat")


def test_masks_that_do_not_belong_to_their_pictures(tmp_path: Path) -> None:
    photo(tmp_path / "images/a.jpg")
    put(tmp_path / "classes.txt", "cat\ndog\nbird\n")
    save(tmp_path / "masks/b.png", np.zeros(SIZE, np.uint8))
    refused(tmp_path, "1 mask of .* without a picture: masks/b.png", "segmentation")
    (tmp_path / "masks/b.png").unlink()
    save(tmp_path / "masks/a.png", np.zeros((20, 31), np.uint8))
    refused(tmp_path, "mask of images/a.jpg is 31x20; the picture is 30x20", "segmentation")
    (tmp_path / "masks/a.png").write_bytes(b"\x89PNG")
    refused(tmp_path, "could not be read", "segmentation")
    (tmp_path / "masks/a.png").unlink()
    save(tmp_path / "masks/a.jpg", np.zeros(SIZE, np.uint8))
    refused(tmp_path, "lossy", "segmentation")


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (np.full(SIZE, 3, np.uint8), "600 pixels of 1 value that is no class: 3"),
        (np.full(SIZE, 300, np.uint16), "no class: 300"),
        (np.full((*SIZE, 3), [1, 2, 3], np.uint8), "of colours"),
    ],
)
def test_a_mask_with_foreign_values_is_refused_when_it_is_decoded(
    tmp_path: Path, stored: np.ndarray, words: str
) -> None:
    photo(tmp_path / "images/a.jpg")
    put(tmp_path / "classes.txt", "cat\ndog\nbird\n")
    save(tmp_path / "masks/a.png", stored)
    maps = read_annotated(tmp_path, "segmentation").maps
    assert maps is not None
    with pytest.raises(DataError, match=f"of images/a.jpg .*{words}"):
        maps[0]


def test_a_colour_that_is_no_class(tmp_path: Path) -> None:
    photo(tmp_path / "images/a.jpg")
    put(tmp_path / "classes.json", [{"name": "cat", "color": [9, 9, 8]}])
    save(tmp_path / "masks/a.png", np.full((*SIZE, 3), [1, 2, 3], np.uint8))
    maps = read_annotated(tmp_path, "segmentation").maps
    assert maps is not None
    with pytest.raises(DataError, match="#010203") as caught:
        maps[0]
    assert "a class called void" in caught.value.do


@pytest.mark.parametrize(
    "content", ["{", "3", "[]", '["a", "a"]', '[{"name": "a", "color": [1, 2]}]', '[{"name": 3}]']
)
def test_class_lists_that_cannot_be(tmp_path: Path, content: str) -> None:
    photo(tmp_path / "images/a.jpg")
    save(tmp_path / "masks/a.png", np.zeros(SIZE, np.uint8))
    put(tmp_path / "classes.json", content)
    refused(tmp_path, "classes.json", "segmentation")


def test_an_object_of_names_is_told_what_lists_of_classes_are_read(tmp_path: Path) -> None:
    photo(tmp_path / "images/a.jpg")
    save(tmp_path / "masks/a.png", np.zeros(SIZE, np.uint8))
    put(tmp_path / "classes.json", {"0": "bg"})
    with pytest.raises(DataError, match="gives '0' no colour") as caught:
        read_annotated(tmp_path, "segmentation")
    assert '["cat", "dog"]' in caught.value.expected
    assert '{"cat": [128, 0, 0], ...}' in caught.value.expected


@pytest.mark.parametrize("key", ["image_id", "category_id"])
def test_ids_in_quotes_are_to_be_numbers(tmp_path: Path, key: str) -> None:
    photo(tmp_path / "a.jpg")
    content = good()
    content["annotations"][0][key] = str(content["annotations"][0][key])
    put(tmp_path / "train.json", content)
    with pytest.raises(DataError, match=f"{key} '1'") as caught:
        read_annotated(tmp_path, "detection")
    assert "numbers, without quotes" in caught.value.do


def test_all_annotations_that_cannot_be_are_counted(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg")
    content = good()
    outside = {**content["annotations"][0], "bbox": [40, 2, 6, 6]}
    content["annotations"] += [{**outside, "id": row} for row in range(2, 9)]
    content["annotations"] += [{**outside, "id": 9, "category_id": 7}]
    put(tmp_path / "train.json", content)
    with pytest.raises(DataError, match="7 faults of one kind") as caught:
        read_annotated(tmp_path, "detection")
    lines = caught.value.found.split("\n")
    assert len(lines) == 8 and all(f"annotation {row + 1} " in lines[row] for row in range(1, 6))
    assert lines[6] == "and 2 more."
    assert "of another kind: The annotation 9 " in lines[7]


def test_all_lines_objects_and_instances_that_cannot_be_are_counted(tmp_path: Path) -> None:
    for name in "abc":
        photo(tmp_path / f"yolo/images/{name}.jpg")
        put(tmp_path / f"yolo/labels/{name}.txt", "0 0.5 0.5 0.1 0.1\n0 1.8 0.5 0.1 0.1\n")
        photo(tmp_path / f"voc/JPEGImages/{name}.jpg")
        put(tmp_path / f"voc/Annotations/{name}.xml", xml(voc_object("cat", "50 1 60 5"), ""))
        photo(tmp_path / f"maps/images/{name}.jpg")
        save(tmp_path / f"maps/instances/{name}.png", np.ones((5, 5), np.uint8))
    found = {
        "yolo": "3 faults .*Line 2 of .*a.txt.*Line 2 of .*b.txt.*Line 2 of .*c.txt",
        "voc": "3 faults .*Object 1 of .*a.xml.*Object 1 of .*c.xml",
        "maps": "3 faults .*mask of a.jpg is 5x5.*mask of c.jpg is 5x5",
    }
    for folder, words in found.items():
        task: Task = "instance" if folder == "maps" else "detection"
        refused(tmp_path / folder, f"(?s){words}", task)


def test_all_masks_that_cannot_be_are_counted(tmp_path: Path) -> None:
    put(tmp_path / "classes.txt", "cat\ndog\n")
    for name in "abcdefgh":
        photo(tmp_path / f"images/{name}.jpg")
        save(tmp_path / f"masks/{name}.png", np.full(SIZE, 7 * (name < "h"), np.uint8))
    with pytest.raises(DataError, match="(?s)7 faults .*images/a.jpg.*images/e.jpg.*and 2 more"):
        open_annotated(tmp_path, "segmentation")
    for name in "bcd":
        save(tmp_path / f"masks/{name}.png", np.zeros((4, 4), np.uint8))
    refused(tmp_path, "(?s)3 faults .*b.jpg is 4x4.*d.jpg is 4x4", "segmentation")


def turned_photo(file: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (SIZE[1], SIZE[0]), (9, 90, 200)).save(file, exif=exif)


def test_what_was_drawn_on_a_picture_before_it_was_turned(tmp_path: Path) -> None:
    turned_photo(tmp_path / "masks/images/a.jpg")
    put(tmp_path / "masks/classes.txt", "cat\ndog\n")
    save(tmp_path / "masks/masks/a.png", np.zeros(SIZE, np.uint8))
    turned_photo(tmp_path / "coco/a.jpg")
    put(tmp_path / "coco/train.json", good())
    turned_photo(tmp_path / "voc/a.jpg")
    put(tmp_path / "voc/a.xml", xml("<size><width>30</width><height>20</height></size>"))
    cases: list[tuple[str, Task]] = [
        ("masks", "segmentation"), ("coco", "detection"), ("voc", "detection"),
    ]  # fmt: skip
    for folder, task in cases:
        with pytest.raises(DataError, match="30x20; the picture is 20x30 .* EXIF") as caught:
            read_annotated(tmp_path / folder, task)
        assert "turn the" in caught.value.do and "scale" not in caught.value.do
    save(tmp_path / "masks/masks/a.png", np.zeros(SIZE[::-1], np.uint8))
    assert len(read_annotated(tmp_path / "masks", "segmentation")) == 1
    save(tmp_path / "masks/masks/a.png", np.zeros((20, 20), np.uint8))
    with pytest.raises(DataError, match="is 20x20; the picture is 20x30") as caught:
        read_annotated(tmp_path / "masks", "segmentation")
    assert "scale the mask" in caught.value.do


def test_links_are_not_followed_out_of_the_folder(tmp_path: Path) -> None:
    photo(tmp_path / "outside/b.jpg")
    photo(tmp_path / "data/images/a.jpg")
    put(tmp_path / "data/labels/a.txt", "")
    (tmp_path / "data/images/inside.jpg").symlink_to(tmp_path / "data/images/a.jpg")
    assert len(read_annotated(tmp_path / "data", "detection")) == 2
    (tmp_path / "data/images/more").symlink_to(tmp_path / "outside")
    refused(tmp_path / "data", "more is a link to .*outside, out of the folder")
    (tmp_path / "data/images/more").unlink()
    (tmp_path / "data/images/b.jpg").symlink_to(tmp_path / "outside/b.jpg")
    refused(tmp_path / "data", "b.jpg is a link")


def test_nothing_or_too_much_to_read(tmp_path: Path) -> None:
    refused(tmp_path / "none", "no file or folder")
    refused(tmp_path, "no picture in")
    photo(tmp_path / "a.jpg")
    refused(tmp_path, "no annotation for detection")
    refused(tmp_path / "a.jpg", "unknown kind")
    put(tmp_path / "train.json", good())
    put(tmp_path / "a.xml", xml(""))
    refused(tmp_path, "COCO JSON and VOC XML")
    assert len(read_annotated(tmp_path, "detection", tmp_path / "train.json")) == 1
    refused(tmp_path, "void value", void=3)
    with pytest.raises(DataError, match="no task 'detecting'"):
        read_annotated(tmp_path, "detecting")  # type: ignore[arg-type]


def test_a_damaged_parquet_file(tmp_path: Path) -> None:
    put(tmp_path / "a.parquet", "PAR1")
    for task in TASKS:
        refused(tmp_path / "a.parquet", "whole Parquet file", task)


WORDS = (
    "id", "image_id", "category_id", "bbox", "segmentation", "size", "counts", "name", "file_name",
    "images", "annotations", "categories", "iscrowd", "score", "weight", "source", "width", "info",
)  # fmt: skip
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["a.jpg", "../a.jpg", "cat", 1]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(WORDS),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)
places = st.lists(st.sampled_from(["images", "annotations", "categories"]), min_size=1, max_size=2)
keys = st.sampled_from(
    [
        "id",
        "image_id",
        "category_id",
        "bbox",
        "segmentation",
        "file_name",
        "name",
        "iscrowd",
        "width",
    ]
)


def readable(root: Path, task: Task) -> None:
    """Reading gives a listing or an error of leaven."""
    try:
        found = read_annotated(root, task)
        if found.maps is not None:
            for item in range(len(found)):
                found.maps[item]
    except LeavenError as error:
        assert str(error)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(TASKS), places, keys, anything)
def test_no_coco_file_brings_another_error(
    task: Task, lists: list[str], key: str, value: Any
) -> None:
    content = good()
    for name in lists:
        content[name][0][key] = value
    with tempfile.TemporaryDirectory() as made:
        photo(Path(made) / "a.jpg")
        put(Path(made) / "train.json", content)
        readable(Path(made), task)
        put(Path(made) / "train.json", {**good(), lists[0]: value})
        readable(Path(made), task)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | st.text("0123456789.-e \n", max_size=60).map(str.encode))
def test_no_label_file_brings_another_error(content: bytes) -> None:
    for picture, label in (("images/a.jpg", "labels/a.txt"), ("a.jpg", "a.xml")):
        for other in ("classes.txt", "data.yaml"):
            with tempfile.TemporaryDirectory() as made:
                photo(Path(made) / picture)
                put(Path(made) / label, "")
                (Path(made) / label).write_bytes(content)
                (Path(made) / other).write_bytes(content)
                readable(Path(made), "detection")
                readable(Path(made), "instance")


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(min_codepoint=40, max_codepoint=130), max_size=12))
def test_letters_of_run_lengths_are_a_mask_or_an_error(letters: str) -> None:
    try:
        run = run_of_segment({"size": [4, 5], "counts": letters}, (4, 5), "here")
    except DataError:
        return
    assert coco.decode({"size": [4, 5], "counts": run}).shape == (4, 5)
