"""Exports of Label Studio and CVAT as they are written, as they may be, and as they should not be."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import zipfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.data.annotated_cases import (
    boxes_listing,
    check_boxes,
    check_maps,
    check_pictures,
    maps_listing,
    random_boxes,
)

from leaven.data.formats import write_cvat, write_label_studio
from leaven.data.formats.brush import brush_mask, brush_runs
from leaven.data.formats.cvat import cvat_runs
from leaven.data.readers.annotated import read_annotated
from leaven.data.readers.cvat_file import CvatFile
from leaven.data.readers.drawn import DrawnPicture, Placed, Unusable
from leaven.data.readers.drawn_files import drawn_files
from leaven.data.readers.drawn_names import Names, paths_of
from leaven.data.readers.label_studio_file import label_studio_pictures
from leaven.errors import DataError

# In the form of Label Studio's documentation: two annotators, one of whom gave up; a turned
# rectangle, a polygon, a key point and a relation.
TASKS = [
    {
        "id": 41,
        "annotations": [
            {
                "id": 1001,
                "completed_by": {"id": 1, "email": "a@example.com"},
                "result": [
                    {
                        "original_width": 600, "original_height": 400, "image_rotation": 0,
                        "value": {
                            "x": 10, "y": 25, "width": 20, "height": 50, "rotation": 0,
                            "rectanglelabels": ["car"],
                        },
                        "id": "Dx_aB91ISN", "from_name": "label", "to_name": "image",
                        "type": "rectanglelabels", "origin": "manual",
                    },
                    {
                        "original_width": 600, "original_height": 400, "image_rotation": 0,
                        "value": {
                            "x": 50, "y": 50, "width": 10, "height": 30, "rotation": 90,
                            "rectanglelabels": ["bus"],
                        },
                        "id": "t5sp3TyXPo", "from_name": "label", "to_name": "image",
                        "type": "rectanglelabels", "origin": "prediction-changed",
                    },
                    {
                        "original_width": 600, "original_height": 400, "image_rotation": 0,
                        "value": {
                            "points": [[0, 0], [10, 0], [10, 10]], "closed": True,
                            "polygonlabels": ["car"],
                        },
                        "id": "poly", "from_name": "poly", "to_name": "image",
                        "type": "polygonlabels", "origin": "manual",
                    },
                    {
                        "original_width": 600, "original_height": 400, "image_rotation": 0,
                        "value": {"x": 3, "y": 4, "width": 0.2, "keypointlabels": ["wheel"]},
                        "id": "kp", "from_name": "kp", "to_name": "image",
                        "type": "keypointlabels", "origin": "manual",
                    },
                    {"from_id": "poly", "to_id": "kp", "type": "relation", "direction": "right"},
                ],
                "was_cancelled": False, "ground_truth": False, "lead_time": 4.288,
                "created_at": "2021-03-09T22:16:08.728353Z",
                "updated_at": "2021-03-09T22:16:08.728378Z",
                "prediction": {}, "result_count": 4, "task": 41,
            },
            {
                "id": 1002, "completed_by": 2, "result": [], "was_cancelled": True,
                "ground_truth": False, "created_at": "2021-03-10T22:16:08Z",
                "updated_at": "2021-03-10T22:16:08Z",
            },
        ],
        "drafts": [], "predictions": [],
        "data": {"image": "/data/upload/3/1b2c3d4e-street.jpg"},
        "meta": {}, "created_at": "2021-03-09T21:52:49.513742Z", "project": 83,
    },
]  # fmt: skip

# In the form of CVAT's documentation.
XML = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <id>4</id><name>street</name><size>2</size><mode>annotation</mode>
      <created>2018-09-25 11:34:24.617558+03:00</created>
      <updated>2018-09-25 11:38:27.301183+03:00</updated>
      <labels>
        <label><name>car</name><color>#2080c0</color><type>any</type><attributes></attributes></label>
        <label><name>bus</name><attributes></attributes></label>
      </labels>
    </task>
    <dumped>2018-09-25 11:38:28.799808+03:00</dumped>
  </meta>
  <image id="0" name="day/street.jpg" width="60" height="40">
    <box label="car" source="manual" occluded="0" xtl="6.00" ytl="10.50" xbr="18.00" ybr="30.00" z_order="4">
      <attribute name="crowd">true</attribute>
    </box>
    <box label="bus" source="manual" occluded="0" xtl="20.00" ytl="20.00" xbr="30.00" ybr="24.00" rotation="90.00" z_order="0"></box>
    <polygon label="car" source="manual" occluded="0" points="0.00,0.00;10.00,0.00;10.00,10.00;0.00,10.00" z_order="0"></polygon>
    <mask label="bus" source="semi-auto" occluded="0" rle="0, 2, 1, 3" left="4" top="2" width="3" height="2" z_order="0"></mask>
    <ellipse label="bus" source="manual" occluded="0" cx="30.00" cy="20.00" rx="10.00" ry="5.00" z_order="0"></ellipse>
    <polyline label="car" source="manual" occluded="0" points="1.00,1.00;2.00,2.00" z_order="0"></polyline>
    <points label="car" source="manual" occluded="0" points="1.00,1.00" z_order="0"></points>
    <tag label="car" source="manual"></tag>
  </image>
  <image id="1" name="day/empty.jpg" width="60" height="40">
  </image>
</annotations>
"""


