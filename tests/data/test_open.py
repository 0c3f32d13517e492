"""open_data: what is held out, hidden, skipped and refused."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from PIL import Image

from leaven.data import FilePixels, MemoryPixels, PictureError, open_data
from leaven.data.calibration import Calibration
from leaven.errors import DataError


def classes_of(counts: dict[str, int]) -> dict[str, None]:
    return {f"{name}/{row}.png": None for name, count in counts.items() for row in range(count)}


def check_message(error: DataError, *words: str) -> None:
    assert error.found and error.expected and error.do
    for word in words:
        assert word in str(error)


def test_digits_are_split_as_scikit_learn_splits_them():
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    train, test = train_test_split(
        np.arange(1797), test_size=0.3, random_state=2, stratify=bunch.target
    )
    data = open_data("digits", labels_per_class=4, seed=2)
    assert data.name == "digits" and data.shape == (1, 8, 8) and not data.flip
    assert data.classes == tuple("0123456789")
    assert data.test.names == [f"digits/{row:04d}" for row in sorted(test)]
    assert data.train.names == [f"digits/{row:04d}" for row in sorted(train)]
    assert data.test.truth.tolist() == bunch.target[np.sort(test)].tolist()
    assert torch.bincount(data.labelled.labels).tolist() == [4] * 10
    assert len(data.labelled) + len(data.unlabelled) == len(train)
    assert (data.unlabelled.truth >= 0).all()
    pixels = data.train.pixels.batch(torch.arange(len(train))).numpy()[:, 0]
    np.testing.assert_array_equal(pixels, np.rint(bunch.images[np.sort(train)] * 255 / 16))
    assert pixels.max() == 255


def test_digits_with_all_labels_hold_out_as_much():
    data = open_data(None)
    assert len(data.test) == 540 and len(data.unlabelled) == 0


def test_the_seed_decides_what_is_held_out_and_kept():
    one, same, other = (open_data("digits", labels_per_class=2, seed=s) for s in (0, 0, 1))
    assert one.test.names == same.test.names and one.labelled.names == same.labelled.names
    assert one.test.names != other.test.names and one.labelled.names != other.labelled.names


def test_test_items_are_held_out_before_labels_are_hidden(make_folder):
    root = make_folder(classes_of({"cat": 10, "dog": 20}) | {"x.png": None})
    data = open_data(root, labels_per_class=3)
    assert torch.bincount(data.test.labels).tolist() == [3, 6]
    assert torch.equal(data.test.labels, data.test.truth)
    assert torch.bincount(data.labelled.labels).tolist() == [3, 3]
    hidden = data.unlabelled
    assert len(hidden) == 7 - 3 + 14 - 3 + 1
    expected = [-1 if name == "x.png" else int("dog" in name) for name in hidden.names]
    assert hidden.truth.tolist() == expected
    assert not set(data.test.names) & set(data.train.names)


def test_few_given_labels_are_not_spared_for_a_test(make_folder):
    few = open_data(make_folder(classes_of({"cat": 24, "dog": 40}), "few"))
    assert few.test is None and len(few.labelled) == 64
    assert any("No test pictures" in note and "'cat'" in note for note in few.notes)
    enough = open_data(make_folder(classes_of({"cat": 25, "dog": 50}), "enough"))
    assert torch.bincount(enough.test.labels).tolist() == [5, 10]
    assert torch.bincount(enough.labelled.labels).tolist() == [20, 40]


def test_labels_of_a_model_are_learnt_from_and_never_held_out(make_folder, tmp_path):
    files = classes_of({"cat": 60, "dog": 60})
    root = make_folder(files)

    def opened(people, **options):
        rows = [
            f"{name},{name[:3]},{'person' if number % 60 < people else 'model'}\n"
            for number, name in enumerate(files)
        ]
        (tmp_path / "labels.csv").write_text("file,label,source\n" + "".join(rows))
        return open_data(root, labels=tmp_path / "labels.csv", **options)

    data = opened(30, val_share=0.25, calibration=Calibration(8))
    for part, count in ((data.test, 12), (data.val, 10), (data.calibration, 8)):
        assert len(part) == count and bool(part.by_person.all())
    assert len(data.labelled) == 90 and int(data.labelled.by_person.sum()) == 30
    assert opened(24).test is None
    assert any("'cat' has 24 labels of people" in note for note in opened(24).notes)


def test_class_names_that_differ_in_case_alone_are_noted(make_folder, tmp_path):
    names = classes_of({"cat": 3, "Cat": 3, "dog": 3})
    root = make_folder(names)
    (tmp_path / "labels.csv").write_text(
        "file,label\n" + "".join(f"{name},{name.split('/')[0]}\n" for name in names)
    )
    for data in (open_data(root), open_data(root, labels=tmp_path / "labels.csv")):
        assert data.classes == ("Cat", "cat", "dog")
        assert any(
            "upper case or spaces alone" in note and "'Cat' and 'cat'" in note
            for note in data.notes
        )
    other = open_data(make_folder(classes_of({"cat": 3, "dog": 3}), "other"))
    assert not any("upper case" in note for note in other.notes)


def test_shares_that_are_asked_for(make_folder):
    root = make_folder(classes_of({"cat": 8, "dog": 12}))
    data = open_data(root, test_share=0.25, val_share=0.2)
    assert torch.bincount(data.test.labels).tolist() == [2, 3]
    assert torch.bincount(data.val.labels).tolist() == [1, 2]
    assert torch.bincount(data.labelled.labels).tolist() == [5, 7]
    assert open_data(root, labels_per_class=2, test_share=0.0).test is None


def test_val_needs_a_label_of_each_class(make_folder):
    root = make_folder(classes_of({"cat": 8, "dog": 12}))
    with pytest.raises(DataError) as caught:
        open_data(root, labels_per_class=2, val_share=0.1)
    check_message(caught.value, "val", "'cat'", "2")


def test_splits_that_are_there_are_used(make_folder):
    files = classes_of({"train/cat": 3, "train/dog": 3, "test/cat": 2, "test/dog": 1, "val/dog": 1})
    root = make_folder(files | {"test/x.png": None, "train/y.png": None, "unlabeled/z.png": None})
    data = open_data(root, test_share=0.5, val_share=0.5, labels_per_class=2)
    assert sorted(data.test.names) == ["test/cat/0.png", "test/cat/1.png", "test/dog/0.png"]
    assert data.val.names == ["val/dog/0.png"]
    assert set(data.train.names) >= {"train/y.png", "unlabeled/z.png"} and len(data.train) == 8
    assert next(note for note in data.notes if "not used" in note).startswith(
        "The data have a test"
    )
    assert any(
        "1 picture of the test split without a label was left out" in note for note in data.notes
    )


def test_mixed_sizes_and_modes_work(make_folder, noise):
    grey, colour = noise(30, 20), noise(50, 70, 3)
    deep = Image.fromarray(np.full((9, 9), 40000, dtype=np.uint16))
    alpha = Image.new("RGBA", (5, 5), (255, 0, 0, 0))
    root = make_folder(
        {
            "a/grey.png": Image.fromarray(grey),
            "a/palette.png": Image.fromarray(colour).convert("P"),
            "b/alpha.png": alpha,
            "b/deep.png": deep,
            "b/ink.jpg": Image.new("CMYK", (40, 10)),
            "moving.gif": Image.fromarray(grey),
        }
    )
    data = open_data(root)
    assert data.shape == (3, 64, 64) and data.flip
    pixels = dict(zip(data.train.names, data.train.pixels.batch(torch.arange(6))))
    assert (pixels["b/alpha.png"] == 255).all() and (pixels["b/deep.png"] == 156).all()
    assert any("5x5 to 70x50" in note and "64x64" in note for note in data.notes)


def test_shape_and_flip_follow_the_pictures(make_folder):
    grey = {f"{name}.png": Image.new("L", (20, 10), 9) for name in ("a/1", "b/1", "a/2", "b/2")}
    data = open_data(make_folder(grey, "grey"))
    assert data.shape == (1, 10, 20) and not data.flip and not [n for n in data.notes if "cut" in n]
    assert open_data(make_folder(grey, "grey"), flip=True).flip
    assert open_data(make_folder(grey, "grey"), image_size=16).shape == (1, 16, 16)
    large = {name: Image.new("RGB", (97, 97)) for name in grey}
    assert open_data(make_folder(large, "large")).shape == (3, 64, 64)


def test_what_does_not_fit_in_memory_is_decoded_when_wanted(make_folder):
    root = make_folder(classes_of({"cat": 6, "dog": 6}))
    memory, files = open_data(root, seed=1), open_data(root, seed=1, memory_limit=1000)
    assert isinstance(memory.train.pixels, MemoryPixels)
    assert isinstance(files.train.pixels, FilePixels)
    index = torch.arange(12)
    assert torch.equal(files.train.pixels.batch(index), memory.train.pixels.batch(index))


def truncated() -> bytes:
    import io

    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()[:700]


@pytest.mark.parametrize("limit", [None, 0])
def test_unreadable_pictures_are_named_and_skipped(make_folder, limit):
    files = classes_of({"cat": 15, "dog": 15})
    root = make_folder(files | {"cat/half.jpg": truncated(), "text.png": b"no", "zero.png": b""})
    data = open_data(root, memory_limit=limit)
    assert len(data.train) == 30 and not set(data.train.names) & {"cat/half.jpg", "text.png"}
    note = next(note for note in data.notes if "skipped" in note)
    assert note.startswith("3 of 33 pictures could not be read and were skipped")
    assert "cat/half.jpg (truncated)" in note and "zero.png (the file is empty)" in note
    rows = data.train.pixels.batch(torch.arange(30))
    for name, row, label in zip(data.train.names, rows, data.train.labels.tolist()):
        # Rows, names and labels stay together when pictures fall out.
        assert int(row[0, 0, 0]) == list(files).index(name) * 5 % 256
        assert label == int(name.startswith("dog"))


@pytest.mark.parametrize("limit", [None, 0])
def test_too_many_unreadable_pictures_are_refused(make_folder, limit):
    broken = {f"cat/broken{row}.jpg": truncated() for row in range(2)}
    root = make_folder(classes_of({"cat": 8, "dog": 8}) | broken)
    with pytest.raises(DataError) as caught:
        open_data(root, memory_limit=limit)
    check_message(caught.value, "2 of 18", "cat/broken0.jpg (truncated)", "at most 1")
    assert len(open_data(root, max_unreadable=0.2, memory_limit=limit).train) == 16
    (root / "text.png").write_bytes(b"no")
    with pytest.raises(DataError, match="(?s)3 of 19 .*text.png.*at most 0"):
        open_data(root, max_unreadable=0.0, memory_limit=limit)


def test_a_picture_that_vanishes_later_is_named(make_folder):
    root = make_folder(classes_of({"cat": 3, "dog": 3}))
    data = open_data(root, memory_limit=0)
    (root / "cat" / "1.png").unlink()
    with pytest.raises(PictureError, match=r"cat/1\.png"):
        data.train.pixels.batch(torch.arange(6))


@pytest.mark.parametrize("limit", [None, 0])
def test_progress_counts_up_to_the_end(make_folder, limit):
    seen: list[tuple[int, int]] = []
    root = make_folder(classes_of({"cat": 9, "dog": 11}) | {"cat/bad.png": b"x"})
    open_data(root, memory_limit=limit, progress=lambda *step: seen.append(step))
    done = [step[0] for step in seen]
    assert done == sorted(done) and seen[-1] == (42, 42) and {step[1] for step in seen} == {42}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"readme.md": b"hello", "a/b.txt": b"x"}, ["no picture", "a/b.txt"]),
        (classes_of({"cat": 3}), ["only the class 'cat'"]),
        ({"a.png": None, "unlabeled/b.png": None}, ["no class folder", "labels file"]),
        (classes_of({"cat": 2, "dog": 2}) | {"owl/note.txt": b"x"}, ["'owl'", "no labelled"]),
        (classes_of({"train/a": 2, "train/b": 2, "test/c": 1}), ["'c'", "no labelled"]),
    ],
)
def test_folders_that_cannot_be_learnt_from(make_folder, files, words):
    with pytest.raises(DataError) as caught:
        open_data(make_folder(files))
    check_message(caught.value, *words)


def test_a_class_whose_pictures_are_all_unreadable_is_refused(make_folder):
    root = make_folder(classes_of({"cat": 9, "dog": 9}) | {"owl/1.png": b"broken"})
    with pytest.raises(DataError, match="'owl'"):
        open_data(root)


def test_labels_per_class_beyond_what_is_there(make_folder):
    root = make_folder(classes_of({"cat": 10, "dog": 20}))
    with pytest.raises(DataError) as caught:
        open_data(root, labels_per_class=8)
    check_message(caught.value, "'cat'", "7", "1 to 7")


def test_missing_places_and_unknown_kinds(make_folder, tmp_path):
    root = make_folder(classes_of({"cat": 3, "dog": 3}))
    with pytest.raises(DataError) as caught:
        open_data(tmp_path / "petz")
    check_message(caught.value, "petz", str(root))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="unknown kind"):
        open_data(tmp_path / "notes.txt")
    (tmp_path / "labels.csv").write_text("file,label\n")
    with pytest.raises(DataError, match="--labels"):
        open_data(tmp_path / "labels.csv")
    with pytest.raises(DataError, match="no labels file"):
        open_data(root, labels=tmp_path / "nothing.csv")
    with pytest.raises(DataError, match="digits"):
        open_data("digits", labels=tmp_path / "labels.csv")


@pytest.mark.parametrize(
    "wrong",
    [
        {"labels_per_class": 0},
        {"labels_per_class": 2.5},
        {"labels_per_class": True},
        {"image_size": 4},
        {"seed": -1},
        {"memory_limit": -1},
        {"test_share": 1.0},
        {"test_share": "half"},
        {"val_share": -0.1},
        {"max_unreadable": 1.5},
    ],
)
def test_arguments_out_of_range_are_named(wrong):
    with pytest.raises(DataError) as caught:
        open_data("digits", **wrong)
    check_message(caught.value, next(iter(wrong)))


def test_the_folder_of_the_name_digits_is_reached_by_its_path(make_folder, monkeypatch):
    root = make_folder(classes_of({"cat": 2, "dog": 2}), "digits")
    monkeypatch.chdir(root.parent)
    assert open_data("digits").name == "digits" and len(open_data("digits").classes) == 10
    assert open_data(f".{os.sep}digits").classes == ("cat", "dog")


def test_classes_that_stand_for_nothing_are_told(make_folder, tmp_path):
    root = make_folder(classes_of({"a": 6}))
    table = tmp_path / "labels.csv"
    rows = ["x", "y", "nan", "N/A", ""]
    table.write_text("file,label\n" + "".join(f"a/{i}.png,{row}\n" for i, row in enumerate(rows)))
    (note,) = [note for note in open_data(root, labels=table).notes if "leave the cell" in note]
    assert note.startswith("'N/A', 'nan' count as classes like any other.")
    table.write_text("file,label\na/0.png,x\na/1.png,?\n")
    assert any("'?' counts as a class" in note for note in open_data(root, labels=table).notes)
    table.write_text("file,label\na/0.png,x\na/1.png,nancy\n")
    assert not any("counts as a class" in note for note in open_data(root, labels=table).notes)


def test_long_class_names_are_cut_in_what_is_said(make_folder, tmp_path):
    root = make_folder(classes_of({"a": 6}))
    table = tmp_path / "labels.csv"
    table.write_text(f"file,label\na/0.png,{'x' * 5000}\na/1.png,{'X' * 5000}\na/2.png,y\n")
    data = open_data(root, labels=table)
    assert len(data.notes) > 1 and all(len(note) < 400 for note in data.notes)
    for arguments in ({"classes": ["y"]}, {"labels_per_class": 3}, {"test_share": 0.5}):
        with pytest.raises(DataError) as caught:
            open_data(root, labels=table, **arguments)
        assert len(str(caught.value)) < 600
