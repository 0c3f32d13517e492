"""``leaven run``: what it prints, what it writes, how it goes on, what it refuses."""

import json
import pickle
import shutil
from collections import namedtuple

import pytest
import torch
import yaml
from safetensors.torch import load_file

from leaven.cli.seeds import combined
from leaven.job import RunConfig
from leaven.labels import LabelStore
from leaven.train import Trainer

SHORT = ("--model", "cnn-small", "--threads", "1", "--set", "batch=16", "--set", "ratio=2")
SUMMARY = {
    "leaven", "task", "method", "data", "metrics", "baseline", "labels", "steps", "seconds",
    "images_per_second", "device", "precision", "seed", "health",
}  # fmt: skip
DATA = {"name", "items", "labelled", "unlabelled", "classes"}
METRICS = {"accuracy", "balanced_accuracy", "ece"}
LABELS = {
    "items", "accepted", "accepted_share", "accuracy", "judged", "estimated_accuracy", "estimated_range", "estimated_by",
    "shift",
}  # fmt: skip
FILES = {"config.yaml", "summary.json", "metrics.jsonl", "report.html", "labels", "model"}


def weights(run):
    return load_file(run / "model" / "model.safetensors")


def assert_same_run(one, other):
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    ours, theirs = (LabelStore(run / "labels").read()[1] for run in (one, other))
    assert torch.equal(ours.classes, theirs.classes)
    assert torch.equal(ours.confidence, theirs.confidence)


def test_run_ends_with_a_table_the_health_and_the_report(finished):
    out, result = finished
    assert {path.name for path in out.iterdir()} >= FILES
    summary = json.loads((out / "summary.json").read_text())
    accuracy, base = summary["metrics"]["accuracy"], summary["baseline"]["accuracy"]
    for figure in (
        f"{100 * accuracy:.1f} %",
        f"{100 * base:.1f} %",
        f"{100 * (accuracy - base):+.1f} %",
    ):
        assert figure in result.stdout
    assert "supervised only" in result.stdout
    assert result.stdout.rstrip().endswith(f"report: {out / 'report.html'}")
    for finding in summary["health"]:
        assert f"{finding['level']}: {finding['text']}" in result.stdout
    assert "40 labelled and 1217 unlabelled" in result.stderr


def test_json_is_the_summary_and_nothing_else(finished, leaven):
    out, _ = finished
    result = leaven("run", "--resume", "--out", out, "--json")
    summary = json.loads(result.stdout)
    assert summary == json.loads((out / "summary.json").read_text())
    assert summary.keys() >= SUMMARY
    assert summary["data"].keys() >= DATA
    assert summary["metrics"].keys() >= METRICS
    assert summary["baseline"].keys() == summary["metrics"].keys()
    assert summary["labels"].keys() == LABELS
    assert all(finding.keys() >= {"level", "code", "text"} for finding in summary["health"])
    assert (summary["steps"], summary["seed"], summary["device"]) == (12, 0, "cpu")


def test_resuming_a_finished_run_changes_nothing(finished, leaven):
    out, _ = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    result = leaven("run", "--resume", "--out", out)
    assert result.exit_code == 0
    assert "finished" in result.stderr
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == before


def test_the_effective_configuration_makes_the_same_run(finished, leaven, tmp_path):
    out, _ = finished
    again = tmp_path / "again"
    result = leaven(
        "run", "--config", out / "config.yaml", "--no-compare", "--out", again, "--quiet"
    )
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert_same_run(out, again)
    assert not (again / "baseline").exists()


def test_comparing_the_baseline_with_itself_is_told(leaven, tmp_path):
    supervised = ("--method", "supervised", "--model", "cnn-small", "--labels-per-class", 2)
    result = leaven(
        "run", *supervised, "--budget", 3, "--threads", 1, "--compare", "--out", tmp_path / "run"
    )
    assert result.exit_code == 0, result.output
    assert "the method is the baseline itself" in " ".join(result.stderr.split())


