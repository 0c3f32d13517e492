import json
import re
import shutil
from html.parser import HTMLParser

import pyarrow.parquet as pq
import pytest

from leaven.errors import RunError
from leaven.labels import LabelStore
from leaven.quality import classification_metrics
from leaven.report import write_report
from leaven.report.folder import read_run
from leaven.report.page import environment

SECTIONS = ("headline", "health", "curves", "classes", "trust", "pictures", "next", "setup")


class Page(HTMLParser):
    """What is on a page: tags with attributes, texts, and ids."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    def ids(self):
        return {attrs["id"] for _, attrs in self.tags if "id" in attrs}

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)

    def text(self):
        return " ".join(" ".join(self.texts).split())


def page_of(folder):
    return Page(write_report(folder).read_text("utf-8"))


@pytest.fixture
def copy(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    return tmp_path / "run"


def change(folder, **values):
    file = folder / "summary.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_whole_run_fills_every_section(copy):
    page = page_of(copy)
    assert set(SECTIONS) <= page.ids()
    assert not [attrs for _, attrs in page.tags if attrs.get("class") == "empty"]
    summary = json.loads((copy / "summary.json").read_text())
    text = page.text()
    gain = summary["metrics"]["accuracy"] - summary["baseline"]["accuracy"]
    for words in (
        f"{100 * summary['metrics']['accuracy']:.1f}",
        f"{100 * summary['baseline']['accuracy']:.1f}%",
        f"{100 * gain:+.1f} points",
        f"{100 * summary['labels']['accuracy']:.1f}%",
        "Nothing to worry about",
        "labels alone",
        "fixmatch",
        "3.11.2",
    ):
        assert words in text
    gallery = pq.read_table(copy / "gallery.parquet")
    assert page.count("img") == len(gallery)


def test_figures_agree_with_the_files(copy):
    run = read_run(copy)
    metrics = classification_metrics(run.test.probs, run.test.truth)
    assert metrics["accuracy"] == pytest.approx(run.summary["metrics"]["accuracy"])
    text = page_of(copy).text()
    wrong = round((1 - metrics["accuracy"]) * len(run.test.truth))
    assert f"{wrong} of {len(run.test.truth)} held-out items are wrong" in text
    assert f"{metrics['ece']:.3f}" in text
    assert len(run.rounds) == 3
    assert "Labels round by round" in text


def test_people_are_not_counted_as_accepted_labels(copy):
    run = read_run(copy)
    accepted = run.summary["labels"]["accepted"]
    rows = re.findall(
        r"<tr>\s*<th class=\"name\">\d</th>(.*?)</tr>", write_report(copy).read_text(), re.S
    )
    cells = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in rows]
    assert [int(c[0]) for c in cells] == [4] * 10
    assert sum(int(c[1]) for c in cells) == accepted


def test_findings_are_shown_with_their_level(copy):
    text = "No pseudo-label was accepted in 500 steps."
    change(copy, health=[{"level": "error", "code": "nothing-accepted", "text": text}, "odd"])
    page = page_of(copy)
    assert text in page.text() and "nothing-accepted" in page.text()
    assert "Nothing to worry about" not in page.text()
    assert ("div", {"class": "finding error"}) in page.tags


EVERYTHING = ["gallery.parquet", "test.parquet", "metrics.jsonl", "baseline", "labels"]


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (["gallery.parquet"], "No doubtful pictures were kept"),
        (["test.parquet"], "There are no held-out items with a known class"),
        (["metrics.jsonl", "baseline", "labels"], "metrics.jsonl has no figures yet"),
        (["labels", "test.parquet"], "There are no stored labels"),
        (["labels"], "There are no stored labels, only held-out items"),
        (["config.yaml"], "config.yaml is not there"),
        (["summary.json"], "This run has not finished"),
        ([*EVERYTHING, "config.yaml"], "No items were chosen"),
        ([*EVERYTHING, "summary.json"], "The accuracy is not known yet"),
    ],
)
def test_what_is_missing_is_said(copy, missing, said):
    for name in missing:
        path = copy / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = page_of(copy)
    assert set(SECTIONS) <= page.ids()
    assert said in page.text()
    assert "None" not in page.text() and "nan" not in page.text()


@pytest.mark.parametrize(
    "name",
    [
        "config.yaml",
        "summary.json",
        "metrics.jsonl",
        "test.parquet",
        "gallery.parquet",
        "labels/round-002.parquet",
    ],
)
def test_damaged_files_are_named_and_left_out(copy, name):
    (copy / name).write_bytes(b"\x00[half a fi")
    text = page_of(copy).text()
    if name != "metrics.jsonl":
        assert name.rpartition("/")[2] in text
        assert "The report goes without them" in text


def test_a_half_written_last_line_is_passed_over(copy):
    file = copy / "metrics.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:10]) + '\n{"step": 99, "acc')
    assert len(read_run(copy).metrics) == 10


def test_values_of_odd_types_do_not_break_it(copy):
    change(
        copy,
        metrics={"accuracy": "<b>high</b>", "ece": None},
        baseline=None,
        labels=None,
        data={"name": 3, "classes": "abc"},
        health=None,
        seconds="long",
        environment=[1],
    )
    (copy / "metrics.jsonl").write_text(
        '{"step": "one", "loss": [1]}\n[1]\n{"step": 1, "loss": NaN}'
    )
    page = page_of(copy)
    assert "No comparison was made" not in page.text()
    assert "not known" in page.text()


@pytest.mark.parametrize(
    ("method", "labelled", "proposed"),
    [("fixmatch", 40, True), ("supervised", 40, False), ("fixmatch", 0, False)],
)
def test_a_comparison_is_proposed_where_one_can_be_made(copy, method, labelled, proposed):
    data = json.loads((copy / "summary.json").read_text())["data"] | {"labelled": labelled}
    change(copy, baseline=None, method=method, data=data)
    assert ("No comparison was made" in page_of(copy).text()) == proposed


def test_a_comparison_without_held_out_labels_is_not_proposed_again(copy):
    change(copy, baseline={"accuracy": None}, metrics={"accuracy": None})
    text = page_of(copy).text()
    assert "No comparison was made" not in text
    assert "without held-out labels the two cannot be compared" in text


def test_without_a_known_truth_the_estimate_is_named(copy):
    names, labels, classes, _ = LabelStore(copy / "labels").read()
    shutil.rmtree(copy / "labels")
    LabelStore(copy / "labels").write(0, names, labels, classes)
    (copy / "test.parquet").unlink()
    labels = {"accepted": 10, "accepted_share": 0.5, "accuracy": None, "estimated_accuracy": 0.913}
    change(copy, metrics={"accuracy": None}, baseline=None, labels=labels)
    text = page_of(copy).text()
    assert "91.3 % estimated accuracy of the accepted labels" in text
    assert "The truth of the items is not known" in text


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"accepted": 0}, "no label is accepted"),
        ({"accepted": 3}, "unknown"),
        ({"accepted": 3, "accuracy": 0.5}, "measured"),
        (
            {"accepted": 3, "estimated_accuracy": 0.5, "estimated_by": "atc-entropy"},
            "by atc entropy",
        ),
    ],
)
def test_the_accuracy_of_labels_says_how_it_is_known(copy, values, said):
    change(copy, labels=values)
    assert f" {said}" in page_of(copy).text()


def test_many_classes_have_a_list_in_place_of_the_matrix(tmp_path):
    import pyarrow as pa
    import torch

    probs = torch.eye(80).roll(1, 1)
    (tmp_path / "config.yaml").write_text("method: fixmatch\n")
    classes = [f"class {k}" for k in range(80)]
    (tmp_path / "summary.json").write_text(json.dumps({"data": {"classes": classes}}))
    table = {
        "item": [str(i) for i in range(80)],
        "truth": pa.array(range(80), pa.int32()),
        "probs": pa.array(probs.tolist(), type=pa.list_(pa.float32(), 80)),
    }
    pq.write_table(pa.table(table), tmp_path / "test.parquet")
    page = page_of(tmp_path)
    assert "too many for a table" in page.text()
    assert "class 3 taken for class 4 1 of 1" in page.text()


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_is_no_run_is_refused(tmp_path, there):
    folder = tmp_path if there else tmp_path / "nowhere"
    with pytest.raises(RunError, match=r"no run folder|no folder") as caught:
        write_report(folder)
    assert caught.value.expected and caught.value.do
    assert not (folder / "report.html").exists()


def test_the_page_loads_nothing_from_outside(copy):
    page = page_of(copy)
    addresses = [
        attrs[name] for _, attrs in page.tags for name in ("src", "href", "srcset") if name in attrs
    ]
    assert addresses
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in addresses)
    assert page.count("script") == 1 and page.count("link") == 0
    policy = next(a["content"] for _, a in page.tags if "http-equiv" in a)
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy


def test_one_of_several_is_told_as_one():
    made = environment().from_string("{{ n | counted('more curve') }}")
    assert [made.render(n=n) for n in (1, 2)] == ["1 more curve", "2 more curves"]
