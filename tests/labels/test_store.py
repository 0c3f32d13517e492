"""The label store."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from leaven.atomic import TEMPORARY
from leaven.errors import RunError
from leaven.labels import ClassLabels, LabelStore

CLASSES = ["cat", "dog", "eel"]


def proposals(n: int, seed: int = 0) -> ClassLabels:
    generator = torch.Generator().manual_seed(seed)
    probs = torch.rand(n, 3, generator=generator).softmax(1)
    return ClassLabels.from_probs(probs, torch.rand(n, generator=generator).round())


def names(n: int) -> list[str]:
    return [f"pictures/{i}.png" for i in range(n)]


def assert_equal(found: ClassLabels, expected: ClassLabels) -> None:
    for name in ("classes", "confidence", "weight", "source"):
        mine, theirs = getattr(found, name), getattr(expected, name)
        assert mine.dtype == theirs.dtype and torch.equal(mine, theirs), name
    assert (found.probs is None) == (expected.probs is None)
    if found.probs is not None and expected.probs is not None:
        assert torch.equal(found.probs, expected.probs)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store, truth = LabelStore(tmp_path / "labels"), torch.tensor([0, 1, -1, 2, 0])
    path = store.write(7, names(5), proposals(5), CLASSES, truth)
    assert path == tmp_path / "labels" / "round-007.parquet"
    read_names, labels, classes, read_truth = store.read(7)
    assert (read_names, classes) == (names(5), CLASSES)
    assert_equal(labels, proposals(5))
    assert read_truth is not None and torch.equal(read_truth, truth)


def test_unknown_classes_truth_and_probs(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    expected = ClassLabels.from_person(torch.tensor([1, -1]))
    store.write(0, names(2), expected, CLASSES)
    _, labels, _, truth = store.read()
    assert_equal(labels, expected)
    assert truth is None


def test_no_items(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    store.write(0, [], ClassLabels.from_person(torch.empty(0).long()), CLASSES)
    read_names, labels, classes, _ = store.read()
    assert (read_names, len(labels), classes) == ([], 0, CLASSES)


def test_the_columns_are_plain_arrow_types(tmp_path: Path) -> None:
    labels = ClassLabels.from_person(torch.tensor([2, -1]))
    path = LabelStore(tmp_path).write(3, names(2), labels, CLASSES, torch.tensor([-1, 1]))
    table = pq.read_table(path)
    word = pa.dictionary(pa.int32(), pa.string())
    assert dict(zip(table.schema.names, table.schema.types, strict=True)) == {
        "item": pa.string(),
        "class": word,
        "label": pa.int32(),
        "confidence": pa.float32(),
        "weight": pa.float32(),
        "accepted": pa.bool_(),
        "source": word,
        "round": pa.int32(),
        "truth": pa.int32(),
        "probs": pa.list_(pa.float32(), 3),
    }
    assert json.loads(table.schema.metadata[b"classes"]) == CLASSES
    assert table.select(["class", "label", "accepted", "source", "round", "truth"]).to_pylist() == [
        {
            "class": "eel",
            "label": 2,
            "accepted": True,
            "source": "person",
            "round": 3,
            "truth": None,
        },
        {
            "class": None,
            "label": None,
            "accepted": False,
            "source": "nobody",
            "round": 3,
            "truth": 1,
        },
    ]


def test_pandas_reads_it_as_it_is(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    labels = proposals(20)
    path = LabelStore(tmp_path).write(0, names(20), labels, CLASSES)
    frame = pandas.read_parquet(path)
    assert frame["class"].tolist() == [CLASSES[c] for c in labels.classes]
    assert frame["accepted"].mean() == pytest.approx(labels.accepted_share)
    assert labels.probs is not None
    assert frame["probs"][4].tolist() == labels.probs[4].tolist()


def test_the_latest_whole_round_is_read(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    for number in (0, 2, 10, 1000):
        store.write(number, names(4), proposals(4, seed=number), CLASSES)
    (tmp_path / f".round-1001.parquet.77{TEMPORARY}").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("not a round")
    assert store.rounds() == [0, 2, 10, 1000]
    assert_equal(store.read()[1], proposals(4, seed=1000))
    assert_equal(store.read(2)[1], proposals(4, seed=2))


@pytest.mark.parametrize("damage", ["cut", "empty", "bytes", "column", "metadata"])
def test_a_damaged_round_is_named_and_passed_over(tmp_path: Path, damage: str) -> None:
    store = LabelStore(tmp_path)
    store.write(0, names(500), proposals(500), CLASSES)
    path = store.write(1, names(500), proposals(500, seed=1), CLASSES)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "bytes":
        content[200:264] = bytes(b ^ 0xFF for b in content[200:264])
        path.write_bytes(content)
    elif damage == "column":
        pq.write_table(pq.read_table(path).drop_columns(["weight"]), path)
    else:
        pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    with pytest.raises(RunError, match=r"round-001\.parquet is damaged"):
        store.read(1)
    with pytest.warns(UserWarning, match=r"round-001\.parquet is damaged.*round before is used"):
        labels = store.read()[1]
    assert_equal(labels, proposals(500))


def test_only_damaged_rounds(tmp_path: Path) -> None:
    (tmp_path / "round-000.parquet").write_bytes(b"no table")
    with pytest.warns(UserWarning), pytest.raises(RunError, match="damaged"):
        LabelStore(tmp_path).read()


def test_missing_rounds(tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "nowhere")
    assert store.rounds() == []
    with pytest.raises(RunError, match="There are no labels in"):
        store.read()
    with pytest.raises(RunError, match=r"There is no label file .*round-004\.parquet"):
        store.read(4)


def test_a_failed_write_leaves_the_old_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LabelStore(tmp_path)
    store.write(0, names(3), proposals(3), CLASSES)

    def full(table: pa.Table, path: Path, **kwargs: object) -> None:
        path.write_bytes(b"half a tab")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(RunError, match="No space left"):
        store.write(0, names(3), proposals(3, seed=9), CLASSES)
    assert [path.name for path in tmp_path.iterdir()] == ["round-000.parquet"]
    assert_equal(store.read()[1], proposals(3))


def test_a_round_is_written_again(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    store.write(0, names(3), proposals(3), CLASSES)
    store.write(0, names(2), proposals(2, seed=5), CLASSES)
    assert_equal(store.read(0)[1], proposals(2, seed=5))


def test_rows_and_classes_must_agree(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    with pytest.raises(ValueError, match="3 labels with 2 names"):
        store.write(0, names(2), proposals(3), CLASSES)
    with pytest.raises(ValueError, match="3 labels with 3 names and 2 truths"):
        store.write(0, names(3), proposals(3), CLASSES, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="3 items of 4 classes"):
        store.write(0, names(3), proposals(3), [*CLASSES, "fox"])
    assert store.rounds() == []


def test_no_class_beyond_the_names(tmp_path: Path) -> None:
    labels = ClassLabels.from_person(torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="class 3"):
        LabelStore(tmp_path).write(0, names(2), labels, CLASSES)
    with pytest.raises(ValueError, match="class 5"):
        LabelStore(tmp_path).write(0, names(3), proposals(3), CLASSES, torch.tensor([0, 5, 1]))
