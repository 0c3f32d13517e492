"""Promises: closed forms, degenerate cases, and how often they are broken."""

import math

import pytest
import torch

from leaven.select.accepted_counts import (
    Counts,
    Rows,
    count_pixels,
    most_per_picture,
    ranks_within,
    within_most,
)
from leaven.select.guarantee import (
    Promise,
    family_confidence,
    needed_labels,
    of_classes,
    promise_each_class,
    promise_items,
)
from leaven.select.guarantee_pictures import (
    expected_threshold,
    promise_counts,
    promise_pixels,
    promise_rows,
    promise_tags,
)
from leaven.select.learn_then_test import (
    bonferroni,
    fixed_sequences,
    sequence_starts,
    thresholds_of,
)


def count_rows(scores, wrong, pictures, count, thresholds):
    rows = Rows(scores, pictures, count, wrong)
    return rows.counts(rows.levels(thresholds), len(thresholds))


ASKED = {"target": 0.9, "confidence": 0.9}
RUNS = 250
MARGIN = 3 * math.sqrt(0.1 * 0.9 / RUNS)


def items(seed, count, base=0.01, slope=0.6):
    """Scores, and wrong labels that are rarer where scores are high."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(count, generator=generator, dtype=torch.float64)
    chance = base + slope * (1 - scores) ** 2
    return scores, torch.rand(count, generator=generator, dtype=torch.float64) < chance


@pytest.mark.parametrize(
    ("target", "confidence", "count"), [(0.98, 0.95, 149), (0.9, 0.95, 29), (0.99, 0.9, 230)]
)
def test_without_errors_the_needed_number_is_a_quotient_of_logarithms(target, confidence, count):
    assert needed_labels(target, confidence) == count
    assert count == math.ceil(math.log(1 - confidence) / math.log(target))


def test_more_is_needed_for_wrong_labels_and_for_few_others():
    assert needed_labels(0.98, 0.95, 0.01) > 400
    assert needed_labels(0.98, 0.95, 0.02) is None
    assert needed_labels(0.98, 0.95, 0.5) is None
    assert needed_labels(0.98, 0.95, others=100) > needed_labels(0.98, 0.95, others=1000) > 149
    assert needed_labels(0.98, 0.95, others=10**7) == 149


def test_bonferroni_divides_the_level():
    assert bonferroni(torch.tensor([0.01, 0.02, 0.03, 0.5, 0.9]), 0.05).tolist() == [
        True, False, False, False, False,
    ]  # fmt: skip
    assert family_confidence(0.95, 10) == pytest.approx(0.995)
    assert len(bonferroni(torch.zeros(0), 0.05)) == 0


def test_a_fixed_sequence_ends_at_the_first_that_is_not_rejected():
    p = torch.tensor([0.9, 0.01, 0.04, 0.06, 0.001, 0.01])
    assert fixed_sequences(p, [1], 0.05) == 2
    assert fixed_sequences(p, [0], 0.05) == -1
    assert fixed_sequences(p, [1, 4], 0.05) == 5
    assert fixed_sequences(p, [2], 0.05) == 2
    assert fixed_sequences(p, [2, 3], 0.05) == -1
    assert fixed_sequences(p, [], 0.05) == -1


def test_sequences_share_the_level_only_where_there_is_evidence_to_spare():
    few = torch.linspace(0, 3.2, 100)
    assert sequence_starts(few, 0.05) == [99]
    many = torch.linspace(0, 20, 1000)
    starts = sequence_starts(many, 0.05)
    assert len(starts) == 2
    assert float(many[starts[0]]) == pytest.approx(1.5 * math.log(2 / 0.05), abs=0.03)
    assert sequence_starts(torch.zeros(0), 0.05) == []


def test_thresholds_fall_and_the_last_accepts_everything():
    scores = torch.tensor([0.5, 0.9, math.nan, 0.9, 0.1])
    assert thresholds_of(scores, 10).tolist() == pytest.approx([0.9, 0.5, 0.1])
    assert len(thresholds_of(torch.rand(5000), 100)) == 100
    assert len(thresholds_of(torch.zeros(0), 100)) == 0
    assert thresholds_of(torch.ones(50), 100).tolist() == [1.0]


def promised(seed, held_out=300, others=500, **asked):
    scores, wrong = items(seed, held_out + others)
    first = slice(0, held_out)
    promise = promise_items(scores[first], wrong[first], scores[held_out:], **{**ASKED, **asked})
    return promise, scores[held_out:], wrong[held_out:]


def test_a_promise_is_broken_no_more_often_than_stated():
    broken = given = 0
    for seed in range(RUNS):
        promise, scores, wrong = promised(seed)
        kept = promise.keeps(scores)
        assert int(kept.sum()) == promise.kept
        given += promise.held
        broken += bool(wrong[kept].double().sum() > 0.1 * kept.sum() + 1e-9)
    assert given > RUNS / 2
    assert broken / RUNS <= 0.1 + MARGIN


def test_choosing_the_best_threshold_by_eye_breaks_it_more_often():
    """The simulation can fail: the largest threshold set whose observed share is low enough."""
    broken = 0
    for seed in range(100):
        scores, wrong = items(seed, 800)
        thresholds = thresholds_of(scores[300:], 200)
        seen = scores[:300] >= thresholds[:, None]
        share = (seen & wrong[:300]).sum(1) / seen.sum(1).clamp_min(1)
        laxest = thresholds[(share <= 0.1).nonzero()[-1]]
        kept = scores[300:] >= laxest
        broken += bool(wrong[300:][kept].double().mean() > 0.1)
    assert broken / 100 > 0.1 + MARGIN


def test_a_stricter_target_keeps_fewer():
    shares = [promised(3, target=target)[0].kept_share for target in (0.7, 0.8, 0.9, 0.95, 0.99)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1]


def test_too_few_held_out_labels_promise_nothing_and_say_how_many_it_takes():
    promise = promise_items(
        torch.rand(40), torch.zeros(40).bool(), torch.rand(10_000), target=0.98, confidence=0.95
    )
    assert not promise.held
    assert promise.threshold is None
    assert promise.kept == 0
    assert promise.held_out == 40
    assert promise.needed == 149
    assert 149 <= promise.estimate <= 155
    assert promise.bound == pytest.approx(0.05 ** (1 / 40))
    assert not promise.keeps(torch.ones(3)).any()


def test_as_many_as_are_needed_do_when_all_are_right():
    needed = needed_labels(0.98, 0.95, others=1000)
    others = torch.rand(1000)
    for count, held in ((needed, True), (needed - 1, False)):
        promise = promise_items(
            torch.ones(count), torch.zeros(count).bool(), others, target=0.98, confidence=0.95
        )
        assert promise.held == held
    assert promise_items(
        torch.ones(needed), torch.zeros(needed).bool(), others, target=0.98, confidence=0.95
    ).kept == 1000  # fmt: skip


def test_nothing_is_promised_of_labels_that_are_all_wrong():
    promise = promise_items(torch.rand(500), torch.ones(500).bool(), torch.rand(100), **ASKED)
    assert not promise.held
    assert promise.bound == 0
    assert promise.estimate is None


@pytest.mark.parametrize(("held_out", "others"), [(0, 0), (0, 10), (10, 0), (1, 1)])
def test_nothing_is_promised_of_nothing_or_from_nothing(held_out, others):
    promise = promise_items(
        torch.rand(held_out), torch.zeros(held_out).bool(), torch.rand(others), **ASKED
    )
    assert not promise.held
    assert promise.kept_share == 0
    assert promise.held_out == held_out


def test_equal_scores_are_kept_together_or_not_at_all():
    scores = torch.full((600,), 0.7)
    wrong = torch.arange(600) % 50 == 0
    promise = promise_items(scores[:300], wrong[:300], scores[300:], **ASKED)
    assert promise.held
    assert promise.kept == 300
    assert promise.threshold == pytest.approx(0.7)
    worse = promise_items(scores[:300], torch.arange(300) % 9 == 0, scores[300:], **ASKED)
    assert not worse.held


def test_what_has_no_score_is_never_kept():
    scores, others = torch.rand(300), torch.rand(200)
    scores[:20], others[:30] = math.nan, math.nan
    promise = promise_items(scores, torch.zeros(300).bool(), others, **ASKED)
    assert promise.kept == 170
    assert int(promise.keeps(others).sum()) == 170


def test_each_class_has_a_threshold_of_its_own_at_the_level_of_a_family():
    scores, wrong = items(1, 3000, base=0.0, slope=0.02)
    classes = torch.arange(3000) % 3
    wrong |= (classes == 2) & (torch.arange(3000) % 4 == 0)
    held, rest = slice(0, 1500), slice(1500, 3000)
    promise = promise_each_class(
        scores[held], classes[held], wrong[held], scores[rest], classes[rest], 3, **ASKED
    )
    assert [one.held for one in promise.per_class] == [True, True, False]
    assert all(one.confidence == pytest.approx(1 - 0.1 / 3) for one in promise.per_class)
    kept = promise.keeps(scores[rest], classes[rest])
    assert int(kept.sum()) == promise.kept
    assert not bool(kept[classes[rest] == 2].any())
    alone = promise_items(
        scores[held][classes[held] == 0],
        wrong[held][classes[held] == 0],
        scores[rest][classes[rest] == 0],
        target=0.9,
        confidence=family_confidence(0.9, 3),
    )
    assert promise.per_class[0] == alone
    assert not promise.keeps(torch.ones(2), torch.tensor([-1, 2])).any()


def grouped(seed, count):
    """Rows of pictures whose wrong labels come together: half of the pictures have all of them."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randint(2, 5, (count,), generator=generator)
    pictures = torch.arange(count).repeat_interleave(numbers)
    bad = torch.rand(count, generator=generator) < 0.5
    scores = torch.rand(len(pictures), generator=generator, dtype=torch.float64)
    chance = 0.8 * (1 - scores) ** 2
    wrong = bad[pictures] & (torch.rand(len(pictures), generator=generator) < chance)
    return scores, wrong, pictures


