"""A round with corrections, from end to end: what it learns, keeps and writes, and kills in it."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import leaven
from leaven.errors import ConfigError, RunError
from leaven.job import pipeline, rounds, stage
from leaven.labels import CorrectionLog, LabelStore, Source
from leaven.labels.corrections import FILE
from leaven.models.files import WEIGHTS
from leaven.models.weights import read_weights
from leaven.train import Trainer
from leaven.train.engine import Engine

STEPS = 8
OPTIONS = {
    "labels_per_class": 3, "method": "fixmatch", "model": "cnn-small", "threads": 1,
    "set": {"batch": 8, "ratio": 2, "threshold": 0.15, "recipe.lr": 0.01}, "budget": STEPS,
}  # fmt: skip


def digits(out: Path, **more) -> leaven.Result:
    return leaven.run(**{**OPTIONS, "out": out, **more})


def again(out: Path, **more) -> leaven.Result:
    """What ``leaven run --resume --with-corrections --out`` does."""
    config = leaven.RunConfig.read(out / "config.yaml", out=out)
    return leaven.run(config=config, resume=True, **{"with_corrections": True, **more})


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("digits") / "run"
    digits(out)
    return out


@pytest.fixture
def run(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def unlabelled(run: Path):
    """Names, classes and truth of the unlabelled items in the last round, most doubtful first."""
    names, labels, classes, truth = LabelStore(run / "labels").read()
    assert truth is not None
    rows = (labels.source == Source.MODEL).nonzero().squeeze(1)
    rows = rows[labels.confidence[rows].argsort()].tolist()
    return [(names[row], classes[labels.classes[row]], classes[truth[row]]) for row in rows]


def correct(run: Path, count: int, begin: int = 0) -> list[str]:
    """Says the truth of the ``count`` most doubtful items."""
    log, items = CorrectionLog(run), unlabelled(run)[begin : begin + count]
    log.append_all(
        {"item": item, "action": "accept" if said == truth else "relabel", "label": truth}
        for item, said, truth in items
    )
    return [item for item, _, _ in items]


def test_a_round_begins_with_what_people_said(run):
    before = json.loads((run / "summary.json").read_text())
    model = read_weights(run / "model" / WEIGHTS)
    items = correct(run, 30)
    wrong, said, _ = unlabelled(run)[40]
    CorrectionLog(run).append(wrong, "reject", label=said)
    result = again(run)
    about = result.summary["corrections"]
    assert (about["items"], about["rounds"], about["until"], about["rejected"]) == (31, 1, 31, 1)
    assert [entry["labelled"] for entry in about["history"]] == [30, 60]
    assert about["history"][0]["figure"] == before["metrics"]["accuracy"]
    assert about["history"][1]["figure"] == result.metrics["accuracy"]
    assert about["history"][1]["label_accuracy"] == result.summary["labels"]["accuracy"]
    assert result.summary["data"]["labelled"] == 60
    assert LabelStore(run / "labels").rounds() == [0, 1]
    assert len(result.names) == len(LabelStore(run / "labels").read(0)[0])
    place = {name: row for row, name in enumerate(result.names)}
    _, _, classes, truth = LabelStore(run / "labels").read()
    assert truth is not None
    rows = [place[item] for item in items]
    assert (result.labels.source[rows] == Source.PERSON).all()
    assert torch.equal(result.labels.classes[rows], truth[rows])
    assert result.labels.classes[place[wrong]] != classes.index(said)
    assert result.labels.source[place[wrong]] == Source.MODEL
    kept = run / "history" / "000"
    assert json.loads((kept / "summary.json").read_text()) == before
    old = read_weights(kept / "model" / WEIGHTS)
    assert all(torch.equal(old[name], model[name]) for name in model)
    new = read_weights(run / "model" / WEIGHTS)
    assert any(not torch.equal(new[name], model[name]) for name in model)
    assert len((run / "metrics.jsonl").read_text()) > 0
    assert (kept / "metrics.jsonl").read_text() != (run / "metrics.jsonl").read_text()
    assert "weights of the round before" in str(result.summary["health"])
    correct(run, 5)
    about = again(run).summary["corrections"]
    assert (about["rounds"], [entry["labelled"] for entry in about["history"]]) == (2, [30, 60, 65])
    assert LabelStore(run / "labels").rounds() == [0, 1, 2]
    assert (run / "history" / "001" / "summary.json").exists()


def test_when_everything_is_labelled_labels_alone_are_learned_from(run):
    everything = len(unlabelled(run))
    correct(run, everything)
    result = again(run)
    assert result.summary["method"] == "supervised"
    assert "for fixmatch to learn from" in str(result.summary["health"])
    assert result.summary["data"]["unlabelled"] == 0
    assert result.summary["corrections"]["history"][1]["labelled"] == 30 + everything
    assert (run / "report.html").exists()


def test_the_network_begins_with_the_weights_of_the_round_before(run, monkeypatch):
    correct(run, 5)
    model = read_weights(run / "model" / WEIGHTS)
    begun = []
    update = Engine.update

    def look(trainer, loss, optimizer):
        if not begun:
            network = trainer._registered["network"].classifier
            begun.append({k: v.clone() for k, v in network.state_dict().items()})
        return update(trainer, loss, optimizer)

    monkeypatch.setattr(Engine, "update", look)
    again(run)
    learned = [name for name in model if "running" not in name and "num_batches" not in name]
    assert len(learned) > 4
    assert all(torch.equal(begun[0][name], model[name]) for name in learned)


def test_the_frequency_of_classes_is_not_told_by_what_was_doubtful(run, monkeypatch):
    log = CorrectionLog(run)
    for item, _, _ in unlabelled(run)[:30]:
        log.append(item, "relabel", label="7")
    seen = []
    start = Engine.start_from
    monkeypatch.setattr(
        Engine, "start_from", lambda self, *rest: (seen.append(self.prior), start(self, *rest))
    )
    again(run)
    torch.testing.assert_close(seen[0], torch.full((10,), 0.1))


def test_nothing_new_is_nothing_done(run, caplog):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    before.pop(run / "config.yaml")  # every call writes it again
    with caplog.at_level(logging.INFO):
        again(run)
    assert "holds nothing; nothing is done" in caplog.text
    log = CorrectionLog(run)
    item, _, truth = unlabelled(run)[0]
    log.append(item, "relabel", label=truth)
    log.append(item, "undo", undoes=1)
    log.append(item, "skip")
    again(run)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    log.append(item, "relabel", label=truth)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        again(run, with_corrections=False)
    assert "1 corrected items wait" in caplog.text
    again(run)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert again(run).summary["corrections"]["rounds"] == 1
    assert "nothing that round 1 has not used" in caplog.text


class Killed(BaseException):
    """Stands for a kill: nothing of leaven catches it."""


def dies_at(monkeypatch, owner, name: str, call: int) -> None:
    """``owner.name`` raises in its ``call``-th call, once."""
    real, calls = getattr(owner, name), []

    def dying(*arguments, **values):
        calls.append(1)
        if len(calls) == call:
            raise Killed
        return real(*arguments, **values)

    monkeypatch.setattr(owner, name, dying)


def result_of(run: Path) -> dict[str, torch.Tensor]:
    _, labels, _, _ = LabelStore(run / "labels").read()
    assert labels.probs is not None
    return {
        **read_weights(run / "model" / WEIGHTS),
        "classes": labels.classes, "weight": labels.weight, "probs": labels.probs,
    }  # fmt: skip


@pytest.fixture(scope="module")
def ready(finished, tmp_path_factory) -> Path:
    """A run with corrections and often a checkpoint, before its second round."""
    run = Path(shutil.copytree(finished, tmp_path_factory.mktemp("ready") / "run"))
    correct(run, 12)
    CorrectionLog(run).append(unlabelled(run)[20][0], "reject", label=unlabelled(run)[20][1])
    return run


@pytest.fixture(scope="module")
def whole(ready, tmp_path_factory) -> tuple[dict, dict[str, torch.Tensor]]:
    """What the round gives that nobody kills."""
    run = Path(shutil.copytree(ready, tmp_path_factory.mktemp("whole") / "run"))
    summary = again(run).summary
    return summary, result_of(run)


def assert_as_whole(run: Path, whole) -> None:
    summary = json.loads((run / "summary.json").read_text())
    for name in ("metrics", "labels", "corrections"):
        assert summary[name] == whole[0][name], name
    found = result_of(run)
    assert found.keys() == whole[1].keys()
    for name, value in found.items():
        assert torch.equal(value, whole[1][name]), name


def often_saved(run: Path) -> None:
    """Every step gets a checkpoint."""
    text = (run / "config.yaml").read_text()
    often = text.replace("checkpoint_seconds: 60.0", "checkpoint_seconds: 1.0e-06")
    assert often != text
    (run / "config.yaml").write_text(often)


def test_a_round_that_is_killed_anywhere_ends_the_same(ready, whole, tmp_path, monkeypatch):
    run = Path(shutil.copytree(ready, tmp_path / "run"))
    often_saved(run)
    before_it_begins = [
        (rounds, "_keep", 1), (rounds, "_linked", 3), (shutil, "rmtree", 2), (shutil, "rmtree", 3),
        (rounds, "write_text", 1),
    ]  # fmt: skip
    in_it = [
        (Engine, "update", 1), (Engine, "update", 3), (Engine, "update", 3), (Trainer, "predict", 2),
        (LabelStore, "write", 1), (stage, "save_model", 1), (pipeline, "write_text", 1),
        (pipeline, "write_report", 1),
    ]  # fmt: skip
    for place in (*before_it_begins, *in_it):
        begun = (run / "round.json").exists()
        assert begun == (place in in_it[1:])
        with monkeypatch.context() as patch:
            dies_at(patch, *place)
            with pytest.raises(Killed):
                again(run)
        if place in in_it:
            # What is said meanwhile waits for the round after.
            CorrectionLog(run).append(unlabelled(run)[30][0], "relabel", label="3")
    again(run, with_corrections=False)
    assert (run / "report.html").stat().st_mtime_ns >= (run / "summary.json").stat().st_mtime_ns
    assert_as_whole(run, whole)
    assert not list((run / "history").glob(".*"))
    assert again(run).summary["corrections"]["rounds"] == 2


ROUND = """
    import sys
    from pathlib import Path
    import leaven
    out = Path(sys.argv[1])
    config = leaven.RunConfig.read(out / "config.yaml", out=out)
    print("ready", flush=True)
    leaven.run(config=config, resume=True, with_corrections=True)