def test_command_line_wins_over_the_file(tmp_path):
    from leaven.cli.run import effective

    file = tmp_path / "run.yaml"
    file.write_text("budget: 30\nseed: 4\nset: {threshold: 0.8, ratio: 3}\n")
    config = effective({"seed": 5, "set": {"ratio": 2}}, file, resume=False)
    assert (config.budget, config.seed) == ("30", 5)
    assert config.set == {"threshold": 0.8, "ratio": 2}


def test_interrupted_run_says_how_to_go_on_and_ends_the_same(
    finished, leaven, refused, monkeypatch, tmp_path
):
    whole, _ = finished
    out, file = tmp_path / "run", tmp_path / "run.yaml"
    stored = yaml.safe_load((whole / "config.yaml").read_text())
    file.write_text(yaml.safe_dump({**stored, "checkpoint_seconds": 1e-6, "out": str(out)}))
    update, seen = Trainer.update, []

    def interrupted(self, *arguments):
        seen.append(self.step)
        if len(seen) == 18:
            raise KeyboardInterrupt
        return update(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "update", interrupted)
        result = leaven("run", "--config", file)
    assert result.exit_code == 130
    assert f"leaven run --resume --out {out}" in result.stderr
    assert not (out / "summary.json").exists()
    said = " ".join(refused("run", "--config", file).split())
    assert f"{out} holds this run, unfinished" in said
    assert f"`leaven run --resume --out {out}`" in said

    result = leaven("run", "--resume", "--out", out)
    assert result.exit_code == 0, result.output
    assert "resuming at step" in result.stderr
    assert_same_run(whole, out)
    summary = json.loads((out / "summary.json").read_text())
    expected = json.loads((whole / "summary.json").read_text())
    assert summary["metrics"] == expected["metrics"]
    assert summary["baseline"] == expected["baseline"]


def test_figures_of_seeds_leave_words_and_what_one_lacks_out():
    labels = [
        {"accuracy": right, "estimated_by": by, "shift": {"found": found, "p": None}}
        for right, by, found in ((0.8, "atc-entropy", False), (0.9, "second-opinion", True))
    ]
    runs = [
        {
            "seed": seed,
            "metrics": {"accuracy": 0.5},
            "baseline": None,
            "labels": one,
            "seconds": 2.0,
        }
        for seed, one in enumerate(labels)
    ]
    found = combined(runs)
    assert found["mean"]["labels"]["accuracy"] == pytest.approx(0.85)
    assert found["mean"]["labels"]["estimated_by"] is None
    assert found["mean"]["labels"]["shift"] == {"found": 0.5, "p": None}
    assert found["spread"]["labels"]["accuracy"] == pytest.approx(0.1 / 2**0.5)
    assert found["mean"]["baseline"] is None and found["seeds"] == [0, 1]
    assert combined(runs[:1])["spread"]["metrics"]["accuracy"] is None


def test_seeds_in_turn_and_at_once_give_mean_and_spread(leaven, refused, tmp_path):
    arguments = ("run", *SHORT, "--labels-per-class", 2, "--budget", 3, "--seeds", "3,1")
    in_turn = leaven(*arguments, "--out", tmp_path / "turn", "--json")
    assert in_turn.exit_code == 0, in_turn.output
    record = json.loads(in_turn.stdout)
    assert record == json.loads((tmp_path / "turn" / "seeds.json").read_text())
    assert record["seeds"] == [run["seed"] for run in record["runs"]] == [3, 1]
    ours, theirs = (run["metrics"]["accuracy"] for run in record["runs"])
    assert record["mean"]["metrics"]["accuracy"] == pytest.approx((ours + theirs) / 2)
    assert record["spread"]["metrics"]["accuracy"] == pytest.approx(abs(ours - theirs) / 2**0.5)
    assert record["mean"]["baseline"] is None

    resumed = leaven(*arguments, "--out", tmp_path / "turn", "--json", "--resume")
    assert json.loads(resumed.stdout) == record
    alone = leaven("run", "--resume", "--out", tmp_path / "turn", "--json")
    assert json.loads(alone.stdout) == record
    assert "holds this run, finished" in refused(*arguments, "--out", tmp_path / "turn")

    at_once = leaven(*arguments, "--out", tmp_path / "once", "--jobs", 2)
    assert at_once.exit_code == 0, at_once.output
    assert "±" in at_once.stdout
    assert "seed 1 | training fixmatch" in at_once.stderr
    for seed in (1, 3):
        assert f"{tmp_path / 'once' / f'seed-{seed}' / 'report.html'}" in at_once.stdout
        assert_same_run(tmp_path / "turn" / f"seed-{seed}", tmp_path / "once" / f"seed-{seed}")