def test_promises_of_boxes_are_broken_no_more_often_than_stated():
    broken = given = 0
    for seed in range(120):
        scores, wrong, pictures = grouped(seed, 400)
        mine, rest = pictures < 200, pictures >= 200
        promise = promise_rows(
            Rows(scores[mine], pictures[mine], 200, wrong[mine]),
            Rows(scores[rest], pictures[rest] - 200, 200),
            **ASKED,
        )
        kept = promise.keeps(scores[rest], pictures=pictures[rest])
        assert int(kept.sum()) == promise.kept
        given += promise.held
        broken += bool(wrong[rest][kept].double().sum() > 0.1 * kept.sum() + 1e-9)
    assert given > 50
    assert broken / 120 <= 0.1 + 3 * math.sqrt(0.09 / 120)


def test_a_thousand_boxes_in_five_pictures_are_five_observations():
    scores, pictures = torch.rand(1000), torch.arange(1000) % 5
    promise = promise_rows(
        Rows(scores, pictures, 5, torch.zeros(1000).bool()), Rows(scores, pictures, 5), **ASKED
    )
    assert not promise.held
    assert promise.needed == math.ceil(math.log(10) / math.log(1.1))
    assert promise.estimate > 5
    items_alone = promise_items(scores, torch.zeros(1000).bool(), scores, **ASKED)
    assert items_alone.held


