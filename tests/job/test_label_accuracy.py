"""What the estimated accuracy of a run's labels rests on."""

import json
from dataclasses import replace

import pytest
import torch

import leaven
from leaven.data import MemoryPixels, open_data
from leaven.errors import ConfigError
from leaven.job import label_accuracy as job_label_accuracy
from leaven.job.class_stage import _nothing_accepted
from leaven.job.label_accuracy import label_accuracy
from leaven.labels import ClassLabels
from leaven.methods import Labeller
from leaven.models import build_model, save_model
from leaven.propose import predict
from leaven.quality import HeldOut, estimate_accuracy
from leaven.train import Settings

SETTINGS = Settings(seed=0, threads=1, evaluations=1)


@pytest.fixture(scope="module")
def data():
    whole = open_data("digits", seed=0, labels_per_class=20)
    index = torch.cat([whole.train.known.nonzero()[:, 0], (~whole.train.known).nonzero()[:300, 0]])
    return replace(whole, train=whole.train.subset(index))


@pytest.fixture(scope="module")
def model(data):
    torch.manual_seed(0)
    model = build_model(
        "cnn-small", data.classes, data.shape, mean=(0.3,), std=(0.4,), options={"width": 8}
    )
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    images = data.labelled.pixels.batch(torch.arange(len(data.labelled)))
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), data.labelled.labels).backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def held_out(data, model):
    return HeldOut(predict(model, data.test.pixels), data.test.labels)


def said(model, data, least=0.0):
    """Labels, accepted from a confidence on."""
    probs = predict(model, data.unlabelled.pixels)
    return ClassLabels.from_probs(probs, (probs.max(1).values >= least).float())


def dark(data):
    """The unlabelled digits in noise."""
    stored = data.train.pixels.batch(torch.arange(len(data.train))).float()
    noise = torch.randn(stored.shape, generator=torch.Generator().manual_seed(0)) * 80
    changed = (stored * 0.5 + noise).clamp(0, 255).to(torch.uint8)
    return data.with_train(replace(data.train, pixels=MemoryPixels(changed)))


def test_of_the_same_kind_what_is_held_out_tells(data, model, held_out):
    every = said(model, data)
    found = label_accuracy(model, every, data, SETTINGS, held_out)
    assert not found.shift.found and found.findings == []
    expected = estimate_accuracy(every.probs, held_out=held_out)["atc-entropy"]
    assert found.by == "atc-entropy" and found.accuracy == expected.accuracy
    low, high = found.likely.low, found.likely.high
    assert low <= found.accuracy <= high and high - low < 0.12
    assert found.as_dict()["estimated_range"] == [low, high]
    assert found.accuracy == pytest.approx(every.accuracy(data.unlabelled.truth), abs=0.06)
    some = said(model, data, least=0.9)
    chosen = label_accuracy(model, some, data, SETTINGS, held_out)
    assert chosen.by == "calibrated-confidence" and chosen.likely.low > low


def test_few_held_out_pictures_leave_a_wide_range(data, model, held_out):
    few = HeldOut(held_out.probs[:12], held_out.truth[:12])
    found = label_accuracy(model, said(model, data), data, SETTINGS, few)
    assert found.likely.high - found.likely.low > 0.2
    (finding,) = found.findings
    assert finding["code"] == "few-held-out" and "anything from" in finding["text"]
    assert "Hold out more" in finding["text"]


def test_of_another_kind_a_copy_is_asked(data, model, held_out):
    other = dark(data)
    labels = said(model, other)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = label_accuracy(model, labels, other, SETTINGS, held_out)
    assert found.shift.found and found.by == "second-opinion"
    assert [finding["code"] for finding in found.findings] == ["unlike-held-out"]
    assert "second-opinion" in found.findings[0]["text"]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    again = label_accuracy(model, labels, other, SETTINGS, held_out)
    assert again.accuracy == found.accuracy
    right = labels.accuracy(other.unlabelled.truth)
    free = label_accuracy(model, labels, other, SETTINGS, held_out, "held-out")
    assert free.by == "atc-entropy" and free.likely is None
    assert abs(found.accuracy - right) < abs(float(labels.confidence.mean()) - right)


@pytest.mark.parametrize("learnt", [False, True])
def test_labels_of_something_else_are_judged_by_that(data, model, held_out, learnt):
    """The model is at home with the labels of neither half: here it would tell of a shift."""
    sure = torch.nn.functional.one_hot(data.unlabelled.truth, 10).float()
    labels = ClassLabels.from_probs(sure)
    alone = label_accuracy(model, labels, data, SETTINGS, held_out)
    assert alone.shift.found
    rows = torch.nn.functional.one_hot(data.test.labels, 10).float()
    rows[::5] = rows[::5].roll(1, 1)
    labeller = Labeller(HeldOut(rows, data.test.labels), learnt)
    found = label_accuracy(model, labels, data, SETTINGS, held_out, labeller=labeller)
    assert found.shift is None if learnt else not found.shift.found
    assert found.by == ("held-out" if learnt else "atc-entropy")
    if learnt:
        assert found.accuracy == pytest.approx(0.8, abs=0.01)
        assert 0.7 < found.likely.low < 0.8 < found.likely.high < 0.9
        none = ClassLabels.from_probs(sure, torch.zeros(len(sure)))
        said_of_none = label_accuracy(model, none, data, SETTINGS, held_out, labeller=labeller)
        assert said_of_none.accuracy is None