def save(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def one(tmp_path: Path, tasks: object = None) -> DrawnPicture:
    file = save(tmp_path / "project.json", TASKS if tasks is None else tasks)
    return next(iter(label_studio_pictures(file)))


def result_of(**changed: object) -> list[dict]:
    tasks = copy.deepcopy(TASKS)
    result = tasks[0]["annotations"][0]["result"][0]
    result["value"] = {"rectanglelabels": ["car"], **changed.pop("value", {})}  # type: ignore[dict-item]
    result.update(changed)
    tasks[0]["annotations"][0]["result"] = [result]
    return tasks


def test_tasks_of_label_studio(tmp_path: Path) -> None:
    picture = one(tmp_path)
    assert (picture.state, picture.size, picture.others) == ("said", (400, 600), 0)
    assert picture.passed == ("keypointlabels", "relation")
    assert [shape.name for shape in picture.shapes] == ["car", "bus", "car"]
    car, bus, corner = (shape.place((400, 600)) for shape in picture.shapes)
    assert car == Placed((60.0, 100.0, 180.0, 300.0))
    # A quarter turn clockwise about the upper left corner: 60 wide and 120 high become 120 and 60.
    assert bus is not None and bus.turned
    assert bus.box == pytest.approx((180.0, 200.0, 300.0, 260.0))
    assert corner is not None and corner.run is not None
    assert corner.box[2:] == pytest.approx((60, 40), abs=1)


def test_a_cancelled_task_is_skipped_and_one_without_annotations_says_nothing(
    tmp_path: Path,
) -> None:
    tasks = copy.deepcopy(TASKS)
    tasks[0]["annotations"] = tasks[0]["annotations"][1:]
    assert one(tmp_path, tasks).state == "skipped"
    tasks[0]["annotations"] = []
    assert one(tmp_path, tasks).state == "nothing"


def test_geometry_and_label_may_be_results_of_their_own(tmp_path: Path) -> None:
    tasks = copy.deepcopy(TASKS)
    whole = tasks[0]["annotations"][0]["result"][0]
    place = {key: whole["value"][key] for key in ("x", "y", "width", "height", "rotation")}
    bare = {**whole, "type": "rectangle", "value": place}
    named = {**whole, "type": "labels", "value": {**place, "labels": ["car"]}}
    tasks[0]["annotations"][0]["result"] = [bare, named]
    assert [shape.name for shape in one(tmp_path, tasks).shapes] == ["car"]
    tasks[0]["annotations"][0]["result"] = [bare]
    assert one(tmp_path, tasks).problem is not None


def test_the_file_of_a_target_storage_is_one_annotation(tmp_path: Path) -> None:
    task = copy.deepcopy(TASKS[0])
    annotation = {**task["annotations"][0], "task": {"id": 41, "data": task["data"]}}
    picture = one(tmp_path, annotation)
    assert len(picture.shapes) == 3 and "street.jpg" in picture.names[-1]


def test_images_of_cvat(tmp_path: Path) -> None:
    file = CvatFile(save(tmp_path / "annotations.xml", XML))
    picture, empty = file.pictures()
    assert file.classes == ("car", "bus")
    assert (picture.names, picture.size, picture.classes) == (
        ("day/street.jpg",),
        (40, 60),
        ("car",),
    )
    assert picture.passed == ("polyline", "points")
    box, turned, polygon, mask, ellipse = (shape.place((40, 60)) for shape in picture.shapes)
    assert box == Placed((6.0, 10.5, 18.0, 30.0)) and picture.shapes[0].crowd
    assert picture.shapes[0].layer == 4
    assert turned is not None and turned.turned
    assert turned.box == pytest.approx((23.0, 17.0, 27.0, 27.0))
    assert polygon is not None and polygon.box == (0, 0, 10, 10)
    assert mask is not None and mask.box == (4, 2, 7, 4)
    # Of an ellipse about the pixels that its area has.
    from leaven.labels import Masks

    assert ellipse is not None and ellipse.run is not None
    area = int(Masks([ellipse.run], torch.tensor([[40, 60]])).area())
    assert area == pytest.approx(math.pi * 50, rel=0.03)
    assert empty.shapes == () and empty.state == "said"


def test_a_mask_of_cvat_is_rows_of_zeros_and_ones(tmp_path: Path) -> None:
    mask = np.zeros((5, 6), bool)
    mask[1, 2:4], mask[2, 3:5] = True, True
    assert cvat_runs(mask) == {
        "rle": "0, 2, 2, 2", "left": "2", "top": "1", "width": "3", "height": "2"
    }  # fmt: skip


@given(seed=st.integers(0, 2**31), density=st.sampled_from([0.02, 0.5, 0.98]))
@settings(max_examples=60, deadline=None)
def test_runs_are_read_as_they_were_written(seed: int, density: float) -> None:
    generator = np.random.default_rng(seed)
    height, width = generator.integers(1, 40, 2).tolist()
    mask = generator.random((height, width)) < density
    mask[generator.integers(height), generator.integers(width)] = True
    assert np.array_equal(brush_mask(brush_runs(mask), (height, width)), mask)


def test_values_one_by_one_are_read() -> None:
    # 4 values of 8 bits, sizes 3, 4, 8, 16; then "0", size 0, 4 values: opacity 7 is a stroke.
    bits = f"{4:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    bits += f"0{0:02b}{3:03b}" + "".join(f"{value:08b}" for value in (0, 0, 0, 7))
    bits += "0" * (-len(bits) % 8)
    runs = [int(bits[k : k + 8], 2) for k in range(0, len(bits), 8)]
    assert brush_mask(runs, (1, 1)).tolist() == [[True]]


@given(st.lists(st.integers(0, 255), max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_stroke_or_an_error(runs: list[int]) -> None:
    with contextlib.suppress(ValueError):
        assert brush_mask(runs, (3, 5)).shape == (3, 5)
    with contextlib.suppress(ValueError):
        assert brush_mask([*brush_runs(np.ones((3, 5), bool))[:9], *runs], (3, 5)).shape == (3, 5)


BOX = {"x": 1, "y": 1, "width": 5, "height": 5}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"value": {**BOX, "x": "one"}}, "a number that is none"),
        ({"value": {**BOX, "x": math.inf}}, "a number that is none"),
        ({"value": {**BOX, "x": None}}, "a number that is none"),
        ({"value": {"x": 1}}, "a shape without a place"),
        ({"value": BOX, "original_width": None}, "without the size"),
        ({"value": BOX, "original_width": 1 << 40}, "without the size"),
        ({"value": BOX, "original_width": True}, "without the size"),
        ({"value": BOX, "image_rotation": 90}, "turned"),
        ({"value": {**BOX, "rectanglelabels": []}}, "without a class"),
        ({"value": {**BOX, "rectanglelabels": ["car", "bus"]}}, "several classes"),
        ({"value": {**BOX, "rectanglelabels": "car"}}, "no list of names"),
        ({"value": {"points": [[1, 2], [3]]}}, "a polygon that cannot be"),
        ({"value": {"points": []}}, "a polygon that cannot be"),
        ({"value": {"points": [[1, 2], [3, 4], [1e9, 2]]}}, "a polygon that cannot be"),
        ({"value": {"rle": [1, 2, 3]}}, "damaged"),
        ({"value": {"rle": [300]}}, "damaged"),
        ({"value": {"rle": ["a"]}}, "damaged"),
        ({"value": {"rle": brush_runs(np.ones((3, 3), bool))}}, "damaged"),
        ({"value": {"rle": "x", "format": "png"}}, "not of run lengths"),
        ({"value": {"imageDataURL": "data:"}, "type": "bitmasklabels"}, "region that is not read"),
    ],
)
def test_what_cannot_be_is_said_of_its_picture(changed: dict, words: str, tmp_path: Path) -> None:
    with pytest.raises(Unusable, match=words):
        picture = one(tmp_path, result_of(**changed))
        if picture.problem is not None:
            raise picture.problem
        picture.shapes[0].place((400, 600))


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(TASKS)[:-40],
        "[" * 100_000,
        "[]",
        "[1, 2]",
        '[{"image": "/a.jpg", "label": [], "annotation_id": 1}]',
        '{"images": [], "annotations": [], "categories": []}',
        '[{"data": {}, "annotations": 3}]',
    ],
)
def test_what_is_no_export_of_label_studio(content: str, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        list(label_studio_pictures(save(tmp_path / "p.json", content)))


BOMB = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {b} "{("&" + a + ";") * 10}">' for a, b in zip("abcdefgh", "bcdefghi"))
    + "]>"
)


