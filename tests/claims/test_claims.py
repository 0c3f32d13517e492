"""The claims harness: what is measured is what is written down."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.common import Measurement, compare
from claims.harness import Claim, Gain, Level, NearBest, On

from claims import harness, sources, table
from leaven.data import Data
from leaven.methods.classification.supervised import Supervised
from leaven.train import Budget

VALUES = {"old": (0.5, 0.6, 0.7), "new": (0.9, 0.8, 0.7)}


def made_up(name: str) -> harness.Measure:
    return lambda seed: {"accuracy": VALUES[name][seed]}


@pytest.fixture
def claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Claim:
    made = Claim(
        method="supervised",
        statement="The new one is better.",
        setting="made up",
        variants={"old": made_up("old"), "new": made_up("new")},
        expect=(Gain("new", "old", 10), Gain("new", "old", 30), Level("new", 80)),
    )
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(table, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(table, "FILE", tmp_path / "CLAIMS.md")
    monkeypatch.setattr(harness, "load", lambda _: made)
    (tmp_path / "results").mkdir()
    return made


def test_means_spreads_and_expectations(claim: Claim) -> None:
    result = harness.run("made")
    assert result["mean"]["old"]["accuracy"] == pytest.approx(0.6)
    assert result["standard_deviation"]["new"]["accuracy"] == pytest.approx(0.1)
    assert [row["shown"] for row in result["expectations"]] == [True, False, True]
    assert [row["measured"] for row in result["expectations"]] == [20.0, 20.0, 80.0]


def test_a_figure_that_no_run_has_is_not_shown(
    claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = replace(claim, expect=(Level("new", 0.0, "precision"),))
    monkeypatch.setattr(harness, "load", lambda _: unknown)
    (row,) = harness.run("made")["expectations"]
    assert row["measured"] is None and row["shown"] is False
    table.write()
    assert "| nothing to measure | **no** |" in table.FILE.read_text()


def test_a_claim_goes_on_where_it_was_stopped(claim: Claim) -> None:
    first = harness.run("made", seeds=(0, 1))
    assert first["complete"] is False and first["expectations"] == []
    path = harness.RESULTS / "made.json"
    kept = json.loads(path.read_text())
    kept["runs"]["old"]["0"]["accuracy"] = 0.4
    path.write_text(json.dumps(kept))
    result = harness.run("made")
    assert result["complete"] is True
    assert result["runs"]["old"]["0"]["accuracy"] == 0.4
    assert harness.run("made", fresh=True)["runs"]["old"]["0"]["accuracy"] == 0.5


def test_some_variants_are_measured_again_and_the_others_kept(claim: Claim) -> None:
    harness.run("made")
    path = harness.RESULTS / "made.json"
    kept = json.loads(path.read_text())
    for variant in ("old", "new"):
        kept["runs"][variant]["1"]["accuracy"] = 0.25
    path.write_text(json.dumps(kept))
    runs = harness.run("made", seeds=(1,), variants=("new",), fresh=True)["runs"]
    assert runs["old"]["1"]["accuracy"] == 0.25 and runs["new"]["1"]["accuracy"] == 0.8
    assert list(runs["new"]) == ["0", "1", "2"]
    with pytest.raises(ValueError, match="no variants \\['odd'\\]; choose from old, new"):
        harness.run("made", variants=("odd",))


def test_what_another_process_measures_meanwhile_is_kept(
    claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    def old(seed: int) -> dict[str, float]:
        if seed == 0:
            harness.run("made", variants=("new",))
        return {"accuracy": VALUES["old"][seed]}

    both = replace(claim, variants={**claim.variants, "old": old})
    monkeypatch.setattr(harness, "load", lambda _: both)
    result = harness.run("made", variants=("old",))
    assert result["complete"] is True
    assert result["mean"]["new"]["accuracy"] == pytest.approx(0.8)


def test_words_are_brought_up_to_date_and_measurements_kept(
    claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.run("made")
    path = harness.RESULTS / "made.json"
    before = json.loads(path.read_text())
    before["environment"]["torch"] = "an earlier one"
    path.write_text(json.dumps(before))
    told = replace(claim, note="to know", expect=(Level("new", 75.0),))
    monkeypatch.setattr(harness, "load", lambda _: told)
    harness.retell()
    after = json.loads(path.read_text())
    assert after["note"] == "to know" and len(after["expectations"]) == 1
    assert all(after[key] == before[key] for key in ("runs", "mean", "environment"))


def test_what_does_not_show_stands_in_the_table(claim: Claim) -> None:
    harness.run("made")
    text = table.write().read_text()
    assert (
        "| [made](#made) | supervised | new beats old by 30 points of accuracy | +20.0 points | **no** |"
        in text
    )
    assert "80.0 ± 10.0 %" in text


def test_a_level_may_be_an_upper_bound() -> None:
    level = Level("a", 15, "wrong", at_most=True)
    assert level.shown({"a": {"wrong": 0.1}}) and not level.shown({"a": {"wrong": 0.2}})


def test_near_the_best_compares_with_the_best_of_the_others() -> None:
    means = {"a": {"accuracy": 0.9}, "b": {"accuracy": 0.905}, "c": {"accuracy": 0.5}}
    near = NearBest("a", 1.0)
    assert near.measured(means) == pytest.approx(-0.5) and near.shown(means)
    assert not near.shown({**means, "b": {"accuracy": 0.92}})
    assert NearBest("b", 0.0).measured(means) == pytest.approx(0.5)


def test_every_claim_is_whole() -> None:
    for name in harness.names():
        made = harness.load(name)
        assert len(made.seeds) >= 3
        for expected in made.expect:
            pair = isinstance(expected, Gain)
            used = {expected.better, expected.than} if pair else {expected.variant}
            assert used <= set(made.variants), name


def test_a_method_is_trained_and_measured(
    claim: Claim, digits_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = Supervised(batch=8)
    made = Claim(
        method="supervised",
        statement="",
        setting="",
        variants={"all": method, "labelled": On(method, sources.only_labelled)},
        expect=(),
        data=lambda _: digits_data,
        budget=Budget(steps=2),
        options={"width": 4},
        seeds=(0, 1, 2),
    )
    monkeypatch.setattr(harness, "load", lambda _: made)
    result = harness.run("made", seeds=(0,))
    assert 0 <= result["mean"]["all"]["all_labels_accuracy"] <= 1
    assert "all_labels_accuracy" not in result["mean"]["labelled"]
    assert result["hyperparameters"]["labelled"]["batch"] == 8


def test_missing_data_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "DATA", tmp_path)
    with pytest.raises(sources.MissingData, match="LEAVEN_DATA"):
        sources.folder("cifar10")


def test_validation_items_are_balanced_and_leave_the_training_set(digits_data: Data) -> None:
    data = sources.with_val(digits_data, 3, seed=0)
    assert data.val is not None
    assert data.val.labels.bincount().tolist() == [3] * 10
    assert not set(data.val.names) & set(data.train.names)
    assert len(data.labelled) == len(digits_data.labelled)


def test_benchmarks_take_turns() -> None:
    order: list[str] = []

    def case(name: str, items: int) -> int:
        order.append(name)
        return items

    found = compare({"a": lambda: case("a", 10), "b": lambda: case("b", 1)}, seconds=0.02, rounds=4)
    assert order.index("b") == 1
    assert found["a"].times(found["b"]) > 1
    assert Measurement((1.0, 2.0, 3.0)).median == 2.0