def test_figures_of_seeds_are_combined_entry_by_entry():
    def summary(seed, low, by):
        labels = {"accepted": 10 * seed, "estimated_range": low and [low, 1.0], "estimated_by": by}
        return {"seed": seed, "metrics": {}, "baseline": None, "labels": labels, "seconds": 1.0}

    found = combined([summary(1, 0.8, "confidence"), summary(3, 0.9, "confidence")])
    assert found["mean"]["labels"]["accepted"] == 20
    assert found["mean"]["labels"]["estimated_range"] == pytest.approx([0.85, 1.0])
    assert found["spread"]["labels"]["estimated_range"] == pytest.approx([0.1 / 2**0.5, 0.0])
    assert found["mean"]["labels"]["estimated_by"] is None
    some = combined([summary(1, 0.8, "confidence"), summary(3, None, "second-opinion")])
    assert some["mean"]["labels"]["estimated_range"] is None


@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupted_seeds_go_on_by_their_folder(leaven, refused, monkeypatch, tmp_path, jobs):
    out = tmp_path / "out"
    arguments = (
        "run", *SHORT, "--labels-per-class", 2, "--budget", 3, "--seeds", "4,5", "--jobs", jobs,
        "--out", out,
    )  # fmt: skip

    def stopped(*given):
        (out / "seed-4").mkdir()
        (out / "seed-4" / "config.yaml").write_text("seed: 4")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("leaven.cli.seeds._Processes.run", stopped)
        patch.setattr("leaven.job.run", lambda **given: stopped())
        result = leaven(*arguments)
    assert result.exit_code == 130
    assert "leaven run --resume " in result.stderr and f"--out {out}\n" in result.stderr
    said = " ".join(refused(*arguments).split())
    assert "holds this run, unfinished" in said and f"`leaven run --resume --out {out}`" in said
    changed = " ".join(refused(*arguments, "--resume", "--budget", 4).split())
    assert "budget: '3' there, '4' now" in changed and f"--resume --out {out}`" in changed
    assert "several seeds" in refused("run", "--resume", "--with-corrections", "--out", out)

    (out / "seed-4" / "config.yaml").unlink()
    resumed = leaven("run", "--resume", "--out", out, "--json", "--quiet")
    assert resumed.exit_code == 0, resumed.output
    assert json.loads(resumed.stdout)["seeds"] == [4, 5]
    assert json.loads(resumed.stdout)["runs"][0]["steps"] == 3


def test_a_seed_that_fails_fails_the_command(refused, tmp_path):
    said = refused("run", tmp_path / "gone", "--seeds", "7", "--jobs", 2, "--out", tmp_path / "out")
    assert "seed 7 | Found:    There is no file or folder" in said
    assert "did not end well" in said
    assert not (tmp_path / "out").exists()


