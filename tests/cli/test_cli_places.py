"""``leaven run`` and ``leaven export`` for pixels, boxes and masks, from end to end."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco

from leaven.data import formats
from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.readers.annotated import read_annotated
from leaven.data.scenes import scenes
from leaven.labels import LabelStore

COUNT = 16
SHORT = ("--budget", 4, "--threads", 1, "--method", "supervised", "--set", "batch=2")
NETS = {"segmentation": "unet", "detection": "fcos-small", "instance": "conv-instance-small"}
FORMS = {
    "segmentation": ("masks", "coco"),
    "detection": ("coco", "voc", "yolo"),
    "instance": ("coco", "voc", "yolo", "instances"),
}


def written(task, folder):
    """Scenes in the form of the task; every third one is not labelled."""
    made = scenes(COUNT, seed=3, size=64)
    known = torch.arange(COUNT) % 3 > 0
    boxes = made.boxes(masks=task == "instance").hidden(known)
    listing = AnnotatedListing(
        name="scenes",
        sources=[Image.fromarray(image.numpy()) for image in made.images.permute(0, 2, 3, 1)],
        names=[f"{number:03d}.png" for number in range(COUNT)],
        splits=["train"] * COUNT,
        classes=made.classes if task == "segmentation" else made.thing_classes,
        sizes=torch.tensor([[64, 64]] * COUNT),
        known=known,
        boxes=None if task == "segmentation" else boxes,
        maps=[m.numpy() if k else None for m, k in zip(made.semantic, known)]
        if task == "segmentation"
        else None,
    )
    write = {"segmentation": formats.write_masks, "detection": formats.write_coco}
    write.get(task, formats.write_instance_maps)(folder, listing)
    return folder


@pytest.fixture(scope="module", params=list(NETS))
def done(request, leaven, tmp_path_factory):
    """Task, data and folder of a finished run."""
    task, base = request.param, tmp_path_factory.mktemp(request.param)
    data = written(task, base / "data")
    result = leaven(
        "run", data, "--task", task, *SHORT, "--test-share", 0.3, "--model", NETS[task],
        "--out", base / "run", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["task"] == task
    return task, data, base / "run", summary


def test_a_run_measures_and_labels(done):
    task, _, run, summary = done
    main = "miou" if task == "segmentation" else "map"
    assert 0 <= summary["metrics"][main] <= 1
    assert summary["measured_on"] == "test"
    assert summary["data"]["unlabelled"] == 6
    names = {path.name for path in run.iterdir()}
    assert {"labels", "model", "report.html", "gallery.parquet", "summary.json"} <= names
    store = LabelStore(run / "labels")
    found = store.read_pixels() if task == "segmentation" else store.read_boxes()
    assert len(found.names) == summary["data"]["items"]


def test_an_export_is_read_again(done, leaven, tmp_path):
    task, data, run, summary = done
    result = leaven("export", run, "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert set(FORMS[task]) <= told.keys()
    assert (tmp_path / "model.onnx").exists()
    assert not {"label-studio", "cvat"} & told.keys()
    for form in FORMS[task]:
        again = read_annotated(tmp_path / form, "detection" if form == "voc" else task)
        assert len(again) == summary["data"]["items"], form
        assert int(again.known.sum()) == told[form]["labelled"], form
    given = read_annotated(data, task)
    again = read_annotated(tmp_path / FORMS[task][0], task)
    rows = {name: row for row, name in enumerate(again.names)}
    for row, name in enumerate(given.names):
        if bool(given.known[row]) and name in rows:
            one = torch.tensor([row]), torch.tensor([rows[name]])
            if task == "segmentation":
                assert np.array_equal(given.maps[row], again.maps[rows[name]])
            else:
                assert torch.equal(given.boxes[one[0]].boxes, again.boxes[one[1]].boxes)


def test_all_labels_are_written_where_nothing_is_accepted(done, leaven, tmp_path):
    task, _, run, _ = done
    if task == "segmentation":
        pytest.skip("a label map is written whole")
    found = LabelStore(run / "labels").read_boxes()
    believed = replace(found.labels, known=found.labels.source.new_zeros(len(found.names)).bool())
    believed = believed.with_weight(torch.zeros(len(believed.boxes)))
    doubted = tmp_path / "run"
    shutil.copytree(run, doubted, ignore=shutil.ignore_patterns("labels"))
    LabelStore(doubted / "labels").write_boxes(1, found.names, believed, found.sizes, found.classes)
    out = tmp_path / "export"
    result = leaven("export", doubted, "--all", "--out", out, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    for form in FORMS[task]:
        assert told[form]["rows"] == len(believed.boxes) > 0, form
        assert told[form]["labelled"] == int((believed.counts > 0).sum()), form
    content = json.loads((out / "coco/annotations/train.json").read_text())
    assert len(content["annotations"]) == len(believed.boxes)
    result = leaven(
        "export", doubted, "--labels", "label-studio", "--doubtful-only", "--score", 0,
        "--out", out, "--json",
    )  # fmt: skip
    told = json.loads(result.stdout)["label-studio"]
    visible = len(believed.boxes)
    if believed.masks is not None:
        visible = int((believed.masks.area() > 0).sum())
    assert (told["pictures"], told["rows"]) == (len(found.names), visible)


@pytest.mark.parametrize("form", ["label-studio", "cvat"])
def test_what_people_leave_as_it_is_comes_back_accepted(done, form, leaven, tmp_path):
    _, _, run, summary = done
    log = run / "corrections.jsonl"
    log.unlink(missing_ok=True)
    result = leaven("export", run, "--labels", form, "--all", "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    written = json.loads(result.stdout)[form]
    assert written["pictures"] == summary["data"]["items"]
    file = tmp_path / form / "annotations.xml"
    if form == "label-studio":
        file = tmp_path / "project.json"
        tasks = json.loads((tmp_path / form / "tasks.json").read_text())
        for task_ in tasks:
            said = task_.pop("predictions", [])
            task_["annotations"] = [{"id": task_["id"], "result": one["result"]} for one in said]
        file.write_text(json.dumps(tasks))
    try:
        result = leaven("corrections", run, file, "--json")
        assert result.exit_code == 0, result.output
        told = json.loads(result.stdout)
        assert told["by"] == form
        # Of some pictures a supervised detector says nothing; nor does anybody else then.
        assert told["accepted"] == written["labelled"] > 0
        assert told["accepted"] + told["untouched"] == told["pictures"]
        assert len(log.read_text().splitlines()) == told["recorded"] == told["accepted"]
        again = leaven("corrections", run, file)
        assert again.exit_code == 0 and "nothing new was recorded" in again.stdout
    finally:
        log.unlink(missing_ok=True)


def test_only_doubtful_pictures_are_for_people(done, leaven, refused, tmp_path):
    _, _, run, summary = done
    result = leaven(
        "export", run, "--labels", "cvat", "--doubtful-only", "--score", 0, "--out", tmp_path,
        "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    written = json.loads(result.stdout)["cvat"]["pictures"]
    assert written <= summary["data"]["unlabelled"]
    assert written == len(list((tmp_path / "cvat/images").iterdir()))
    assert "--labels" in refused("export", run, "--doubtful-only")
    assert "coco" in refused("export", run, "--labels", "coco", "--score", 0.5)


def test_a_finished_run_is_loaded_in_python(done):
    import leaven

    _, _, run, summary = done
    result = leaven.load(run)
    assert type(result.model).__name__ != "Classifier"
    assert len(result.names) == summary["data"]["items"]
    assert result.metrics == summary["metrics"]


def test_predictions_are_told_and_drawn(done, leaven, tmp_path):
    task, data, run, _ = done
    pictures = sorted((data / "images").iterdir())[:2]
    twin = tmp_path / "twin" / pictures[0].name
    twin.parent.mkdir()
    twin.write_bytes(pictures[0].read_bytes())
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    result = leaven(
        "predict", run, *pictures, twin, broken, "--json", "--score", 0,
        "--out", tmp_path / "drawn", "--csv", tmp_path / "all.csv",
    )  # fmt: skip
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert [entry["file"] for entry in told["failed"]] == [str(broken)]
    by_file = {
        file: [row for row in told["predictions"] if row["file"] == str(file)]
        for file in (*pictures, twin)
    }
    strip = [{k: v for k, v in row.items() if k != "file"} for row in by_file[pictures[0]]]
    assert strip == [{k: v for k, v in row.items() if k != "file"} for row in by_file[twin]]
    drawn = {path.name for path in (tmp_path / "drawn").iterdir()}
    stem = pictures[0].stem
    assert {f"{stem}.drawn.png", f"{stem}-2.drawn.png"} <= drawn
    lines = (tmp_path / "all.csv").read_text().splitlines()
    assert len(lines) == 1 + len(told["predictions"])
    if task == "segmentation":
        assert sum(row["share"] for row in by_file[twin]) == pytest.approx(1, abs=1e-4)
        with Image.open(tmp_path / "drawn" / f"{stem}.png") as mask:
            assert mask.size == (64, 64) and mask.mode == "P"
    else:
        assert all(0 <= row["x1"] <= row["x2"] <= 64 for row in told["predictions"])
    if task == "instance":
        masks = [coco.decode(row["mask"]).astype(bool) for row in by_file[pictures[0]]]
        with Image.open(tmp_path / "drawn" / f"{stem}.png") as picture:
            numbers = np.asarray(picture)
        assert numbers.shape == (64, 64)
        for number in np.unique(numbers)[1:]:
            assert masks[number - 1][numbers == number].all()
        assert ((numbers > 0) == np.logical_or.reduce([np.zeros((64, 64), bool), *masks])).all()


def test_options_of_another_task_are_refused(refused, tmp_path):
    assert "--labelled" in refused("run", "--task", "detection", "--labels-per-class", 4)
    assert "--labels-per-class" in refused("run", "--labelled", 4)
    assert "segmentation" in refused("run", "--task", "segmentaton")
    assert "--task segmentation" in refused("run", "--task", "detection", "--method", "cps")
    assert "120x160" in refused("run", "--image-size", "12by16")


TAGS = (
    "--task", "segmentation", "--method", "u2pl-plus", "--set", "evidence=tags", "--set", "width=8",
    "--set", "batch=2", "--set", "queue=60", "--set", "ranks=[1,3]", "--set", "scale=[1.0,1.0]",
    "--model", "unet", "--threads", 1, "--budget", 4,
)  # fmt: skip


def test_the_tags_of_pictures_teach_and_maps_are_for_measuring(leaven, tmp_path):
    data, table = written("segmentation", tmp_path / "data"), tmp_path / "tags.csv"
    said = scenes(COUNT, seed=3, size=64).tags(0.0)
    names = [";".join(str(digit) for digit in row.nonzero().flatten().tolist()) for row in said]
    rows = [f"{number:03d}.png,{tags}" for number, tags in enumerate(names)]
    table.write_text("\n".join(["file,tags", *rows]), encoding="utf-8")
    result = leaven(
        "run", data, *TAGS, "--tags", table, "--test-share", 0.95, "--out", tmp_path / "run", "--json"
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["data"]["unlabelled"] == 6
    assert summary["data"]["test"] == 9
    assert "1 labelled and 6 unlabelled pictures with tags" in result.stderr
    assert any("each picture shows" in one["text"] for one in summary["health"])
    assert len(LabelStore(tmp_path / "run" / "labels").read_pixels().names) == 7


def test_tags_without_a_method_and_a_method_without_tags_are_refused(refused, tmp_path):
    data, table = written("segmentation", tmp_path / "data"), tmp_path / "tags.csv"
    table.write_text("file,tags\n000.png,3\n", encoding="utf-8")
    out = ("--out", tmp_path / "run")
    assert "--tags" in refused("run", "--task", "detection", "--tags", table, *out)
    message = refused("run", data, "--task", "segmentation", "--tags", table, *out)
    assert "evidence=tags" in message
    assert "--tags FILE" in refused("run", data, *TAGS, *out)
    assert "neither tags nor a label map" in refused("run", data, *TAGS, "--tags", table, *out)


def test_a_form_that_cannot_hold_the_labels_is_refused(done, refused):
    task, _, run, _ = done
    wrong = "yolo" if task == "segmentation" else "masks"
    assert FORMS[task][0] in refused("export", run, "--labels", wrong)


def test_more_labelled_pictures_than_there_are(refused, tmp_path):
    data = written("detection", tmp_path / "data")
    message = refused("run", data, "--task", "detection", "--labelled", 50, "--out", tmp_path / "r")
    assert "50" in message
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("task", list(NETS))
def test_advice_to_hide_labels_names_an_option_of_the_task(task, refused, tmp_path):
    made = scenes(COUNT, seed=3, size=64)
    maps = list(made.semantic.numpy()) if task == "segmentation" else None
    listing = AnnotatedListing(
        name="scenes",
        sources=[Image.fromarray(image.numpy()) for image in made.images.permute(0, 2, 3, 1)],
        names=[f"{number:03d}.png" for number in range(COUNT)],
        splits=["train"] * COUNT,
        classes=made.thing_classes if maps is None else made.classes,
        sizes=torch.tensor([[64, 64]] * COUNT),
        known=torch.ones(COUNT).bool(),
        boxes=made.boxes(masks=task == "instance") if maps is None else None,
        maps=maps,
    )
    formats.write_coco(tmp_path / "data", listing)
    message = refused(
        "run", tmp_path / "data", "--task", task, "--budget", 1, "--out", tmp_path / "run"
    )
    assert "--labelled N" in message and "--labels-per-class" not in message
