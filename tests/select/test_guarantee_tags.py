"""Promises of tags: each by itself, and among thresholds that are fine where few tags are true."""

import math

import pytest
import torch

from leaven.select import promise_each_tag, promise_items, promise_tags
from leaven.select.guarantee import family_confidence
from leaven.select.learn_then_test import fine_thresholds_of, thresholds_of

ASKED = {"target": 0.9, "confidence": 0.9}
RUNS = 80


def tagged(seed, count, tags=3):
    """Scores, and tags that are true more often where scores are high; wrong ones come together."""
    generator = torch.Generator().manual_seed(seed)
    probs = torch.rand(count, tags, generator=generator, dtype=torch.float64)
    bad = torch.rand(count, 1, generator=generator) < 0.25
    chance = (0.85 * (1 - probs) ** 2).where(bad, torch.tensor(0.02).double())
    return probs, torch.rand(count, tags, generator=generator) >= chance


def test_promises_of_each_tag_are_broken_together_no_more_often_than_stated():
    broken = given = 0
    tags = torch.arange(3).expand(200, 3)
    for seed in range(RUNS):
        probs, truth = tagged(seed, 400)
        promise = promise_each_tag(probs[:200], truth[:200], probs[200:], **ASKED)
        kept = promise.keeps(probs[200:], tags)
        assert int(kept.sum()) == promise.kept
        given += sum(one.held for one in promise.per_class)
        wrong = (kept & ~truth[200:]).sum(0)
        broken += bool((wrong > 0.1 * kept.sum(0) + 1e-9).any())
    assert given > RUNS
    assert broken / RUNS <= 0.1 + 3 * math.sqrt(0.09 / RUNS)


def test_of_a_tag_it_is_the_promise_of_items_at_the_level_of_a_family():
    probs, truth = tagged(0, 600)
    promise = promise_each_tag(probs[:300], truth[:300], probs[300:], **ASKED)
    alone = promise_items(
        probs[:300, 2], ~truth[:300, 2], probs[300:, 2], target=0.9,
        confidence=family_confidence(0.9, 3),
    )  # fmt: skip
    assert promise.per_class[2] == alone
    assert promise.held_out == 300
    assert promise.kept_share == pytest.approx(promise.kept / 900)


def test_fine_thresholds_tell_the_highest_scores_apart():
    scores = torch.rand(100_000, dtype=torch.float64)
    even, fine = thresholds_of(scores, 100), fine_thresholds_of(scores, 100)
    assert set(even.tolist()) <= set(fine.tolist())
    assert bool((fine.diff() < 0).all())
    reached = torch.tensor([int((scores >= level).sum()) for level in fine.tolist()])
    few = reached[(reached > 10) & (reached < 1000)]
    assert len(few) > 20
    assert float((few[1:] / few[:-1]).max()) < 1.2
    assert len(fine_thresholds_of(scores[:0], 100)) == 0
    assert fine_thresholds_of(torch.tensor([0.5, 0.5, math.nan]), 100).tolist() == [0.5]


def test_few_true_tags_among_very_many_are_promised():
    """Two tags of 400 are true of each item, and the scores tell them."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(300, 400, generator=generator).argsort(1) < 2
    probs = torch.rand(300, 400, generator=generator, dtype=torch.float64) * 0.5 + truth * 0.4
    promise = promise_tags(probs[:150], truth[:150], probs[150:], **ASKED)
    assert promise.held
    items = torch.arange(150)[:, None].expand(-1, 400)
    kept = promise.keeps(probs[150:], pictures=items)
    assert promise.kept > 200
    assert bool(truth[150:][kept].double().mean() >= 0.9)
