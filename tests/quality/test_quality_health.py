import copy

import pytest
import torch

from leaven.quality import Finding, Health, classification_metrics

NAMES = ["cat", "dog", "fox", "owl"]
PRIOR = torch.tensor([5.0, 5.0, 5.0, 5.0])


def health(window=10, prior=PRIOR):
    return Health(4, prior, NAMES, window=window)


def step(seed, **changes):
    """A healthy step of 64 items, with changes."""
    generator = torch.Generator().manual_seed(seed)
    proposed = torch.randint(0, 4, (64,), generator=generator)
    confidence = 0.7 + 0.3 * torch.rand(64, generator=generator)
    weight = (confidence > 0.9).float()
    flip = torch.rand(64, generator=generator) < 0.1
    return {
        "weight": weight,
        "proposed": proposed,
        "confidence": confidence,
        "student": torch.where(flip, (proposed + 1) % 4, proposed),
        "losses": {"supervised": torch.tensor(0.0), "unlabelled": torch.rand(())},
        "threshold": 0.9,
    } | changes


def feed(watch, steps, start=0, **changes):
    """Feeds ``steps`` steps and returns all news."""
    news = []
    for i in range(start, start + steps):
        watch.observe(**step(i, **changes))
        news += watch.check(i + 1)
    return news


def codes(findings):
    return [finding.code for finding in findings]


def test_a_healthy_run_has_no_findings():
    watch = health()
    assert feed(watch, 100) == []
    probs = torch.eye(4) * 0.9 + 0.025
    watch.calibration(classification_metrics(probs, torch.arange(4)), 100)
    assert watch.check(100, final=True) == []
    assert watch.findings() == []


def test_a_healthy_supervised_run_has_no_findings():
    watch = health()
    for i in range(50):
        watch.observe(losses={"supervised": torch.tensor(0.5)})
        assert watch.check(i) == []
    assert watch.check(50, final=True) == []


def test_nothing_accepted_is_said_then_grave_then_over():
    watch = health()
    nothing = {"weight": torch.zeros(64), "confidence": torch.full((64,), 0.61), "threshold": 0.95}
    first = feed(watch, 10, **nothing)
    assert codes(first) == ["nothing-accepted"]
    assert first[0].level == "warning"
    assert first[0].step == 10
    for words in ("in 10 steps", "0.61", "0.95", "Train longer"):
        assert words in first[0].text
    second = feed(watch, 30, 10, **nothing)
    assert codes(second) == ["nothing-accepted"]
    assert second[0].level == "error"
    assert "in 40 steps" in watch.findings()[0].text
    over = feed(watch, 10, 40)
    assert codes(over) == ["nothing-accepted"]
    assert over[0].recovered == 50
    assert [f.level for f in watch.findings()] == ["info"]
    assert feed(watch, 30, 50) == []
    assert feed(watch, 10, 80, **nothing)[0].step == 90


def test_few_accepted():
    watch = health()
    weight = torch.zeros(64)
    weight[0] = 0.5
    news = feed(watch, 40, weight=weight)
    assert codes(news) == ["few-accepted"]
    assert "1.6%" in news[0].text
    assert news[0].step == 20


def test_class_spread_names_the_classes():
    watch = health()
    proposed = torch.arange(64) % 4
    weight = ((proposed == 2) | (torch.arange(64) % 8 == 0)).float()
    news = feed(watch, 40, proposed=proposed, student=proposed, weight=weight)
    assert codes(news) == ["class-spread"]
    many, few = news[0].text.split("Too few:")
    assert "'fox'" in many and "'dog'" not in many
    assert "'owl'" in few and "'dog'" in few and "'fox'" not in few


def test_spread_as_labelled_is_healthy_and_without_a_prior_it_is_not_judged():
    proposed = torch.where(torch.arange(64) % 8 == 0, 1, 0)
    skewed = {"proposed": proposed, "student": proposed, "weight": torch.ones(64)}
    assert feed(health(prior=torch.tensor([14.0, 2.0, 0.1, 0.1])), 40, **skewed) == []
    assert "class-spread" not in codes(feed(health(prior=None), 40, **skewed))


@pytest.mark.parametrize("prior", [PRIOR, None])
def test_collapse(prior):
    watch = health(prior=prior)
    proposed = torch.full((64,), 3)
    news = feed(watch, 40, proposed=proposed, student=proposed)
    assert codes(news) == ["collapse"]
    assert news[0].level == "error"
    assert "'owl' 100%" in news[0].text
    # What no label says is not told.
    assert ("labelled:" in news[0].text) == (prior is not None)


def test_collapse_of_two_classes_to_one():
    watch = Health(2, torch.tensor([1.0, 1.0]), window=10)
    same = torch.zeros(64, dtype=torch.long)
    assert codes(feed(watch, 20, proposed=same, student=same)) == ["collapse"]
    rare = Health(2, torch.tensor([97.0, 3.0]), window=10)
    assert feed(rare, 20, proposed=same, student=same) == []


