"""Pictures with captions from folders, tables and what a captioner wrote."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from leaven.data.captioned_listing import LONGEST, tidy
from leaven.data.embedded_captions import captioned_scenes
from leaven.data.open_captioned import open_captioned
from leaven.data.readers.captioned import read_captioned
from leaven.errors import DataError
from leaven.labels import Captions, LabelStore
from leaven.labels.caption_table import CaptionRound
from leaven.labels.classes import Source
from leaven.labels.described import Described


def _picture(path, size=(12, 12), shade=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), shade, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes of three pictures; one has no caption."""
    root = tmp_path / "photos"
    for number in range(6):
        name = root / ("cats" if number % 2 else "dogs") / f"p{number}.png"
        _picture(name, shade=number * 40)
        if number:
            name.with_suffix(".txt").write_text(f"picture  number\n{number} ")
    return root


def _by_name(data):
    return dict(zip(data.train.names, data.train.labels.texts, strict=True))


def test_text_files_beside_the_pictures(folder):
    data = open_captioned(folder)
    assert data.classes == ("cats", "dogs")
    assert _by_name(data)["cats/p1.png"] == "picture number 1"
    assert _by_name(data)["dogs/p0.png"] == ""
    assert data.test is None
    known = dict(zip(data.train.names, data.train.known.tolist(), strict=True))
    assert known.pop("dogs/p0.png") is False
    assert all(known.values())
    classes = dict(zip(data.train.names, data.train.labels.classes.tolist(), strict=True))
    assert (classes["cats/p1.png"], classes["dogs/p4.png"]) == (0, 1)
    assert not data.notes


def test_a_single_folder_is_no_class(tmp_path):
    _picture(tmp_path / "all" / "a.png")
    (tmp_path / "all" / "a.txt").write_text("a black square")
    data = open_captioned(tmp_path)
    assert data.classes == ()
    assert data.train.labels.classes.tolist() == [-1]


def test_files_that_are_no_text_are_named_and_left_out(folder):
    (folder / "cats" / "p3.txt").write_bytes(b"\xff\xfe\x00bad")
    (folder / "cats" / "p1.txt").write_bytes(b"a\0b")
    data = open_captioned(folder)
    assert _by_name(data)["cats/p3.png"] == ""
    assert any("2 files are no text" in note for note in data.notes)


def test_huge_captions_are_cut_with_a_word(folder):
    (folder / "cats" / "p3.txt").write_text("word " * 400_000)
    data = open_captioned(folder)
    assert len(_by_name(data)["cats/p3.png"]) == LONGEST
    assert any("longer than 10,000 letters" in note for note in data.notes)


def test_a_table_in_the_folder_may_have_classes_and_marks(folder):
    for file in folder.rglob("*.txt"):
        file.unlink()
    (folder / "captions.csv").write_text(
        "file,caption,label,good\ncats/p1.png,one,x,true\ndogs/p2.png,two,y,\n"
        "dogs/p4.png,,y,false\nelsewhere.png,gone,,\n"
    )
    data = open_captioned(folder)
    said = dict(zip(data.train.names, range(6), strict=True))
    labels = data.train.labels
    assert labels.texts[said["cats/p1.png"]] == "one"
    assert bool(labels.good[said["cats/p1.png"]])
    assert int(labels.good.sum()) == 1
    assert data.classes == ("x", "y")
    assert int(labels.classes[said["dogs/p4.png"]]) == 1
    assert any("no picture here" in note and "elsewhere.png" in note for note in data.notes)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("file,words\na.png,one\n", "no column caption"),
        ("picture,caption\na.png,one\n", "no column file"),
        ("file,caption,good\ncats/p1.png,one,perhaps\n", "'perhaps'"),
        ("file,caption\ncats/p1.png,\n", "has a caption"),
        ("file,caption\nother.png,one\n", "captions of other.png"),
        ("caption,file\none,cats/p1.png\ntwo\n", "Row 2 .* names no picture"),
    ],
)
def test_tables_that_do_not_fit_are_refused(folder, tmp_path, table, words):
    file = tmp_path / "said.csv"
    file.write_text(table)
    with pytest.raises(DataError, match=words):
        open_captioned(folder, captions=file)


