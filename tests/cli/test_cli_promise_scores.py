"""``leaven promise`` from end to end: tables of scores and labels, and what is refused."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leaven.data.csv_cells import read_cell

CLASSES, TAGS = ("cat", "dog", "=cmd"), ("indoors", "people")


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture(scope="module")
def classes():
    """Names, scores and truth of 400 items; where the model is unsure it is often wrong."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (400, 3))
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = [random.choice(3, p=row) for row in probs]
    return [f"{place:03d}.png" for place in range(400)], probs, truth


@pytest.fixture(scope="module")
def tables(classes, tmp_path_factory):
    """The scores and the labels of the first 200, as CSV."""
    names, probs, truth = classes
    folder = tmp_path_factory.mktemp("classes")
    rows = [[name, *(f"{p:.6f}" for p in row)] for name, row in zip(names, probs, strict=True)]
    scores = write_csv(folder / "scores.csv", [["file", "cat", "dog", "'=cmd"], *rows])
    said = [[name, CLASSES[k]] for name, k in zip(names[:200], truth, strict=False)]
    return scores, write_csv(folder / "labels.csv", [["file", "label"], *said, [names[300], ""]])


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    """Scores of two tags and the tags of the first 200 of 400 items, as Parquet."""
    random = np.random.default_rng(1)
    probs = random.random((400, 2)) ** 2
    truth = random.random((400, 2)) < np.where(probs > 0.4, 0.98, probs / 2)
    names = [f"{place:03d}.png" for place in range(400)]
    folder = tmp_path_factory.mktemp("tags")
    columns = {"item": names, "indoors": probs[:, 0].astype(np.float32), "people": probs[:, 1]}
    pq.write_table(pa.table(columns), folder / "scores.parquet")
    said = [[tag for tag, has in zip(TAGS, row, strict=True) if has] for row in truth[:200]]
    pq.write_table(pa.table({"item": names[:200], "tags": said}), folder / "tags.parquet")
    rows = [[name, "; ".join(tags)] for name, tags in zip(names, said, strict=False)]
    write_csv(folder / "tags.csv", [["File", "Tags"], *rows])
    return folder, probs, truth


def test_classes_are_accepted_as_far_as_they_are_promised(leaven, classes, tables, tmp_path):
    scores, labels = tables
    out = tmp_path / "accepted.csv"
    arguments = ("promise", scores, "--labels", labels, "--promise", 0.85)
    found = json.loads(leaven(*arguments, "--out", out, "--json").stdout)
    assert found["held"] and found["held_out"] == 200 and found["labels"] == 200
    assert found["kept"] + found["needs_person"] == 200
    assert found["out"] == str(out) and "accuracy" not in found
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names, _, truth = classes
    assert [row["item"] for row in rows] == names[200:]
    kept = [row["accepted"] == "true" for row in rows]
    assert sum(kept) == found["kept"]
    assert all((float(row["score"]) >= found["threshold"]) == own for row, own in zip(rows, kept))
    assert "'=cmd" in {row["class"] for row in rows}
    right = [read_cell(row["class"]) == CLASSES[k] for row, k in zip(rows, truth[200:])]
    assert np.mean(np.array(right)[kept]) >= 0.85
    result = leaven(*arguments)
    assert result.exit_code == 0
    assert result.stdout.strip() == found["text"]
    assert f"{found['kept']} of 200 labels are kept. At least 85 %" in found["text"]