def test_ranks_are_places_by_score_within_a_picture():
    scores = torch.tensor([0.2, 0.9, 0.9, float("nan"), 0.5, 0.7])
    pictures = torch.tensor([1, 0, 0, 0, 1, 1])
    assert ranks_within(scores, pictures).tolist() == [2, 0, 1, 2, 1, 0]
    assert len(ranks_within(scores[:0], pictures[:0])) == 0


def test_the_best_of_crowded_pictures_make_up_the_share():
    """One picture with ten boxes and ten with one: of 20, 18 are kept where 8 of the crowd are."""
    pictures = torch.tensor([0] * 10 + list(range(1, 11)))
    scores = torch.linspace(0.9, 0.5, 20, dtype=torch.float64)
    thresholds = torch.tensor([0.71, 0.5], dtype=torch.float64)
    rows = Rows(scores, pictures, 11)
    level, ranks = rows.levels(thresholds), rows.ranks()
    most = most_per_picture(level, ranks, 2, 0.9)
    # The first threshold accepts the ten of the crowd alone, so that nine of them are nine tenths;
    # the second one would do with eight, but what is accepted only grows.
    assert most.tolist() == [9, 9]
    assert most_per_picture(level, ranks, 2, 0.5).tolist() == [5, 5]
    assert most_per_picture(level, ranks, 2, 1.0).tolist() == [10, 10]
    counts = rows.counts(within_most(level, ranks, most), 2)
    assert counts.accepted.sum(0).tolist() == [9, 19]
    assert counts.accepted[0].tolist() == [9, 9]
    assert most_per_picture(level[:0], ranks[:0], 2, 0.9).tolist() == [1, 1]


def test_a_limit_that_grows_lets_lower_ranks_in_later():
    level, ranks = torch.tensor([0, 0, 0, 2]), torch.tensor([0, 1, 2, 0])
    assert within_most(level, ranks, torch.tensor([1, 2, 2])).tolist() == [0, 1, 3, 2]


