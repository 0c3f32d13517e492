"""Run folders of every task, as a run leaves them, without training one."""

import json
import os
import re
import select
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar
from uuid import uuid4

import numpy as np
import pytest
import torch
import yaml
from fastapi.testclient import TestClient
from PIL import Image
from sklearn.datasets import load_digits

from leaven.data.embedded_scenes import listed_scenes
from leaven.labels import ClassLabels, LabelStore, Source
from leaven.labels.pixel_table import PicturePixels
from leaven.review.server import create_app, listen, new_token

TOKEN = "a-token-of-the-tests"
HOST = "http://127.0.0.1:8470"
ITEMS = 60


def write_config(folder, **values):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(values))


def digit_labels(count, given=10, sure=2.0, seed=0):
    """Labels of the first digits: mostly right, the less sure the more wrong."""
    truth = torch.tensor(load_digits().target[:count])
    draws = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, 10, generator=draws)
    logits[torch.arange(count), truth] += sure
    probs = logits.softmax(1)
    labels = ClassLabels.from_probs(probs, (probs.max(1).values > 0.5).float())
    people = ClassLabels.from_person(truth[:given])
    rows = torch.arange(count) < given
    return (
        replace(labels, probs=None)
        .filled(people, rows=rows)
        .filled(labels.select(~rows), rows=~rows)
    )


def digits_run(folder, count=ITEMS, rounds=2, **config):
    write_config(folder, data="digits", labels_per_class=1, **config)
    names = [f"digits/{row:04d}" for row in range(count)]
    classes = [str(k) for k in range(10)]
    store = LabelStore(folder / "labels")
    for number in range(rounds):
        store.write(number, names, digit_labels(count, sure=1.5 + number), classes)
    return folder


def named_run(folder, names, classes):
    """A run on a folder of pictures of those names, with those classes."""
    pictures = folder / "pictures"
    for number, name in enumerate(names):
        path = pictures / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(path, "PNG")
    run = folder / "run"
    table = folder / "labels.csv"
    table.write_text("file,label\n")
    write_config(run, data=str(pictures), labels=str(table))
    probs = torch.rand(len(names), len(classes), generator=torch.Generator().manual_seed(0))
    labels = ClassLabels.from_probs(probs / probs.sum(1, keepdim=True))
    LabelStore(run / "labels").write(0, names, labels, classes)
    return run


def boxes_run(folder, task="detection", rounds=1, count=ITEMS):
    """Scenes with their boxes: the first five given, the others believed with scores."""
    write_config(folder, data="scenes", task=task, labelled=5)
    listing = listed_scenes(task)
    labels = listing.boxes.select(torch.arange(count))
    draws = torch.Generator().manual_seed(0)
    score = torch.rand(len(labels.boxes), generator=draws)
    given = labels.pictures < 5
    for number in range(rounds):
        moved = labels.boxes + (0 if number else 12) * (~given[:, None])
        stored = replace(
            labels,
            boxes=moved.clamp(0, 96),
            confidence=torch.where(given, 1.0, score),
            weight=torch.where(given, 1.0, (score > 0.5).float()),
            source=torch.where(given, int(Source.PERSON), int(Source.MODEL)),
        )
        LabelStore(folder / "labels").write_boxes(
            number, listing.names[:count], stored, listing.sizes[:count], listing.classes
        )
    return folder


def pixels_run(folder, rounds=1, count=20):
    write_config(folder, data="scenes", task="segmentation", labelled=5)
    listing = listed_scenes("segmentation")
    for number in range(rounds):
        pictures = []
        for item in range(count):
            classes = torch.from_numpy(listing.maps[item].copy())
            if number == 0 and item >= 5:
                classes[:48] = 0
            confidence = torch.full(classes.shape, 1.0 if item < 5 else 0.99 - item / 40)
            weight = (torch.arange(96)[:, None].expand(96, 96) < (96 if item % 2 else 64)).float()
            weight = weight * (item < 18)
            source = Source.PERSON if item < 5 else Source.MODEL
            pictures.append(PicturePixels(listing.names[item], classes, confidence, weight, source))
        LabelStore(folder / "labels").write_pixels(number, iter(pictures), listing.classes)
    return folder


class Client:
    """The routes behind the token, as the page asks them."""

    kind: ClassVar = {"content-type": "application/json"}

    def __init__(self, run, moved=None):
        self.run, self.moved = run, moved
        self.app = create_app(run, TOKEN, moved)
        self.raw = TestClient(self.app, base_url=HOST, raise_server_exceptions=False)
        self.round = self.json("api/run")["round"]

    def again(self):
        """Another server on the same run."""
        return Client(self.run, self.moved)

    def path(self, path):
        return f"/{TOKEN}/{path}"

    def get(self, path, **params):
        return self.raw.get(self.path(path), params=params)

    def json(self, path, **params):
        answer = self.get(path, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def item(self, number):
        return self.json(f"api/rounds/{self.round}/items/{number}")

    def post(self, number, action, version=0, **more):
        body = {"action": action, "version": version, "round": self.round, "token": uuid4().hex}
        return self.raw.post(self.path(f"api/items/{number}/say"), json={**body, **more})

    def say(self, number, action, version=0, **more):
        answer = self.post(number, action, version, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """A run of each kind; tests that correct something copy theirs."""
    base = tmp_path_factory.mktemp("runs")
    return {
        "classes": digits_run(base / "classes"),
        "one": digits_run(base / "one", rounds=1),
        "boxes": boxes_run(base / "boxes"),
        "masks": boxes_run(base / "masks", "instance", rounds=2),
        "pixels": pixels_run(base / "pixels", rounds=2),
    }


@pytest.fixture
def copied(runs, tmp_path):
    """A run of a kind to write to."""

    def copy(kind):
        return shutil.copytree(runs[kind], tmp_path / kind)

    return copy


@pytest.fixture
def client(copied):
    """The routes over a run of one kind that may be written to, rounds numbered from 0."""

    def make(kind):
        return Client(copied(kind))

    return make


class Server:
    """``leaven review`` in a process of its own."""

    def __init__(self, run, *options):
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "leaven.cli.main",
                "review",
                str(run),
                "--no-open",
                "--json",
                *options,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        )
        end = time.monotonic() + 120
        line = ""
        while time.monotonic() < end and not line:
            if select.select([self.process.stdout], [], [], 0.2)[0]:
                line = self.process.stdout.readline()
            if self.process.poll() is not None and not line:
                raise AssertionError(self.process.stderr.read())
        self.address = json.loads(line)["address"]
        self.port = int(re.search(r":(\d+)/", self.address)[1])

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.kill()
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture
def server():
    return Server


@contextmanager
def in_this_process(run):
    """The server in a thread, for tests that do not kill it."""
    import uvicorn

    token = new_token()
    with listen(0) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/{token}/"
        server = uvicorn.Server(
            uvicorn.Config(create_app(run, token), log_level="error", ws="none", lifespan="off")
        )
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        end = time.monotonic() + 60
        while not server.started and thread.is_alive() and time.monotonic() < end:
            time.sleep(0.01)
        try:
            yield SimpleNamespace(address=address)
        finally:
            server.should_exit = server.force_exit = True
            thread.join()


@pytest.fixture
def nearby():
    return in_this_process