def test_a_table_with_semicolons_is_read(folder, tmp_path):
    file = tmp_path / "said.csv"
    file.write_text("file;caption\ncats/p1.png;one, or two\n")
    assert _by_name(open_captioned(folder, captions=file))["cats/p1.png"] == "one, or two"


def test_a_column_can_be_named(folder, tmp_path):
    file = tmp_path / "said.csv"
    file.write_text("file,caption,long\ncats/p1.png,short,a longer one\n")
    assert _by_name(open_captioned(folder, captions=file, column="long"))["cats/p1.png"] == (
        "a longer one"
    )


def test_a_column_is_named_in_any_case(folder, tmp_path):
    file = tmp_path / "said.csv"
    file.write_text("File,Caption,Alt Text\ncats/p1.png,short,a longer one\n")
    assert _by_name(open_captioned(folder, captions=file))["cats/p1.png"] == "short"
    named = open_captioned(folder, captions=file, column="Alt Text")
    assert _by_name(named)["cats/p1.png"] == "a longer one"


def test_of_several_captions_of_a_picture_the_first_is_taken_and_this_is_said(folder, tmp_path):
    file = tmp_path / "said.csv"
    rows = [("cats/p1.png", text) for text in ("", "a cat", "a black cat", "a cat")]
    rows += [("dogs/p2.png", "a dog"), ("dogs/p2.png", "a dog"), ("dogs/p4.png", "a dog")]
    file.write_text("file,caption\n" + "".join(f"{item},{text}\n" for item, text in rows))
    data = open_captioned(folder, captions=file)
    assert _by_name(data)["cats/p1.png"] == "a cat"
    (note,) = [note for note in data.notes if "several captions" in note]
    assert note.startswith("1 picture") and "cats/p1.png" in note


def test_a_table_without_captions_hides_no_pictures_from_a_captioner(folder):
    (folder / "metadata.csv").write_text("file_name,label\ncats/p1.png,cat\n")
    found = read_captioned(folder, need_captions=False)
    assert dict(zip(found.names, found.said.texts))["cats/p1.png"] == "picture number 1"
    with pytest.raises(DataError, match=r"metadata\.csv has no column caption"):
        read_captioned(folder)


def test_what_a_captioner_wrote(folder, tmp_path):
    names = ["cats/p1.png", "dogs/p2.png"]
    said = CaptionRound(names, Captions.of(["a cat", "a dog"], Source.MODEL), ["", ""], ["m", "m"])
    store = LabelStore(tmp_path / "captions" / "labels")
    path = store.write_captions(0, said)
    for place in (tmp_path / "captions", tmp_path / "captions" / "labels", path):
        data = open_captioned(folder, captions=place)
        assert _by_name(data)["dogs/p2.png"] == "a dog"
        assert int((data.train.labels.source == Source.MODEL).sum()) == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no captions"):
        open_captioned(folder, captions=tmp_path / "empty")
    with pytest.raises(DataError, match="no captions at"):
        open_captioned(folder, captions=tmp_path / "gone.csv")


def _parquet(path, folder, **columns):
    rows = [file.read_bytes() for file in sorted(folder.rglob("*.png"))]
    pq.write_table(pa.table({"image": rows, **columns}), path)


def test_parquet_with_pictures_and_captions(folder, tmp_path):
    file = tmp_path / "data.parquet"
    texts = ["one", None, "three", "four", "five", "six"]
    _parquet(file, folder, text=texts, label=list("aabbab"), good=[True, None, False] * 2)
    data = open_captioned(file)
    assert data.train.labels.texts == ("one", "", "three", "four", "five", "six")
    assert data.classes == ("a", "b")
    assert data.train.labels.good.tolist() == [True, False, False, True, False, False]
    assert data.train.names[0] == "data/000000"


