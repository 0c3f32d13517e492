import json
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools.coco import COCO
from tests.data.annotated_cases import (
    CLASSES,
    NAMES,
    SIZES,
    boxes_listing,
    by_name,
    check_boxes,
    check_maps,
    check_pictures,
    maps_listing,
    pictures,
    random_boxes,
)

from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.formats import (
    write_coco,
    write_instance_maps,
    write_label_studio,
    write_masks,
    write_voc,
    write_yolo,
)
from leaven.data.formats.brush import brush_runs
from leaven.data.formats.masks import palette
from leaven.data.formats.outlines import outline
from leaven.data.readers.annotated import read_annotated
from leaven.data.readers.segments import run_of_polygons
from leaven.errors import DataError
from leaven.labels import BoxLabels, Masks

SPLITS = ("train", "val", "train", "test")
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=15, deadline=None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "written"


def without_crowds(labels: BoxLabels) -> BoxLabels:
    return labels.keep(~labels.crowd)


@few
@given(seeds, st.booleans(), st.booleans())
def test_coco_gives_back_every_box_and_mask(seed: int, masks: bool, polygons: bool) -> None:
    listing = boxes_listing(random_boxes(seed, masks=masks), SPLITS)
    with tempfile.TemporaryDirectory() as made:
        account = write_coco(Path(made) / "x", listing, every=True, polygons=polygons)
        found = read_annotated(Path(made) / "x", "instance" if masks else "detection")
    assert (account.pictures, account.labelled) == (4, 3)
    check_pictures(found, listing)
    check_boxes(found, listing, believed=True)


@few
@given(seeds)
def test_voc_gives_back_every_box(seed: int) -> None:
    listing = boxes_listing(random_boxes(seed, masks=False), SPLITS)
    with tempfile.TemporaryDirectory() as made:
        write_voc(Path(made) / "x", listing, every=True)
        found = read_annotated(Path(made) / "x", "detection")
    check_pictures(found, listing)
    check_boxes(found, listing, believed=True)


@few
@given(seeds, st.booleans())
def test_yolo_gives_back_every_box_and_mask(seed: int, masks: bool) -> None:
    labels = without_crowds(random_boxes(seed, masks=masks, whole=masks))
    listing = boxes_listing(labels, SPLITS)
    with tempfile.TemporaryDirectory() as made:
        write_yolo(Path(made) / "x", listing, every=True)
        found = read_annotated(Path(made) / "x", "instance" if masks else "detection")
    check_pictures(found, listing)
    check_boxes(found, listing, believed=False)


@few
@given(seeds)
def test_label_maps_come_back_from_mask_files_and_coco(seed: int) -> None:
    for classes in (CLASSES, ("background", "cat"), ("cat", "background", "dog"), ("cat", "dog")):
        listing = maps_listing(seed, classes, SPLITS)
        with tempfile.TemporaryDirectory() as made:
            for number, write in enumerate((write_masks, write_coco)):
                write(Path(made) / str(number), listing)
                found = read_annotated(Path(made) / str(number), "segmentation")
                check_pictures(found, listing)
                check_maps(found, listing)


@few
@given(seeds)
def test_instance_maps_give_back_masks_that_do_not_overlap(seed: int) -> None:
    labels = random_boxes(seed, masks=True, whole=True)
    # Of each picture the first row alone: it overlaps nothing.
    starts = labels.counts.cumsum(0) - labels.counts
    first = torch.zeros(len(labels.boxes), dtype=torch.bool)
    first[starts[labels.counts > 0]] = True
    listing = boxes_listing(labels.keep(first), SPLITS)
    with tempfile.TemporaryDirectory() as made:
        account = write_instance_maps(Path(made) / "x", listing, every=True)
        found = read_annotated(Path(made) / "x", "instance")
    assert account.notes == ()
    check_pictures(found, listing)
    check_boxes(found, listing, believed=True)


def test_instances_under_smaller_ones_are_counted(folder: Path) -> None:
    large, small = np.ones(SIZES[0], bool), np.zeros(SIZES[0], bool)
    small[2:4, 2:4] = True
    masks = Masks.from_dense(torch.from_numpy(np.stack([small, large])))
    labels = BoxLabels.from_person(
        [masks.boxes(), *[torch.zeros(0, 4)] * 3],
        [torch.tensor([0, 1]), *[torch.zeros(0, dtype=torch.int64)] * 3],
        masks=masks,
    )
    account = write_instance_maps(folder, boxes_listing(labels))
    assert account.notes == ("1 instance loses pixels under smaller ones: 2 of a.png.",)
    stored = np.asarray(Image.open(folder / "instances" / "a.png"))
    assert np.array_equal(stored, np.where(small, 1, 2))