"""


def test_a_round_survives_kills_of_its_process(ready, whole, tmp_path):
    run = Path(shutil.copytree(ready, tmp_path / "run"))
    often_saved(run)
    command = [sys.executable, "-c", textwrap.dedent(ROUND), str(run)]
    for seconds in (0.4, 1.0):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    again(run)
    assert_as_whole(run, whole)


def test_corrections_of_a_run_that_is_not_finished_wait(tmp_path, monkeypatch, caplog):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        dies_at(patch, Engine, "update", 3)
        with pytest.raises(Killed):
            digits(out)
    CorrectionLog(out).append("digits/0", "relabel", label="3")
    with caplog.at_level(logging.WARNING):
        assert again(out).summary["corrections"] is None
    assert "that comes first, and the corrections wait" in caplog.text


def test_wrong_calls(run, tmp_path):
    with pytest.raises(ConfigError, match="without --resume"):
        digits(tmp_path / "new", with_corrections=True)
    assert not (tmp_path / "new").exists()
    CorrectionLog(tmp_path).append("nowhere.png", "relabel", label="3")
    (tmp_path / FILE).rename(run / FILE)
    before = (run / "summary.json").read_text()
    with pytest.raises(RunError, match=r"1 of 1 corrected pictures[\s\S]*undo these"):
        again(run)
    assert (run / "summary.json").read_text() == before
    assert not (run / "history").exists() and not (run / "round.json").exists()


def test_a_damaged_state_or_log_is_said(run):
    correct(run, 3)
    again(run)
    state = (run / "round.json").read_text()
    for damage in ("", "[]", '{"number": 0, "until": 1, "first": {"": 1}}', '{"number": 1}'):
        (run / "round.json").write_text(damage)
        with pytest.raises(RunError, match=r"round\.json is damaged"):
            again(run)
    (run / "round.json").write_text(state)
    (run / "summary.json").unlink()
    log = (run / "corrections.jsonl").read_text()
    (run / "corrections.jsonl").write_text(log.split("\n")[0] + "\n")
    with pytest.raises(RunError, match="began with 3 corrections"):
        again(run)
    (run / "corrections.jsonl").write_text(log)
    assert again(run).summary["corrections"]["rounds"] == 1


def test_the_baseline_and_features_begin_a_round_too(tmp_path):
    out = tmp_path / "run"
    digits(
        out, method="label-spreading", model="linear", features="pixels", compare=True, set={},
        features_to=tmp_path / "features",
    )  # fmt: skip
    correct(out, 20)
    summary = again(out).summary
    assert summary["corrections"]["rounds"] == 1 and summary["baseline"] is not None
    assert (out / "history" / "000" / "baseline" / "model" / WEIGHTS).exists()
    assert LabelStore(out / "baseline" / "labels").rounds() == [0, 1]


def test_pictures_that_are_gone_are_said(tmp_path):
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "zoo" / name).mkdir(parents=True)
        for number in range(6):
            picture = generator.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / "zoo" / name / f"{number}.png")
    out = tmp_path / "run"
    leaven.run(
        tmp_path / "zoo", labels_per_class=2, method="fixmatch", model="cnn-small", threads=1,
        set={"batch": 2, "ratio": 1}, budget=2, test_share=0.0, out=out,
    )  # fmt: skip
    items = correct(out, 2)
    gone = next((tmp_path / "zoo").rglob(Path(items[0]).name)) if "/" not in items[0] else None
    gone = gone or tmp_path / "zoo" / items[0]
    gone.unlink()
    with pytest.raises(RunError, match="corrected pictures are not in"):
        again(out)


def coco(folder: Path) -> Path:
    """Twelve pictures of two kinds of rectangles, with a file of annotations."""
    generator = np.random.default_rng(0)
    (folder / "photos").mkdir(parents=True)
    images, things = [], []
    for number in range(12):
        picture = np.full((48, 64, 3), 10 * number, dtype=np.uint8)
        kind = number % 2
        x, y = (int(value) for value in generator.integers(2, 20, 2))
        picture[y : y + 20, x : x + 24] = (220, 60 + 150 * kind, 60)
        Image.fromarray(picture).save(folder / "photos" / f"{number:02d}.png")
        images.append({"id": number, "file_name": f"{number:02d}.png", "height": 48, "width": 64})
        outline = [x, y, x + 24, y, x + 24, y + 20, x, y + 20]
        things.append(
            {
                "id": number + 1,
                "image_id": number,
                "category_id": kind + 1,
                "area": 480,
                "bbox": [x, y, 24, 20],
                "segmentation": [outline],
                "iscrowd": 0,
            }
        )
    names = [{"id": 1, "name": "brick"}, {"id": 2, "name": "plank"}]
    said = {"images": images, "annotations": things, "categories": names}
    (folder / "things.json").write_text(json.dumps(said))
    return folder


@pytest.mark.parametrize(
    ("task", "model", "values"),
    [
        ("segmentation", "unet", {"batch": 2}),
        ("detection", "auto", {"batch": 2}),
        ("instance", "auto", {"batch": 2}),
    ],
)
def test_a_round_on_pixels_boxes_and_masks(tmp_path, task, model, values):
    out, data = tmp_path / "run", coco(tmp_path / "data")
    more = {"options": {"widths": [8, 16]}} if model == "unet" else {}
    leaven.run(
        data / "photos", annotations=data / "things.json", task=task, method="supervised",
        model=model, set=values, labelled=4, budget=2, test_share=0.2, threads=1, out=out, **more,
    )  # fmt: skip
    store, log = LabelStore(out / "labels"), CorrectionLog(out)
    found = store.read_pixels() if task == "segmentation" else store.read_boxes()
    names = found.names
    fresh = [name for name in names if name not in _given(found)][:3]
    log.append(fresh[0], "accept")
    mask = {"box": [2, 2, 40, 40], "class": "plank", "mask": None}
    log.append(fresh[1], "relabel", boxes=[mask])
    log.append(fresh[2], "reject")
    summary = again(out).summary
    assert [entry["labelled"] for entry in summary["corrections"]["history"]] == [4, 6]
    found = store.read_pixels() if task == "segmentation" else store.read_boxes()
    assert sorted(found.names) == sorted(names)
    place = [found.names.index(name) for name in fresh]
    if task == "segmentation":
        pictures = [found.picture(number) for number in place]
        assert [one.source for one in pictures] == [Source.PERSON, Source.PERSON, Source.MODEL]
        plank = found.classes.index("plank")
        assert (pictures[1].classes[4:38, 4:38] == plank).float().mean() > 0.95
        assert not pictures[2].accepted.any()
    else:
        one = found.labels.select(torch.tensor(place[1:2]))
        assert (one.source == Source.PERSON).all() and one.classes.tolist() == [1]
        torch.testing.assert_close(one.boxes, torch.tensor([[2.0, 2, 40, 40]]), atol=0.01, rtol=0)
        assert not found.labels.select(torch.tensor(place[2:])).accepted.any()
        assert found.labels.known[place].tolist() == [True, True, False]


def _given(found) -> set[str]:
    """The names of the pictures that a person labelled."""
    if hasattr(found, "table"):
        sources = found.table["source"].to_pylist()
        return {name for name, source in zip(found.names, sources) if source == "person"}
    person = found.labels.source == Source.PERSON
    return {found.names[picture] for picture in found.labels.pictures[person].tolist()}
