"""Tags of whole pictures: from a table, from label maps, and what is wrong with them."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from leaven.data import ImageSet, MemoryPixels
from leaven.data.picture_tags import MAPS, with_tags
from leaven.data.pixel_maps import PixelMaps
from leaven.errors import DataError

CLASSES = ("ground", "cat", "dog")


@pytest.fixture
def images():
    """Four pictures: cat, cat and dog, ground alone, dog; the last two have no map."""
    maps = torch.zeros(4, 4, 6, dtype=torch.uint8)
    maps[0, 1], maps[1, :2], maps[1, 2], maps[3, 3] = 1, 1, 2, 2
    maps[0, 0, 0] = 255
    truth = PixelMaps.from_tensor(maps)
    labels = truth.hidden(torch.tensor([True, True, False, False]))
    names = [f"{letter}.png" for letter in "abcd"]
    return ImageSet(MemoryPixels(torch.zeros(4, 3, 4, 6, dtype=torch.uint8)), labels, truth, names)


def tags_of(images):
    return [[CLASSES[k] for k in row.nonzero().flatten()] for row in images.labels.tags]


def test_a_row_says_what_a_picture_shows_and_its_map_where_there_is_none(images, tmp_path):
    table = tmp_path / "tags.csv"
    table.write_text("File,Tags\nc.png,\nd.png, cat ;dog\na.png,dog\n", encoding="utf-8")
    found = with_tags(images, CLASSES, table)
    assert tags_of(found) == [["dog"], ["ground", "cat", "dog"], [], ["cat", "dog"]]
    assert found.labels.known.tolist() == images.labels.known.tolist()
    assert images.labels.tags is None


def test_lists_in_a_parquet_file(images, tmp_path):
    rows = {"item": ["c.png", "d.png"], "tags": [[], ["dog"]]}
    pq.write_table(pa.table(rows, pa.schema({"item": pa.string(), "tags": pa.list_(pa.string())})),
                   tmp_path / "tags.parquet")  # fmt: skip
    assert tags_of(with_tags(images, CLASSES, str(tmp_path / "tags.parquet")))[2:] == [[], ["dog"]]


def test_the_tags_of_maps(images):
    known = images.subset(torch.tensor([True, True, False, False]))
    assert tags_of(with_tags(known, CLASSES, MAPS)) == [["ground", "cat"], ["ground", "cat", "dog"]]
    with pytest.raises(DataError, match=r"2 of 4 pictures have neither .*c\.png.*d\.png"):
        with_tags(images, CLASSES, MAPS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,tags\nc.png,cat\n", r"1 of 4 pictures have neither tags nor a label map: 'd\.png'"),
        ("file,tags\nc.png,cat\nd.png,dgo\n", r"tag 'dgo', which is no class.*(?s:.)*dog"),
        ("file,tags\nc.png,\nd.png,\ne.png,cat\n", r"names 1 of its 3 pictures as none is named here: 'e\.png'"),
        ("file,label\nc.png,cat\n", "no column tags; it has: file, label"),
        ("tags\ncat\n", "no column file or item"),
        ("file,tags\nc.png,cat\nc.png,dog\n", "in more than one row"),
        ("", "not a CSV file|no rows"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(images, tmp_path, text, message):
    table = tmp_path / "tags.csv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        with_tags(images, CLASSES, table)


def test_a_file_that_is_not_there(images, tmp_path):
    with pytest.raises(DataError, match="There is no file"):
        with_tags(images, CLASSES, tmp_path / "none.csv")
