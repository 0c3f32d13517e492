"""``leaven run --promise`` from end to end: classes, features, pixels and boxes."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from leaven.data import formats
from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.scenes import scenes
from leaven.job import load_result
from leaven.labels import LabelStore, Source

FAST = ("--method", "supervised", "--model", "cnn-small", "--threads", 1, "--set", "recipe.lr=1e-2")
SHORT = ("--budget", 4, "--threads", 1, "--method", "supervised", "--set", "batch=2")


def promised(leaven, *arguments):
    result = leaven("run", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def done(leaven, tmp_path_factory):
    """The folder and the summary of a finished run."""
    out = tmp_path_factory.mktemp("promise") / "run"
    return out, promised(
        leaven, "--labels-per-class", 25, *FAST, "--budget", 80, "--promise", 0.85,
        "--calibration", 200, "--out", out,
    )  # fmt: skip


def test_labels_outside_of_the_promise_are_not_accepted(done):
    out, summary = done
    promise = summary["promise"]
    assert promise["held"]
    assert promise["held_out"] == summary["data"]["calibration"] == 200
    assert promise["target"] == 0.85
    assert promise["accuracy"] >= 0.85
    assert summary["labels"]["accepted"] == promise["kept"]
    assert summary["labels"]["items"] == promise["kept"] + promise["needs_person"]
    names, labels, _, truth = LabelStore(out / "labels").read()
    model = labels.source == int(Source.MODEL)
    assert int(model.sum()) == promise["labels"] == summary["data"]["unlabelled"]
    assert set(labels.weight[model].tolist()) <= {0.0, 1.0}
    expected = labels.confidence.double() >= promise["threshold"]
    assert torch.equal(labels.accepted[model], expected[model])
    assert labels.select(model).accuracy(truth[model]) == pytest.approx(promise["accuracy"])
    assert len(names) == summary["data"]["items"]


def test_it_is_among_the_findings_and_in_the_report(done, leaven):
    out, summary = done
    found = {entry["code"]: entry["text"] for entry in summary["health"]}
    assert found["promise-held"] == summary["promise"]["text"]
    page = (out / "report.html").read_text("utf-8")
    assert "What is promised of the labels" in page
    assert "What would be kept" in page
    assert load_result(out).promise == summary["promise"]
    again = leaven("report", out)
    assert again.exit_code == 0


def test_a_killed_run_comes_to_the_same_promise(done, leaven):
    out, summary = done
    (out / "summary.json").unlink()
    result = leaven("run", "--resume", "--out", out)
    assert result.exit_code == 0, result.output
    assert json.loads((out / "summary.json").read_text())["promise"] == summary["promise"]
    assert "85 % (asked)" in result.stdout
    assert "need a person" in result.stdout or "None needs a person" in result.stdout


def test_too_few_labels_promise_nothing(leaven, tmp_path):
    result = leaven(
        "run", "digits", "--labels-per-class", 4, *FAST, "--budget", 5, "--promise", 0.98,
        "--calibration", 40, "--out", tmp_path / "run",
    )  # fmt: skip
    assert result.exit_code == 2
    assert "40 labels are held out for the promise of 98 % at 95 % confidence" in result.stderr
    assert "149 or more" in result.stderr


def test_a_model_that_knows_too_little_promises_nothing(leaven, tmp_path):
    summary = promised(
        leaven, "--labels-per-class", 4, *FAST, "--budget", 5, "--promise", 0.98,
        "--calibration", 160, "--out", tmp_path / "run",
    )  # fmt: skip
    assert not summary["promise"]["held"]
    assert summary["promise"]["needed"] == 149
    assert summary["labels"]["accepted"] == 0
    assert summary["labels"]["accuracy"] is None
    first = summary["health"][0]
    assert (first["level"], first["code"]) == ("warning", "promise-not-held")
    assert "the 160 held-out labels do not show it at any threshold" in first["text"]


def test_on_features_by_a_method_that_labels_by_itself(leaven, tmp_path):
    summary = promised(
        leaven, "--labels-per-class", 25, "--features", "pixels", "--method", "label-spreading",
        "--budget", 5, "--threads", 1, "--promise", 0.85, "--promise-per-class",
        "--out", tmp_path / "run",
    )  # fmt: skip
    promise = summary["promise"]
    assert promise["by_class"]
    assert len(promise["per_class"]) == 10
    assert summary["labels"]["accepted"] == promise["kept"]


def pictures(task, folder, count=70):
    made = scenes(count, seed=3, size=48)
    boxes = task == "detection"
    listing = AnnotatedListing(
        name="scenes",
        sources=[Image.fromarray(image.numpy()) for image in made.images.permute(0, 2, 3, 1)],
        names=[f"{number:03d}.png" for number in range(count)],
        splits=["train"] * count,
        classes=made.thing_classes if boxes else made.classes,
        sizes=torch.tensor([[48, 48]] * count),
        known=torch.ones(count, dtype=torch.bool),
        boxes=made.boxes() if boxes else None,
        maps=None if boxes else list(made.semantic.numpy()),
    )
    (formats.write_coco if boxes else formats.write_masks)(folder, listing)
    return folder


def told(labels):
    """What is estimated of the accuracy of labels fits together."""
    assert {"estimated_accuracy", "estimated_range", "estimated_by", "shift"} <= labels.keys()
    assert set(labels["shift"] or {"distance", "p", "found"}) == {"distance", "p", "found"}
    if labels["estimated_range"] is not None:
        low, high = labels["estimated_range"]
        assert 0 <= low <= labels["estimated_accuracy"] <= high <= 1


def test_pixels(leaven, tmp_path):
    summary = promised(
        leaven, pictures("segmentation", tmp_path / "data"), "--task", "segmentation", *SHORT,
        "--labelled", 6, "--test-share", 0.1, "--promise", 0.3, "--calibration", 30,
        "--model", "unet", "--out", tmp_path / "run",
    )  # fmt: skip
    promise, labels = summary["promise"], summary["labels"]
    told(labels)
    assert promise["unit"] == "pixels"
    assert promise["held_out"] == 30
    assert summary["data"]["unlabelled"] == labels["items"] == 27
    assert promise["labels"] == 27 * 48 * 48
    assert promise["held"] == (promise["kept"] > 0)
    assert labels["accepted_share"] == pytest.approx(promise["kept_share"])
    assert set(promise["in_expectation"]) == {"threshold", "kept_share"}


def test_boxes(leaven, tmp_path):
    summary = promised(
        leaven, pictures("detection", tmp_path / "data"), "--task", "detection", *SHORT,
        "--labelled", 6, "--test-share", 0.1, "--promise", 0.9, "--calibration", 30,
        "--model", "fcos-small", "--out", tmp_path / "run",
    )  # fmt: skip
    promise = summary["promise"]
    told(summary["labels"])
    assert promise["unit"] == "boxes"
    assert not promise["held"]
    assert promise["needs_person"] == promise["labels"] == summary["labels"]["boxes"]
    assert summary["labels"]["accepted"] == 0
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize("value", ["1.5", "0", "1.0", "-0.1", "nan"])
def test_a_promise_that_is_no_share_is_refused(refused, tmp_path, value):
    assert "promise" in refused("run", f"--promise={value}", "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_number_without_a_promise_is_refused(refused, tmp_path):
    said = refused("run", "--calibration", 100, "--out", tmp_path / "run")
    assert "without a promise" in said


def test_more_labels_than_there_are_cannot_be_held_out(refused, tmp_path):
    said = refused(
        "run", "--labels-per-class", 4, "--promise", 0.9, "--calibration", 5000,
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert "5000 labels are to be held out" in said