def test_rows_that_are_not_judged_take_a_rank_and_nothing_else():
    rows = Rows(
        torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3).long(), 1, torch.tensor([True, False, True]),
        torch.tensor([False, True, True]),
    )  # fmt: skip
    thresholds = torch.tensor([0.7], dtype=torch.float64)
    assert rows.ranks().tolist() == [0, 1, 2]
    counts = rows.counts(within_most(rows.levels(thresholds), rows.ranks(), torch.tensor([2])), 1)
    assert (counts.accepted.tolist(), counts.wrong.tolist()) == ([[1]], [[0]])


def test_crowded_pictures_keep_their_best_so_that_more_is_promised():
    """Every fiftieth picture is a crowd of fifteen, where others have two boxes: each box could weigh
    no more than a fifteenth of what a picture may."""
    generator = torch.Generator().manual_seed(3)
    sizes = torch.where(torch.arange(600) % 50 == 0, 15, 2)
    pictures = torch.arange(600).repeat_interleave(sizes)
    order = torch.randperm(600, generator=generator)
    pictures = order[pictures]
    scores = torch.rand(len(pictures), generator=generator, dtype=torch.float64)
    wrong = torch.rand(len(pictures), generator=generator) < 0.02
    mine, rest = pictures < 150, pictures >= 150
    held = Rows(scores[mine], pictures[mine], 150, wrong[mine])
    others = Rows(scores[rest], pictures[rest] - 150, 450)
    promise = promise_rows(held, others, **ASKED)
    assert promise.held and promise.most_per_picture < 15
    kept = promise.keeps(others.scores, pictures=others.pictures)
    assert int(kept.sum()) == promise.kept
    assert int(torch.bincount(others.pictures[kept]).max()) == promise.most_per_picture
    thresholds = thresholds_of(others.scores, 200)
    without = promise_counts(
        thresholds, held.counts(held.levels(thresholds), len(thresholds)),
        others.counts(others.levels(thresholds), len(thresholds)), len(others.scores), **ASKED,
    )  # fmt: skip
    assert promise.needed < without.needed
    assert promise.kept > without.kept


def test_the_best_of_each_class_of_a_picture_are_kept_in_a_promise_by_class():
    one = Promise(0.9, 0.9, 0.5, True, 1, 0.5, 9, None, None, None, most_per_picture=1)
    two = Promise(0.9, 0.9, 0.2, True, 1, 0.5, 9, None, None, None, most_per_picture=2)
    both = of_classes([one, two], 9, 7, 0.9, 0.9)
    scores = torch.tensor([0.9, 0.8, 0.6, 0.5, 0.4, 0.9, 0.7])
    classes = torch.tensor([0, 0, 1, 1, 1, -1, 0])
    pictures = torch.tensor([0, 0, 0, 0, 0, 0, 1])
    kept = both.keeps(scores, classes, pictures)
    assert kept.tolist() == [True, False, True, True, False, False, True]


@pytest.mark.parametrize(("held_out", "others"), [(0, 0), (0, 4), (4, 0)])
def test_boxes_of_no_pictures(held_out, others):
    promise = promise_rows(
        Rows(torch.rand(held_out), torch.arange(held_out), held_out, torch.zeros(held_out).bool()),
        Rows(torch.rand(others), torch.arange(others), others),
        **ASKED,
    )
    assert not promise.held
    assert promise.kept == 0


def test_tags_are_boxes_of_their_items():
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(300, 4, generator=generator)
    truth = torch.rand(300, 4, generator=generator) < 0.3 + 0.7 * probs
    promise = promise_tags(probs[:200], truth[:200], probs[200:], target=0.7, confidence=0.9)
    rows = torch.arange(200).repeat_interleave(4)
    assert promise.held
    assert promise == promise_rows(
        Rows(probs[:200].flatten(), rows, 200, ~truth[:200].flatten()),
        Rows(probs[200:].flatten(), torch.arange(100).repeat_interleave(4), 100),
        target=0.7,
        confidence=0.9,
    )
    kept = promise.keeps(probs[200:], pictures=torch.arange(100)[:, None].expand(-1, 4))
    assert int(kept.sum()) == promise.kept
    assert float(truth[200:][kept].double().mean()) >= 0.7


def maps(seed, count):
    generator = torch.Generator().manual_seed(seed)
    confidence = torch.rand(count, 6, 8, generator=generator).half()
    chance = 0.5 * (1 - confidence.float()) ** 2
    wrong = torch.rand(count, 6, 8, generator=generator) < chance
    judged = torch.rand(count, 6, 8, generator=generator) < 0.9
    return confidence, wrong, judged


