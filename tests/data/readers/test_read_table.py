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
    assert opened("file,label,source\na.png,x,Model \n").model_confidence[0] == 1


def test_sources_that_are_not_known_are_counted_and_named(opened):
    with pytest.raises(DataError) as caught:
        opened("file,label,source\na.png,x,person\nb.png,y,robot\nd.png,y,Auto\n")
    assert caught.value.found == (
        "The row of b.png in labels.csv has the source 'robot', which is not known; 2 rows in all "
        "have one that is not: 'robot', 'Auto'."
    )
    assert "person, model" in caught.value.expected and "column" in caught.value.do
    with pytest.raises(DataError, match="the source 'robot', which is not known.\n"):
        opened("file,label,source\na.png,x,model\nb.png,y,robot\n")


def test_labels_of_a_model_keep_its_confidence(opened):
    rows = "a.png,x,person,1\nb.png,y,model,0.75\nd.png,y,model,\n"
    said = opened(f"file,label,source,confidence\n{rows}").model_confidence
    assert said[[1, 2]].tolist() == [0.75, 1.0] and bool(said[[0, 3]].isnan().all())
    for wrong in ("high", "1.2", "-1", "nan"):
        with pytest.raises(DataError, match=f"b.png in labels.csv has the confidence .*{wrong}"):
            opened(f"file,label,source,confidence\na.png,x,person,\nb.png,y,model,{wrong}\n")
        with pytest.raises(DataError, match=f"a.png in labels.csv has the confidence .*{wrong}"):
            opened(f"file,label,source,confidence\na.png,x,person,{wrong}\n")
        with pytest.raises(DataError, match=f"a.png in labels.csv has the confidence .*{wrong}"):
            opened(f"file,label,confidence\na.png,x,{wrong}\n")
    assert opened("file,label,confidence\na.png,x,0.5\n").model_confidence is None


def test_repeated_rows_are_noted_and_contradictions_refused(opened):
    listing = opened("file,label\na.png,x\nb.png,y\na.png,x\n")
    assert listing.labels.tolist() == [0, 1, -1, -1]
    assert listing.notes == ("1 row of labels.csv repeats an earlier row and was left out: a.png.",)
    with pytest.raises(DataError, match=r"a\.png \(line 2: 'x', line 4: 'y'\)") as caught:
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
        ("file,label,Label\na.png,x,y\n", "has the column label more than once"),
        ("file,label,split,split\na.png,x,test,\n", "has the column split more than once"),
        ("file,label\na.png,x\n,y\n", "Line 3 of .* has no file"),
        ("file,label\n,x\na.png,x\n,y\n", "Lines 2, 4 of .* have no file"),
        ("file,label\na.png,cat, big\nb.png,y\n", r"2 columns and more cells in 1 row: line 2 "),
        (
            "file,label\n" + "".join(f"{name}.png,x,y,z\n" for name in "abd"),
            "cells in 3 rows: line 2",
        ),
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


def test_empty_cells_past_the_last_column_and_missing_ones_are_nothing(opened):
    listing = opened("file,label,split\na.png,x,,,\nb.png,y\nd.png,,, \n")
    assert listing.labels.tolist() == [0, 1, -1, -1]


def test_folders_that_are_no_splits_for_one_that_is_misspelt_are_told(make_folder, tmp_path):
    root = make_folder(dict.fromkeys(["train/1.png", "val/2.png", "tset/3.png"]))
    table = tmp_path / "labels.csv"
    table.write_text("file,label\ntrain/1.png,x\nval/2.png,y\n")
    assert "The folders train, val, tset lie side by side" in read(root, table).notes[0]
    table.write_text("file,label,split\ntrain/1.png,x,\nval/2.png,y,val\n")
    assert read(root, table).notes == ()


def test_a_long_class_name_does_not_fill_the_message(opened):
    long = "x" * 5000
    with pytest.raises(DataError) as caught:
        opened(f"file,label\na.png,{long}\na.png,y\n")
    assert len(str(caught.value)) < 400
