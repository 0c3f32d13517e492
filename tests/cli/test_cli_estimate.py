"""``leaven estimate`` from end to end: a network of the digits on digits made worse."""

import csv
import json
import math
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from leaven.data import open_data
from leaven.labels import ClassLabels
from leaven.models import build_model, load_model, save_model
from leaven.quality import HeldOut, estimate_accuracy

QUICK = ("--set", "epochs=2", "--threads", 1)


def trained(folder, seed):
    """A run folder, as far as it is looked at: a network of the digits and its held-out items."""
    data = open_data("digits", seed=0)
    torch.manual_seed(seed)
    model = build_model(
        "cnn-small", data.classes, data.shape, mean=(0.3,), std=(0.4,), options={"width": 8}
    )
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(seed))
    images, truth = data.train.pixels.batch(order), data.train.truth[order]
    for _ in range(4):
        for batch, targets in zip(images.split(64), truth.split(64), strict=True):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(batch), targets).backward()
            optimizer.step()
    save_model(model.eval(), folder / "model")
    with torch.no_grad():
        probs = model(data.test.pixels.batch(torch.arange(200))).softmax(1)
    flat = pa.array(probs.flatten().numpy())
    table = {
        "item": pa.array(list(data.test.names[:200])),
        "truth": pa.array(data.test.labels[:200].numpy(), type=pa.int32()),
        "probs": pa.FixedSizeListArray.from_arrays(flat, 10),
    }
    pq.write_table(pa.table(table), folder / "test.parquet")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("run"), 0)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("other"), 1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Test digits in noise: 100 in a folder of their class, 60 unlabelled."""
    folder = tmp_path_factory.mktemp("noisy")
    data = open_data("digits", seed=0)
    images = data.test.pixels.batch(torch.arange(200, 360)).float()
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)) * 70
    noisy = (images * 0.6 + noise).clamp(0, 255).to(torch.uint8)
    for number, image in enumerate(noisy):
        label = int(data.test.labels[200 + number])
        place = folder / (str(label) if number < 100 else "unlabelled")
        place.mkdir(exist_ok=True)
        Image.fromarray(np.asarray(image[0])).save(place / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="module")
def everything(leaven, run, other, pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "doubtful.parquet"
    result = leaven(
        "estimate", run, pictures, "--second", other, "--out", out, "--json", *QUICK
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), out


def test_every_estimate_with_the_truth_beside_it(everything, run, pictures):
    found, _ = everything
    names = ["confidence", "calibrated-confidence", "difference", "atc-confidence", "atc-entropy"]
    assert list(found["estimates"]) == [*names, "agreement", "adapted", "second-opinion"]
    assert found["best"] == "second-opinion" and found["items"] == 160 and found["known"] == 100
    assert 0.2 < found["accuracy"] < 0.95
    for one in found["estimates"].values():
        assert one["error"] == pytest.approx(one["accuracy"] - found["accuracy"])
        assert one["probably_wrong"] == round(160 * (1 - one["accuracy"]))
    best = found["estimates"]["second-opinion"]
    assert found["estimated_accuracy"] == best["accuracy"]
    assert best["flag_precision"] > 1 - found["accuracy"]


def test_the_figures_are_those_of_the_parts(everything, run, pictures):
    found, _ = everything
    data = open_data(pictures, classes=tuple("0123456789"), test_share=0, image_size=8)
    model = load_model(run / "model")
    with torch.no_grad():
        probs = model(data.train.pixels.batch(torch.arange(160))).softmax(1)
    known = data.train.labels >= 0
    right = ClassLabels.from_probs(probs).accuracy(data.train.labels)
    assert found["accuracy"] == pytest.approx(right)
    assert int(known.sum()) == 100
    table = pq.read_table(run / "test.parquet")
    rows = torch.tensor(np.stack(table["probs"].to_numpy()))
    held_out = HeldOut(rows, torch.tensor(table["truth"].to_numpy()).long())
    expected = estimate_accuracy(probs, held_out=held_out)
    for name, one in expected.items():
        assert found["estimates"][name]["accuracy"] == pytest.approx(one.accuracy, abs=1e-6)


def test_pictures_of_another_kind_get_no_range(everything):
    found, _ = everything
    assert found["estimated_range"] is None and found["shift"]["found"]
    assert any("lies far from what it says of the held-out ones" in note for note in found["notes"])


def test_pictures_like_the_held_out_ones_get_a_range(leaven, run, tmp_path):
    data = open_data("digits", seed=0)
    images, labels = data.test.pixels.batch(torch.arange(200, 360)), data.test.labels[200:360]
    for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        (tmp_path / str(label)).mkdir(exist_ok=True)
        Image.fromarray(np.asarray(image[0])).save(tmp_path / str(label) / f"{number:03d}.png")
    found = json.loads(leaven("estimate", run, tmp_path, *QUICK, "--json").stdout)
    low, high = found["estimated_range"]
    assert 0.5 < low < found["accuracy"] < high <= 1 and not found["shift"]["found"]
    assert low <= found["estimated_accuracy"] <= high
    said = leaven("estimate", run, tmp_path, "--no-adapt")
    assert ", likely " in said.stdout and "held-out ones" not in said.stderr


def test_a_row_for_each_picture(everything):
    found, out = everything
    rows = pq.read_table(out).to_pylist()
    assert len(rows) == 160
    flagged = [row for row in rows if row["probably_wrong"]]
    assert len(flagged) == found["estimates"]["second-opinion"]["probably_wrong"]
    assert all(row["class"] != row["second_opinion"] for row in flagged)
    assert sum(row["truth"] is not None for row in rows) == 100
    known = [row for row in rows if row["truth"] is not None]
    assert all(row["item"] == f"{row['truth']}/{row['item'][-7:]}" for row in known)
    right = sum(row["class"] == row["truth"] for row in known)
    assert right / 100 == pytest.approx(found["accuracy"])


def test_labels_of_the_pictures_are_not_used(everything, leaven, run, other, pictures, tmp_path):
    (tmp_path / "unlabelled").mkdir()
    for number, path in enumerate(sorted(pictures.glob("*/*.png"))):
        # In the order of before, so that the adaptation meets them in it.
        (tmp_path / "unlabelled" / f"{number:03d}.png").write_bytes(path.read_bytes())
    result = leaven("estimate", run, tmp_path, "--second", other, "--json", *QUICK)
    found, before = json.loads(result.stdout), everything[0]
    assert found["accuracy"] is None and found["known"] == 0
    for name, one in found["estimates"].items():
        assert one["accuracy"] == pytest.approx(before["estimates"][name]["accuracy"], abs=1e-9)
        assert "error" not in one


def test_without_evidence_the_confidence_is_left(leaven, run, pictures, tmp_path):
    place = tmp_path / "flags.csv"
    arguments = ("estimate", run / "model", pictures, "--no-adapt")
    result = leaven(*arguments, "--out", place)
    assert result.exit_code == 0, result.output
    assert "* confidence" in result.stdout and "True accuracy on 100" in result.stdout
    assert "second-opinion" not in result.stdout and "--source" in result.stderr
    with place.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 160 and {row["second_opinion"] for row in rows} == {""}
    assert {row["probably_wrong"] for row in rows} == {"true", "false"}
    given = leaven(*arguments, "--source", "digits", "--json")
    assert "atc-entropy" in json.loads(given.stdout)["estimates"]


def test_few_pictures_say_little(leaven, run, pictures, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for path in list((pictures / "unlabelled").iterdir())[:4]:
        (few / path.name).write_bytes(path.read_bytes())
    (few / "broken.png").write_bytes(b"no picture")
    result = leaven("estimate", run, few, *QUICK, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["items"] == 4 and found["best"] == "second-opinion"
    assert any("4 pictures say little" in note for note in found["notes"])
    assert any("broken.png" in note for note in found["notes"])


def test_colour_pictures_are_read_as_the_model_takes_them(leaven, run, pictures, tmp_path):
    for path in sorted((pictures / "unlabelled").iterdir())[:20]:
        Image.open(path).convert("RGB").save(tmp_path / path.name)
    result = leaven("estimate", run, tmp_path, "--no-adapt", "--json")
    assert json.loads(result.stdout)["items"] == 20


def test_what_cannot_be_done_is_refused(refused, run, pictures, tmp_path):
    assert "no model" in refused("estimate", tmp_path, pictures)
    assert "flags.txt" in refused("estimate", run, pictures, "--out", tmp_path / "flags.txt")
    assert "no hyperparameter" in refused("estimate", run, pictures, "--set", "colour=red")
    (tmp_path / "zebra").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "zebra" / "a.png")
    assert "zebra" in refused("estimate", run, tmp_path)
    assert "No picture" in refused(
        "estimate", run, pictures, "--no-adapt", "--source", pictures / "unlabelled"
    )
    (tmp_path / "run").mkdir()
    save_model(load_model(run / "model"), tmp_path / "run" / "model")
    (tmp_path / "run" / "test.parquet").write_bytes(b"PAR1 nothing")
    assert "damaged" in refused("estimate", tmp_path / "run", pictures, "--no-adapt")


def test_a_model_is_no_second_one_to_itself(refused, run, pictures):
    for same in (run, run / "model"):
        assert "agrees with itself" in refused(
            "estimate", run, pictures, "--no-adapt", "--second", same
        )


def test_a_second_model_of_other_classes_is_refused(refused, run, pictures, tmp_path):
    model = build_model("cnn-small", ("cat", "dog"), (1, 8, 8), mean=(0.5,), std=(1.0,))
    save_model(model, tmp_path / "model")
    said = refused("estimate", run, pictures, "--no-adapt", "--second", tmp_path)
    assert "cat, dog" in said


def test_the_summary_of_a_run_has_the_best_free_estimate(finished):
    out, _ = finished
    labels = json.loads((out / "summary.json").read_text())["labels"]
    assert 0 <= labels["estimated_accuracy"] <= 1 and math.isfinite(labels["estimated_accuracy"])
    table = pq.read_table(out / "test.parquet")
    rows = torch.tensor(np.stack(table["probs"].to_numpy()))
    held_out = HeldOut(rows, torch.tensor(table["truth"].to_numpy()).long())
    newest = sorted((out / "labels").glob("round-*.parquet"))[-1]
    model = [row for row in pq.read_table(newest).to_pylist() if row["source"] == "model"]
    probs = torch.tensor([row["probs"] for row in model])
    weight = torch.tensor([row["weight"] for row in model])
    found = estimate_accuracy(probs, weight=weight, held_out=held_out)
    assert bool((weight > 0).all())
    assert labels["estimated_accuracy"] == pytest.approx(found["atc-entropy"].accuracy, abs=1e-6)
    assert labels["estimated_by"] == "atc-entropy" and not labels["shift"]["found"]


def digit_files(folder, data, items, named=None):
    for item in items:
        place = folder / str(int(data.train.truth[item]))
        place.mkdir(parents=True, exist_ok=True)
        image = data.train.pixels.batch(torch.tensor([item]))[0, 0]
        name = data.train.names[named[item] if named else item]
        Image.fromarray(np.asarray(image)).save(place / f"{name.replace('/', '-')}.png")


def test_labels_that_the_run_has_learnt_tell_nothing_of_its_accuracy(leaven, finished, tmp_path):
    out, _ = finished
    found = json.loads(leaven("estimate", out, "digits", "--no-adapt", "--json").stdout)
    rows = pq.read_table(sorted((out / "labels").glob("round-*.parquet"))[-1]).to_pylist()
    learnt = {row["item"] for row in rows if row["source"] == "person"}
    assert found["learnt"] == len(learnt) == 40 and found["known"] == 1797 - 40
    assert any("learnt the labels of 40 of these pictures" in note for note in found["notes"])
    said = leaven("estimate", out, "digits", "--no-adapt")
    assert "True accuracy on 1757 labelled ones" in said.stdout
    assert "left out of the true accuracy" in " ".join(said.stderr.split())

    data = open_data("digits", seed=0)
    place = {name: item for item, name in enumerate(data.train.names)}
    own = [place[name] for name in learnt]
    others = [item for name, item in place.items() if name not in learnt][: len(own)]
    digit_files(tmp_path / "copies", data, own[:30] + others[:30])
    found = json.loads(leaven("estimate", out, tmp_path / "copies", "--no-adapt", "--json").stdout)
    assert (found["items"], found["learnt"], found["known"]) == (60, 30, 30)
    digit_files(tmp_path / "alike", data, others, dict(zip(others, own, strict=True)))
    found = json.loads(leaven("estimate", out, tmp_path / "alike", "--no-adapt", "--json").stdout)
    assert found["learnt"] == 0 and found["known"] == len(others)


def test_that_the_pictures_of_the_run_are_gone_is_said(leaven, finished, run, pictures, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("data: digits", "data: /gone"))
    found = json.loads(
        leaven("estimate", tmp_path / "run", pictures, "--no-adapt", "--json").stdout
    )
    assert found["known"] == 100 and any("is not known" in note for note in found["notes"])
