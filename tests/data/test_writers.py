"""Writers: what is written is read back equal."""

from __future__ import annotations

import csv

import pyarrow.parquet as pq
import pytest
import torch

from leaven.data import ImageSet, MemoryPixels, open_data, write_csv, write_folder, write_parquet
from leaven.data.writers import Part
from leaven.errors import DataError
from leaven.labels.classes import ClassLabels

CLASSES = ("cat", "dog", "owl")


def pictures(count: int = 9, names: list[str] | None = None) -> ImageSet:
    images = torch.randint(0, 256, (count, 3, 10, 12), generator=torch.Generator().manual_seed(1))
    unknown = torch.full((count,), -1)
    names = names or [f"set/{item}.jpg" for item in range(count)]
    return ImageSet(MemoryPixels(images.to(torch.uint8)), unknown, unknown.clone(), names)


def labels_of(count: int = 9) -> ClassLabels:
    """Classes 0, 1, 2 in turn; item 4 is not accepted and item 8 not known."""
    classes = torch.arange(count) % 3
    classes[8] = -1
    weight = torch.full((count,), 0.5)
    weight[4] = 0
    source = torch.full((count,), 2)
    source[0], source[8] = 1, 0
    return ClassLabels(classes, torch.linspace(0.1, 0.9, count), weight, source)


EXPECTED = [0, 1, 2, 0, -1, 2, 0, 1, -1]


def by_picture(images: ImageSet, labels: list[int]) -> dict[bytes, int]:
    pixels = images.pixels.batch(torch.arange(len(images)))
    return {image.numpy().tobytes(): label for image, label in zip(pixels, labels)}


def test_parquet_comes_back_equal(tmp_path):
    images, labels = pictures(), labels_of()
    write_parquet(tmp_path / "out" / "labelled.parquet", images, labels, CLASSES)
    data = open_data(tmp_path / "out" / "labelled.parquet")
    assert data.classes == CLASSES and data.train.names == images.names
    assert data.train.labels.tolist() == EXPECTED
    index = torch.arange(9)
    assert torch.equal(data.train.pixels.batch(index), images.pixels.batch(index))
    table = pq.read_table(tmp_path / "out" / "labelled.parquet")
    assert torch.equal(torch.tensor(table["confidence"].to_pylist()), labels.confidence)
    assert torch.equal(torch.tensor(table["weight"].to_pylist()), labels.weight)
    assert table["source"].to_pylist() == ["person"] + ["model"] * 7 + ["nobody"]


def test_parquet_written_in_parts_comes_back_whole(tmp_path):
    count = 1100
    images = pictures(count)
    labels = ClassLabels.from_person(torch.arange(count) % 3)
    write_parquet(tmp_path / "x.parquet", images, labels, CLASSES)
    data = open_data(tmp_path / "x.parquet", test_share=0.0)
    assert by_picture(data.train, data.train.labels.tolist()) == by_picture(
        images, labels.classes.tolist()
    )


def test_folder_comes_back_equal(tmp_path):
    images = pictures()
    write_folder(tmp_path / "out" / "set", images, labels_of(), CLASSES)
    data = open_data(tmp_path / "out" / "set")
    assert data.classes == CLASSES
    assert by_picture(data.train, data.train.labels.tolist()) == by_picture(images, EXPECTED)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["set"]


def test_folder_keeps_which_labels_a_model_gave(tmp_path):
    names = [f"set/={item}.png" if item % 2 else f"set/{item}.png" for item in range(9)]
    write_folder(tmp_path / "set", pictures(9, names), labels_of(), CLASSES)
    data = open_data(tmp_path / "set")
    assert int(data.train.by_model.sum()) == 6 and int(data.train.by_person.sum()) == 1
    (row,) = data.train.by_person.nonzero().flatten().tolist()
    assert data.train.names[row] == "cat/0.png"
    sure = dict(zip(data.train.names, data.train.model_confidence.tolist()))
    assert sure["dog/=1.png"] == pytest.approx(0.2) and sure["owl/2.png"] == pytest.approx(0.3)
    assert any(note.startswith("6 labels were given by a model") for note in data.notes)
    (tmp_path / "set/dog/=1.png").rename(tmp_path / "set/owl/=1.png")
    data = open_data(tmp_path / "set")
    assert int(data.train.by_model.sum()) == 5 and int(data.train.by_person.sum()) == 2
    write_folder(tmp_path / "o", pictures(), ClassLabels.from_person(torch.arange(9) % 3), CLASSES)
    assert not (tmp_path / "o" / "label-sources.csv").exists()


