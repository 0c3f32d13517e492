"""Promises for the scores of a model of another library: digits, a logistic regression, held out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binom
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from leaven.data.readers.score_tables import ScoreTable
from leaven.job.promise_scores import promised_scores, promised_tags
from leaven.job.promise_summary import Asked, given_for, refusal_of
from leaven.select.guarantee import Promise

TRAINED, HELD_OUT, DIVISIONS = 250, 450, 60
TAGS = {"even": (0, 2, 4, 6, 8), "above four": (5, 6, 7, 8, 9), "has a loop": (0, 6, 8, 9)}
MOST_BROKEN = int(binom.ppf(0.999, DIVISIONS, 0.05))


def table(values, classes):
    items = [f"{number:04d}.png" for number in range(len(values))]
    return ScoreTable(Path("digits.csv"), items, tuple(classes), torch.from_numpy(values).double())


@pytest.fixture(scope="module")
def digits():
    pixels, truth = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(truth))
    return pixels[order] / 16, truth[order]


@pytest.fixture(scope="module")
def classes(digits):
    """What a regression says of the digits that it has not learnt from, and what they are."""
    pixels, truth = digits
    model = LogisticRegression(C=0.1, max_iter=500).fit(pixels[:TRAINED], truth[:TRAINED])
    scores = table(model.predict_proba(pixels[TRAINED:]), "0123456789")
    return scores, torch.from_numpy(truth[TRAINED:])


@pytest.fixture(scope="module")
def tags(digits):
    """The same for tags, by a regression for each."""
    pixels, truth = digits
    said = np.stack([np.isin(truth, some) for some in TAGS.values()], 1)
    model = OneVsRestClassifier(LogisticRegression(max_iter=500))
    model.fit(pixels[:TRAINED], said[:TRAINED].astype(int))
    return table(model.predict_proba(pixels[TRAINED:]), TAGS), torch.from_numpy(said[TRAINED:])


@pytest.fixture
def alone(monkeypatch):
    """Nothing is said of other promises, which takes most of the time."""
    monkeypatch.setattr("leaven.job.promise_summary.TARGETS", ())
    monkeypatch.setattr("leaven.job.promise_scores.TARGETS", ())


def divisions(count):
    """Which items are held out, 60 times at random."""
    for seed in range(DIVISIONS):
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        yield torch.zeros(count, dtype=torch.bool).index_fill(0, order[:HELD_OUT], True)


@pytest.mark.parametrize("by_class", [False, True])
def test_promises_of_classes_are_broken_in_no_more_divisions_than_stated(classes, alone, by_class):
    scores, truth = classes
    target = 0.75 if by_class else 0.95
    given = broken = 0
    for known in divisions(len(truth)):
        labels = torch.where(known, truth, -1)
        found = promised_scores(scores, labels, Asked(target, 0.95, by_class))
        right, kept = found.said == truth[~known], found.accepted
        given += found.summary["held"]
        sets = [kept & (found.said == k) for k in range(10)] if by_class else [kept]
        broken += any(bool((~right[one]).sum() > (1 - target) * one.sum() + 1e-9) for one in sets)
        assert int(kept.sum()) == found.summary["kept"]
    assert given > DIVISIONS / 2
    assert broken <= MOST_BROKEN


@pytest.mark.parametrize("by_class", [False, True])
def test_promises_of_tags_are_broken_in_no_more_divisions_than_stated(tags, alone, by_class):
    scores, truth = tags
    given = broken = 0
    for known in divisions(len(truth)):
        found = promised_tags(scores, known, truth & known[:, None], Asked(0.9, 0.95, by_class))
        wrong = found.given & ~truth[~known]
        given += found.summary["held"]
        number, bad = found.given.sum(0), wrong.sum(0)
        if not by_class:
            number, bad = number.sum(), bad.sum()
        broken += bool((bad > 0.1 * number + 1e-9).any())
        assert int(found.given.sum()) == found.summary["kept"]
    assert given > DIVISIONS / 2
    assert broken <= MOST_BROKEN


def test_a_threshold_by_eye_breaks_it_more_often(classes):
    """The check can fail: the laxest threshold above which 95 % of the held-out ones are right."""
    scores, truth = classes
    confidence, said = scores.values.max(1)
    wrong, broken = said != truth, 0
    for known in divisions(len(truth)):
        order = confidence[known].argsort(descending=True)
        share = wrong[known][order].cumsum(0) / torch.arange(1, HELD_OUT + 1)
        least = confidence[known][order][(share <= 0.05).nonzero()[-1]]
        kept = ~known & (confidence >= least)
        broken += bool(wrong[kept].double().mean() > 0.05)
    assert broken > MOST_BROKEN


def test_evidence_of_another_kind_is_said(classes, tags):
    scores, truth = classes
    confidence = scores.values.max(1).values
    sure = confidence > confidence.median()
    rows = torch.arange(len(truth))
    for first, found in ((rows % 2 == 0, False), (sure, True)):
        labels = torch.where(first, truth, -1)
        summary = promised_scores(scores, labels, Asked(0.9, 0.95)).summary
        assert summary["held"] and summary["shift"]["found"] is found
        assert bool(summary["warning"]) is found
    values, said = tags
    clear = (values.values - 0.5).abs().min(1).values > 0.3
    assert (
        "lies far from" in promised_tags(values, clear, said, Asked(0.9, 0.95)).summary["warning"]
    )
    assert not promised_tags(values, rows % 2 == 0, said, Asked(0.9, 0.95)).summary["warning"]


def test_the_order_of_the_evidence_comes_from_the_seed(tags):
    scores, truth = tags
    known = next(iter(divisions(len(truth))))
    one, same, other = (
        promised_tags(scores, known, truth, Asked(0.9, 0.95), seed) for seed in (1, 1, 2)
    )
    assert one.summary == same.summary
    assert one.summary["held_out"] == other.summary["held_out"] == HELD_OUT


def test_what_is_said_of_tags(tags):
    scores, truth = tags
    known = next(iter(divisions(len(truth))))
    found = promised_tags(scores, known, truth, Asked(0.9, 0.95, True))
    summary = found.summary
    assert [row["class"] for row in summary["per_class"]] == list(TAGS)
    assert sum(row["kept"] for row in summary["per_class"]) == summary["kept"]
    assert summary["accepted"] + summary["needs_person"] == summary["labels"] == len(found.items)
    assert summary["accepted"] == int(found.given.any(1).sum())
    assert f"{summary['kept']} tags are given to {summary['accepted']} of" in summary["text"]
    assert "of each tag are right" in summary["text"]
    assert "Nothing is promised about tags that are missing." in summary["text"]
    assert [row["target"] for row in summary["table"]] == [0.9, 0.95, 0.98, 0.99]


def test_a_class_with_too_few_labels_of_its_own_is_named_as_the_reason(classes):
    scores, truth = classes
    known = next(iter(divisions(len(truth))))
    found = promised_scores(scores, torch.where(known, truth, -1), Asked(0.98, 0.95, True))
    assert not found.summary["held"] and not bool(found.accepted.any())
    assert "needs at least 263 held-out labels of a class; there are" in found.summary["text"]
    assert "--calibration" not in found.summary["text"]


def test_classes_without_a_promise_are_named():
    none = Promise(0.9, 0.95, None, False, 0, 0.0, 0, 22, None, None)
    some = replace(none, held=True, threshold=0.5, kept=5, held_out=40)
    both = replace(some, threshold=None, per_class=(some, none, some))
    assert (
        given_for(both, ("a", "b", "c"), "tags") == " It can be given for 2 of 3 tags, not for b."
    )
    whole = replace(both, per_class=(some, some))
    assert given_for(whole, ("a", "b"), "classes") == " It can be given for 2 of 2 classes."


def test_an_estimate_that_there_are_already_is_not_given():
    few = Promise(0.9, 0.95, None, False, 0, 0.0, 200, 22, 140, None)
    text = refusal_of(few, 100, "tags", Asked(0.9, 0.95), option=None)
    assert text.endswith("at any threshold. A few more held-out items may do for some.")
    more = refusal_of(replace(few, estimate=300), 100, "tags", Asked(0.9, 0.95), option=None)
    assert "about 300 held-out items would do for some." in more
    assert "(--calibration 300)" in refusal_of(
        replace(few, estimate=300), 100, "pixels", Asked(0.9, 0.95)
    )