def test_rows_that_are_not_accepted_are_left_out_unless_asked(folder: Path) -> None:
    labels = random_boxes(3, masks=False)
    labels = labels.with_weight(torch.arange(len(labels.boxes)).remainder(2).float())
    listing = boxes_listing(labels)
    assert write_coco(folder, listing).rows == int(labels.accepted.sum()) < len(labels.boxes)
    found = read_annotated(folder, "detection")
    check_boxes(found, boxes_listing(labels.keep(labels.accepted)), believed=True)


@pytest.mark.parametrize("write", [write_coco, write_voc, write_yolo])
def test_the_count_is_of_what_was_written(write, folder: Path) -> None:  # type: ignore[no-untyped-def]
    labels = without_crowds(random_boxes(3, masks=False))
    known = torch.tensor([False, True, False, True])
    done = write(folder, boxes_listing(replace(labels, known=known)), every=True)
    found = read_annotated(folder, "detection").boxes
    assert found is not None
    assert (done.labelled, done.rows) == (2, len(found.boxes))
    assert done.rows < len(labels.boxes)


def test_pycocotools_opens_the_file(folder: Path) -> None:
    listing = boxes_listing(random_boxes(5, masks=True))
    assert listing.boxes is not None and listing.boxes.masks is not None
    write_coco(folder, listing, every=True)
    opened = COCO(folder / "annotations" / "train.json")
    assert [one["name"] for one in opened.loadCats(opened.getCatIds())] == list(CLASSES)
    assert [one["file_name"] for one in opened.loadImgs(opened.getImgIds())] == [
        NAMES[0], NAMES[1], NAMES[3],
    ]  # fmt: skip
    rows = opened.loadAnns(opened.getAnnIds())
    for row, one in enumerate(rows):
        assert np.array_equal(opened.annToMask(one), listing.boxes.masks.one(row).numpy())
        assert one["area"] == int(listing.boxes.masks.area()[row])
    assert len(rows) == len(listing.boxes.boxes)


def flat_listing() -> AnnotatedListing:
    """Three pictures in one folder, all known, for readers that look in one folder alone."""
    labels = without_crowds(random_boxes(7, masks=False)).select(torch.tensor([0, 1, 3]))
    return AnnotatedListing(
        "three",
        [pictures()[i] for i in (0, 1, 3)],
        ("a.png", "b.png", "c.png"),
        ("train",) * 3,
        CLASSES,
        torch.tensor(SIZES)[[0, 1, 3]],
        labels.known,
        boxes=labels,
    )


def test_supervision_opens_coco_yolo_and_voc(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import supervision

        listing = flat_listing()
        for write in (write_coco, write_yolo, write_voc):
            write(tmp_path / write.__name__, listing, every=True)
        coco, yolo, voc = (
            tmp_path / write.__name__ for write in (write_coco, write_yolo, write_voc)
        )
        data_set = supervision.DetectionDataset
        opened = {
            "coco": data_set.from_coco(str(coco / "images"), str(coco / "annotations/train.json")),
            "yolo": data_set.from_yolo(
                str(yolo / "images"), str(yolo / "labels"), str(yolo / "data.yaml")
            ),
            "voc": data_set.from_pascal_voc(str(voc / "JPEGImages"), str(voc / "Annotations")),
        }
        assert listing.boxes is not None
        for form, found in opened.items():
            detections = {Path(place).name: each for place, _, each in found}
            for item, name in enumerate(listing.names):
                wanted = listing.boxes.select(torch.tensor([item]))
                each = detections[name]
                assert np.allclose(each.xyxy, wanted.boxes.numpy(), atol=1e-4), form
                labels = [found.classes[number] for number in each.class_id]
                assert labels == [CLASSES[number] for number in wanted.classes], form


def test_masks_have_the_palette_of_voc(folder: Path) -> None:
    write_masks(folder, maps_listing(0))
    image = Image.open(folder / "masks" / "a.png")
    assert image.mode == "P"
    # The colours that the VOC development kit prints for aeroplane, bicycle, bird and the border.
    shown = palette()[[0, 1, 2, 3, 255]].tolist()
    assert shown == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [224, 224, 192]]
    assert image.getpalette()[:12] == palette()[:4].reshape(-1).tolist()


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14))))
def test_an_outline_fills_to_its_mask(mask: np.ndarray) -> None:
    corners = outline(mask)
    if not mask.any():
        assert corners.shape == (0, 2)
        return
    run = run_of_polygons([corners.astype(float)], mask.shape, "here")
    assert list(Masks.from_dense(torch.from_numpy(mask)[None]).runs) == [run]


