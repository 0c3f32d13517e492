"""Galleries and reports of runs on pixels and boxes."""

import io
import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image

from leaven.data.pixel_maps import PixelMaps
from leaven.labels import VOID, BoxLabels, PixelLabels, Source
from leaven.quality import ConfidenceBins, SegmentationMeter, detection_scores, match_boxes
from leaven.quality.calibration import Reliability
from leaven.report import write_box_gallery, write_pixel_gallery, write_report
from leaven.report.dense_gallery import box_figures, choose, choose_next, pixel_figures

NAMES = ["road", "<script>alert(1)</script>", "pole"]
N = 10


def pixel_labels():
    """Ten label maps; number i has i of 40 pixel rows wrong; the first is of a person."""
    truth = (torch.arange(40)[:, None] * 3 // 40).expand(N, 40, 30).to(torch.uint8).contiguous()
    classes = truth.clone()
    for i in range(N):
        classes[i, :i] = 2
    confidence = (0.9 - 0.05 * torch.arange(N))[:, None, None].expand(N, 40, 30)
    labels = PixelLabels.from_model(classes, confidence.half(), torch.ones(N, 40, 30).half())
    labels.source[0] = int(Source.PERSON)
    return labels, PixelMaps.from_tensor(truth)


def box_labels():
    """Ten pictures with two things; picture i lacks the second where i is odd, and from 5 on
    holds a wrong box."""
    thing, other = [2.0, 2, 14, 14], [20.0, 20, 32, 32]
    truth = BoxLabels.from_person([torch.tensor([thing, other])] * N, [torch.tensor([0, 1])] * N)
    boxes, classes = [], []
    for i in range(N):
        rows = [(thing, 0)] + [(other, 1)] * (i % 2 == 0) + [([30.0, 2, 38, 9], 2)] * (i >= 5)
        boxes.append(torch.tensor([box for box, _ in rows]))
        classes.append(torch.tensor([k for _, k in rows]))
    counts = torch.tensor([len(rows) for rows in boxes])
    pictures = torch.repeat_interleave(counts)
    confidence = 0.95 - 0.04 * pictures
    labels = BoxLabels.from_model(torch.cat(boxes), torch.cat(classes), confidence, counts)
    labels.source[pictures == 0] = int(Source.PERSON)
    return labels, truth


def pictures_of(index):
    return torch.full((len(index), 3, 40, 30), 90, dtype=torch.uint8)


def rows_of(path):
    rows = pq.read_table(path).to_pylist()
    return {
        kind: [row for row in rows if row["kind"] == kind]
        for kind in ("accepted", "doubtful", "wrong")
    }


ITEMS = [f"{i}.png" for i in range(N)]


def test_pixel_figures_by_hand():
    labels, truth = pixel_labels()
    labels.weight[3, :20] = 0
    figures = pixel_figures(labels, truth)
    assert figures.shown.tolist() == [False] + [True] * 9
    assert figures.accepted[3] == 0.5 and figures.right[3] == 1 and figures.error[3] == 0
    assert figures.right[4] == pytest.approx(0.9) and figures.error[4] == pytest.approx(0.1)
    assert figures.confidence[4] == pytest.approx(0.7, abs=1e-3)
    assert figures.doubt[4] == pytest.approx(0.3, abs=1e-3)
    nothing = pixel_figures(labels.with_weight(torch.zeros(N, 40, 30)), None)
    assert nothing.right.isnan().all() and nothing.confidence.isnan().all()
    assert choose(nothing, "accepted", 4).tolist() == []
    assert len(pixel_figures(labels.select(torch.arange(0)), None).shown) == 0


def test_box_figures_by_hand():
    labels, truth = box_labels()
    figures = box_figures(labels, truth, 3)
    assert figures.shown.tolist() == [False] + [True] * 9
    assert figures.accepted.tolist() == [2, 1, 2, 1, 2, 2, 3, 2, 3, 2]
    assert figures.missed.tolist() == [0, 1] * 5
    assert figures.right[[4, 5, 6]].tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert figures.error.tolist() == [0, 1, 0, 1, 0, 2, 1, 2, 1, 2]
    c = 0.95 - 0.04 * 6
    assert figures.doubt[6] == pytest.approx(3 * c * (1 - c))
    unknown = box_figures(labels, None, 3)
    assert (unknown.missed == -1).all() and unknown.right.isnan().all()


def test_pictures_are_chosen_by_what_they_show():
    figures = box_figures(*box_labels(), 3)
    assert set(choose(figures, "wrong", 3).tolist()) == {5, 7, 9}
    assert choose(figures, "accepted", 3).tolist() == [8, 5, 2]
    assert choose(figures, "doubtful", 1).tolist() == [8]
    assert 0 not in choose(figures, "accepted", 100)
    assert set(choose(figures, "wrong", 100).tolist()) == {1, 3, 5, 6, 7, 8, 9}


def test_a_pixel_gallery_holds_drawings_side_by_side(tmp_path):
    labels, truth = pixel_labels()
    path = write_pixel_gallery(tmp_path / "g", pictures_of, ITEMS, NAMES, labels, truth, 3)
    rows = rows_of(path)
    assert [row["item"] for row in rows["wrong"]] == ["9.png", "8.png", "7.png"]
    assert [row["item"] for row in rows["doubtful"]] == ["9.png", "8.png", "7.png"]
    assert len(rows["accepted"]) == 3
    expected = {
        "accepted": ["picture", "labels", "truth"],
        "doubtful": ["picture", "labels", "doubt", "truth"],
        "wrong": ["picture", "labels", "truth", "where wrong"],
    }
    for kind, names in expected.items():
        for row in rows[kind]:
            assert [panel["name"] for panel in row["panels"]] == names
            sizes = {Image.open(io.BytesIO(p["png"])).size for p in row["panels"]}
            assert sizes == {(240, 320)}
    assert (
        rows["wrong"][0]["right"] == pytest.approx(31 / 40) and rows["wrong"][0]["missed"] is None
    )


def test_what_lies_beside_a_picture_is_not_drawn(tmp_path):
    labels, truth = pixel_labels()
    extents = torch.tensor([[20, 12]]).expand(len(labels), 2)
    labels = replace(labels, extents=extents)
    maps = write_pixel_gallery(tmp_path / "g", pictures_of, ITEMS, NAMES, labels, truth, 2)
    boxes, actual = box_labels()
    things = write_box_gallery(
        tmp_path / "b", pictures_of, ITEMS, NAMES, boxes, actual, 2, extents=extents
    )
    for path in (maps, things):
        panels = [
            panel for rows in rows_of(path).values() for row in rows for panel in row["panels"]
        ]
        sizes = [Image.open(io.BytesIO(panel["png"])).size for panel in panels]
        assert panels and all(
            size[1] / size[0] == pytest.approx(20 / 12, rel=0.02) for size in sizes
        )


def test_galleries_without_a_truth(tmp_path):
    labels, _ = pixel_labels()
    unknown = PixelMaps.from_tensor(torch.full((N, 40, 30), VOID, dtype=torch.uint8))
    for some in (None, unknown):
        path = write_pixel_gallery(tmp_path / "g", pictures_of, ITEMS, NAMES, labels, some, 2)
        rows = rows_of(path)
        assert rows["wrong"] == [] and len(rows["accepted"]) == 2
        assert [p["name"] for p in rows["accepted"][0]["panels"]] == ["picture", "labels"]
        assert rows["accepted"][0]["right"] is None
    boxes, actual = box_labels()
    for some in (None, actual.hidden(torch.zeros(N, dtype=torch.bool))):
        path = write_box_gallery(tmp_path / "g", pictures_of, ITEMS, NAMES, boxes, some, 2)
        rows = rows_of(path)
        assert rows["wrong"] == []
        assert [p["name"] for p in rows["doubtful"][0]["panels"]] == ["picture", "labels"]
        assert rows["doubtful"][0]["missed"] is None


def test_a_box_gallery_draws_accepted_boxes_and_doubtful_ones(tmp_path):
    labels, truth = box_labels()
    labels = replace(labels, weight=(labels.classes == 0).float())
    path = write_box_gallery(tmp_path / "g", pictures_of, ITEMS, NAMES, labels, truth, 4)
    rows = rows_of(path)
    assert [row["accepted"] for row in rows["accepted"]] == [1] * 4
    assert all(row["missed"] == 1 for row in rows["accepted"])
    drawings = {}
    for kind in ("accepted", "doubtful"):
        for row in rows[kind]:
            drawings[kind, row["item"]] = row["panels"][1]["png"]
    both = {item for kind, item in drawings if ("accepted", item) in drawings} & {
        item for kind, item in drawings if ("doubtful", item) in drawings
    }
    assert both
    assert all(drawings["accepted", item] != drawings["doubtful", item] for item in both)


def test_pictures_to_label_next_are_doubtful_and_unlike_each_other(tmp_path):
    labels, truth = pixel_labels()
    features = torch.eye(3)[torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])]
    path = write_pixel_gallery(
        tmp_path / "g", pictures_of, ITEMS, NAMES, labels, truth, 3, features=features
    )
    rows = [row for row in pq.read_table(path).to_pylist() if row["kind"] == "next"]
    groups = [int(features[int(row["item"][0])].argmax()) for row in rows]
    assert sorted(groups) == [0, 1, 2] and rows[0]["item"] == "9.png"
    assert [panel["name"] for panel in rows[0]["panels"]] == ["picture", "labels", "doubt", "truth"]
    boxes, actual = box_labels()
    path = write_box_gallery(
        tmp_path / "b", pictures_of, ITEMS, NAMES, boxes, actual, 3, features=features
    )
    rows = [row for row in pq.read_table(path).to_pylist() if row["kind"] == "next"]
    assert len({row["item"] for row in rows}) == 3 and "0.png" not in {r["item"] for r in rows}
    figures = box_figures(boxes, actual, 3)
    assert choose_next(figures, None, 3).tolist() == []
    nothing = box_figures(boxes.keep(torch.zeros(len(boxes.boxes), dtype=torch.bool)), None, 3)
    assert choose_next(nothing, features, 3).tolist() == []