def test_disagreement_is_judged_late():
    other = {"proposed": torch.arange(64) % 4, "student": (torch.arange(64) + 1) % 4}
    assert codes(feed(health(), 60, **other)) == ["disagreement"]
    assert feed(health(), 40, **other) == []
    watch = health()
    for i in range(10):
        watch.observe(**step(i, **other))
    news = watch.check(10, progress=0.6)
    assert codes(news) == ["disagreement"]
    assert "100%" in news[0].text


def test_dead_loss_with_accepted_labels():
    losses = {"supervised": torch.tensor(0.0), "unlabelled": torch.tensor(0.0)}
    news = feed(health(), 10, losses=losses)
    assert codes(news) == ["dead-unlabelled-loss"]
    assert "'unlabelled'" in news[0].text and "labels were accepted" in news[0].text


def test_dead_loss_without_accepted_labels_and_without_weights():
    losses = {"unlabelled": torch.tensor(0.0)}
    news = feed(health(), 10, losses=losses, weight=torch.zeros(64))
    assert codes(news) == ["nothing-accepted", "dead-unlabelled-loss"]
    assert "No label was accepted" in news[1].text
    assert codes(feed(health(), 10, losses=losses, weight=None)) == ["dead-unlabelled-loss"]


def test_a_loss_that_is_zero_now_and_then_is_alive():
    watch = health()
    for i in range(40):
        losses = {"unlabelled": torch.tensor(float(i % 5 == 0))}
        watch.observe(**step(i, losses=losses))
        assert watch.check(i) == []


def test_non_finite_losses_are_counted_named_and_recover():
    watch = health()
    feed(watch, 5)
    watch.skipped(6, ["unlabelled"])
    news = watch.check(6)
    assert codes(news) == ["non-finite-loss"]
    assert "1 step was skipped" in news[0].text and "'unlabelled' (1)" in news[0].text
    assert feed(watch, 5, 6) == []
    over = feed(watch, 10, 11)
    assert codes(over) == ["non-finite-loss"] and over[0].recovered
    for i in range(5):
        watch.skipped(30 + i, ["gradient"])
    assert watch.findings()[0].level == "error"
    assert "'unlabelled' (1), 'gradient' (5)" in watch.findings()[0].text


def test_a_nan_in_what_is_observed_breaks_nothing():
    watch = health()
    bad = torch.full((64,), float("nan"))
    news = feed(watch, 10, confidence=bad, losses={"unlabelled": bad[0]}, weight=bad)
    assert codes(news) == ["nothing-accepted"]


def test_proposals_without_a_class_and_weights_alone_are_counted():
    watch = health()
    unknown = torch.full((64,), -1)
    assert feed(watch, 20, proposed=unknown, student=unknown, weight=torch.ones(64)) == []
    alone = health()
    for _ in range(10):
        alone.observe(weight=torch.zeros(8))
    assert codes(alone.check(10)) == ["nothing-accepted"]
    for _ in range(10):
        alone.observe(weight=torch.ones(8))
    assert alone.check(20)[0].recovered == 20


def test_over_confidence():
    watch = health()
    probs = torch.tensor([[0.97, 0.01, 0.01, 0.01]]).repeat(10, 1)
    truth = torch.tensor([0] * 6 + [1] * 4)
    watch.calibration(classification_metrics(probs, truth), 5)
    news = watch.check(5)
    assert codes(news) == ["over-confident"]
    assert "97% sure" in news[0].text and "60% right" in news[0].text
    watch.calibration(classification_metrics(probs, torch.zeros(10, dtype=torch.long)), 6)
    assert watch.check(6)[0].recovered == 6


@pytest.mark.parametrize("metrics", [None, {}])
def test_no_held_out(metrics):
    watch = health()
    watch.calibration(metrics)
    assert [(f.code, f.level) for f in watch.check(0)] == [("no-held-out", "info")]


def test_final_check_judges_a_short_run():
    watch = health(window=1000)
    proposed = torch.full((64,), 1)
    assert feed(watch, 30, proposed=proposed, student=proposed) == []
    assert "collapse" in codes(watch.check(30, final=True))


def test_findings_are_sorted_by_gravity():
    watch = health()
    watch.calibration(None)
    watch.skipped(1, ["supervised"])
    proposed = torch.full((64,), 1)
    feed(watch, 20, proposed=proposed, student=proposed)
    levels = [f.level for f in watch.findings()]
    assert levels == sorted(levels, key=["error", "warning", "info"].index)
    assert levels[0] == "error" and levels[-1] == "info"


def test_a_saved_state_goes_on_as_if_never_stopped():
    whole, first = health(), health()
    changes = {"weight": torch.zeros(64)}
    before = feed(whole, 25, **changes)
    assert feed(first, 25, **changes) == before
    first.skipped(25, ["supervised"])
    whole.skipped(25, ["supervised"])
    saved = first.state_dict()
    kept = copy.deepcopy(saved)
    feed(first, 3, 25)
    torch.testing.assert_close(saved["sums"]["counts"], kept["sums"]["counts"])
    second = health()
    second.load_state_dict(saved)
    assert second.findings() == whole.findings()
    assert feed(second, 40, 25) == feed(whole, 40, 25)
    assert second.findings() == whole.findings()


def test_finding_as_dict_is_plain():
    finding = Finding("info", "no-held-out", "text", 3)
    assert Finding(**finding.as_dict()) == finding


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="positive"):
        Health(0)