def test_kept_seeds_that_were_changed_are_refused(refused, tmp_path):
    (tmp_path / "seeds.yaml").write_text("seeds: 3")
    assert "seeds.yaml cannot be read" in refused("run", "--resume", "--out", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "treshold=0.9"], ["treshold", "'threshold'", "leaven methods fixmatch"]),
        (["--set", "threshold=high"], ["threshold", "'high'", "number"]),
        (["--set", "threshold=1.5"], ["1.5", "less than or equal to 1"]),
        (["--set", "recipe.lrr=1"], ["recipe.lrr", "recipe.lr"]),
        (["--set", "threshold"], ["'threshold'", "NAME=VALUE"]),
        (["--set", "threshold=["], ["NAME=VALUE"]),
        (["--method", "fixmach"], ["fixmach", "'fixmatch'", "leaven methods"]),
        (["--model", "cnn-smal"], ["cnn-smal", "'cnn-small'"]),
        (["--budget", "soon"], ["'soon'", "10m"]),
        (["--precision", "fp8"], ["fp8", "bf16"]),
        (["--labels-per-class", "0"], ["labels_per_class is 0", "greater than or equal to 1"]),
        (["--test-share", "1"], ["test_share", "less than 1"]),
        (["--image-size", "0"], ["image_size is '0'", "Expected: sides of 8 to 4096 pixels"]),
        (["--image-size", "100000"], ["'100000'", "8 to 4096"]),
        (["--image-size", "64x" + 5000 * "9"], ["8 to 4096"]),
        (["--device", "abacus"], ["abacus", "leaven doctor"]),
        (["--seeds", "0,x"], ["0,x", "0,1,2"]),
        (["--seeds", "0,0"], ["0,0", "different"]),
        (["--seeds", "0,1", "--seed", "2"], ["--seed 2"]),
        (["--config", "gone.yaml"], ["gone.yaml"]),
        (["no-such-folder"], ["no-such-folder", "image folder"]),
        (["--resume"], ["There is no run in"]),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_words_and_leaves_nothing(
    refused, tmp_path, monkeypatch, arguments, words
):
    monkeypatch.chdir(tmp_path)
    said = refused("run", "--labels-per-class", 4, "--threads", 1, "--out", "run", *arguments)
    for word in words:
        assert word in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "word"),
    [("buget: 3", "'budget'"), ("- a", "mapping"), ("a: [", "YAML"), ("1: 2", "'1'"), ("seed: x", "seed")],
)  # fmt: skip
def test_bad_configuration_files_are_refused(refused, tmp_path, content, word):
    file = tmp_path / "run.yaml"
    file.write_text(content)
    assert word in refused("run", "--config", file, "--out", tmp_path / "run")


def test_folder_of_another_run_is_left_alone(finished, refused):
    out, _ = finished
    before = (out / "config.yaml").read_bytes()
    said = refused("run", "--method", "supervised", "--out", out)
    assert "holds another run (fixmatch on digits), finished" in said and "--resume" not in said
    assert "holds this run, finished" in refused(
        "run", "--config", out / "config.yaml", "--out", out
    )
    assert "threshold" in refused("run", "--resume", "--set", "threshold=0.3", "--out", out)
    assert (out / "config.yaml").read_bytes() == before


def test_folder_of_something_else_is_left_alone(refused, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    assert "holds no run of leaven" in refused("run", "--out", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_no_disk_space_is_refused_at_the_start(refused, monkeypatch, tmp_path):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 5 * 2**20))
    assert "5 MiB free" in refused("run", "--out", tmp_path / "run")


class Evil:
    def __reduce__(self):
        return (open, ("evil.txt", "w"))


def test_pickled_weights_are_refused_and_run_nothing(refused, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pt").write_bytes(pickle.dumps(Evil()))
    said = refused(
        "run", *SHORT, "--labels-per-class", 4, "--weights", "weights.pt", "--out", "run"
    )
    assert "weights.pt" in said
    assert not (tmp_path / "evil.txt").exists()


def test_configuration_fields_are_options(leaven):
    text = " ".join(leaven("run", "--help").stdout.split())
    only_in_files = {"data", "options", "checkpoint_seconds"}
    for name in RunConfig.model_fields.keys() - only_in_files:
        assert f"--{name.replace('_', '-')}" in text