@pytest.mark.parametrize(
    "content",
    [
        XML[:-40],
        XML.replace("<annotations>", BOMB + "<annotations>", 1).replace("street<", "&i;<"),
        '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations></annotations>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotations>&x;</annotations>',
        "<annotations>&undefined;</annotations>",
        "<annotation><object/></annotation>",
        "<annotations>" + "<a>" * 1000 + "</a>" * 1000 + "</annotations>",
        '<annotations><track id="0" label="car"></track></annotations>',
        "<annotations>\x00</annotations>",
        "",
    ],
)
def test_what_is_no_export_of_cvat(content: str, tmp_path: Path) -> None:
    file = save(
        tmp_path / "annotations.xml",
        content.replace('<?xml version="1.0" encoding="utf-8"?>\n', ""),
    )
    with pytest.raises(DataError) as error:
        list(CvatFile(file).pictures())
    assert "root:" not in str(error.value)


@pytest.mark.parametrize(
    ("element", "words"),
    [
        ('<mask label="a" rle="0, 9" left="4" top="2" width="3" height="2"/>', "damaged"),
        ('<mask label="a" rle="0, -1, 7" left="4" top="2" width="3" height="2"/>', "damaged"),
        (
            '<mask label="a" rle="0, 99999999999999999999" left="4" top="2" width="3" height="2"/>',
            "damaged",
        ),
        ('<mask label="a" rle="" left="4" top="2" width="3" height="2"/>', "damaged"),
        ('<mask label="a" rle="0, 6" left="-1" top="2" width="3" height="2"/>', "outside"),
        ('<mask label="a" rle="0, 6" left="9" top="2" width="1e300" height="2"/>', "outside"),
        ('<box label="a" xtl="1" ytl="2" xbr="nan" ybr="4"/>', "a number that is none"),
        ('<box label="a" xtl="1" ytl="2" xbr="4"/>', "without a place"),
        ('<box xtl="1" ytl="2" xbr="3" ybr="4"/>', "without a class"),
        ('<polygon label="a" points="1,2;3"/>', "a polygon that cannot be"),
        ('<polygon label="a" points="1,2;3,4"/>', "a polygon that cannot be"),
        ('<box label="a" xtl="1" ytl="2" xbr="3" ybr="4" z_order="x"/>', "a number that is none"),
    ],
)
def test_shapes_of_cvat_that_cannot_be(element: str, words: str, tmp_path: Path) -> None:
    text = f'<annotations><image id="0" name="a.png" width="10" height="10">{element}</image></annotations>'
    (picture,) = CvatFile(save(tmp_path / "a.xml", text)).pictures()
    with pytest.raises(Unusable, match=words):
        if picture.problem is not None:
            raise picture.problem
        picture.shapes[0].place((10, 10))