def test_parquet_says_the_same(leaven, classes, tables, tmp_path):
    names, _, truth = classes
    with tables[0].open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    columns = {"item": names}
    for place, name in enumerate(CLASSES, 1):
        columns[name] = [float(row[place]) for row in rows]
    pq.write_table(pa.table(columns), tmp_path / "scores.parquet")
    said = pa.array([CLASSES[k] for k in truth[:200]]).dictionary_encode()
    pq.write_table(pa.table({"file": names[:200], "label": said}), tmp_path / "labels.parquet")
    out = tmp_path / "accepted.parquet"
    found, same = (
        json.loads(leaven("promise", *own, "--promise", 0.85, "--json", *more).stdout)
        for own, more in (
            (
                (tmp_path / "scores.parquet", "--labels", tmp_path / "labels.parquet"),
                ("--out", out),
            ),
            ((tables[0], "--labels", tables[1]), ()),
        )
    )
    assert found | {"out": None} == same
    table = pq.read_table(out)
    assert table.column_names == ["item", "class", "score", "accepted"]
    assert sum(table["accepted"].to_pylist()) == found["kept"]


def test_classes_by_themselves(leaven, tables):
    arguments = ("promise", tables[0], "--labels", tables[1], "--promise", 0.8)
    result = leaven(*arguments, "--promise-per-class", "--json")
    found = json.loads(result.stdout)
    assert [row["class"] for row in found["per_class"]] == list(CLASSES)
    assert sum(row["kept"] for row in found["per_class"]) == found["kept"]
    shown = leaven(*arguments, "--promise-per-class").stdout
    assert "held out" in shown and "=cmd" in shown and found["text"] in shown


def test_too_few_labels_say_how_many_it_takes(leaven, tables, tmp_path):
    out = tmp_path / "accepted.csv"
    result = leaven(
        "promise", tables[0], "--labels", tables[1], "--promise", 0.99, "--out", out
    )  # fmt: skip
    assert result.exit_code == 0
    assert "needs at least 299 held-out labels; there are 200" in result.stdout
    assert "--calibration" not in result.stdout
    assert "true" not in out.read_text()


def test_tags_are_given_as_far_as_they_are_promised(leaven, tagged, tmp_path):
    folder, _, truth = tagged
    out = tmp_path / "given.parquet"
    arguments = ("promise", folder / "scores.parquet", "--tags", "--promise", 0.8, "--json")
    found = json.loads(leaven(*arguments, "--labels", folder / "tags.parquet", "--out", out).stdout)
    assert found["held"] and found["unit"] == "tags" and found["held_out"] == 200
    rows = pq.read_table(out).to_pylist()
    assert [row["needs_person"] for row in rows] == [not row["tags"] for row in rows]
    assert sum(row["needs_person"] for row in rows) == found["needs_person"]
    assert sum(len(row["tags"]) for row in rows) == found["kept"]
    right = [
        bool(has[TAGS.index(tag)])
        for row, has in zip(rows, truth[200:], strict=True)
        for tag in row["tags"]
    ]
    assert np.mean(right) >= 0.8
    text = tmp_path / "given.csv"
    same = json.loads(leaven(*arguments, "--labels", folder / "tags.csv", "--out", text).stdout)
    assert same | {"out": 0} == found | {"out": 0}
    with text.open(newline="") as file:
        assert [row["tags"] for row in csv.DictReader(file)] == [";".join(r["tags"]) for r in rows]
    each = json.loads(
        leaven(*arguments, "--labels", folder / "tags.csv", "--promise-per-class").stdout
    )
    assert [row["class"] for row in each["per_class"]] == list(TAGS)
    assert "of each tag" in each["text"]


def test_hostile_names_do_no_harm(leaven, tmp_path):
    names = ["=1+1", "a\x1b[31m\n.png", 'q",\r.png', "-2+3", *(f"{k}.png" for k in range(60))]
    scores = write_csv(
        tmp_path / "scores.csv", [["file", "@cat", "dog\x07"], *([n, 0.9, 0.1] for n in names)]
    )
    labels = write_csv(
        tmp_path / "labels.csv", [["file", "label"], *([n, "@cat"] for n in names[4:])]
    )
    out = tmp_path / "out.csv"
    arguments = ("--promise", 0.9, "--promise-per-class", "--confidence", 0.8)
    result = leaven("promise", scores, "--labels", labels, *arguments, "--out", out)
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.output and "\x07" not in result.output
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["item"] for row in rows] == ["'=1+1", names[1], names[2], "'-2+3"]
    assert {row["class"] for row in rows} == {"'@cat"}