def test_parquet_without_text_is_refused(folder, tmp_path):
    file = tmp_path / "data.parquet"
    _parquet(file, folder, caption=[1, 2, 3, 4, 5, 6])
    with pytest.raises(DataError, match="type int64"):
        open_captioned(file)
    _parquet(file, folder, other=["x"] * 6)
    with pytest.raises(DataError, match="no column caption"):
        open_captioned(file)
    said = tmp_path / "said.csv"
    said.write_text("item,caption\ndata/000002,three\n")
    assert open_captioned(file, captions=said).train.labels.texts[2] == "three"


def test_extreme_pictures_are_left_out_and_named(folder):
    _picture(folder / "cats" / "long.png", size=(90, 20))
    data = open_captioned(folder)
    assert "cats/long.png" not in data.train.names
    assert any("more than 4 times" in note and "cats/long.png" in note for note in data.notes)
    assert data.shape == (3, 64, 64)  # They had one size before.
    assert data.train.sizes.tolist() == [[12, 12]] * 6


def test_only_extreme_pictures_are_refused(tmp_path):
    _picture(tmp_path / "a.png", size=(90, 20))
    (tmp_path / "a.txt").write_text("a line")
    with pytest.raises(DataError, match="times as long"):
        open_captioned(tmp_path)


def test_nothing_there_and_nothing_said(tmp_path, folder):
    with pytest.raises(DataError, match="no file or folder"):
        open_captioned(tmp_path / "gone")
    for file in folder.rglob("*.txt"):
        file.unlink()
    with pytest.raises(DataError, match="No picture"):
        open_captioned(folder)


def test_pictures_with_captions_are_held_out(tmp_path):
    for number in range(60):
        _picture(tmp_path / f"{number}.png", shade=number)
    rows = "".join(f"{number}.png,picture {number}\n" for number in range(58))
    (tmp_path / "captions.csv").write_text("file,caption\n" + rows)
    data = open_captioned(tmp_path)
    assert (len(data.test), len(data.train)) == (6, 54)
    assert bool(data.test.known.all())
    assert not {*data.test.names} & {*data.train.names}
    assert len(open_captioned(tmp_path, test_share=0.5).test) == 29
    assert open_captioned(tmp_path, test_share=0.0).test is None


def test_the_embedded_scenes_have_all_that_the_stages_need():
    data = open_captioned(None)
    assert data.shape == (1, 12, 24)
    assert (len(data.train), len(data.test)) == (3000, 200)
    labels = data.train.labels
    one = torch.tensor([len(text.split()) == 2 for text in labels.texts])
    assert torch.equal(one, labels.classes >= 0)
    assert 800 < int(one.sum()) < 1300
    assert 0.75 < float(labels.good.float().mean()) < 0.85
    for text, digit in zip(labels.texts[:200], labels.classes[:200].tolist(), strict=True):
        if digit >= 0:
            assert text.split()[1] == data.classes[digit]
    with pytest.raises(DataError, match="have captions"):
        open_captioned("scenes", column="text")


def test_scenes_are_those_of_their_seed():
    one, same, other = (captioned_scenes(20, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.images, same.images)
    assert one.captions == same.captions != other.captions
    quiet = one.images[one.clean]
    assert float((quiet == 0).float().mean()) > 0.4
    assert float((one.images[~one.clean] == 0).float().mean()) < 0.4


def test_captions_become_one_line():
    assert tidy([" a\n b\tc ", ""]) == (["a b c", ""], [])


def test_described_keeps_its_columns_together():
    said = Described.of(["a", "", "c"], classes=torch.tensor([2, 0, 1]))
    part = said.select(torch.tensor([2, 0]))
    assert part.texts == ("c", "a")
    assert part.classes.tolist() == [1, 2]
    assert part.good.tolist() == [False, False]
    assert said.known.tolist() == [True, False, True]
    assert json.dumps(said[torch.tensor([0, 2])]) == '["a", "c"]'
    with pytest.raises(ValueError, match="classes"):
        Described(said.texts, said.source, torch.zeros(2), said.good)