def test_shapes_beside_their_picture_have_no_place(tmp_path: Path) -> None:
    text = (
        '<annotations><image id="0" name="a.png" width="10" height="10">'
        '<box label="a" xtl="20" ytl="2" xbr="30" ybr="4"/>'
        '<box label="a" xtl="-5" ytl="-5" xbr="4" ybr="40"/></image></annotations>'
    )
    (picture,) = CvatFile(save(tmp_path / "a.xml", text)).pictures()
    assert picture.shapes[0].place((10, 10)) is None
    assert picture.shapes[1].place((10, 10)) == Placed((0, 0, 4, 10))


def test_archives_are_not_unpacked(tmp_path: Path) -> None:
    file = tmp_path / "task.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("annotations.xml", XML)
    with pytest.raises(DataError, match="archive"):
        drawn_files(file)
    disguised = tmp_path / "out" / "annotations.xml"
    disguised.parent.mkdir()
    disguised.write_bytes(file.read_bytes())
    with pytest.raises(DataError, match="archive"):
        drawn_files(disguised)


def test_the_files_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no export"):
        drawn_files(tmp_path)
    save(tmp_path / "cvat_labels.json", [{"name": "car", "attributes": []}])
    save(tmp_path / "label_config.xml", "<View></View>")
    save(tmp_path / "project.json", TASKS)
    assert [(file.path.name, file.by) for file in drawn_files(tmp_path)] == [
        ("project.json", "label-studio")
    ]
    save(tmp_path / "annotations.xml", XML)
    with pytest.raises(DataError, match="several tools"):
        drawn_files(tmp_path)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("cat/a.png", "cat/a.png"),
        ("/data/local-files/?d=images/cat/a.png", "cat/a.png"),
        ("/data/local-files/?d=images/gr%C3%B6%C3%9Fe%20b.png", "größe b.png"),
        ("/data/upload/7/0a1b2c3d-only.png", "dog/only.png"),
        ("s3://bucket/deep/dog/a.png", "dog/a.png"),
        ("https://host/x/only.png?signature=1", "dog/only.png"),
        ("C:\\pictures\\only.png".replace("\\", "/"), "dog/only.png"),
    ],
)
def test_names_are_found(address: str, name: str) -> None:
    names = Names(["cat/a.png", "dog/a.png", "dog/only.png", "größe b.png"])
    assert names.find(paths_of(address)) == name