def test_pixels_are_rows_of_their_pictures():
    confidence, wrong, judged = maps(0, 320)
    found = promise_pixels(confidence[:250], wrong[:250], judged[:250], confidence[250:], **ASKED)
    assert found.held
    kept = found.keeps(confidence[250:])
    assert int(kept.sum()) == found.kept
    thresholds, counts, there = count_pixels(
        confidence[:250], wrong[:250], judged[:250], confidence[250:], 200
    )
    pictures = torch.arange(250).repeat_interleave(48)
    chosen = judged[:250].flatten()
    rows = count_rows(
        confidence[:250].flatten()[chosen],
        wrong[:250].flatten()[chosen],
        pictures[chosen],
        250,
        thresholds,
    )
    assert torch.equal(rows.accepted, counts.accepted)
    assert torch.equal(rows.wrong, counts.wrong)
    assert int(there.accepted[:, -1].sum()) == 70 * 48
    assert torch.equal(thresholds, thresholds.sort(descending=True).values)


def test_pixels_that_are_no_candidates_are_never_accepted():
    confidence, wrong, judged = maps(1, 60)
    others = confidence.clone()
    others[:, :3] = -1.0
    others[0, 4] = math.nan
    found = promise_pixels(confidence, wrong & False, judged, others, **ASKED)
    assert found.held
    assert int(found.keeps(others).sum()) == found.kept == 60 * 24 - 8
    nothing = promise_pixels(
        confidence[:0], wrong[:0], judged[:0], torch.full((2, 3, 3), -1.0), **ASKED
    )
    assert nothing.kept == 0
    zero = promise_pixels(confidence, wrong & False, judged, torch.zeros(60, 6, 8), **ASKED)
    assert zero.kept == 60 * 48
    assert zero.threshold == 0


def test_counts_against_a_loop():
    scores = torch.tensor([0.9, 0.5, math.nan, 0.5, 0.1])
    wrong = torch.tensor([False, True, True, False, True])
    pictures = torch.tensor([0, 0, 1, 2, 2])
    counts = count_rows(scores, wrong, pictures, 4, torch.tensor([0.9, 0.5, 0.2]).double())
    assert counts.accepted.tolist() == [[1, 2, 2], [0, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert counts.wrong.tolist() == [[0, 1, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_conformal_risk_control_holds_on_average():
    losses = []
    for seed in range(60):
        confidence, wrong, judged = maps(seed, 60)
        thresholds, counts, _ = count_pixels(
            confidence[:40], wrong[:40], judged[:40], confidence[40:], 50
        )
        found = expected_threshold(counts, thresholds, 0.9)
        assert found is not None
        kept = (confidence[40:] >= found) & judged[40:]
        share = (kept & wrong[40:]).sum((1, 2)) / kept.sum((1, 2)).clamp_min(1)
        losses.append(float(share.mean()))
    assert sum(losses) / 60 <= 0.1 + 0.005
    none = Counts(torch.ones(5, 1).long(), torch.zeros(5, 1).long())
    assert expected_threshold(none, torch.tensor([0.5]), 0.9) is None


@pytest.mark.parametrize("value", [0.0, 1.0, 1.5, -0.1, math.nan])
@pytest.mark.parametrize("name", ["target", "confidence"])
def test_shares_outside_of_zero_to_one_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        promise_items(torch.rand(5), torch.zeros(5).bool(), torch.rand(5), **{**ASKED, name: value})
    with pytest.raises(ValueError, match=name):
        needed_labels(**{**ASKED, name: value})


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="scores"):
        promise_items(torch.rand(5), torch.zeros(4).bool(), torch.rand(5), **ASKED)
    with pytest.raises(ValueError, match="scores"):
        promise_rows(
            Rows(torch.rand(5), torch.zeros(4).long(), 1, torch.zeros(5).bool()),
            Rows(torch.rand(5), torch.zeros(5).long(), 1), **ASKED,
        )  # fmt: skip
    with pytest.raises(ValueError, match="wrong flags"):
        unknown = Rows(torch.rand(5), torch.zeros(5).long(), 1)
        promise_rows(unknown, unknown, **ASKED)
    with pytest.raises(ValueError, match="shape"):
        promise_pixels(
            torch.rand(2, 3, 3), torch.zeros(2, 3, 3).bool(), torch.ones(2, 3, 2).bool(),
            torch.rand(1, 3, 3), **ASKED,
        )  # fmt: skip


def test_a_promise_can_be_written_down():
    promise = promised(0)[0]
    assert Promise(**promise.as_dict()) == promise
