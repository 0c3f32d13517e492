"""The part of a report on rounds that began with corrections."""

import json
import shutil
from pathlib import Path

from leaven.report import write_report
from leaven.report.corrections import corrections_content


def round_of(number: int, figure: object, labelled: object = 40) -> dict:
    return {
        "round": number, "corrected": 20 * number, "labelled": labelled, "metric": "accuracy",
        "figure": figure, "measured_on": "test", "accepted_share": 0.9, "label_accuracy": None,
        "estimated_accuracy": 0.95,
    }  # fmt: skip


def about(*history: object) -> dict:
    return {
        "items": 20, "rounds": 1, "accepted": 5, "relabelled": 15, "rejected": 0,
        "history": list(history),
    }  # fmt: skip


def test_rounds_are_a_table_and_a_chart() -> None:
    found = corrections_content(
        {"corrections": about(round_of(0, 0.8), round_of(1, 0.85, 60))}, "accuracy"
    )
    assert found is not None
    assert found["figure"] == "test accuracy"
    assert [row["labelled"] for row in found["rows"]] == ["40", "60"]
    assert found["rows"][0]["change"] is None
    assert abs(found["rows"][1]["change"] - 0.05) < 1e-9
    assert "20 items: 5 accepted, 15 relabelled." in found["text"]
    assert [line.name for line in found["chart"].lines] == ["test accuracy", "accepted"]


def test_what_is_no_history_is_passed_over() -> None:
    for corrections in (None, 3, {}, {"history": 7}, about(), about(round_of(0, 0.5)), about(1, 2)):
        assert corrections_content({"corrections": corrections}, "accuracy") is None
    odd = corrections_content({"corrections": about({}, {"round": "<b>", "figure": []})}, "iou")
    assert odd is not None and odd["chart"] is None


def test_the_page_shows_the_rounds_and_runs_nothing(run_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(run_folder, tmp_path / "run")
    file = tmp_path / "run" / "summary.json"
    summary = json.loads(file.read_text())
    assert 'id="corrections"' not in write_report(tmp_path / "run").read_text("utf-8")
    hostile = about(round_of(0, 0.8), round_of(1, 0.85, "<script>alert(1)</script>"))
    file.write_text(json.dumps({**summary, "corrections": hostile}))
    page = write_report(tmp_path / "run").read_text("utf-8")
    assert 'id="corrections"' in page and "Test accuracy" in page
    assert "+5.0" in page and "<script>alert" not in page