def test_names_that_may_be_several_are_none() -> None:
    names = Names(["cat/a.png", "dog/a.png"])
    for address in ("a.png", "bird/a.png"):
        with pytest.raises(Unusable, match="several"):
            names.find([address])
    with pytest.raises(Unusable, match="not of this data"):
        names.find(["../../etc/passwd"])
    with pytest.raises(Unusable, match="not of this data"):
        names.find([])


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_address_is_found_or_not(address: str) -> None:
    names = Names(["cat/a.png", "b.png"])
    with contextlib.suppress(Unusable):
        assert names.find(paths_of(address), address) in ("cat/a.png", "b.png")


@pytest.mark.parametrize("masks", [False, True])
def test_what_is_written_for_cvat_is_read_as_data(masks: bool, tmp_path: Path) -> None:
    wanted = random_boxes(1, masks=masks, whole=masks)
    wanted = wanted.with_weight(torch.ones(len(wanted.boxes)))
    write_cvat(tmp_path / "out", boxes_listing(wanted))
    task = "instance" if masks else "detection"
    for found in (
        read_annotated(tmp_path / "out", task),
        read_annotated(tmp_path / "out" / "annotations.xml", task),
        read_annotated(tmp_path / "out/images", task, tmp_path / "out/annotations.xml"),
    ):
        # CVAT has no word for a picture that is empty.
        empty = torch.tensor([True, False, False, True])
        check_pictures(found, boxes_listing(wanted.hidden(empty)))
        check_boxes(found, boxes_listing(wanted.hidden(empty)), believed=False)


