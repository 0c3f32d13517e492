import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco
from tests.data.annotated_cases import save

from leaven.data.annotated_listing import AnnotatedListing, Task
from leaven.data.listing import allowed_unreadable
from leaven.data.loading import Manner, load_maps
from leaven.data.open_annotated import open_annotated
from leaven.data.readers.annotated import read_annotated
from leaven.data.readers.instance_maps import runs_of_map
from leaven.errors import DataError
from leaven.labels import Masks, Source

HEIGHT, WIDTH = 20, 30


def photo(root: Path, *names: str) -> None:
    for name in names:
        save(root / name, Image.new("RGB", (WIDTH, HEIGHT), (9, 90, 200)))


def mask(*values: int) -> np.ndarray:
    """Rows of the values by turns."""
    rows = np.resize(np.array(values), HEIGHT)
    return np.repeat(rows[:, None], WIDTH, 1).astype(np.uint8)


def write_json(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def coco_of(images: dict[int, str], annotations: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "images": [
            {"id": key, "file_name": name, "width": WIDTH, "height": HEIGHT}
            for key, name in images.items()
        ],
        "annotations": [{"id": row, "iscrowd": 0, **one} for row, one in enumerate(annotations)],
        "categories": [{"id": 90, "name": "dog"}, {"id": 3, "name": "cat"}],
    }


def rows(listing: AnnotatedListing) -> list[tuple[str, list[float], bool]]:
    """Class, box and crowd of every row."""
    assert listing.boxes is not None
    return [
        (listing.classes[label], box, crowd)
        for label, box, crowd in zip(
            listing.boxes.classes.tolist(),
            listing.boxes.boxes.tolist(),
            listing.boxes.crowd.tolist(),
        )
    ]


def test_coco_with_gaps_in_ids_splits_by_file_and_unlabelled_pictures(tmp_path: Path) -> None:
    photo(tmp_path, "train2017/1.jpg", "train2017/2.jpg", "train2017/3.jpg", "val2017/1.jpg")
    write_json(
        tmp_path / "annotations/instances_train2017.json",
        coco_of(
            {7: "2.jpg", 5: "1.jpg"},
            [
                {"image_id": 7, "category_id": 90, "bbox": [1, 2, 3.5, 4]},
                {"image_id": 7, "category_id": 3, "bbox": [0, 0, 30, 20], "iscrowd": 1},
            ],
        ),
    )
    write_json(tmp_path / "annotations/instances_val2017.json", coco_of({7: "1.jpg"}, []))
    write_json(tmp_path / "annotations/captions_val2017.json", {"annotations": []})
    found = read_annotated(tmp_path, "detection")
    assert list(found.names) == [
        "train2017/1.jpg", "train2017/2.jpg", "train2017/3.jpg", "val2017/1.jpg",
    ]  # fmt: skip
    assert found.classes == ("cat", "dog")
    assert found.splits == ["train", "train", "train", "val"]
    assert found.known.tolist() == [True, True, False, True]
    assert found.boxes is not None and found.boxes.counts.tolist() == [0, 2, 0, 0]
    assert rows(found) == [("dog", [1, 2, 4.5, 6], False), ("cat", [0, 0, 30, 20], True)]
    assert found.sizes.tolist() == [[HEIGHT, WIDTH]] * 4


def test_coco_masks_from_polygons_and_both_run_lengths(tmp_path: Path) -> None:
    photo(tmp_path, "a.jpg")
    square = np.zeros((HEIGHT, WIDTH), np.uint8)
    square[4:10, 5:15] = 1
    packed = coco.encode(np.asfortranarray(square))
    ends = np.flatnonzero(np.diff(square.ravel("F"), prepend=0, append=0))
    counts = np.diff(ends, prepend=0, append=square.size).tolist()
    polygon = [5, 4, 15, 4, 15, 10, 5, 10]
    segments = [
        [polygon],
        [polygon[:], [5, 4, 10, 4, 10, 10, 5, 10]],
        {"size": [HEIGHT, WIDTH], "counts": counts},
        {"size": [HEIGHT, WIDTH], "counts": packed["counts"].decode()},
    ]
    whole = [{"image_id": 1, "category_id": 3, "segmentation": one} for one in segments]
    write_json(tmp_path / "labels.json", coco_of({1: "a.jpg"}, whole))
    found = read_annotated(tmp_path / "labels.json", "instance")
    assert found.boxes is not None and found.boxes.masks is not None
    assert found.boxes.boxes.tolist() == [[5, 4, 15, 10]] * 4
    for number in range(4):
        assert np.array_equal(found.boxes.masks.one(number).numpy(), square)


def test_coco_is_painted_small_over_large(tmp_path: Path) -> None:
    photo(tmp_path, "images/a.jpg")
    small, large = [[2, 2, 6, 2, 6, 6, 2, 6]], [[0, 0, 20, 0, 20, 20, 0, 20]]
    write_json(
        tmp_path / "a.json",
        coco_of(
            {1: "a.jpg"},
            [
                {"image_id": 1, "category_id": 90, "segmentation": small},
                {"image_id": 1, "category_id": 3, "segmentation": large},
            ],
        ),
    )
    found = read_annotated(tmp_path, "segmentation")
    wanted = np.zeros((HEIGHT, WIDTH), np.uint8)
    wanted[:, :20], wanted[2:6, 2:6] = 1, 2
    assert found.classes == ("background", "cat", "dog")
    assert found.maps is not None and np.array_equal(found.maps[0], wanted)


def test_roboflow_coco_beside_its_pictures(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        photo(tmp_path, f"{split}/a.jpg")
        one = {"image_id": 0, "category_id": 3, "bbox": [0, 0, 2, 2]}
        write_json(tmp_path / split / "_annotations.coco.json", coco_of({0: "a.jpg"}, [one]))
    found = read_annotated(tmp_path, "detection")
    assert list(zip(found.names, found.splits)) == [
        ("train/a.jpg", "train"),
        ("valid/a.jpg", "val"),
    ]
    assert len(rows(found)) == 2


def voc_file(root: Path, name: str, objects: str, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    file = root / "Annotations" / f"{name}.xml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        f"<annotation><filename>{name}.jpg</filename><path>/home/somebody/x.jpg</path>"
        f"<size><width>{size[0]}</width><height>{size[1]}</height></size>{objects}</annotation>"
    )


def voc_object(name: str, *box: float, difficult: int = 0) -> str:
    corners = "".join(
        f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box)
    )
    return (
        f"<object><name>{name}</name><difficult>{difficult}</difficult>"
        f"<bndbox>{corners}</bndbox><part><bndbox/></part></object>"
    )


def test_voc_counts_from_one_and_difficult_is_crowd(tmp_path: Path) -> None:
    photo(tmp_path, *(f"JPEGImages/{name}.jpg" for name in "abcd"))
    whole = voc_object("dog", 1, 1, WIDTH, HEIGHT)
    voc_file(tmp_path, "a", whole + voc_object("cat", 3, 4, 10, 12, difficult=1))
    voc_file(tmp_path, "b", "", size=(0, 0))
    voc_file(tmp_path, "d", whole)
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\n")
    (lists / "val.txt").write_text("b\n")
    (lists / "test.txt").write_text("d\r\n\n")
    (lists / "trainval.txt").write_text("a\nb\n")
    (lists / "dog_train.txt").write_text("a  1\n")
    found = read_annotated(tmp_path, "detection")
    assert list(found.names) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert found.splits == ["train", "val", "train", "test"]
    assert found.known.tolist() == [True, True, False, True]
    assert found.classes == ("cat", "dog")
    assert rows(found) == [
        ("dog", [0, 0, WIDTH, HEIGHT], False),
        ("cat", [2, 3, 10, 12], True),
        ("dog", [0, 0, WIDTH, HEIGHT], False),
    ]


def test_boxes_that_leave_the_picture_are_clipped_and_empty_ones_left_out(tmp_path: Path) -> None:
    photo(tmp_path, "JPEGImages/a.jpg")
    voc_file(
        tmp_path,
        "a",
        voc_object("dog", 0, 5, WIDTH + 4, 10)
        + voc_object("dog", 6, 5, 5, 10)
        + voc_object("dog", 1, 1, WIDTH, HEIGHT),
    )
    found = read_annotated(tmp_path, "detection")
    assert [row[1] for row in rows(found)] == [[0, 4, WIDTH, 10], [0, 0, WIDTH, HEIGHT]]
    assert found.notes == (
        f"1 box left its picture and was clipped: Object 1 of {tmp_path}/Annotations/a.xml.",
        f"1 box has no area and was left out: Object 2 of {tmp_path}/Annotations/a.xml.",
    )


def yolo_label(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def test_yolo_with_missing_and_empty_files(tmp_path: Path) -> None:
    photo(tmp_path, "images/train/a.jpg", "images/train/b.jpg", "images/val/a.jpg")
    yolo_label(tmp_path, "labels/train/a.txt", "1 0.5 0.5 1 1\n\n0 0.1 0.1 0.2 0.2 0.75\n")
    yolo_label(tmp_path, "labels/val/a.txt", "")
    (tmp_path / "data.yaml").write_text(
        "path: /somewhere/else\ntrain: ../images/train\nval: images/val\ntest: images/test\n"
        "nc: 2\nnames: [cat, dog]\n"
    )
    found = read_annotated(tmp_path, "detection")
    assert list(found.names) == ["train/a.jpg", "train/b.jpg", "val/a.jpg"]
    assert found.known.tolist() == [True, False, True]
    assert found.splits == ["train", "train", "val"]
    assert rows(found) == [("dog", [0, 0, WIDTH, HEIGHT], False), ("cat", [0, 0, 6, 4], False)]
    assert found.boxes is not None and found.boxes.confidence.tolist() == [1, 0.75]
    assert found.notes == ("data.yaml names images/test (test), which is not in the folder.",)


def test_yolo_polygons_are_masks_or_the_boxes_around_them(tmp_path: Path) -> None:
    photo(tmp_path, "train/images/a.jpg")
    polygon = " ".join(f"{x / WIDTH} {y / HEIGHT}" for x, y in [(3, 2), (9, 2), (9, 8), (3, 8)])
    yolo_label(tmp_path, "train/labels/a.txt", f"2 {polygon}\n")
    found = read_annotated(tmp_path, "detection")
    assert found.classes == ("0", "1", "2")
    assert rows(found) == [("2", [3, 2, 9, 8], False)]
    masks = read_annotated(tmp_path, "instance").boxes
    assert masks is not None and masks.masks is not None
    assert masks.masks.area().tolist() == [36] and masks.boxes.tolist() == [[3, 2, 9, 8]]


def test_yolo_in_one_folder_with_lists(tmp_path: Path) -> None:
    photo(tmp_path, "data/a.jpg", "data/b.jpg")
    yolo_label(tmp_path, "data/a.txt", "0 0.5 0.5 0.5 0.5")
    (tmp_path / "classes.txt").write_text("cat\n")
    (tmp_path / "train.txt").write_text("./data/a.jpg\n")
    (tmp_path / "test.txt").write_text("data/b.jpg\n")
    found = read_annotated(tmp_path, "detection")
    assert found.classes == ("cat",) and found.splits == ["train", "test"]
    assert found.known.tolist() == [True, False]


@pytest.mark.parametrize(
    ("pictures", "masks"),
    [
        ("images", "masks"),
        ("img", "labels"),
        ("images", "annotations"),
        ("JPEGImages", "SegmentationClass"),
    ],
)
def test_mask_folders(tmp_path: Path, pictures: str, masks: str) -> None:
    photo(tmp_path, f"{pictures}/a.jpg", f"{pictures}/b.jpg", f"{pictures}/c.jpg")
    save(tmp_path / masks / "a.png", mask(0, 2, 255))
    palette = Image.fromarray(mask(1, 0))
    palette.putpalette([200, 0, 0, 0, 200, 0])
    save(tmp_path / masks / "b.png", palette)
    (tmp_path / "classes.txt").write_text("road\ncar\ntree\n")
    found = read_annotated(tmp_path, "segmentation")
    assert found.classes == ("road", "car", "tree")
    assert found.known.tolist() == [True, True, False]
    assert found.maps is not None and found.maps[2] is None
    assert np.array_equal(found.maps[0], mask(0, 2, 255))
    assert np.array_equal(found.maps[1], mask(1, 0))


def test_masks_without_class_names_are_numbered_and_have_splits(tmp_path: Path) -> None:
    photo(tmp_path, "train/images/a.jpg", "val/images/a.jpg")
    save(tmp_path / "train/masks/a.png", mask(0, 1, 9))
    save(tmp_path / "val/masks/a.png", mask(3).astype(np.uint16))
    found = read_annotated(tmp_path, "segmentation", void=9)
    assert found.classes == ("0", "1", "2", "3") and found.splits == ["train", "val"]
    assert found.maps is not None and np.array_equal(found.maps[0], mask(0, 1, 255))
    assert found.notes == ("No file names the classes of the masks; they are numbered 0 to 3.",)
    assert "Nothing in the pictures is of the class 2." in load_maps(found).notes


def test_a_mask_that_is_void_throughout_is_no_label(tmp_path: Path) -> None:
    photo(tmp_path, "images/a.jpg", "images/b.jpg", "images/c.jpg")
    save(tmp_path / "masks/a.png", mask(0, 1))
    for name in "bc":
        save(tmp_path / f"masks/{name}.png", mask(255))
    loaded = load_maps(read_annotated(tmp_path, "segmentation"))
    assert loaded.images.known.tolist() == [True, False, False]
    (note,) = [note for note in loaded.notes if "void" in note]
    assert note.startswith("2 masks are void throughout and count as not there: ")
    assert all(f"{name}.jpg" in note for name in "bc")


def test_masks_with_many_gaps_are_refused_until_a_file_says_their_greys(tmp_path: Path) -> None:
    photo(tmp_path, "images/a.jpg")
    save(tmp_path / "masks/a.png", mask(0, 127, 254))
    with pytest.raises(DataError, match="the values 0, 127, 254 and no other") as caught:
        read_annotated(tmp_path, "segmentation")
    assert "classes.json" in caught.value.do
    greys = {"sky": 0, "cat": 127, "dog": 254}
    write_json(tmp_path / "classes.json", [{"name": n, "color": [g] * 3} for n, g in greys.items()])
    found = read_annotated(tmp_path, "segmentation")
    assert found.classes == ("sky", "cat", "dog") and found.maps is not None
    assert np.array_equal(found.maps[0], mask(0, 1, 2))


@pytest.mark.parametrize("names", [None, "sky\nbird\n"])
def test_black_and_white_masks_have_two_classes(tmp_path: Path, names: str | None) -> None:
    photo(tmp_path, "images/a.jpg")
    save(tmp_path / "masks/a.png", mask(0, 255))
    if names is not None:
        (tmp_path / "classes.txt").write_text(names)
    found = read_annotated(tmp_path, "segmentation")
    second = "foreground" if names is None else "bird"
    assert found.classes[1] == second and len(found.classes) == 2
    assert found.maps is not None and np.array_equal(found.maps[0], mask(0, 1))
    assert found.notes == (f"The masks have the values 0 and 255 alone; 255 is {second}.",)


def test_masks_of_colours_and_a_class_called_void(tmp_path: Path) -> None:
    photo(tmp_path, "images/a.jpg")
    colours = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colours[:5], colours[5:9] = (128, 0, 0), (0, 0, 255)
    save(tmp_path / "masks/a.png", colours)
    write_json(
        tmp_path / "classes.json",
        [
            {"name": "void", "color": [0, 0, 0]},
            {"name": "cat", "color": [128, 0, 0]},
            {"name": "dog", "color": [0, 0, 255]},
        ],
    )
    found = read_annotated(tmp_path, "segmentation")
    assert found.classes == ("cat", "dog") and found.maps is not None
    wanted = np.full((HEIGHT, WIDTH), 255, np.uint8)
    wanted[:5], wanted[5:9] = 0, 1
    assert np.array_equal(found.maps[0], wanted)


def test_masks_in_a_folder_of_their_own(tmp_path: Path) -> None:
    photo(tmp_path, "photos/x/a.jpg")
    save(tmp_path / "drawn/x/a.png", mask(0, 1))
    (tmp_path / "photos/classes.txt").write_text("a\nb\n")
    found = read_annotated(tmp_path / "photos", "segmentation", tmp_path / "drawn")
    assert found.maps is not None and np.array_equal(found.maps[0], mask(0, 1))


def test_instance_folders_without_details_are_of_one_class(tmp_path: Path) -> None:
    photo(tmp_path, "images/a.jpg", "images/b.jpg")
    save(tmp_path / "instances/a.png", mask(0, 3, 3, 7))
    found = read_annotated(tmp_path, "instance")
    assert found.classes == ("object",) and found.known.tolist() == [True, False]
    assert found.boxes is not None and found.boxes.counts.tolist() == [2, 0]
    assert found.boxes.source.tolist() == [int(Source.PERSON)] * 2


def test_runs_of_a_map_are_those_of_its_masks() -> None:
    numbers = np.random.default_rng(0).integers(0, 6, (13, 9))
    runs, found = runs_of_map(numbers)
    assert found == [1, 2, 3, 4, 5]
    stacked = torch.from_numpy(numbers[None] == np.arange(1, 6)[:, None, None])
    assert runs == list(Masks.from_dense(stacked).runs)
    assert runs_of_map(np.zeros((4, 4), int)) == ([], [])


def test_as_many_pictures_as_asked_may_be_unreadable(tmp_path: Path) -> None:
    photo(tmp_path, "images/a.jpg", "images/b.jpg")
    for name in ("c", "d"):
        (tmp_path / f"images/{name}.png").write_bytes(b"\x89PNG")
    for name in "abcd":
        yolo_label(tmp_path, f"labels/{name}.txt", "0 0.5 0.5 0.5 0.5")
    with pytest.raises(DataError, match="2 of 4 pictures") as caught:
        open_annotated(tmp_path, "detection")
    assert "at most 1" in caught.value.expected and "--max-unreadable" in caught.value.do
    assert len(open_annotated(tmp_path, "detection", manner=Manner(1)).train) == 2
    (tmp_path / "images/d.png").unlink()
    (tmp_path / "labels/d.txt").unlink()
    assert len(open_annotated(tmp_path, "detection").train) == 2
    with pytest.raises(DataError, match="1 of 3 pictures") as caught:
        open_annotated(tmp_path, "detection", manner=Manner(0))
    assert "at most 0" in caught.value.expected


@pytest.mark.parametrize(
    ("count", "share", "wanted"),
    [
        (12, None, 1), (30, None, 3), (2000, None, 20), (4, None, 1),
        (12, 0.001, 0), (12, 0.01, 0), (100, 0.29, 29), (12, 0.5, 6), (12, 0.0, 0), (3, 1.0, 3),
    ],
)  # fmt: skip
def test_a_share_of_unreadable_pictures_that_somebody_set_is_kept(
    count: int, share: float | None, wanted: int
) -> None:
    assert allowed_unreadable(count, share) == wanted


def test_one_unreadable_picture_is_more_than_a_thousandth(tmp_path: Path) -> None:
    photo(tmp_path, *(f"images/{name}.jpg" for name in "abcdefghijk"))
    (tmp_path / "images/l.png").write_bytes(b"\x89PNG")
    for name in "abcdefghijkl":
        yolo_label(tmp_path, f"labels/{name}.txt", "0 0.5 0.5 0.5 0.5")
    assert len(open_annotated(tmp_path, "detection").train) == 11
    with pytest.raises(DataError, match="1 of 12 pictures .*l.png") as caught:
        open_annotated(tmp_path, "detection", manner=Manner(0.001))
    assert "at most 0" in caught.value.expected


def test_a_long_picture_and_an_unreadable_one_are_noted(tmp_path: Path) -> None:
    photo(tmp_path, "images/a.jpg")
    save(tmp_path / "images/long.png", Image.new("L", (300, 4)))
    (tmp_path / "images/broken.png").write_bytes(b"\x89PNG")
    for name in ("a", "long", "broken"):
        yolo_label(tmp_path, f"labels/{name}.txt", "0 0.5 0.5 0.5 0.5")
    found = read_annotated(tmp_path, "detection")
    assert list(found.names) == ["a.jpg", "long.png"] and len(rows(found)) == 2
    assert "1 picture could not be read and was left out" in found.notes[0]
    assert found.notes[1] == (
        "1 picture is more than 10 times as long as wide: images/long.png (300x4)."
    )


@pytest.mark.parametrize("task", ["detection", "instance"])
def test_pictures_without_a_box_teach_nothing(tmp_path: Path, task: Task) -> None:
    photo(tmp_path, "images/a.jpg", "images/b.jpg")
    if task == "instance":
        save(tmp_path / "instances/a.png", mask(0))
    else:
        write_json(tmp_path / "train.json", coco_of({1: "a.jpg", 2: "b.jpg"}, []))
    with pytest.raises(DataError, match="no box in the . labelled picture"):
        open_annotated(tmp_path, task)


def test_crowds_alone_teach_nothing(tmp_path: Path) -> None:
    photo(tmp_path, "images/a.jpg", "images/b.jpg")
    crowd = {"image_id": 1, "category_id": 3, "bbox": [1, 1, 5, 5], "iscrowd": 1}
    write_json(tmp_path / "train.json", coco_of({1: "a.jpg", 2: "b.jpg"}, [crowd, crowd]))
    with pytest.raises(DataError, match="no box in the 2 labelled pictures .* but 2 crowds") as got:
        open_annotated(tmp_path, "detection")
    assert "no crowd" in got.value.expected
    one = {**crowd, "iscrowd": 0}
    write_json(tmp_path / "train.json", coco_of({1: "a.jpg", 2: "b.jpg"}, [crowd, one]))
    assert len(open_annotated(tmp_path, "detection").labelled) == 2


def test_too_many_labels_to_keep_are_told_with_those_held_out(tmp_path: Path) -> None:
    for name in "abcdefgh":
        photo(tmp_path, f"images/{name}.jpg")
        save(tmp_path / f"masks/{name}.png", mask(0, 1))
    with pytest.raises(DataError, match="6 pictures are labelled beside the 2 held out for test"):
        open_annotated(tmp_path, "segmentation", labelled=99)


@pytest.mark.parametrize("listed", ["ImageSets/Main/val.txt", "val.txt"])
def test_pictures_that_no_list_names_are_noted(tmp_path: Path, listed: str) -> None:
    photo(tmp_path, *(f"JPEGImages/{name}.jpg" for name in "abc"))
    for name in "abc":
        voc_file(tmp_path, name, voc_object("dog", 1, 1, 5, 5))
    assert read_annotated(tmp_path, "detection").notes == ()
    (tmp_path / listed).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / listed).write_text("a\n")
    found = read_annotated(tmp_path, "detection")
    assert found.splits == ["val", "train", "train"]
    assert found.notes == (
        "2 pictures are in no list of a split and count as train: JPEGImages/b.jpg, JPEGImages/c.jpg.",
    )


def test_classes_of_nothing_are_noted(tmp_path: Path) -> None:
    photo(tmp_path, "images/a.jpg", "images/b.jpg")
    yolo_label(tmp_path, "labels/a.txt", "1 0.5 0.5 0.5 0.5")
    (tmp_path / "classes.txt").write_text("cat\ndog\nbird\n")
    notes = open_annotated(tmp_path, "detection").notes
    assert "Nothing in the pictures is of the class cat, bird." in notes


def test_yolo_classes_without_names_are_noted(tmp_path: Path) -> None:
    photo(tmp_path, "images/a.jpg")
    yolo_label(tmp_path, "labels/a.txt", "2 0.5 0.5 0.5 0.5")
    found = read_annotated(tmp_path, "detection")
    assert found.classes == ("0", "1", "2")
    assert found.notes == ("No file names the classes of the boxes; they are numbered 0 to 2.",)


@pytest.mark.parametrize("folders", [("",), ("train/", "val/")])
def test_yolo_classes_are_those_of_a_list_among_the_labels(
    tmp_path: Path, folders: tuple[str, ...]
) -> None:
    for folder in folders:
        photo(tmp_path, f"images/{folder}a.jpg")
        yolo_label(tmp_path, f"labels/{folder}a.txt", "1 0.5 0.5 0.5 0.5")
        (tmp_path / f"labels/{folder}classes.txt").write_text("cat\ndog\n")
    found = read_annotated(tmp_path, "detection")
    assert found.classes == ("cat", "dog") and found.notes == ()
    assert read_annotated(tmp_path / "images", "detection", tmp_path / "labels").classes == (
        "cat", "dog",
    )  # fmt: skip
    (tmp_path / f"labels/{folders[0]}classes.txt").write_text("cat\nbird\n")
    if len(folders) > 1:
        with pytest.raises(DataError, match="lists of classes in .* differ"):
            read_annotated(tmp_path, "detection")


def test_a_picture_may_be_called_classes(tmp_path: Path) -> None:
    photo(tmp_path, "images/classes.jpg")
    yolo_label(tmp_path, "labels/classes.txt", "0 0.5 0.5 0.5 0.5")
    assert len(rows(read_annotated(tmp_path, "detection"))) == 1
