"""The log of corrections."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leaven.errors import DataError, RunError
from leaven.labels import ClassLabels, Correction, CorrectionLog, LabelStore, Masks
from leaven.labels.correction_fields import encoded, masks_of, run_lengths
from leaven.labels.corrections import FILE

BOX = {"box": [1, 2.5, 8, 9], "class": "cat", "mask": None}


def test_what_is_appended_is_read_by_another(tmp_path: Path) -> None:
    log = CorrectionLog(tmp_path)
    first = log.append("a.png", "accept", label="cat", round=3)
    second = log.append("b.png", "relabel", boxes=[BOX], by="cvat", token="t")
    assert (first.id, second.id) == (1, 2)
    assert first.time.endswith("+00:00")
    assert second.boxes == (BOX,)
    assert CorrectionLog(tmp_path / FILE).read() == [first, second] == log.read()
    line = json.loads((tmp_path / FILE).read_text().splitlines()[1])
    assert set(line) == {
        "id", "time", "item", "action", "label", "boxes", "round", "by", "undoes", "token",
    }  # fmt: skip
    assert line["boxes"] == [BOX]


def test_no_log_is_an_empty_one(tmp_path: Path) -> None:
    log = CorrectionLog(tmp_path)
    assert (log.read(), log.standing(), log.last_id) == ([], {}, 0)
    assert list(tmp_path.iterdir()) == []


def test_what_stands_is_the_latest_that_is_not_undone(tmp_path: Path) -> None:
    log = CorrectionLog(tmp_path)
    log.append("a", "accept", label="cat")
    log.append("b", "reject", label="cat")
    later = log.append("a", "relabel", label="dog")
    log.append("a", "skip")
    assert {item: one.id for item, one in log.standing().items()} == {"a": 3, "b": 2}
    log.append("", "undo", undoes=later.id)
    assert log.read()[-1].item == "a"
    assert {item: one.id for item, one in log.standing().items()} == {"a": 1, "b": 2}
    log.append("a", "undo", undoes=1)
    assert {item: one.id for item, one in log.standing().items()} == {"b": 2}
    assert {item: one.id for item, one in log.standing(until=4).items()} == {"a": 3, "b": 2}
    assert [one.id for one in log.read(until=2)] == [1, 2]


def test_a_request_that_is_repeated_is_recorded_once(tmp_path: Path) -> None:
    log, other = CorrectionLog(tmp_path), CorrectionLog(tmp_path)
    first = log.append("a", "accept", label="cat", token="x")
    assert other.append("a", "accept", label="cat", token="x") == first
    many = [{"item": str(i), "action": "skip", "token": f"t{i}"} for i in range(3)]
    assert [one.id for one in other.append_all(many)] == [2, 3, 4]
    more = [*many, {"item": "9", "action": "skip", "token": "t9"}]
    assert [one.id for one in log.append_all(more)] == [2, 3, 4, 5]
    undo = log.append("", "undo", undoes=1, token="u")
    assert other.append("", "undo", undoes=1, token="u") == undo
    assert log.last_id == 6


def test_an_undo_of_nothing_of_an_undo_and_twice(tmp_path: Path) -> None:
    log = CorrectionLog(tmp_path)
    with pytest.raises(DataError, match="no correction 1"):
        log.append("a", "undo", undoes=1)
    log.append("a", "accept")
    with pytest.raises(DataError, match="about 'a', not 'b'"):
        log.append("b", "undo", undoes=1)
    log.append("a", "undo", undoes=1)
    with pytest.raises(DataError, match="undone already"):
        CorrectionLog(tmp_path).append("a", "undo", undoes=1)
    with pytest.raises(DataError, match="is an undo"):
        log.append("a", "undo", undoes=2)
    with pytest.raises(DataError, match="no correction None"):
        log.append("a", "undo")
    assert log.last_id == 2


GOOD = {"item": "a", "action": "relabel", "boxes": [BOX]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action": "delete"}, "action is 'delete'"),
        ({"item": ""}, "item is ''"),
        ({"item": "x" * 5000}, "item is"),
        ({"item": 7}, "item is 7"),
        ({"label": 3}, "label is 3"),
        ({"round": -1}, "round is -1"),
        ({"round": True}, "round is True"),
        ({"by": ""}, "by is ''"),
        ({"token": "y" * 300}, "token is"),
        ({"undoes": 1}, "undoes 1"),
        ({"boxes": None}, "neither a label nor boxes"),
        ({"boxes": [{**BOX, "box": [1, 2, 3]}]}, "corners"),
        ({"boxes": [{**BOX, "box": [1, 2, 1, 3]}]}, "no area"),
        ({"boxes": [{**BOX, "box": [-1, 2, 1, 3]}]}, "corners"),
        ({"boxes": [{**BOX, "box": [0, 0, float("nan"), 3]}]}, "corners"),
        ({"boxes": [{**BOX, "box": [0, 0, 10**400, 3]}]}, "corners"),
        ({"boxes": [{**BOX, "class": None}]}, "class of a box"),
        ({"boxes": [{"box": [0, 0, 1, 1], "class": "cat"}]}, "A box is"),
        ({"boxes": [{**BOX, "mask": {"size": [2, 2]}}]}, "A mask is"),
        ({"boxes": [{**BOX, "mask": {"size": [2, 2], "counts": "9"}}]}, "do not make 2 x 2"),
        ({"boxes": [{**BOX, "mask": {"size": [2, 2], "counts": "é"}}]}, "of the runs"),
        ({"boxes": [{**BOX, "mask": {"size": [2, 2], "counts": "P"}}]}, "is cut"),
        ({"boxes": [{**BOX, "mask": {"size": [1 << 20, 1 << 20], "counts": "4"}}]}, "A mask is"),
        ({"colour": "red"}, "colour"),
        ({"id": 4}, "of the fields"),
    ],
)
def test_what_is_no_correction_is_refused_and_nothing_written(
    tmp_path: Path, change: dict, message: str
) -> None:
    log = CorrectionLog(tmp_path)
    with pytest.raises(DataError, match=message):
        log.append_all([{"item": "first", "action": "accept"}, {**GOOD, **change}])
    assert log.read() == []
    assert log.append_all([GOOD])[0].id == 1


def test_classes_are_those_of_the_run(tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "labels")
    store.write(0, ["a"], ClassLabels.from_person(torch.tensor([0])), ["cat", "dog"])
    (tmp_path / "labels" / "round-001.parquet").write_bytes(b"torn")
    log = CorrectionLog(tmp_path)
    log.append("a", "relabel", label="dog")
    with pytest.raises(DataError, match=r"no class 'dgo'[\s\S]*Did you mean 'dog'"):
        log.append("a", "relabel", label="dgo")
    with pytest.raises(DataError, match="no class 'eel'"):
        log.append("a", "relabel", boxes=[{**BOX, "class": "eel"}])
    CorrectionLog(tmp_path, classes=["eel"]).append("a", "relabel", label="eel")
    assert [one.label for one in log.read()] == ["dog", "eel"]


def test_items_are_those_of_the_run(tmp_path: Path) -> None:
    log = CorrectionLog(tmp_path)
    store, one = LabelStore(tmp_path / "labels"), ClassLabels.from_person(torch.tensor([0]))
    log.append("gone.png", "relabel", label="dog")
    store.write(0, ["cats/0001.png"], one, ["cat", "dog"])
    with pytest.raises(
        DataError, match=r"no picture '0001.png'[\s\S]*Did you mean 'cats/0001.png'"
    ):
        log.append("0001.png", "accept")
    with pytest.raises(DataError, match=r"Did you mean 'cats/0001.png'"):
        log.append("cats/0002.png", "skip")
    with pytest.raises(DataError, match="look the name up"):
        log.append_all(
            [{"item": "cats/0001.png", "action": "accept"}, {"item": "x", "action": "skip"}]
        )
    store.write(1, ["dogs/7.png"], one, ["cat", "dog"])
    log.append("dogs/7.png", "accept")
    log.append("", "undo", undoes=1)
    assert [one.item for one in log.read()] == ["gone.png", "dogs/7.png", "gone.png"]


@pytest.mark.parametrize("torn", [b'{"id": 2, "ti', b"\0" * 40, b"{"])
def test_a_torn_last_line_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    first = CorrectionLog(tmp_path).append("a", "accept")
    with (tmp_path / FILE).open("ab") as file:
        file.write(torn)
    log = CorrectionLog(tmp_path)
    assert log.read() == [first]
    second = log.append("b", "accept")
    assert second.id == 2
    assert CorrectionLog(tmp_path).read() == [first, second] == log.read()


@pytest.mark.parametrize(
    "line",
    [b"[]\n", b"nonsense\n", b"\n", b"\xff\xfe\n", b'{"id": 2}\n', b"[" * 100_000 + b"\n", "twice"],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes | str) -> None:
    log = CorrectionLog(tmp_path)
    log.append("a", "accept")
    whole = (tmp_path / FILE).read_bytes()
    with (tmp_path / FILE).open("ab") as file:
        file.write(whole if isinstance(line, str) else line)
    for reader in (log, CorrectionLog(tmp_path)):
        with pytest.raises(RunError, match="Line 2 of"):
            reader.read()
        with pytest.raises(RunError, match="Line 2 of"):
            reader.append("b", "accept")
    (tmp_path / FILE).write_bytes(whole)
    assert log.last_id == 1


def test_a_log_that_was_put_in_place_of_another_is_read_anew(tmp_path: Path) -> None:
    log = CorrectionLog(tmp_path / "log")
    log.append("a", "accept")
    log.append("b", "accept")
    CorrectionLog(tmp_path / "other").append("c", "reject")
    (tmp_path / "other").replace(tmp_path / "log")
    assert [one.item for one in log.read()] == ["c"]
    (tmp_path / "log").unlink()
    assert log.read() == []


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("no end of line")
    (tmp_path / FILE).symlink_to(tmp_path / "precious")
    with pytest.raises(RunError, match="cannot be written"):
        CorrectionLog(tmp_path).append("a", "accept")
    assert (tmp_path / "precious").read_text() == "no end of line"


def test_a_full_disk_keeps_what_was_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = CorrectionLog(tmp_path)
    first = log.append("a", "accept")
    write = os.write

    def torn(handle: int, lines: memoryview) -> int:
        if len(lines) < 60:
            raise OSError(28, "No space left on device")
        return write(handle, lines[:50])

    monkeypatch.setattr(os, "write", torn)
    with pytest.raises(RunError, match="No space left"):
        log.append("b", "accept", token="again")
    assert log.read() == [first]
    monkeypatch.undo()
    again = log.append("b", "accept", token="again")
    assert CorrectionLog(tmp_path).read() == [first, again]


names = st.text(min_size=1, max_size=20)
corners = st.tuples(st.floats(0, 99), st.floats(0, 99), st.floats(100, 900), st.integers(100, 900))
boxes = st.lists(
    st.fixed_dictionaries({"box": corners.map(list), "class": names, "mask": st.none()}),
    max_size=3,
)
said = st.fixed_dictionaries(
    {
        "item": names,
        "action": st.sampled_from(["accept", "reject", "skip"]),
        "label": st.none() | names,
        "boxes": st.none() | boxes,
        "round": st.integers(0, 10**6),
        "by": names,
        "token": st.none() | names,
    }
)


@settings(max_examples=60, deadline=None)
@given(st.lists(said, max_size=5))
def test_anything_that_may_be_said_comes_back(
    tmp_path_factory: pytest.TempPathFactory, all_said: list[dict]
) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = CorrectionLog(folder)
    returned = [log.append(**one) for one in all_said]
    read = CorrectionLog(folder).read()
    assert read == log.read() == sorted({one.id: one for one in returned}.values(), key=_id)
    for one, correction in zip(all_said, returned, strict=True):
        first = next(s for s in all_said if s["token"] == one["token"]) if one["token"] else one
        assert correction.as_dict().items() >= first.items()


def _id(correction: Correction) -> int:
    return correction.id


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_log_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("log")
    (folder / FILE).write_bytes(content)
    try:
        assert CorrectionLog(folder).read() == [] and b"\n" not in content
    except RunError as error:
        assert "Line" in str(error)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=6))
def test_masks_come_back(rows: list[list[bool]]) -> None:
    mask = torch.tensor(rows)
    kept = encoded(mask)
    assert sum(run_lengths(kept["counts"])) == mask.numel()
    found = masks_of([{"box": [0, 0, 1, 1], "class": "a", "mask": kept}], tuple(mask.shape))
    assert torch.equal(found.one(0), mask)


def test_a_long_mask_and_a_rectangle() -> None:
    mask = torch.rand(300, 400, generator=torch.Generator().manual_seed(0)) > 0.5
    kept = encoded(mask)
    assert run_lengths(kept["counts"])[0] in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    found = masks_of(
        [
            {"box": [0, 0, 1, 1], "class": "a", "mask": kept},
            {"box": [1, 2, 4, 6], "class": "a", "mask": None},
        ],
        (300, 400),
    )
    assert isinstance(found, Masks)
    assert torch.equal(found.one(0), mask)
    assert found.boxes()[1].tolist() == [1, 2, 4, 6]
    with pytest.raises(DataError, match="300 x 400 pixels on a picture of 3 x 4"):
        masks_of([{"box": [0, 0, 1, 1], "class": "a", "mask": kept}], (3, 4))


WRITER = """
    import sys
    from leaven.labels.corrections import CorrectionLog
    log = CorrectionLog(sys.argv[1])
    print("ready", flush=True)
    for number in range(int(sys.argv[3])):
        print(log.append(f"{sys.argv[2]}/{number}", "accept", by=sys.argv[2]).id, flush=True)
