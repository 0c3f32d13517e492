"""Plug-ins for unequal classes: their limit FixMatch, their terms by the formula, whole runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.methods.weak_strong_cases import MakeTrainer, run, same, watched
from torch import Tensor

from leaven.data import Data, long_tail
from leaven.errors import ConfigError
from leaven.learn import adjust_logits
from leaven.methods import Fitted, find_method
from leaven.methods.classification import auxiliary_balanced
from leaven.methods.classification.auxiliary_balanced import ABC
from leaven.methods.classification.cossl import CoSSL
from leaven.methods.classification.daso import DASO
from leaven.methods.classification.debiaspl import DebiasPL
from leaven.methods.classification.fixmatch import FixMatch
from leaven.methods.classification.tras import TRAS
from leaven.methods.classification.weak_strong import Plugin, Step, WeakStrong
from leaven.models import load_model, save_model
from leaven.refine import ClassWindow, PrototypeQueues, RunningMean

SMALL: dict[str, Any] = {"batch": 16, "ratio": 2, "threshold": 0.3}


@pytest.fixture(scope="session")
def tail(digits_data: Data) -> Data:
    train = digits_data.train
    known = type(train)(train.pixels, train.truth, train.truth, train.names)
    return digits_data.with_train(
        long_tail(known, digits_data.classes, 20, 10, 0, unlabelled_head=60)
    )


def gradients(loss: Tensor, tensors: list[Tensor]) -> list[Tensor | None]:
    return list(torch.autograd.grad(loss, tensors, retain_graph=True, allow_unused=True))


# -- DASO -----------------------------------------------------------------------------------------


def test_daso_without_its_terms_is_fixmatch_to_the_last_bit(
    tail: Data, trainer_for: MakeTrainer
) -> None:
    expected = run(FixMatch(**SMALL), tail, trainer_for)
    bare = DASO(warm_up=0, constant_share=0.0, alignment_weight=0.0, **SMALL)
    assert same(run(bare, tail, trainer_for), expected)
    waiting = DASO(latest_start=1.0, **SMALL)
    assert same(run(waiting, tail, trainer_for), expected)


@pytest.mark.parametrize("kind", [ABC, DASO, DebiasPL, TRAS])
def test_who_needs_a_strong_view_refuses_bases_without_one(kind: type[Plugin]) -> None:
    with pytest.raises(ConfigError, match="cannot be put on pseudo-label"):
        kind(base="pseudo-label")


@pytest.mark.parametrize(
    "change", [{"constant_share": 0.5}, {"alignment_weight": 1.0}, {"adjustment": 1.0}]
)
def test_each_term_of_daso_changes_the_run(
    tail: Data, trainer_for: MakeTrainer, change: dict[str, float]
) -> None:
    bare = {"warm_up": 0, "constant_share": 0.0, "alignment_weight": 0.0, **SMALL}
    plain = run(DASO(**bare), tail, trainer_for)
    assert not same(run(DASO(**{**bare, **change}), tail, trainer_for), plain)


def test_the_warm_up_of_daso_ends_by_steps_or_by_share(
    tail: Data, trainer_for: MakeTrainer
) -> None:
    seen: list[bool] = []
    for method in (DASO(warm_up=4, latest_start=1.0, **SMALL), DASO(latest_start=0.5, **SMALL)):
        run(
            watched(method, lambda _, losses: seen.append("alignment" in losses)), tail, trainer_for
        )
    assert seen == [False] * 4 + [True] * 4 + [False] * 4 + [True] * 4


def test_daso_by_the_formula(
    tail: Data, trainer_for: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queues of averaged labelled features, a blend by the window, labels of all items counted."""
    pushed: list[tuple[Tensor, Tensor]] = []
    counted: list[Tensor] = []
    push, count = PrototypeQueues.update, ClassWindow.update
    before = torch.zeros(10)

    def spy_push(self: PrototypeQueues, features: Tensor, classes: Tensor) -> None:
        pushed.append((features, classes))
        push(self, features, classes)

    def spy_count(self: ClassWindow, classes: Tensor) -> None:
        before.copy_(self.counts)
        counted.append(classes)
        count(self, classes)

    monkeypatch.setattr(PrototypeQueues, "update", spy_push)
    monkeypatch.setattr(ClassWindow, "update", spy_count)

    def look(step: Step, losses: dict[str, Tensor]) -> None:
        features, classes = pushed[-1]
        own = step.teacher.classifier.features(step.images["labelled"])
        assert torch.equal(features, own) and torch.equal(classes, step.targets)
        means = [
            torch.cat([f for f, _ in pushed])[torch.cat([c for _, c in pushed]) == k]
            for k in range(10)
        ]
        centres = torch.stack(
            [
                m[-20:].mean(0) if len(m) else torch.zeros(f)
                for m, f in zip(means, [features.shape[1]] * 10, strict=True)
            ]
        )

        def similarity(features: Tensor) -> Tensor:
            return torch.cosine_similarity(features[:, None], centres[None], dim=2) / 0.1

        weak, strong = step.seen["weak"], step.seen["strong"]
        linear = weak.logits.detach().softmax(1)
        target = similarity(weak.features.detach()).softmax(1)
        power = before ** (1 / 0.7)
        share = power / power.max() if before.any() else torch.ones(10)
        weight = share[linear.argmax(1)].unsqueeze(1)
        blended = (1 - weight) * linear + weight * target
        torch.testing.assert_close(step.probs, blended, rtol=1e-4, atol=1e-5)
        assert torch.equal(counted[-1], step.probs.argmax(1))
        assert torch.equal(step.target, step.probs.argmax(1))
        aligned = -(target * similarity(strong.features).log_softmax(1)).sum(1).mean()
        torch.testing.assert_close(losses["alignment"], 2 * aligned, rtol=1e-4, atol=1e-5)
        into = gradients(losses["alignment"], [weak.features, strong.features])
        assert into[0] is None and into[1] is not None

    method = DASO(
        warm_up=0, temperature=0.1, frequency_temperature=0.7, queue=20, window=3,
        alignment_weight=2.0, **(SMALL | {"threshold": 0.9}),
    )  # fmt: skip
    run(watched(method, look), tail, trainer_for, steps=10)
    assert len(counted) == 10 and all(len(classes) == 32 for classes in counted)


