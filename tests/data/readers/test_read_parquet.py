"""Parquet files of pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from leaven.data import open_data
from leaven.data.readers import read
from leaven.errors import DataError


@pytest.fixture
def write(tmp_path, png_of):
    def write_table(labels, name="pets.parquet", classes=None, images=None, metadata=None, **more):
        images = [png_of(row) for row in range(len(labels))] if images is None else images
        table = pa.table({"image": images, "label": labels, **more})
        metadata = metadata or ({"classes": json.dumps(classes)} if classes else None)
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=2)
        return path

    return write_table


def test_positions_in_the_class_names_of_the_schema(write, png_of):
    listing = read(write([1, None, 0, -1, 1], classes=["dog", "cat"]))
    assert listing.name == "pets" and listing.classes == ("dog", "cat")
    assert listing.labels.tolist() == [1, -1, 0, -1, 1]
    assert [listing.sources[row] for row in range(5)] == [png_of(row) for row in range(5)]
    assert listing.names[3] == "pets/000003"


def test_class_names_that_hugging_face_wrote(write):
    features = {"label": {"names": ["x", "y"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    assert read(write([0, 1], metadata=metadata)).classes == ("x", "y")


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        (["dog", None, "cat", ""], ("cat", "dog"), [1, -1, 0, -1]),
        (pa.array(["b", "a", None]).dictionary_encode(), ("a", "b"), [1, 0, -1]),
        ([10, 7, None, 10], ("7", "10"), [1, 0, -1, 1]),
        (pa.array([1.0, float("nan"), 0.0]), ("0", "1"), [1, -1, 0]),
        (pa.array([3, 4], pa.int8()), ("3", "4"), [0, 1]),
    ],
)
def test_labels_without_class_names(write, labels, classes, expected):
    listing = read(write(labels))
    assert listing.classes == classes and listing.labels.tolist() == expected


def test_columns_of_splits_and_sources(write):
    said = read(write(["x", "y", "x"], split=["test", None, "val"], source=["person", "model", ""]))
    assert said.splits == ["test", "train", "val"]
    assert said.model_confidence.isnan().tolist() == [True, False, True]
    other = read(write(["x", "y"], split=["test", "fold 3"]))
    assert other.splits == ["train", "train"] and other.model_confidence is None
    for source, words in (
        (["Model", "robot"], "pets/000001 has the source 'robot'"),
        ([2, 1], "2 rows"),
    ):
        with pytest.raises(DataError, match=words):
            read(write(["x", "y"], source=source))


def test_labels_of_a_model_keep_its_confidence(write):
    said = read(write(["x", "y"], source=["person", "model"], confidence=[1.0, 0.75]))
    assert said.model_confidence[1] == 0.75
    with pytest.raises(DataError, match="has the confidence '7.0'"):
        read(write(["x", "y"], source=["person", "model"], confidence=[1.0, 7.0]))
    with pytest.raises(DataError, match="has the confidence '-3.0'"):
        read(write(["x", "y"], confidence=[None, -3.0]))


def test_names_of_labels_in_the_order_of_the_schema(write):
    listing = read(write(["dog", "cat"], classes=["dog", "cat"]))
    assert listing.classes == ("dog", "cat") and listing.labels.tolist() == [0, 1]


def test_paths_and_structs(write, tmp_path, png_of):
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics" / "1.png").write_bytes(png_of(7))
    paths = read(write(["a"], images=["pics/1.png"]))
    assert paths.sources[0] == tmp_path / "pics/1.png" and paths.names == ["pics/1.png"]
    both = [{"bytes": png_of(1), "path": "x.png"}, {"bytes": None, "path": "pics/1.png"}]
    structs = read(write(["a", "b"], images=both))
    assert structs.sources[0] == png_of(1) and structs.sources[1] == tmp_path / "pics/1.png"


@pytest.mark.parametrize("inner", ["", "data/"])
def test_a_folder_of_splits(write, tmp_path, inner):
    for name, labels in {
        "train-00000-of-00002": [0, 1],
        "train-00001-of-00002": [1, None],
        "validation": [0],
        "test": [1, 0],
    }.items():
        write(labels, f"{inner}{name}.parquet", classes=["a", "b"])
    listing = read(tmp_path)
    assert dict(zip(listing.names, listing.splits)) == {
        "test/000000": "test", "test/000001": "test",
        "train-00000-of-00002/000000": "train", "train-00000-of-00002/000001": "train",
        "train-00001-of-00002/000000": "train", "train-00001-of-00002/000001": "train",
        "validation/000000": "val",
    }  # fmt: skip
    data = open_data(tmp_path)
    assert len(data.train) == 4 and len(data.val) == 1 and len(data.test) == 2


def test_names_are_taken_when_they_tell_items_apart(write):
    table = pa.table({"image": [b"", b""], "label": [0, 1], "name": ["x", "y"]})
    path = write([0, 1])
    pq.write_table(table, path)
    assert read(path).names == ["x", "y"]
    pq.write_table(table.set_column(2, "name", pa.array(["x", "x"])), path)
    assert read(path).names == ["pets/000000", "pets/000001"]


def test_a_null_picture_is_an_unreadable_one(write, png_of):
    images = [png_of(row) for row in range(20)]
    images[4] = None
    data = open_data(write([0, 1] * 10, images=images))
    assert len(data.train) == 19
    assert any("pets/000004 (there is no picture)" in note for note in data.notes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"labels": [0, 5], "classes": ["a", "b"]}, "label 5 .* 0 to 1"),
        ({"labels": [0, -2], "classes": ["a", "b"]}, "label -2"),
        ({"labels": ["a", "z"], "classes": ["a", "b"]}, "'z'"),
        ({"labels": [0.5, 1.0]}, "not whole"),
        ({"labels": [[0], [1]]}, "type list"),
        ({"labels": [0, 1], "images": [3, 4]}, "type int64"),
        ({"labels": [0, 1], "metadata": {"classes": "not json"}}, "cannot be read"),
        ({"labels": pa.array([], pa.int64()), "images": pa.array([], pa.binary())}, "no rows"),
        ({"labels": [0, 1, 0], "classes": ["a", "b", "owl"]}, "'owl'"),
        ({"labels": [None, None]}, "no label at all"),
    ],
)
def test_tables_that_cannot_be_learnt_from(write, options, words):
    with pytest.raises(DataError) as caught:
        open_data(write(**options))
    error = caught.value
    assert error.expected and error.do
    assert re.search(words, str(error), re.DOTALL)


@pytest.mark.parametrize("column", ["image", "label"])
def test_a_missing_column_is_named(tmp_path, column):
    path = tmp_path / "x.parquet"
    table = pa.table({"image": [b""], "label": [0], "img": [b""]}).drop_columns([column])
    pq.write_table(table, path)
    with pytest.raises(DataError, match=f"no column {column}; it has: .*img"):
        read(path)


def test_a_broken_file_is_named(write):
    path = write([0, 1])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="not a whole Parquet file"):
        read(path)


def test_a_labels_file_with_parquet_is_refused(write, tmp_path):
    (tmp_path / "labels.csv").write_text("file,label\n")
    with pytest.raises(DataError, match="labels file"):
        read(write([0, 1]), Path(tmp_path / "labels.csv"))
