"""Image folders: what is a class, a split, a picture."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from leaven.data.readers import read
from leaven.errors import DataError


def listed(listing) -> dict[str, tuple[str, str | None]]:
    names = [listing.classes[label] if label >= 0 else None for label in listing.labels.tolist()]
    return dict(zip(listing.names, zip(listing.splits, names)))


def test_classes_and_unlabelled(make_folder):
    root = make_folder(
        {
            "cat/1.png": None,
            "cat/deep/2.JPG": b"",
            "dog/1.jpeg": None,
            "top.png": None,
            "unlabeled/3.png": None,
            "Unlabelled/x/4.png": None,
            ".hidden/5.png": None,
            "dog/.6.png": b"",
            "__MACOSX/dog/7.png": None,
            "Thumbs.db": b"",
        }
    )
    listing = read(root)
    assert listing.name == "pets" and listing.classes == ("cat", "dog") and not listing.notes
    assert listed(listing) == {
        "cat/1.png": ("train", "cat"),
        "cat/deep/2.JPG": ("train", "cat"),
        "dog/1.jpeg": ("train", "dog"),
        "top.png": ("train", None),
        "unlabeled/3.png": ("train", None),
        "Unlabelled/x/4.png": ("train", None),
    }


def test_splits_are_respected(make_folder):
    files = ["Train/a/1.png", "Train/unlabeled/2.png", "Train/3.png", "unlabelled/4.png", "5.png"]
    files += ["valid/a/6.png", "test/b/7.png", "test/8.png"]
    listing = read(make_folder(dict.fromkeys(files)))
    assert listing.classes == ("a", "b")
    assert listed(listing) == {
        "Train/a/1.png": ("train", "a"),
        "Train/unlabeled/2.png": ("train", None),
        "Train/3.png": ("train", None),
        "unlabelled/4.png": ("train", None),
        "5.png": ("train", None),
        "valid/a/6.png": ("val", "a"),
        "test/b/7.png": ("test", "b"),
        "test/8.png": ("test", None),
    }


def test_a_class_may_be_called_train(make_folder):
    listing = read(make_folder({"train/1.png": None, "bus/1.png": None}))
    assert listing.classes == ("bus", "train") and set(listing.splits) == {"train"}


def test_numbers_are_ordered_as_numbers_and_other_files_are_named(make_folder):
    listing = read(make_folder({"10/a.png": None, "9/a.png": None, "9/film.mp4": b""}))
    assert listing.classes == ("9", "10")
    assert listing.notes == ("1 file is not a picture and was left out: 9/film.mp4.",)


def test_links_to_folders_are_followed_once_and_not_out_of_the_folder(make_folder):
    root = make_folder({"cat/1.png": None, "dog/1.png": None, ".kept/1.png": None})
    (root / "cat" / "loop").symlink_to(root, target_is_directory=True)
    (root / "a cat").symlink_to(root / "cat", target_is_directory=True)
    (root / "owl").symlink_to(root / ".kept", target_is_directory=True)
    found = read(root)
    assert sorted(found.names) == ["cat/1.png", "dog/1.png", "owl/1.png"]
    assert found.classes == ("cat", "dog", "owl")
    other = make_folder({"1.png": None}, "elsewhere")
    (root / "fox").symlink_to(other, target_is_directory=True)
    with pytest.raises(DataError, match="fox is a link to .*elsewhere, out of the folder"):
        read(root)


@pytest.mark.parametrize(
    "folders, task",
    [
        (("images", "masks"), "segmentation"),
        (("JPEGImages", "Annotations"), "detection"),
        (("train/images", "train/instances"), "instance"),
    ],
)
def test_a_task_that_was_forgotten_is_named(make_folder, folders, task):
    root = make_folder({f"{folder}/{name}.png": None for folder in folders for name in "ab"})
    with pytest.raises(DataError) as caught:
        read(root)
    assert caught.value.do.startswith(f"add --task {task} ")
    make_folder({(PurePosixPath(folders[0]).parent / "cats/c.png").as_posix(): None})
    assert "cats" in read(root).classes


@pytest.mark.parametrize(
    ("files", "found", "do"),
    [
        (
            ["train/cat/1.png", "val/cat/1.png", "tset/cat/1.png", "unlabelled/1.png"],
            "has the folders train, val beside 'tset', which is no split",
            "rename 'tset' to test",
        ),
        (
            ["cat/1.png", "dog/1.png", "Train/cat/1.png"],
            "has the folder Train beside 'cat', 'dog', which are no splits",
            "move them into a split",
        ),
        (["train/1.png", "test/1.png", "more/1.png"], "test, train beside 'more'", "called test"),
    ],
)
def test_splits_beside_other_folders_are_no_classes(make_folder, files, found, do):
    root = make_folder(dict.fromkeys(files))
    with pytest.raises(DataError) as caught:
        read(root)
    assert found in caught.value.found
    assert do in caught.value.do and "class folders" in caught.value.expected
    assert len(read(root, need_labels=False).names) == len(files)


def test_a_table_beside_the_classes_says_which_labels_a_model_gave(make_folder):
    files = dict.fromkeys(["cat/1.png", "dog/1.png", "dog/2.png"])
    table = b"file,source,confidence\ncat/1.png,model,0.75\ndog/3.png,model,0.5\n"
    root = make_folder(files | {"label-sources.csv": table})
    listing = read(root)
    assert listing.model_confidence.isnan().tolist() == [False, True, True]
    assert listing.model_confidence[0] == 0.75 and "1 picture of" in listing.notes[0]
    deep = make_folder({f"train/{name}": None for name in files}, "deep")
    (deep / "train" / "label-sources.csv").write_bytes(table.replace(b"dog/3", b"dog/2"))
    listing = read(deep)
    assert listing.model_confidence.isnan().tolist() == [False, True, False]
    assert listing.notes == ()
    (root / "label-sources.csv").write_text("file,origin\ncat/1.png,web\n")
    with pytest.raises(DataError, match="label-sources.csv has the columns"):
        read(root)
