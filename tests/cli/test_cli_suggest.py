"""``leaven suggest`` on finished runs on classes, pixels, boxes and masks."""

from __future__ import annotations

import csv
import json
import shutil

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image

from leaven.data import formats
from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.scenes import scenes
from leaven.job import suggest_files
from leaven.job.pictures import RunPictures
from leaven.job.suggest import Suggestion, Suggestions
from leaven.labels import CorrectionLog, LabelStore, Source
from leaven.quality.acquisition import STRATEGIES

COUNT = 16
SHORT = ("--budget", 4, "--threads", 1, "--method", "supervised", "--set", "batch=2")
NETS = {"segmentation": "unet", "detection": "rcnn-small", "instance": "conv-instance-small"}
FOR_CLASSES = ("badge",)


def told(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def names_of(found):
    return [one["item"] for one in found["items"]]


def pictures_in(folder):
    return sorted(folder.rglob("*.png"))


@pytest.fixture
def copied(folder_run, tmp_path):
    """A copy of a run on a folder of pictures that a test may correct."""
    run, _ = folder_run
    return shutil.copytree(run, tmp_path / "run")


# -- classes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["auto", *STRATEGIES])
def test_every_strategy_names_items_without_a_label(folder_run, leaven, refused, strategy):
    run, _ = folder_run
    if strategy == "disagreement":
        assert "--against" in refused("suggest", run, "--strategy", strategy)
        return
    found = told(leaven("suggest", run, "-n", 7, "--strategy", strategy, "--json"))
    names, labels, classes, _ = LabelStore(run / "labels").read()
    open_items = {n for n, s in zip(names, labels.source.tolist()) if s != Source.PERSON}
    assert len(set(names_of(found))) == 7
    assert set(names_of(found)) <= open_items
    assert found["pool"] == len(open_items) == 90
    assert found["labelled"] == 60
    for one in found["items"]:
        assert one["believed"] in classes
        assert one["why"]
        assert 0 <= one["confidence"] <= 1
    again = told(leaven("suggest", run, "-n", 7, "--strategy", strategy, "--json"))
    assert again == found


def test_the_most_unsure_come_first(folder_run, leaven):
    run, _ = folder_run
    found = told(leaven("suggest", run, "-n", 5, "--strategy", "margin", "--json"))
    names, labels, _, _ = LabelStore(run / "labels").read()
    first, second = labels.probs.topk(2, dim=1).values.unbind(1)
    unsure = torch.where(labels.source == int(Source.PERSON), -1.0, 1 - (first - second))
    order = unsure.argsort(descending=True, stable=True)[:5]
    assert names_of(found) == [names[row] for row in order.tolist()]
    assert [one["score"] for one in found["items"]] == pytest.approx(unsure[order].tolist())


def test_auto_asks_for_typical_items_first(leaven, copied):
    store = LabelStore(copied / "labels")
    names, labels, classes, truth = store.read()
    # The model of twelve steps is sure of nothing.
    assert told(leaven("suggest", copied, "-n", 3, "--json"))["strategy"] == "typical"
    labels.probs[:] = 0.06 / 9
    labels.probs[torch.arange(150), torch.arange(150) % 10] = 0.94
    store.write(store.rounds()[-1], names, labels, classes, truth)
    found = told(leaven("suggest", copied, "-n", 3, "--json"))
    assert found["strategy"] == "promise" and "more be accepted at 95 %" in found["items"][0]["why"]
    assert told(leaven("suggest", copied, "--target", 0.93, "--json"))["strategy"] == (
        "uncertain-diverse"
    )


def test_what_a_person_said_since_is_left_out(leaven, copied):
    before = names_of(told(leaven("suggest", copied, "-n", 6, "--json")))
    log = CorrectionLog(copied)
    log.append(before[0], "accept")
    log.append(before[1], "relabel", label="digit 3")
    log.append(before[2], "reject")
    log.append(before[3], "skip")
    taken_back = log.append(before[4], "accept")
    log.append(before[4], "undo", undoes=taken_back.id)
    found = told(leaven("suggest", copied, "-n", 86, "--json"))
    assert not set(before[:4]) & set(names_of(found))
    assert {before[4], before[5]} <= set(names_of(found))
    assert found["pool"] == 86 and found["corrected"] == 4 and found["labelled"] == 63


def test_nothing_is_left_and_fewer_are_left_than_wanted(leaven, copied):
    names, labels, _, _ = LabelStore(copied / "labels").read()
    open_items = [n for n, s in zip(names, labels.source.tolist()) if s != Source.PERSON]
    log = CorrectionLog(copied)
    log.append_all([{"item": name, "action": "accept"} for name in open_items[:-2]])
    found = told(leaven("suggest", copied, "--json"))
    assert set(names_of(found)) == set(open_items[-2:])
    assert "2 are left" in found["notes"][0]
    log.append_all([{"item": name, "action": "skip"} for name in open_items[-2:]])
    for strategy in STRATEGIES:
        result = leaven("suggest", copied, "--strategy", strategy)
        assert result.exit_code == 0, result.output
        assert "nothing is left" in result.stderr


def test_tables_and_a_folder_are_written(folder_run, leaven, refused, tmp_path):
    run, pictures = folder_run
    arguments = ("suggest", run, "-n", 4, "--strategy", "typical", "--out")
    assert leaven(*arguments, tmp_path / "a.csv").exit_code == 0
    assert leaven(*arguments, tmp_path / "a.parquet").exit_code == 0
    found = told(leaven(*arguments, tmp_path / "folder", "--json"))
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert [row["item"] for row in rows] == names_of(found)
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    assert pq.read_table(tmp_path / "a.parquet")["item"].to_pylist() == names_of(found)
    listed = list(csv.DictReader((tmp_path / "folder" / "suggestions.csv").open()))
    assert len(list((tmp_path / "folder").iterdir())) == 5
    for row in listed:
        copy = tmp_path / "folder" / row["file"]
        assert copy.name.startswith(f"{int(row['rank']):03d}-")
        assert copy.read_bytes() == (pictures / row["item"]).read_bytes()
    assert "not empty" in refused(*arguments, tmp_path / "folder")
    assert ".parquet" in refused(*arguments, tmp_path / "a.txt")


def test_hostile_names_stay_in_the_folder(folder_run, monkeypatch, tmp_path):
    run, pictures = folder_run
    content = pictures_in(pictures)[0].read_bytes()
    names = ["../../out\x1b[31m<b>.png", "a/..", "..", "a\\..\\b.png", "con.png", "=1+1.png"]
    there = RunPictures([content] * len(names), list(range(len(names))), None)
    monkeypatch.setattr(suggest_files, "run_pictures", lambda *arguments: there)
    items = [Suggestion(name, "why", 1.0, "digit 1", None) for name in names]
    found = Suggestions(run, "random", "", items, 3, 0, 0, [])
    suggest_files.write_suggestions(tmp_path / "deep" / "out", found)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == len(names) + 1
    assert all(path.parent == tmp_path / "deep" / "out" for path in files)
    assert not set("\x1b<\\") & set("".join(path.name for path in files))


def test_moved_and_missing_pictures(leaven, refused, folder_run, copied, tmp_path):
    _, pictures = folder_run
    config = yaml.safe_load((copied / "config.yaml").read_text())
    (copied / "config.yaml").write_text(yaml.safe_dump({**config, "data": str(tmp_path / "old")}))
    said = refused("suggest", copied)
    assert "--data" in said and "--strategy margin" in said
    assert leaven("suggest", copied, "--strategy", "margin", "-n", 3).exit_code == 0
    moved = shutil.copytree(pictures, tmp_path / "moved")
    before = told(leaven("suggest", copied, "-n", 3, "--data", moved, "--json"))
    (moved / names_of(before)[0]).unlink()
    after = told(leaven("suggest", copied, "-n", 3, "--data", moved, "--json"))
    assert names_of(before)[0] not in names_of(after)
    assert "1 picture is gone and was left out" in after["notes"][0] and after["pool"] == 89
    (moved / names_of(after)[0]).write_bytes(b"no picture")
    assert names_of(after)[0] in refused("suggest", copied, "--data", moved)


def test_two_runs_are_compared(leaven, refused, folder_run, copied, tmp_path):
    run, _ = folder_run
    store = LabelStore(copied / "labels")
    names, labels, classes, truth = store.read()
    row = int((labels.source != int(Source.PERSON)).nonzero()[3])
    labels.probs[row] = torch.nn.functional.one_hot(
        labels.probs[row].argmin(), labels.probs.shape[1]
    )
    store.write(store.rounds()[-1], names, labels, classes, truth)
    arguments = ("suggest", run, "-n", 2, "--strategy", "disagreement", "--json")
    found = told(leaven(*arguments, "--against", copied))
    assert found["items"][0]["item"] == names[row]
    assert found["items"][1]["score"] == 0
    shutil.copy(
        copied / "labels" / f"round-{store.rounds()[-1]:03d}.parquet",
        copied / "labels" / f"round-{store.rounds()[-1] + 1:03d}.parquet",
    )
    rounds = told(leaven("suggest", copied, "-n", 2, "--strategy", "disagreement", "--json"))
    assert "same everywhere" in rounds["notes"][0]
    store.write(store.rounds()[-1], names, labels, [f"{c}!" for c in classes], truth)
    assert "same classes" in refused(*arguments, "--against", copied)
    renamed = [f"other/{name}" for name in names]
    store.write(store.rounds()[-1], renamed, labels, classes, truth)
    assert "none of the 90" in refused(*arguments, "--against", copied)


def test_wrong_options(folder_run, refused, tmp_path):
    run, _ = folder_run
    assert "typical" in refused("suggest", run, "--strategy", "typicl")
    assert "0.98" in refused("suggest", run, "--target", 1)
    assert "--resume" in refused("suggest", tmp_path)


def test_the_terminal_shows_a_table(folder_run, leaven):
    result = leaven("suggest", folder_run[0], "-n", 60, "--strategy", "entropy")
    assert result.exit_code == 0, result.output
    assert "believed" in result.stdout and "unsure: digit" in result.stdout.replace("\n", " ")
    assert "and 10 more" in result.stderr
    assert "60 of 90 by entropy" in result.stderr


def test_help_teaches(leaven):
    text = leaven("suggest", "--help").output
    assert all(name in text for name in STRATEGIES)


# -- pixels, boxes and masks -----------------------------------------------------------------------


def written(task, folder):
    """Scenes in the form of the task; every third one is not labelled."""
    made = scenes(COUNT, seed=3, size=64)
    known = torch.arange(COUNT) % 3 > 0
    maps = [m.numpy() if k else None for m, k in zip(made.semantic, known)]
    listing = AnnotatedListing(
        name="scenes",
        sources=[Image.fromarray(image.numpy()) for image in made.images.permute(0, 2, 3, 1)],
        names=[f"{number:03d}.png" for number in range(COUNT)],
        splits=["train"] * COUNT,
        classes=made.classes if task == "segmentation" else made.thing_classes,
        sizes=torch.tensor([[64, 64]] * COUNT),
        known=known,
        boxes=None
        if task == "segmentation"
        else made.boxes(masks=task == "instance").hidden(known),
        maps=maps if task == "segmentation" else None,
    )
    write = {"segmentation": formats.write_masks, "detection": formats.write_coco}
    write.get(task, formats.write_instance_maps)(folder, listing)
    return folder


@pytest.fixture(scope="module", params=list(NETS))
def done(request, leaven, tmp_path_factory):
    task, base = request.param, tmp_path_factory.mktemp(request.param)
    result = leaven(
        "run", written(task, base / "data"), "--task", task, *SHORT, "--test-share", 0,
        "--model", NETS[task], "--out", base / "run",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return task, base / "run"


def test_pictures_of_every_task_are_suggested(done, leaven, refused, tmp_path):
    _, run = done
    for strategy in ("auto", *STRATEGIES):
        arguments = ("suggest", run, "-n", 4, "--strategy", strategy, "--json")
        if strategy in FOR_CLASSES:
            assert "one label each" in refused(*arguments)
            continue
        if strategy == "disagreement":
            arguments += ("--against", run)
        found = told(leaven(*arguments))
        assert len(set(names_of(found))) == 4, strategy
        assert all(int(name[-7:-4]) % 3 == 0 for name in names_of(found)), strategy
        assert found["pool"] == 6 and found["labelled"] == 10
        assert all(one["believed"] and one["why"] for one in found["items"])
    out = tmp_path / "next"
    assert leaven("suggest", run, "-n", 2, "--out", out).exit_code == 0
    assert len(list(out.glob("00*.png"))) == 2


def test_corrected_pictures_are_left_out(done, leaven, tmp_path):
    _, run = done
    copy = shutil.copytree(run, tmp_path / "run")
    first = names_of(told(leaven("suggest", copy, "-n", 1, "--json")))[0]
    CorrectionLog(copy).append(first, "relabel", boxes=[])
    found = told(leaven("suggest", copy, "--json"))
    assert first not in names_of(found) and found["pool"] == 5
