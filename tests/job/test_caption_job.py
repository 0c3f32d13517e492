"""A caption job from pictures to label store, page and figures, with small real captioners."""

import csv
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tests.models.captioners import tiny

from leaven.data.readers.captioned import read_captioned
from leaven.errors import DataError, RunError
from leaven.job import caption as job
from leaven.job.caption import CaptionOptions, caption
from leaven.job.caption_density import rank_sources
from leaven.job.caption_folder import JOURNAL, OPTIONS, CaptionJournal, Entry, export_texts
from leaven.labels.classes import Source
from leaven.labels.store import LabelStore
from leaven.refine.caption_cleaning import clean_caption

HOSTILE = "a red dog <script>alert(1)</script> in a house"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llava(tmp_path_factory.mktemp("captioner") / "llava")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures, of which one is broken, three with a raw caption and one with no text."""
    folder, noise = tmp_path_factory.mktemp("data") / "pictures", np.random.default_rng(0)
    (folder / "sub").mkdir(parents=True)
    for number in range(9):
        pixels = noise.integers(0, 255, (40 + number, 60, 3), dtype=np.uint8)
        name = ("sub/" if number % 2 else "") + str(number)
        Image.fromarray(pixels).save(folder / f"{name}.png")
        if number in (0, 1, 2):
            (folder / f"{name}.txt").write_text(HOSTILE if number else "two dogs", "utf-8")
    (folder / "4.txt").write_bytes(b"\xff\xfe\x00no text")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return folder


def options(pictures: Path, model: Path, **others) -> CaptionOptions:
    how = {"max_tokens": 12, "temperature": 1.0, "batch": 4, "more_than": 1, "device": "cpu"}
    return CaptionOptions(str(pictures), str(model), **{**how, **others})


@pytest.fixture(scope="module")
def done(pictures: Path, model: Path, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("done") / "captions"
    return caption(options(pictures, model), out=out)


def test_what_a_job_gives(done, model: Path) -> None:
    said = dict(zip(done.names, done.texts, strict=True))
    assert len(said) == 10
    assert said["broken.png"] == ""
    assert sum(map(bool, said.values())) == done.summary["captions"] >= 8
    store = LabelStore(done.folder / "labels")
    assert store.rounds() == [0, 1, 2]
    raw, written, cleaned = (store.read_captions(number) for number in range(3))
    assert raw.labels.texts[raw.names.index("0.png")] == "two dogs"
    assert written.raw == raw.raw == list(raw.labels.texts)
    assert list(written.labels.texts) == done.texts
    assert list(cleaned.labels.texts) == [clean_caption(text) for text in done.texts]
    assert set(written.by) == {str(model), ""}
    sources = dict(zip(written.names, written.labels.source.tolist()))
    assert sources["broken.png"] == int(Source.NOBODY)
    assert sources["0.png"] == int(Source.MODEL)


def test_the_summary(done) -> None:
    summary = json.loads((done.folder / "captions.json").read_text("utf-8"))
    assert summary == json.loads(json.dumps(done.summary))
    assert summary["raw_used"] is True
    assert summary["raw_captions"] == 3
    assert summary["unreadable"][0]["item"] == "broken.png"
    assert summary["density"]["raw"]["pictures"] == 9
    assert summary["density"]["written"]["pictures"] == 9
    assert summary["density"]["raw"]["empty"] == 6
    assert any("4.txt" in note for note in summary["notes"])


def test_the_page_shows_both_captions_and_runs_nothing(done) -> None:
    page = (done.folder / "captions.html").read_text("utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert page.count("data:image/png;base64,") == 9
    assert all(text in page for text in done.texts if text.isalpha())


def test_written_captions_are_labels_to_learn_from(done, pictures: Path) -> None:
    found = read_captioned(pictures, done.folder)
    said = dict(zip(found.names, found.said.texts, strict=True))
    assert said["0.png"] == clean_caption(dict(zip(done.names, done.texts))["0.png"])
    assert int(found.said.source[found.names.index("0.png")]) == int(Source.MODEL)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("batch", [4, 3])
def test_a_killed_job_goes_on_to_the_same_captions(
    batch: int, done, pictures: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real, calls = tmp_path / "out", job.write_captions, []

    def failing(*arguments):
        calls.append(1)
        if len(calls) > 2:
            raise Stopped
        return real(*arguments)

    monkeypatch.setattr(job, "write_captions", failing)
    with pytest.raises(Stopped):
        caption(options(pictures, model), out=out)
    with (out / JOURNAL).open("ab") as journal:
        journal.write(b'{"item": "sub/7.png", "text": "torn')
    before = (out / JOURNAL).read_bytes()
    seen = []
    monkeypatch.setattr(job, "write_captions", lambda *a: seen.extend(a[2]) or real(*a))
    result = caption(options(pictures, model, batch=batch), out=out, resume=True)
    assert (result.names, result.texts) == (done.names, done.texts)
    assert result.summary["before"] == 8
    assert len(seen) == 2
    assert (out / JOURNAL).read_bytes().startswith(before[: before.rindex(b"\n") + 1])
    assert len((out / JOURNAL).read_text().splitlines()) == 10


def test_a_finished_job_writes_nothing_again(
    done, pictures: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "write_captions", lambda *a: pytest.fail("written again"))
    again = caption(options(pictures, model), out=done.folder, resume=True)
    assert again.texts == done.texts


def test_a_limit_is_widened_by_resuming(done, pictures: Path, model: Path, tmp_path: Path) -> None:
    first = caption(options(pictures, model, limit=3), out=tmp_path / "out")
    assert first.names == done.names[:3]
    whole = caption(options(pictures, model), out=tmp_path / "out", resume=True)
    assert whole.texts == done.texts
    assert whole.summary["before"] == 3


def test_other_options_are_not_gone_on_with(
    done, pictures: Path, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="other options .*temperature: 1.0 there, 0.2 now"):
        caption(options(pictures, model, temperature=0.2), out=done.folder, resume=True)
    with pytest.raises(RunError, match="holds captions of"):
        caption(options(pictures, model), out=done.folder)
    with pytest.raises(RunError, match="no captions in"):
        caption(options(pictures, model), out=tmp_path / "none", resume=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        caption(options(pictures, model), out=tmp_path / "full")
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


def test_another_captioner_in_the_same_place_is_refused(
    done, pictures: Path, model: Path, tmp_path: Path
) -> None:
    stored = json.loads((done.folder / OPTIONS).read_text())
    (done.folder / OPTIONS).write_text(json.dumps({**stored, "weights_are": "other"}))
    try:
        with pytest.raises(RunError, match="weights_are: 'other' there"):
            caption(options(pictures, model), out=done.folder, resume=True)
    finally:
        (done.folder / OPTIONS).write_text(json.dumps(stored))


def test_a_job_goes_on_in_another_precision(
    done, pictures: Path, model: Path, tmp_path: Path
) -> None:
    caption(options(pictures, model, limit=3, precision="fp32"), out=tmp_path / "out")
    went_on = caption(options(pictures, model, precision="bf16"), out=tmp_path / "out", resume=True)
    assert went_on.texts[:3] == done.texts[:3]
    assert went_on.summary["before"] == 3


def test_raw_captions_may_be_left_out(done, pictures: Path, model: Path, tmp_path: Path) -> None:
    alone = caption(options(pictures, model, use_raw=False), out=tmp_path / "out")
    with_raw = {"0.png", "sub/1.png", "2.png"}
    for name, text, other in zip(done.names, done.texts, alone.texts, strict=True):
        assert (text != other) == (name in with_raw)
    assert alone.summary["raw_used"] is False


def test_a_batch_that_is_too_large_is_halved(
    done, pictures: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, sizes, held = job.write_captions, [], []

    def small(captioner, shown, *rest):
        sizes.append(len(shown))
        held.append(sys.exc_info()[1])
        if len(shown) > 2:
            raise torch.OutOfMemoryError("too much")
        return real(captioner, shown, *rest)

    monkeypatch.setattr(job, "write_captions", small)
    result = caption(options(pictures, model, batch=10), out=tmp_path / "out")
    assert result.texts == done.texts
    assert max(sizes) == 9
    assert {1, 2} & set(sizes)
    # The error would hold the tensors of the batch that was too large.
    assert set(held) == {None}


def test_a_picture_that_the_captioner_refuses_stops_no_other(
    done, pictures: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = job.write_captions

    def picky(captioner, shown, names, *rest):
        if "2.png" in names:
            raise ValueError("absolute aspect ratio must be smaller than 200")
        return real(captioner, shown, names, *rest)

    monkeypatch.setattr(job, "write_captions", picky)
    result = caption(options(pictures, model), out=tmp_path / "out")
    wanted = ["" if name == "2.png" else text for name, text in zip(done.names, done.texts)]
    assert result.texts == wanted
    reasons = {one["item"]: one["reason"] for one in result.summary["unreadable"]}
    assert "aspect ratio" in reasons["2.png"]


def test_where_no_picture_gets_a_caption_nothing_is_left(
    pictures: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_):
        raise ValueError("the processor is broken")

    monkeypatch.setattr(job, "write_captions", broken)
    with pytest.raises(RunError, match=r"None of the first 4 .* the processor is broken"):
        caption(options(pictures, model), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_texts_beside_the_pictures(done, pictures: Path, model: Path, tmp_path: Path) -> None:
    result = caption(options(pictures, model), out=done.folder, resume=True, txt=tmp_path / "txt")
    said = {name: text for name, text in zip(result.names, result.texts) if text}
    files = {path.relative_to(tmp_path / "txt").as_posix() for path in tmp_path.rglob("*.txt")}
    assert files == {str(Path(name).with_suffix(".txt")) for name in said}
    assert (tmp_path / "txt" / "sub" / "1.txt").read_text("utf-8") == said["sub/1.png"] + "\n"
    assert result.summary["txt"]["files"] == len(said)
    with pytest.raises(RunError, match="leads out"):
        export_texts(tmp_path / "txt", [("../../away.png", "a dog")])


def test_a_job_with_texts_beside_the_pictures_goes_on(
    done, pictures: Path, model: Path, tmp_path: Path
) -> None:
    """What it wrote there takes the place of raw captions, and is none itself."""
    copy = shutil.copytree(pictures, tmp_path / "copy")
    wanted = options(copy, model, limit=3)
    first = caption(wanted, out=tmp_path / "out", txt=copy)
    assert (copy / "0.txt").read_text("utf-8") == first.texts[0] + "\n" != "two dogs\n"
    whole = caption(replace(wanted, limit=None), out=tmp_path / "out", resume=True, txt=copy)
    assert whole.texts == done.texts
    assert whole.summary["before"] == 3
    assert whole.summary["raw_captions"] == 3
    raw = LabelStore(tmp_path / "out" / "labels").read_captions(0)
    assert raw.labels.texts[raw.names.index("0.png")] == "two dogs"


def test_two_pictures_of_one_text_are_refused(model: Path, tmp_path: Path) -> None:
    encoded = []
    for number in range(2):
        Image.new("RGB", (20, 20), (number, 0, 0)).save(tmp_path / "one.png")
        encoded.append((tmp_path / "one.png").read_bytes())
    table = pa.table({"image": encoded, "name": ["photo.1", "photo.2"]})
    pq.write_table(table, tmp_path / "pairs.parquet")
    wanted = options(tmp_path / "pairs.parquet", model)
    with pytest.raises(RunError, match=r"'photo\.1' and 'photo\.2' .*photo\.txt"):
        caption(wanted, out=tmp_path / "out", txt=tmp_path / "txt")
    assert not (tmp_path / "out").exists()


def test_a_table_of_pictures(pictures: Path, model: Path, tmp_path: Path) -> None:
    encoded = [(pictures / f"{name}.png").read_bytes() for name in ("0", "2", "4")]
    table = pa.table({"image": encoded, "alt": ["two dogs", None, "x" * 50_000]})
    pq.write_table(table, tmp_path / "pairs.parquet")
    made = options(tmp_path / "pairs.parquet", model)
    without = caption(made, out=tmp_path / "without")
    assert without.summary["raw_captions"] == 0
    assert "raw" not in without.summary["density"]
    with_raw = caption(replace(made, raw_column="alt"), out=tmp_path / "with")
    assert with_raw.summary["raw_captions"] == 2
    assert any("longer than" in note for note in with_raw.summary["notes"])
    assert with_raw.names == without.names
    with pytest.raises(DataError, match="no column missing"):
        caption(replace(made, raw_column="missing"), out=tmp_path / "other")


def test_a_file_of_raw_captions(pictures: Path, model: Path, tmp_path: Path) -> None:
    with (tmp_path / "raw.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "caption"), ("4.png", "a tree"), ("6.png", "")])
    made = options(pictures, model, labels=str(tmp_path / "raw.csv"))
    result = caption(made, out=tmp_path / "out")
    assert result.summary["raw_captions"] == 1


def test_the_built_in_scenes(model: Path, tmp_path: Path) -> None:
    made = CaptionOptions("scenes", str(model), max_tokens=4, limit=3, device="cpu")
    assert len(caption(made, out=tmp_path / "out").texts) == 3


def test_sources_are_ranked(done, pictures: Path, tmp_path: Path) -> None:
    rich = tmp_path / "rich"
    rich.mkdir()
    for number in range(3):
        Image.new("RGB", (20, 20)).save(rich / f"{number}.png")
        (rich / f"{number}.txt").write_text("a dog, a cat, a tree, a house, a sky and a bird " * 3)
    found = rank_sources([str(pictures), str(rich), str(done.folder)], more_than=1)
    assert next(iter(found))[0] == str(rich)
    assert found[0][1].per_picture == 18
    figures = dict(found)
    assert figures[str(done.folder)].as_dict() == done.summary["density"]["written"]
    assert figures[str(pictures)].pictures == 10


def test_a_journal_that_is_damaged_in_the_middle_is_not_cut_off(tmp_path: Path) -> None:
    path = tmp_path / JOURNAL
    with CaptionJournal(path) as journal:
        journal.add([Entry(name, "a dog") for name in "abcd"])
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = b"".join([lines[0], lines[1][:9] + b"\n", *lines[2:]])
    path.write_bytes(damaged)
    with pytest.raises(RunError, match=r"Line 2 of .*written\.jsonl"), CaptionJournal(path):
        pass
    assert path.read_bytes() == damaged


def test_a_journal_keeps_its_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / JOURNAL
    with CaptionJournal(path) as journal:
        journal.add([Entry("a", "one\ntwo", 3, True, False), Entry("b", unreadable="gone")])
    whole = path.read_bytes()
    for torn in (b"{", b'{"item": "c"}', b'{"item": 1, "other": 2}\n', b"\xff\xff\n"):
        path.write_bytes(whole + torn)
        with CaptionJournal(path) as journal:
            assert list(journal.entries) == ["a", "b"]
            assert journal.entries["a"] == Entry("a", "one\ntwo", 3, True, False)
            journal.add([Entry("c", "three")])
        again = CaptionJournal(path)
        again.read()
        assert list(again.entries) == ["a", "b", "c"]