"""


def _writer(folder: Path, name: str, count: int) -> subprocess.Popen:
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(folder), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_and_threads_append_at_once(tmp_path: Path) -> None:
    processes = [_writer(tmp_path, name, 100) for name in ("one", "two")]
    log, seen = CorrectionLog(tmp_path), []
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    threads = [
        threading.Thread(target=lambda: seen.extend(log.append("t", "skip").id for _ in range(25)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = [int(line) for process in processes for line in process.communicate()[0].splitlines()]
    assert sorted([*said, *seen]) == list(range(1, 276))
    read = CorrectionLog(tmp_path).read()
    assert [one.id for one in read] == list(range(1, 276))
    for name in ("one", "two"):
        own = [one.item for one in read if one.by == name]
        assert own == [f"{name}/{number}" for number in range(100)]


def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path) -> None:
    acknowledged = 0
    for attempt in range(4):
        process = _writer(tmp_path, f"w{attempt}", 100_000)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.stdout.readline()
        time.sleep(0.05 + 0.03 * attempt)
        process.send_signal(signal.SIGKILL)
        last = process.communicate()[0].split("\n")[-2]
        log = CorrectionLog(tmp_path)
        assert int(last) > acknowledged
        assert int(last) <= log.last_id <= int(last) + 1
        acknowledged = log.last_id
        assert log.append("after", "skip").id == acknowledged + 1


def test_only_what_is_new_is_read(tmp_path: Path) -> None:
    log = CorrectionLog(tmp_path)
    many = [{"item": f"{i}", "action": "accept", "label": "cat"} for i in range(20_000)]
    CorrectionLog(tmp_path).append_all(many)
    assert log.last_id == 20_000
    first = log.read()[0]
    CorrectionLog(tmp_path).append("new", "accept")
    assert log.last_id == 20_001 and log.read()[0] is first
    assert len(log.standing()) == 20_001