def test_folder_copies_the_files_as_they_are(make_folder, tmp_path):
    from PIL import Image

    large = Image.effect_noise((200, 150), 40).convert("RGB")
    files = {"cat/1.jpg": large, "dog/1.jpg": large.rotate(90), "2.jpg": large.rotate(180)}
    root = make_folder(files | {"dog/3.gif": large.convert("P")})
    images = open_data(root).train
    given = {"2.jpg": 1, "cat/1.jpg": 1, "dog/1.jpg": 1, "dog/3.gif": 0}
    labels = ClassLabels.from_person(torch.tensor([given[name] for name in images.names]))
    out = tmp_path / "out"
    write_folder(out, images, labels, ("cat", "dog"))
    written = {path.relative_to(out).as_posix(): path for path in out.rglob("*.*")}
    assert set(written) == {"cat/3.gif", "dog/1.jpg", "dog/1-2.jpg", "dog/2.jpg"}
    assert written["dog/2.jpg"].read_bytes() == (root / "2.jpg").read_bytes()
    assert written["dog/1-2.jpg"].read_bytes() == (root / "dog/1.jpg").read_bytes()
    write_parquet(tmp_path / "x.parquet", images, labels, ("cat", "dog"))
    content = pq.read_table(tmp_path / "x.parquet")["image"].to_pylist()
    assert content == [(root / name).read_bytes() for name in images.names]


def test_folder_names_stay_inside_and_apart(tmp_path):
    classes = ("../up", "unlabelled", "a%b", ".hidden", "Train")
    images = pictures(5)
    write_folder(tmp_path / "o", images, ClassLabels.from_person(torch.arange(5)), classes)
    folders = {path.name for path in (tmp_path / "o").iterdir()}
    assert folders == {"%2E.%2Fup", "%75nlabelled", "a%25b", "%2Ehidden", "%54rain"}
    assert len(open_data(tmp_path / "o").classes) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["o"]


def test_names_that_differ_by_case_alone_do_not_meet(tmp_path):
    images = pictures(4, ["x/A.png", "y/a.png", "z/a.PNG", "w/b.png"])
    labels = ClassLabels.from_person(torch.tensor([0, 0, 0, 1]))
    write_folder(tmp_path / "o", images, labels, CLASSES[:2])
    names = {path.name.lower() for path in (tmp_path / "o" / "cat").iterdir()}
    assert names == {"a.png", "a-2.png", "a-3.png"}


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "precious.txt").write_text("x")
    with pytest.raises(DataError, match="not empty"):
        write_folder(tmp_path / "o", pictures(), labels_of(), CLASSES)
    assert (tmp_path / "o" / "precious.txt").read_text() == "x"


@pytest.mark.parametrize("write", [write_folder, write_parquet])
def test_a_failure_leaves_what_was_there(tmp_path, write):
    class Broken(MemoryPixels):
        def batch(self, index):
            raise OSError("no space left")

    images = pictures()
    broken = ImageSet(Broken(images.pixels.images), images.labels, images.truth, images.names)
    target = tmp_path / "o"
    if write is write_parquet:
        target.write_text("old")
    else:
        target.mkdir()
    with pytest.raises(OSError, match="no space"):
        write(target, broken, labels_of(), CLASSES)
    assert [path.name for path in tmp_path.iterdir()] == ["o"]
    assert target.is_dir() or target.read_text() == "old"


def test_csv_comes_back_equal(make_folder, tmp_path):
    root = make_folder({f"{item}.png": None for item in range(9)} | {"cat/x.png": None})
    names = sorted(f"{item}.png" for item in range(9))
    images = pictures(9, names)
    write_csv(tmp_path / "labels.csv", images, labels_of(), CLASSES)
    data = open_data(root, labels=tmp_path / "labels.csv")
    assert data.classes == CLASSES
    read_back = dict(zip(data.train.names, data.train.labels.tolist()))
    assert read_back == dict(zip(names, EXPECTED)) | {"cat/x.png": -1}
    with (tmp_path / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[4] == {
        "file": "4.png", "label": "dog", "confidence": "0.5", "accepted": "false",
        "source": "model", "split": "train",
    }  # fmt: skip
    assert rows[8]["label"] == "" and rows[8]["source"] == "nobody"


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_who_labelled_and_what_was_held_out_come_back(make_folder, tmp_path, ending):
    names = [f"{item}.png" for item in range(9)]
    root = make_folder(dict.fromkeys([*names, "t.png", "u.png"]))
    held = Part(
        pictures(2, ["t.png", "u.png"]), ClassLabels.from_person(torch.tensor([2, 0])), "test"
    )
    write = {"csv": write_csv, "parquet": write_parquet}[ending]
    write(tmp_path / f"labels.{ending}", pictures(9, names), labels_of(), CLASSES, [held])
    if ending == "csv":
        data = open_data(root, labels=tmp_path / "labels.csv")
    else:
        data = open_data(tmp_path / "labels.parquet")
    assert data.train.names == names and data.train.labels.tolist() == EXPECTED
    assert data.train.by_person.tolist() == [True] + [False] * 8
    assert data.train.truth.tolist() == [0] + [-1] * 8
    assert dict(zip(data.test.names, data.test.labels.tolist())) == {"t.png": 2, "u.png": 0}
    assert any("6 labels were given by a model before" in note for note in data.notes)


def test_rows_that_do_not_match_are_refused(tmp_path):
    with pytest.raises(ValueError, match="9 pictures and 8 labels"):
        write_csv(tmp_path / "x.csv", pictures(), labels_of(9).select(torch.arange(8)), CLASSES)
