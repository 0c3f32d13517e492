"""A folder with labels.csv."""

from __future__ import annotations

import pytest

from leaven.data.readers import read
from leaven.data.readers.table import read_table
from leaven.errors import DataError

FILES = dict.fromkeys(["a.png", "b.png", "sub/c.png", "d.png"])


@pytest.fixture
def opened(make_folder, tmp_path):
    def open_table(text: str, encoding: str = "utf-8"):
        table = tmp_path / "labels.csv"
        table.write_bytes(text.encode(encoding))
        return read(make_folder(FILES), table)

    return open_table


def test_labels_splits_and_empty_labels(opened):
    listing = opened("File, Label ,split\na.png,dog,\nsub\\c.png,cat,test\n./b.png,,\n")
    assert listing.classes == ("cat", "dog")
    assert dict(zip(listing.names, listing.labels.tolist())) == {
        "a.png": 1, "b.png": -1, "d.png": -1, "sub/c.png": 0,
    }  # fmt: skip
    assert dict(zip(listing.names, listing.splits))["sub/c.png"] == "test"


def test_a_byte_order_mark_quotes_and_blank_lines_are_understood(opened):
    listing = opened('file,label\r\n\r\n"a.png","big, dog"\r\nb.png,cat\r\n', "utf-8-sig")
    assert listing.classes == ("big, dog", "cat")


@pytest.mark.parametrize("sign", [";", "\t"])
def test_other_separators_are_told_from_the_header(opened, sign):
    rows = [
        ["File", "label", "accepted"],
        ["a.png", '"big, dog; old"', "true"],
        ["b.png", "cat", ""],
    ]
    listing = opened("".join(f"{sign.join(row)}\n" for row in rows))
    assert listing.classes == ("big, dog; old", "cat")
    assert listing.labels.tolist() == [0, 1, -1, -1]
    assert opened("file,a;b,label\na.png,,x;y\n").classes == ("x;y",)


def test_the_table_in_the_folder_is_found(make_folder):
    root = make_folder(FILES | {"labels.csv": b"file,label\na.png,x\nb.png,y\n"})
    assert read(root).classes == ("x", "y")


def test_proposals_that_were_not_accepted_are_no_labels(opened):
    listing = opened("file,label,accepted\na.png,x,true\nb.png,y,False\nd.png,y,\n")
    assert listing.labels.tolist() == [0, -1, 1, -1]
    assert "1 row of labels.csv not accepted" in listing.notes[0]


def test_a_column_source_as_leaven_writes_it_says_who_labelled(opened):
    listing = opened("file,label,source\na.png,x,person\nb.png,y,model\nd.png,,nobody\n")
    assert listing.model_confidence.isnan().tolist() == [True, False, True, True]
    assert listing.model_confidence[1] == 1
    assert opened("file,label,source\na.png,x,person\nb.png,y,\n").model_confidence is None
    assert opened("file,label,source\na.png,x,camera\nb.png,y,model\n").model_confidence is None


def test_labels_of_a_model_keep_its_confidence(opened):
    rows = "a.png,x,person,1\nb.png,y,model,0.75\nd.png,y,model,\n"
    said = opened(f"file,label,source,confidence\n{rows}").model_confidence
    assert said[[1, 2]].tolist() == [0.75, 1.0] and bool(said[[0, 3]].isnan().all())
    for wrong in ("high", "1.2", "-1", "nan"):
        with pytest.raises(DataError, match=f"b.png in labels.csv has the confidence .*{wrong}"):
            opened(f"file,label,source,confidence\na.png,x,person,?\nb.png,y,model,{wrong}\n")
    assert opened("file,label,confidence\na.png,x,high\n").model_confidence is None


def test_repeated_rows_are_noted_and_contradictions_refused(opened):
    listing = opened("file,label\na.png,x\nb.png,y\na.png,x\n")
    assert listing.labels.tolist() == [0, 1, -1, -1]
    assert listing.notes == ("1 row of labels.csv repeats an earlier row and was left out: a.png.",)
    with pytest.raises(DataError, match=r"a\.png \(line 2: x, line 4: y\)") as caught:
        opened("file,label\na.png,x\nb.png,y\na.png,y\n")
    assert caught.value.expected and caught.value.do


def test_unknown_files_are_named_with_the_nearest(opened):
    with pytest.raises(DataError) as caught:
        opened("file,label\nc.png,x\nb.jpg,y\na.png,y\nsub/dd.png,x\n")
    text = str(caught.value)
    assert "names 3 files" in text and "c.png (line 2)" in text
    assert "c.png -> sub/c.png" in text and "b.jpg -> b.png" in text


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("name,label\na.png,x\n", "no column file; its first row is: name, label"),
        ("a.png;x\n", "no column file and no column label"),
        ("", "first row is: \\(empty\\)"),
        ("file,label,split\na.png,x,rest\n", "Line 2 .* split 'rest'"),
        ("file,label,accepted\na.png,x,maybe\n", "'maybe'"),
    ],
)
def test_tables_that_cannot_be_used(opened, table, words):
    with pytest.raises(DataError, match=words) as caught:
        opened(table)
    assert caught.value.expected and caught.value.do


def test_a_table_that_is_gone_is_not_called_broken(make_folder, tmp_path):
    for place, words in ((tmp_path / "gone.csv", "There is no file"), (tmp_path, "cannot be read")):
        with pytest.raises(DataError, match=words) as caught:
            read_table(make_folder(FILES), place)
        assert "check the path" in caught.value.do


def test_a_table_that_is_not_text_is_refused(opened):
    with pytest.raises(DataError, match="not a CSV file in UTF-8"):
        opened("file,label\na.png,caf\xe9\n", "latin-1")
