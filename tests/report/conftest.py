"""A run folder like a real one: digits, few labels, figures that belong together."""

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from leaven.labels import ClassLabels, LabelStore, Source
from leaven.quality import classification_metrics
from leaven.report import write_gallery

PER_CLASS = 4
TEST_ITEMS = 540


def predict(images, truth, train, rows, strength):
    model = LogisticRegression(C=strength, max_iter=300)
    model.fit(images[train], truth[train])
    return torch.tensor(model.predict_proba(images[rows])).float()


def curves(final, seed, with_labels):
    """Lines of metrics.jsonl of 900 steps that end at the accuracy ``final``."""
    draws = np.random.default_rng(seed)
    lines = []
    for step in range(5, 901, 5):
        done = 1 - math.exp(-step / 130)
        line = {
            "step": step,
            "phase": "train",
            "seconds": 0.033 * step,
            "images_per_second": 9000 + 300 * draws.normal(),
            "loss/supervised": 2.3 * (1 - done) + 0.02 * abs(draws.normal()),
        }
        if with_labels:
            line |= {
                "loss/unlabelled": 0.7 * done * (1.25 - done) + 0.02 * abs(draws.normal()),
                "accepted_share": min(1, max(0, 0.93 * done + 0.015 * draws.normal())),
                "label_accuracy": min(1, 0.9 + 0.085 * done + 0.006 * draws.normal()),
                "agreement": min(1, 0.35 + 0.6 * done + 0.01 * draws.normal()),
            }
        lines.append(line)
        if step % 50 == 0:
            accuracy = final * (1 - math.exp(-step / 90)) + 0.006 * draws.normal()
            lines.append({"step": step, "phase": "train", "accuracy": min(1, accuracy), "ece": 0.1})
    return lines


def write_lines(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def build(folder, classes=None, data_name="digits", item=lambda i: f"digits/{i:04d}.png", **extra):
    """Writes a whole run folder; ``classes`` and ``item`` give the names of classes and items."""
    torch.set_num_threads(1)
    bunch = load_digits()
    features, digits = bunch.data / 16, torch.tensor(bunch.target)
    classes = classes or [str(k) for k in range(10)]
    order = np.random.default_rng(0).permutation(len(digits))
    test, train = order[:TEST_ITEMS], order[TEST_ITEMS:]
    few = np.concatenate([train[digits[train] == k][:PER_CLASS] for k in range(10)])
    probs = predict(features, digits, train[:160], train, 6)
    labels = ClassLabels.from_probs(probs, (probs.max(1).values > 0.8).float())
    person = torch.tensor(np.isin(train, few))
    labels = ClassLabels(
        torch.where(person, digits[train], labels.classes),
        torch.where(person, 1.0, labels.confidence),
        torch.where(person, 1.0, labels.weight),
        torch.where(person, int(Source.PERSON), labels.source),
        probs,
    )
    names = [item(int(i)) for i in train]
    store = LabelStore(folder / "labels")
    for number, share in enumerate((0.97, 0.9, 0.75)):
        weight = torch.where(person, 1.0, (labels.confidence > share).float())
        labels = labels.with_weight(weight)
        store.write(number, names, labels, classes, digits[train])
    pictures = torch.tensor(bunch.images / 16 * 255).to(torch.uint8).unsqueeze(1)

    test_probs = predict(features, digits, train[:700], test, 8)
    metrics = classification_metrics(test_probs, digits[test])
    baseline = classification_metrics(predict(features, digits, few, test, 1), digits[test])
    list_type = pa.list_(pa.float32(), 10)
    table = {
        "item": pa.array([item(int(i)) for i in test]),
        "truth": pa.array(digits[test].numpy().astype("int32")),
        "probs": pa.array(test_probs.tolist(), type=list_type),
    }
    pq.write_table(pa.table(table), folder / "test.parquet")
    write_gallery(
        folder / "gallery.parquet",
        lambda index: pictures[torch.tensor(train)[index]],
        names,
        classes,
        labels,
        digits[train],
        torch.tensor(features[train]),
    )
    write_lines(folder / "metrics.jsonl", curves(metrics["accuracy"], 1, True))
    write_lines(folder / "baseline/metrics.jsonl", curves(baseline["accuracy"], 2, False))
    unlabelled = labels.select(~person)
    config = {
        "data": data_name,
        "labels_per_class": PER_CLASS,
        "method": "fixmatch",
        "model": "small-resnet",
        "budget": "900 steps",
        "seed": 0,
        "set": {"threshold": 0.95, "ratio": 7},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    summary = {
        "leaven": "0.1.0",
        "task": "classification",
        "method": "fixmatch",
        "model": "small-resnet",
        "data": {
            "name": data_name,
            "items": len(train),
            "labelled": len(few),
            "unlabelled": len(train) - len(few),
            "classes": classes,
        },
        "metrics": metrics,
        "baseline": baseline,
        "labels": {
            "items": len(unlabelled),
            "accepted": int(unlabelled.accepted.sum()),
            "accepted_share": unlabelled.accepted_share,
            "accuracy": unlabelled.accuracy(digits[train][~person]),
            "estimated_accuracy": 0.978,
        },
        "steps": 900,
        "seconds": 29.7,
        "images_per_second": 9120.4,
        "device": "cpu",
        "precision": "fp32",
        "seed": 0,
        "health": [],
        "environment": {"python": "3.11.2", "torch": "2.6.0", "system": "Linux", "threads": 1},
    }
    (folder / "summary.json").write_text(json.dumps(summary | extra))
    return folder


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A whole run folder; tests that change it copy it first."""
    return build(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def build_run():
    """Builds a run folder with other names; see ``build``."""
    return build