GOOD = [["file", "cat", "dog"], ["a", 0.9, 0.1], ["b", 0.2, 0.8], ["c", 0.5, 0.5]]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([["name", "cat", "dog"], ["a", 1, 0]], "no column file or item"),
        ([["file", "item", "dog"], ["a", 1, 0]], "the columns file and item"),
        ([["file"], ["a"]], "no column of scores"),
        ([["file", "cat"], ["a", 1]], "--tags"),
        ([["file", "cat", "cat"], ["a", 1, 0]], "'cat' more than once"),
        ([["file", "cat", ""], ["a", 1, 0]], "a class without a name"),
        ([*GOOD, ["d", "high", 0.1]], "Row 4 of"),
        ([*GOOD, ["d", "", 0.1]], "has '' in the column 'cat'"),
        ([*GOOD, ["d", "nan", 0.1]], "has nan in the column 'cat'"),
        ([*GOOD, ["d", 1.5, 0.1]], "has 1.5 in the column 'cat'"),
        ([*GOOD, ["d", -0.2, 0.1]], "has -0.2 in the column 'cat'"),
        ([*GOOD, ["d", "inf", 0.1]], "has inf in the column 'cat'"),
        ([*GOOD, ["d", 0.9, 0.9]], "sum to 1.8"),
        ([*GOOD, ["a", 0.9, 0.1]], "1 item in more than one row: 'a'"),
        ([*GOOD, ["", 0.9, 0.1]], "Row 4 of"),
        ([*GOOD, ["d", 0.9]], "not a CSV file"),
        ([*GOOD, ["d", "9" * 50_000, 0.1]], "in the column 'cat'"),
        ([GOOD[0]], "has no rows"),
        ([], "not a CSV file"),
    ],
)
def test_scores_that_cannot_be_used_are_refused(refused, tmp_path, rows, said):
    labels = write_csv(tmp_path / "labels.csv", [["file", "label"], ["a", "cat"]])
    scores, out = write_csv(tmp_path / "scores.csv", rows), tmp_path / "out.csv"
    out.write_text("as before")
    message = refused(
        "promise", scores, "--labels", labels, "--promise", 0.9, "--out", out, "--json"
    )
    assert said in message and len(message) < 3000
    assert out.read_text() == "as before"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "labels.csv", "out.csv", "scores.csv",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([["file", "class"], ["a", "cat"]], "no column label"),
        ([["file", "tags"], ["a", "cat"]], "--tags"),
        ([["file", "label"], ["z", "cat"]], "1 item that is not in"),
        ([["file", "label"], ["a", "cats"]], "Did you mean 'cat'"),
        ([["file", "label"], ["a", "x" * 100_000]], "has no column"),
        ([["file", "label"], ["a", "cat"], ["a", "dog"]], "in more than one row"),
        ([["file", "label"], ["a", ""]], "No item of"),
        ([["file", "label"], ["a", "cat"], ["b", "dog"], ["c", "dog"]], "Every item of"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(refused, tmp_path, rows, said):
    scores = write_csv(tmp_path / "scores.csv", GOOD)
    labels = write_csv(tmp_path / "labels.csv", rows)
    message = refused("promise", scores, "--labels", labels, "--promise", 0.9)
    assert said in message and len(message) < 3000


def test_tables_that_are_gone_are_not_called_broken(refused, tmp_path):
    for ending in ("csv", "parquet"):
        gone = tmp_path / f"gone.{ending}"
        assert f"There is no file {gone}" in refused(
            "promise", gone, "--labels", gone, "--promise", 0.9
        )


def test_tables_with_semicolons_are_read(leaven, tmp_path):
    scores = write_csv(tmp_path / "scores.csv", GOOD)
    labels = write_csv(tmp_path / "labels.csv", [["file", "label"], ["a", "cat"]])
    wanted = leaven("promise", scores, "--labels", labels, "--promise", 0.1, "--json")
    for file in (scores, labels):
        file.write_text(file.read_text().replace(",", ";"))
    found = leaven("promise", scores, "--labels", labels, "--promise", 0.1, "--json")
    assert found.exit_code == wanted.exit_code == 0, found.output
    assert found.stdout == wanted.stdout


def test_tags_that_cannot_be_used_are_refused(refused, tmp_path):
    scores = write_csv(tmp_path / "scores.csv", GOOD)
    labels = tmp_path / "labels.csv"
    arguments = ("promise", scores, "--tags", "--promise", 0.9, "--labels")
    write_csv(labels, [["file", "label"], ["a", "cat"]])
    assert "leave --tags out" in refused(*arguments, labels)
    write_csv(labels, [["file", "tags"], ["a", "cat;cow"]])
    assert "'cow'" in refused(*arguments, labels)
    for values in ([None], [[None]]):
        column = pa.array(values, pa.string() if values == [None] else pa.list_(pa.string()))
        pq.write_table(pa.table({"file": ["a"], "tags": column}), tmp_path / "labels.parquet")
        assert "has null for its tags" in refused(*arguments, tmp_path / "labels.parquet")
    pq.write_table(pa.table({"file": ["a"], "tags": [1]}), tmp_path / "labels.parquet")
    assert "the type int64" in refused(*arguments, tmp_path / "labels.parquet")
    write_csv(scores, [["file", "cat;dog"], ["a", 0.5]])
    write_csv(labels, [["file", "tags"], ["a", "cat"]])
    assert "in its name" in refused(*arguments, labels)


def test_files_that_cannot_be_read_are_refused(refused, tmp_path):
    good = write_csv(tmp_path / "good.csv", GOOD)
    labels = write_csv(tmp_path / "labels.csv", [["file", "label"], ["a", "cat"]])
    broken, parquet = tmp_path / "broken.csv", tmp_path / "broken.parquet"
    broken.write_bytes(b"file,cat\n\xff\xfe\x00,1\n")
    parquet.write_bytes(b"PAR1 nothing")
    rest = ("--promise", 0.9)
    for file in (broken, parquet, tmp_path, tmp_path / "none.csv", tmp_path / "none.parquet"):
        assert file.name in refused("promise", file, "--labels", labels, *rest)
        assert file.name in refused("promise", good, "--labels", file, *rest)
    pq.write_table(pa.table({"file": ["a"], "cat": [True], "dog": [False]}), parquet)
    assert "has True in the column 'cat'" in refused("promise", parquet, "--labels", labels, *rest)
    pq.write_table(pa.table({"file": ["a", "b"], "cat": [0.1, None], "dog": [0.9, 1]}), parquet)
    assert "has nan in the column 'cat'" in refused("promise", parquet, "--labels", labels, *rest)
    pq.write_table(pa.table({"file": [[1]], "cat": [0.1]}), parquet)
    assert "names of items as text" in refused("promise", parquet, "--labels", labels, *rest)


@pytest.mark.parametrize("value", ["0", "1", "1.5", "-0.1", "nan"])
def test_what_is_no_share_is_refused(refused, tables, value):
    arguments = ("promise", tables[0], "--labels", tables[1])
    assert "--promise is" in refused(*arguments, f"--promise={value}")
    assert "--confidence is" in refused(*arguments, "--promise=0.9", f"--confidence={value}")


def test_a_place_to_write_is_looked_at_first(refused, tables, tmp_path):
    scores, labels = tables
    arguments = ("promise", scores, "--labels", labels, "--promise", 0.9, "--out")
    assert "out.txt" in refused(*arguments, tmp_path / "out.txt")
    before = scores.read_bytes()
    assert "another file" in refused(*arguments, scores.parent / "." / "scores.csv")
    assert scores.read_bytes() == before