def test_maps_that_are_written_for_cvat_are_read_as_data(tmp_path: Path) -> None:
    listing = maps_listing(2, ("background", "cat", "dög"))
    write_cvat(tmp_path / "background", listing)
    found = read_annotated(tmp_path / "background", "segmentation")
    check_pictures(found, listing)
    check_maps(found, listing)
    # Without a background void is what no mask covers, and so a picture of it alone says nothing.
    listing = maps_listing(2, ("cat", "dög"))
    listing.maps[1] = None
    listing = replace(listing, known=torch.tensor([True, False, False, True]))
    write_cvat(tmp_path / "none", listing)
    found = read_annotated(tmp_path / "none", "segmentation")
    check_pictures(found, listing)
    check_maps(found, listing)


@pytest.mark.parametrize("classes", [("background", "cat", "dög"), ("cat", "dög")])
def test_maps_that_are_submitted_in_label_studio_are_read_as_data(
    classes: tuple[str, ...], tmp_path: Path
) -> None:
    listing = maps_listing(2, classes)
    write_label_studio(tmp_path, listing)
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    for task in tasks:
        said = [{"result": one["result"]} for one in task.pop("predictions", [])]
        task["annotations"] = said
    save(tmp_path / "tasks.json", tasks)
    found = read_annotated(tmp_path, "segmentation")
    check_pictures(found, listing)
    check_maps(found, listing)


def test_maps_of_cvat_without_void_have_a_background_and_a_note(tmp_path: Path) -> None:
    write_cvat(tmp_path, maps_listing(2, ("cat", "dög")))
    file = tmp_path / "annotations.xml"
    root = ElementTree.parse(file).getroot()
    labels = root.find("meta/task/labels")
    labels.remove(labels[-1])
    ElementTree.ElementTree(root).write(file)
    found = read_annotated(tmp_path, "segmentation")
    assert found.classes == ("background", "cat", "dög")
    assert any("count as background" in note for note in found.notes)


def photo(path: Path, width: int, height: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height)).save(path)


def test_predictions_that_nobody_has_looked_at_are_no_labels(tmp_path: Path) -> None:
    write_label_studio(tmp_path, boxes_listing(random_boxes(1, masks=False)), every=True)
    with pytest.raises(DataError, match="Nobody has annotated a picture"):
        read_annotated(tmp_path, "detection")


def test_an_export_of_label_studio_is_read_as_data(tmp_path: Path) -> None:
    photo(tmp_path / "street.jpg", 600, 400)
    photo(tmp_path / "unseen.jpg", 60, 40)
    tasks = copy.deepcopy(TASKS)
    empty = copy.deepcopy(TASKS[0])
    empty["annotations"][0]["result"] = []
    empty["data"]["image"] = "/data/upload/3/99999999-empty.jpg"
    photo(tmp_path / "empty.jpg", 60, 40)
    save(tmp_path / "project.json", [*tasks, empty])
    found = read_annotated(tmp_path, "detection")
    assert found.classes == ("bus", "car")
    assert dict(zip(found.names, found.known.tolist())) == {
        "empty.jpg": True, "street.jpg": True, "unseen.jpg": False
    }  # fmt: skip
    assert found.boxes is not None and found.boxes.counts.tolist() == [0, 3, 0]
    assert any("turned" in note for note in found.notes)
    with pytest.raises(DataError, match="a box where a mask is needed"):
        read_annotated(tmp_path, "instance")
    photo(tmp_path / "street.jpg", 300, 400)
    with pytest.raises(DataError, match="another size"):
        read_annotated(tmp_path, "detection")
    (tmp_path / "street.jpg").unlink()
    with pytest.raises(DataError, match="cannot be found"):
        read_annotated(tmp_path, "detection")