def test_the_logit_adjustment_of_daso_is_for_labelled_items(
    tail: Data, trainer_for: MakeTrainer
) -> None:
    def look(step: Step, losses: dict[str, Tensor]) -> None:
        logits = adjust_logits(step.seen["labelled"].logits, step.trainer.prior, 0.5)
        expected = torch.nn.functional.cross_entropy(logits, step.targets)
        torch.testing.assert_close(losses["supervised"], expected)

    run(watched(DASO(adjustment=0.5, **SMALL), look), tail, trainer_for, steps=2)


# -- ABC ------------------------------------------------------------------------------------------


def test_abc_by_the_formula(
    tail: Data, trainer_for: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks: list[tuple[Tensor, Tensor, Tensor]] = []
    keep = auxiliary_balanced.keep_mask

    def spy(classes: Tensor, probability: Tensor, draws: Any) -> Tensor:
        masks.append((classes, probability, keep(classes, probability, draws)))
        return masks[-1][2]

    monkeypatch.setattr(auxiliary_balanced, "keep_mask", spy)
    counts = torch.bincount(tail.labelled.labels).float()
    ratio = counts.min() / counts

    def look(step: Step, losses: dict[str, Tensor]) -> None:
        (given, chance, kept), (named, later, spread) = masks[-2:]
        head = step.network.heads["balanced"]
        assert torch.equal(given, step.targets)
        torch.testing.assert_close(chance, ratio)
        torch.testing.assert_close(later, 1 - step.batch.progress * (1 - ratio))
        pull = -head(step.seen["labelled"].features).log_softmax(1)
        own = pull[torch.arange(16), step.targets]
        torch.testing.assert_close(losses["balanced"], 3 * (own * kept).mean())
        soft = head(step.seen["weak"].features).softmax(1)
        assert torch.equal(named, soft.argmax(1))
        weight = (soft.max(1).values >= 0.4).float() * spread
        terms = [
            (weight * (-soft * head(step.seen[name].features).log_softmax(1)).sum(1)).mean()
            for name in ("strong", "strong again")
        ]
        torch.testing.assert_close(losses["balanced_unlabelled"], 3 * sum(terms))
        assert not torch.equal(step.images["strong"], step.images["strong again"])
        features = [seen.features for seen in step.seen.values()]
        by_name = dict(
            zip(step.seen, gradients(losses["balanced_unlabelled"], features), strict=True)
        )
        assert by_name["weak"] is None and by_name["strong"] is not None

    method = ABC(balanced_threshold=0.4, balanced_weight=3.0, **SMALL)
    run(watched(method, look), tail, trainer_for)


def test_the_balanced_head_predicts_and_is_saved(
    tail: Data, trainer_for: MakeTrainer, tmp_path: Path
) -> None:
    fitted = run(ABC(**SMALL), tail, trainer_for)
    assert not same(fitted, run(FixMatch(**SMALL), tail, trainer_for), under="head")
    images = tail.unlabelled.pixels.batch(torch.arange(20))
    again = load_model(save_model(fitted.model, tmp_path))
    with torch.no_grad():
        torch.testing.assert_close(again(images), fitted.model(images))
        probs = fitted.model(images).softmax(1)
    torch.testing.assert_close(probs, fitted.labels.probs[:20], rtol=1e-4, atol=1e-5)


# -- CoSSL ----------------------------------------------------------------------------------------

TOGETHER: dict[str, Any] = {"start": 0.5, "warm_up": 60, "warm_up_batch": 16, **SMALL}


def test_before_its_start_cossl_is_the_base(tail: Data, trainer_for: MakeTrainer) -> None:
    expected = run(FixMatch(**SMALL), tail, trainer_for)
    found = run(CoSSL(**TOGETHER | {"start": 0.99}), tail, trainer_for)
    assert same(found, expected, under="encoder")
    later = run(CoSSL(**TOGETHER), tail, trainer_for)
    assert not same(later, expected, under="encoder")


def test_cossl_couples_without_gradients(tail: Data, trainer_for: MakeTrainer) -> None:
    began: list[bool] = []

    def look(step: Step, losses: dict[str, Tensor]) -> None:
        began.append("balanced" in losses)
        if not began[-1]:
            assert torch.equal(step.probs, step.seen["weak"].logits.detach().softmax(1))
            return
        head = step.network.heads["balanced"]
        features = step.teacher.classifier.features(step.images["weak"])
        torch.testing.assert_close(step.probs, head(features).softmax(1).detach())
        encoder, own = list(step.network.classifier.parameters()), list(head.parameters())
        assert all(g is None for g in gradients(losses["balanced"], encoder))
        assert all(g is not None for g in gradients(losses["balanced"], own))
        base = losses["supervised"] + losses["unlabelled"]
        assert all(g is None for g in gradients(base, own))

    run(watched(CoSSL(**TOGETHER), look), tail, trainer_for)
    assert began == [False] * 4 + [True] * 4


def test_the_warm_up_of_cossl_trains_the_head_and_its_average(
    tail: Data, trainer_for: MakeTrainer
) -> None:
    """The first step together meets a head that knows the labelled items, all classes alike."""
    recalls: list[float] = []

    def look(step: Step, losses: dict[str, Tensor]) -> None:
        if step.batch.step != 20:
            return
        labelled = step.data.labelled
        images = labelled.pixels.batch(torch.arange(len(labelled)))
        features = step.teacher.classifier.features(images)
        for head in (step.network.heads["balanced"], step.teacher.heads["balanced"]):
            right = (head(features).argmax(1) == labelled.labels).float()
            per_class = torch.zeros(10).index_add(0, labelled.labels, right)
            recalls.append(float((per_class / torch.bincount(labelled.labels)).mean()))

    trained = {**TOGETHER, "warm_up": 400, "warm_up_lr": 0.01, "ema": 0.9}
    for changes in ({}, {"warm_up": 0}):
        method = CoSSL(**trained | changes)
        run(watched(method, look), tail, trainer_for, steps=40)
    assert min(recalls[:2]) > max(recalls[2:]) + 0.3


# -- DebiasPL -------------------------------------------------------------------------------------


def test_debiaspl_by_the_formula(tail: Data, trainer_for: MakeTrainer) -> None:
    means = [torch.full((10,), 0.1)]

    def look(step: Step, losses: dict[str, Tensor]) -> None:
        before, weak = means[-1], step.seen["weak"].logits.detach()
        expected = (weak - 0.8 * before.log()).softmax(1)
        torch.testing.assert_close(step.probs, expected, rtol=1e-4, atol=1e-6)
        after = 0.9 * before + 0.1 * weak.softmax(1).mean(0)
        torch.testing.assert_close(step.part("usual", RunningMean).mean, after)
        means.append(after)
        logits = step.seen["strong"].logits + 0.8 * after.log()
        pull = torch.nn.functional.cross_entropy(logits, step.probs.argmax(1), reduction="none")
        sure = (step.probs.max(1).values >= 0.3).float()
        torch.testing.assert_close(losses["unlabelled"], (pull * sure).mean())

    run(watched(DebiasPL(debiasing=0.8, momentum=0.9, **SMALL), look), tail, trainer_for)
    assert len(means) == 9


def test_debiaspl_without_strength_is_fixmatch(tail: Data, trainer_for: MakeTrainer) -> None:
    found = run(DebiasPL(debiasing=0.0, **SMALL), tail, trainer_for)
    expected = run(FixMatch(**SMALL), tail, trainer_for)
    for name, value in expected.model.state_dict().items():
        torch.testing.assert_close(found.model.state_dict()[name], value, rtol=1e-3, atol=1e-4)


# -- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [
        DASO(window=2, queue=8, **SMALL),
        ABC(**SMALL),
        CoSSL(**TOGETHER),
        DebiasPL(momentum=0.9, **SMALL),
    ],
    ids=lambda method: method.card.name,
)
def test_a_run_resumes_to_the_same_bits(
    method: WeakStrong, tail: Data, tmp_path: Path, assert_resumes: Callable[..., Fitted]
) -> None:
    fitted = assert_resumes(method, tail, 12, tmp_path, breaks=(0.4, 0.95))
    assert len(fitted.labels.classes) == len(tail.unlabelled)


@pytest.mark.parametrize("name", ["daso", "abc", "cossl", "debiaspl"])
def test_another_base_and_its_settings(name: str, tail: Data, trainer_for: MakeTrainer) -> None:
    kind = find_method(name)
    method = kind(base="flexmatch", base_set={"warm_up": False}, **SMALL)
    assert isinstance(method, WeakStrong)
    other = kind(**SMALL)
    assert isinstance(other, WeakStrong)
    assert not same(run(method, tail, trainer_for, 4), run(other, tail, trainer_for, 4))