def test_a_report_names_pictures_to_label_next(pixel_run):
    folder, _ = pixel_run
    labels, truth = pixel_labels()
    features = torch.randn(N, 4, generator=torch.Generator().manual_seed(0))
    write_pixel_gallery(
        folder / "gallery.parquet", pictures_of, ITEMS, NAMES, labels, truth, 3, features=features
    )
    page = write_report(folder).read_text()
    assert "Label these next" in page and 'href="#next"' in page
    assert page.count('<figure class="strip"') == 12


def run_folder(folder, task, metrics, per_class, bins, **extra):
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"method": "cps", "task": task}))
    figures = {
        name: [None if value != value else value for value in values.tolist()]
        for name, values in per_class.items()
    }
    summary = {
        "task": task,
        "data": {"name": "streets", "classes": NAMES, "labelled": 4, "unlabelled": 9},
        "metrics": metrics,
        "per_class": figures,
        "reliability": bins.reliability().as_dict(),
    }
    (folder / "summary.json").write_text(json.dumps(summary | extra))
    return folder


@pytest.fixture
def pixel_run(tmp_path):
    labels, truth = pixel_labels()
    meter = SegmentationMeter(3)
    meter.add(labels.classes.long(), truth[torch.arange(N)], labels.confidence)
    folder = tmp_path / "run"
    run_folder(folder, "segmentation", meter.metrics(), meter.per_class(), meter.bins)
    write_pixel_gallery(folder / "gallery.parquet", pictures_of, ITEMS, NAMES, labels, truth, 3)
    return folder, meter