def test_the_outline_of_a_rectangle_is_its_corners() -> None:
    mask = np.zeros((6, 8), bool)
    mask[1:4, 2:7] = True
    assert sorted(map(tuple, outline(mask).tolist())) == [(2, 1), (2, 4), (7, 1), (7, 4)]


def decoded_brush(encoded: list[int], height: int, width: int) -> np.ndarray:
    """A slow reader of Label Studio's brush strokes, written from the description of the bits."""
    bits = "".join(f"{byte:08b}" for byte in encoded)
    place = 0

    def read(count: int) -> int:
        nonlocal place
        place += count
        return int(bits[place - count : place], 2)

    total, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        repeated = read(1)
        length = read(sizes[read(2)]) + 1
        values += [read(word)] * length if repeated else [read(word) for _ in range(length)]
    return np.array(values).reshape(height, width, 4)[:, :, 3] > 0


@settings(max_examples=40, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_brush_strokes_are_read_back(mask: np.ndarray) -> None:
    assert np.array_equal(decoded_brush(brush_runs(mask), *mask.shape), mask)


def test_a_brush_stroke_longer_than_the_longest_run() -> None:
    mask = np.ones((200, 200), bool)
    mask[199, 199] = False
    assert np.array_equal(decoded_brush(brush_runs(mask), 200, 200), mask)


def test_label_studio_tasks_say_boxes_scores_and_what_is_unlabelled(folder: Path) -> None:
    listing = boxes_listing(random_boxes(11, masks=False))
    assert listing.boxes is not None
    write_label_studio(folder, listing, every=True)
    tasks = json.loads((folder / "tasks.json").read_text())
    assert [task["data"]["name"] for task in tasks] == list(NAMES)
    assert [len(task.get("predictions", [])) for task in tasks] == [1, 1, 0, 1]
    assert tasks[1]["predictions"] == [{"model_version": "leaven", "result": []}]
    results = [
        one for task in tasks for each in task.get("predictions", []) for one in each["result"]
    ]
    for row, one in enumerate(results):
        value, width, height = one["value"], one["original_width"], one["original_height"]
        corner = np.array([value["x"] * width, value["y"] * height]) / 100
        side = np.array([value["width"] * width, value["height"] * height]) / 100
        assert np.allclose([*corner, *(corner + side)], listing.boxes.boxes[row], atol=1e-4)
        assert value["rectanglelabels"] == [CLASSES[listing.boxes.classes[row]]]
        assert one["score"] == float(listing.boxes.confidence[row])
        assert one["meta"]["crowd"] == bool(listing.boxes.crowd[row])
    assert len(results) == len(listing.boxes.boxes)
    labels = ElementTree.parse(folder / "label_config.xml").getroot().findall("*/Label")
    assert [label.get("value") for label in labels] == list(CLASSES)


def test_label_studio_strokes_are_the_masks(tmp_path: Path) -> None:
    listing = boxes_listing(random_boxes(13, masks=True))
    assert listing.boxes is not None and listing.boxes.masks is not None
    write_label_studio(tmp_path / "brush", listing, every=True)
    write_label_studio(tmp_path / "polygon", listing, every=True, polygons=True)
    for kind in ("brush", "polygon"):
        tasks = json.loads((tmp_path / kind / "tasks.json").read_text())
        results = [
            one for task in tasks for each in task.get("predictions", []) for one in each["result"]
        ]
        assert len(results) == len(listing.boxes.boxes)
        for row, one in enumerate(results):
            size = one["original_height"], one["original_width"]
            if kind == "brush":
                found = decoded_brush(one["value"]["rle"], *size)
            else:
                corners = np.array(one["value"]["points"]) * [size[1] / 100, size[0] / 100]
                run = run_of_polygons([corners], size, "here")
                found = Masks([run], torch.tensor([size])).one(0).numpy()
            assert np.array_equal(found, listing.boxes.masks.one(row).numpy())


def test_label_studio_has_a_stroke_for_void_and_none_for_background(folder: Path) -> None:
    listing = maps_listing(2, ("background", "cat"))
    write_label_studio(folder, listing)
    tasks = json.loads((folder / "tasks.json").read_text())
    labels = [
        one["value"]["brushlabels"]
        for task in tasks
        for each in task.get("predictions", [])
        for one in each["result"]
    ]
    assert labels == [["void"], ["cat"], ["void"], ["void"], ["cat"]]  # one map is void alone
    offered = ElementTree.parse(folder / "label_config.xml").iter("Label")
    assert [one.get("value") for one in offered] == ["background", "cat", "void"]


def test_bytes_are_copied_as_they_are(tmp_path: Path) -> None:
    listing = flat_listing()
    files = []
    for name, image in zip(listing.names, listing.sources, strict=True):
        image.save(tmp_path / name.replace(".png", ".jpg"), quality=31)
        files.append(tmp_path / name.replace(".png", ".jpg"))
    sources = [files[0], files[1].read_bytes(), files[2]]
    write_coco(tmp_path / "x", replace(listing, sources=sources, names=["a.jpg", "b", "c.jpg"]))
    for name, file in zip(("a.jpg", "b.jpeg", "c.jpg"), files):
        assert (tmp_path / "x" / "images" / name).read_bytes() == file.read_bytes()


def test_names_stay_in_the_folder_and_apart(tmp_path: Path) -> None:
    listing = flat_listing()
    names = ("../../out.png", "A.png", "a.jpg")
    write_yolo(tmp_path / "x" / "y", replace(listing, names=names), every=True)
    images = tmp_path / "x" / "y" / "images"
    written = sorted(f.relative_to(images).as_posix() for f in images.rglob("*.png"))
    assert written == ["%2E%2E/%2E%2E/out.png", "A.png", "a-2.png"]
    assert [place.name for place in tmp_path.iterdir()] == ["x"]
    assert read_annotated(tmp_path / "x" / "y", "detection").known.all()


@pytest.mark.parametrize("write", [write_coco, write_voc, write_yolo, write_instance_maps])
def test_nothing_is_written_over_a_foreign_folder(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(DataError, match="not empty"):
        write(tmp_path, boxes_listing(random_boxes(0, masks=True)))
    assert [place.name for place in tmp_path.iterdir()] == ["mine.txt"]


def test_a_picture_that_is_gone_leaves_nothing_behind(folder: Path) -> None:
    listing = replace(flat_listing(), sources=[folder / "gone.png"] * 3)
    with pytest.raises(DataError, match=r"a\.png cannot be copied"):
        write_coco(folder, listing)
    assert list(folder.parent.iterdir()) == []


def test_yolo_says_which_crowds_it_left_out(folder: Path) -> None:
    labels = random_boxes(1, masks=False)
    labels = replace(labels, crowd=torch.ones_like(labels.crowd))
    account = write_yolo(folder, boxes_listing(labels), every=True)
    assert account.notes == (
        f"YOLO has no crowds; {len(labels.boxes)} were left out.",
        "2 pictures of crowds alone have no text file: a.png, 日本.png.",
    )
    assert (account.rows, account.labelled) == (0, 1)


def test_yolo_does_not_say_that_a_picture_of_crowds_is_empty(folder: Path) -> None:
    labels = random_boxes(1, masks=False)
    crowd = torch.zeros_like(labels.crowd)
    crowd[: int(labels.counts[0])] = True
    account = write_yolo(folder, boxes_listing(replace(labels, crowd=crowd)), every=True)
    assert account.notes[1] == "1 picture of crowds alone has no text file: a.png."
    found = read_annotated(folder, "detection")
    known = dict(zip(found.names, found.known.tolist(), strict=True))
    # The second is empty, of the third nothing is known.
    assert [known[name] for name in NAMES] == [False, True, False, True]


def test_forms_refuse_what_they_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="class per pixel"):
        write_voc(tmp_path / "a", maps_listing(0))
    with pytest.raises(DataError, match="has boxes"):
        write_masks(tmp_path / "b", boxes_listing(random_boxes(0, masks=True)))
    with pytest.raises(DataError, match="without masks"):
        write_instance_maps(tmp_path / "c", boxes_listing(random_boxes(0, masks=False)))
    odd = replace(boxes_listing(random_boxes(0, masks=False)), classes=("a\n", "b", "c"))
    with pytest.raises(DataError, match="XML does not keep"):
        write_voc(tmp_path / "d", odd)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_listing_of_masks_is_read_as_known_and_empty(folder: Path) -> None:
    none = BoxLabels.from_person(
        [torch.zeros(0, 4)] * 4,
        [torch.zeros(0, dtype=torch.int64)] * 4,
        masks=Masks([], torch.zeros(0, 2, dtype=torch.int64)),
    )
    write_coco(folder, boxes_listing(none))
    found = read_annotated(folder, "instance")
    assert found.known[by_name(found)].all() and found.boxes is not None
    assert len(found.boxes.boxes) == 0