@pytest.mark.parametrize(
    ("name", "features"),
    [
        ("label-propagation", "pixels"),
        ("self-training", "pixels"),
        ("co-training", None),
        ("dp-ssl", None),
    ],
)
def test_a_run_estimates_the_labels_that_its_model_did_not_give(tmp_path, name, features):
    run = leaven.run(
        "digits",
        labels_per_class=4,
        method=name,
        features=features,
        budget=30,
        threads=1,
        out=tmp_path / "run",
        **({} if features else {"model": "cnn-small"}),
    )
    labels = run.summary["labels"]
    assert labels["shift"] is None or not labels["shift"]["found"]
    assert labels["estimated_accuracy"] == pytest.approx(labels["accuracy"], abs=0.12)


def test_who_asks_for_it_gets_it(data, model, held_out):
    some = said(model, data, least=0.9)
    asked = label_accuracy(model, some, data, SETTINGS, held_out, "second-opinion")
    assert asked.by == "second-opinion" and not asked.shift.found


def test_without_anything_held_out_a_copy_is_asked_where_there_are_enough(data, model):
    found = label_accuracy(model, said(model, data), data, SETTINGS, None)
    assert found.by == "second-opinion" and found.shift is None
    few = data.train.subset(torch.arange(len(data.train) - 220))
    less = data.with_train(few)
    found = label_accuracy(model, said(model, less), less, SETTINGS, None)
    assert len(less.unlabelled) < 100 and found.by == "confidence"


def test_of_many_pictures_some_are_asked(data, model, monkeypatch):
    monkeypatch.setattr("leaven.job.label_accuracy.MOST_PICTURES", 120)
    labels = said(model, data)
    asked = []
    ask = job_label_accuracy.second_opinion

    def counted(method, model, images, *others, **more):
        asked.append(len(images))
        return ask(method, model, images, *others, **more)

    monkeypatch.setattr(job_label_accuracy, "second_opinion", counted)
    label_accuracy(model, labels, data, SETTINGS, None)
    assert asked == [120]


def test_where_nothing_is_accepted_there_is_no_estimate(data, model, held_out):
    found = label_accuracy(model, said(model, data, least=2.0), data, SETTINGS, held_out)
    assert found.accuracy is None and found.likely is None
    assert found.as_dict()["estimated_accuracy"] is None and found.as_dict()["shift"]["p"] <= 1
    unsaid = ClassLabels.from_person(data.unlabelled.truth)
    nothing = label_accuracy(model, unsaid, data, SETTINGS, held_out).as_dict()
    assert set(nothing.values()) == {None}


def test_a_run_says_what_its_estimate_rests_on(tmp_path):
    quick = {"labels_per_class": 10, "budget": "30", "threads": 1, "method": "supervised"}
    leaven.run(out=tmp_path / "asked", estimate_by="second-opinion", **quick)
    labels = json.loads((tmp_path / "asked" / "summary.json").read_text())["labels"]
    assert labels["estimated_by"] == "second-opinion" and 0 <= labels["estimated_accuracy"] <= 1
    assert set(labels["shift"]) == {"distance", "p", "found"}
    page = (tmp_path / "asked" / "report.html").read_text()
    assert "by second opinion" in page


def test_what_an_adapted_copy_chose_is_not_judged_by_one(data, model, tmp_path, monkeypatch):
    save_model(model, tmp_path / "model")
    monkeypatch.setattr("leaven.job.label_accuracy.second_opinion", None)
    run = leaven.run(
        out=tmp_path / "run",
        method="second-opinion",
        model=str(tmp_path / "model"),
        labels_per_class=1,
        set={"epochs": 1},
        threads=1,
        estimate_by="second-opinion",
    )
    assert run.summary["labels"]["estimated_by"] in ("calibrated-confidence", "atc-entropy")


def test_it_is_refused_where_no_copy_can_adapt(tmp_path):
    for other in ({"features": "pixels"}, {"task": "segmentation"}):
        with pytest.raises(ConfigError, match="--estimate-by|second opinion"):
            leaven.run(out=tmp_path / "no", estimate_by="second-opinion", **other)
    assert not (tmp_path / "no").exists()


def test_a_run_that_diverged_ends_with_a_report(tmp_path):
    run = leaven.run(
        "digits",
        labels_per_class=4,
        method="supervised",
        set={"recipe.lr": 1e9},
        model="cnn-small",
        budget=6,
        threads=1,
        out=tmp_path / "run",
    )
    found = {finding["code"]: finding["text"] for finding in run.summary["health"]}
    assert "540 of 540 items" in found["non-finite-outputs"]
    assert "no better than guessing" in found["guessing"]
    assert run.summary["metrics"]["accuracy"] == pytest.approx(0.1, abs=0.02)
    assert run.summary["labels"]["judged"] == run.summary["labels"]["accepted"]
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_run_that_accepts_nothing_says_so(tmp_path):
    quick = {"labels_per_class": 4, "model": "cnn-small", "budget": 4, "threads": 1}
    run = leaven.run("digits", method="fedlabel", out=tmp_path / "run", **quick)
    assert run.summary["images_per_second"] > 0
    found = {finding["code"] for finding in run.summary["health"]}
    assert ("nothing-accepted" in found) == (run.summary["labels"]["accepted"] == 0)
    assert "guessing" in found


def test_nothing_accepted_of_one_label_is_said_of_one():
    classes, weight = torch.zeros(2, dtype=torch.int64), torch.zeros(2)
    labels = ClassLabels(classes, torch.full((2,), 0.4), weight, torch.full((2,), 2))
    (many,) = _nothing_accepted(labels)
    (one,) = _nothing_accepted(labels.select(torch.tensor([True, False])))
    assert many["text"].startswith("None of the 2 labels is accepted: the surest")
    assert one["text"].startswith("The one label is not accepted: the surest")