def test_a_report_on_pixels(pixel_run):
    folder, meter = pixel_run
    page = write_report(folder).read_text()
    assert f"{100 * meter.metrics()['miou']:.1f}<small>" in page and "test mean IoU" in page
    for value in meter.per_class()["iou"]:
        assert f"{100 * value:.1f}%" in page
    assert page.count('<figure class="strip"') == 9
    assert page.count("data:image/png") == 3 * 3 + 4 * 6
    assert "where wrong" in page and "pixels by confidence" in page
    assert "Label these next" not in page and 'href="#next"' not in page
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


def test_a_report_on_boxes(tmp_path):
    labels, truth = box_labels()
    scores, bins = detection_scores(labels, truth, 3), ConfidenceBins()
    matches = match_boxes(labels, truth, 3)
    bins.add(labels.confidence, matches.right, matches.judged)
    folder = tmp_path / "run"
    run_folder(folder, "detection", scores.metrics(), scores.per_class(), bins)
    write_box_gallery(folder / "gallery.parquet", pictures_of, ITEMS, NAMES, labels, truth, 3)
    page = write_report(folder).read_text()
    assert "test average precision" in page and "AP at IoU 0.5" in page
    assert "1 missed" in page and "boxes by confidence" in page
    # The third class is not in the truth.
    assert page.count('<td class="share none">') == 3


@pytest.mark.parametrize("task", ["segmentation", "detection", "instance"])
def test_what_is_missing_is_said(tmp_path, task):
    run_folder(tmp_path, task, {}, {}, ConfidenceBins())
    (tmp_path / "summary.json").write_text(json.dumps({"task": task}))
    page = write_report(tmp_path).read_text()
    for words in ("no figures per class", "No accepted pictures", "No wrong labels are known"):
        assert words in page


def test_values_of_odd_types_do_not_break_it(pixel_run):
    folder, _ = pixel_run
    for odd in (7, "x", [], {"iou": 3, "dice": [1]}, {"iou": ["a", None, {}]}):
        (folder / "summary.json").write_text(
            json.dumps(
                {"task": "segmentation", "per_class": odd, "reliability": odd}
                | {"data": {"classes": NAMES}}
            )
        )
        assert "Class by class" in write_report(folder).read_text()


def test_a_reliability_diagram_survives_json():
    bins = ConfidenceBins(4)
    bins.add(torch.tensor([0.3, 0.3, 0.9]), torch.tensor([True, False, True]))
    found = bins.reliability()
    back = Reliability.from_dict(json.loads(json.dumps(found.as_dict())))
    for name in ("edges", "confidence", "accuracy", "count"):
        torch.testing.assert_close(getattr(back, name), getattr(found, name), equal_nan=True)
    assert back.error == found.error
    with pytest.raises(ValueError, match="one edge more"):
        Reliability.from_dict(found.as_dict() | {"count": [1]})
