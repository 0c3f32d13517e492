"""``leaven methods`` and ``leaven doctor``."""

import importlib.util
import json
import shutil
from collections import namedtuple

import pytest
import torch

from leaven.cli.doctor import _step_seconds
from leaven.methods import TASKS, all_methods
from leaven.version import __version__


def doctor(leaven, *arguments):
    result = leaven("doctor", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return {check["name"]: check for check in json.loads(result.stdout)}


def test_every_method_is_listed(leaven):
    result = leaven("methods")
    assert result.exit_code == 0
    for task in TASKS:
        for method in all_methods(task).values():
            assert method.card.name in result.stdout
            assert str(method.card.year or "") in result.stdout


def test_every_method_is_listed_as_json(leaven):
    found = json.loads(leaven("methods", "--json").stdout)
    names = [(entry["task"], entry["name"]) for entry in found]
    assert names == [(task, name) for task in TASKS for name in all_methods(task)]
    assert all(entry["summary"] and entry["hyperparameters"] for entry in found)


@pytest.mark.parametrize(
    ("task", "name"), [(task, name) for task in TASKS for name in all_methods(task)]
)
def test_one_method_shows_card_and_hyperparameters(leaven, task, name):
    method = all_methods(task)[name]
    entry = json.loads(leaven("methods", name, "--task", task, "--json").stdout)
    assert entry["paper"] == method.card.paper
    rows = {row["name"]: row for row in entry["hyperparameters"]}
    assert rows.keys() == {row[0] for row in method.hyperparameters()}
    assert all(row["description"] and row["type"] for row in rows.values())
    text = leaven("methods", name, "--task", task).stdout
    assert method.card.title.split()[0] in text
    assert all(row.split(".")[-1] in text for row in rows)


def test_unknown_method_is_suggested(refused):
    assert "'fixmatch'" in refused("methods", "fix-match")
    assert "detection" in refused("methods", "--task", "detecton")


def test_the_methods_of_one_task_are_listed(leaven):
    found = json.loads(leaven("methods", "--task", "segmentation", "--json").stdout)
    assert {entry["task"] for entry in found} == {"segmentation"}


def test_a_method_of_another_task_says_so(refused):
    assert "--task segmentation" in refused("methods", "cps", "--task", "detection")


def test_doctor_looks_at_everything(leaven):
    found = doctor(leaven, "--no-timing")
    assert found["leaven"]["found"] == __version__
    assert {"python", "torch", "accelerate", "devices", "threads", "memory", "disk"} <= found.keys()
    assert {"extra timm", "extra onnx", "extra huggingface"} <= found.keys()
    assert all(check["do"] for check in found.values() if check["level"] != "ok")
    assert "timed" in found["threads"]["found"] or found["threads"]["found"] == "1 core"


def test_timing_leaves_the_threads_as_they_were():
    before = torch.get_num_threads()
    assert _step_seconds(1 if before > 1 else 2, steps=1) > 0
    assert torch.get_num_threads() == before


def test_doctor_names_missing_extras_and_a_full_disk(leaven, monkeypatch):
    find, usage = importlib.util.find_spec, namedtuple("usage", "total used free")
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "timm" else find(name, *rest),
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 2**20))
    found = doctor(leaven, "--no-timing")
    assert found["extra timm"]["level"] == "info"
    assert 'pip install "leaven[timm]"' in found["extra timm"]["do"]
    assert found["disk"]["level"] == "warning"
    text = leaven("doctor", "--no-timing").stdout
    assert "What to do" in text
    assert 'pip install "leaven[timm]"' in text


def test_doctor_says_when_threads_do_not_help(leaven, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr("leaven.cli.doctor._step_seconds", lambda threads: 0.01 * threads)
    threads = doctor(leaven)["threads"]
    assert threads["level"] == "info"
    assert "10 ms on 1 thread, 40 ms on 4" in threads["found"]
    monkeypatch.setattr("leaven.cli.doctor._step_seconds", lambda threads: 0.01 / threads)
    assert doctor(leaven)["threads"]["level"] == "ok"
