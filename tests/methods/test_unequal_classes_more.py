"""More methods for unequal classes: by the formula, their limit, whole runs and their resuming."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.methods.weak_strong_cases import MakeTrainer, run, same, watched
from torch import Tensor

from leaven.data import Data, long_tail
from leaven.errors import ConfigError
from leaven.learn import effective_weights
from leaven.methods import Fitted, all_methods
from leaven.methods.classification import crest, darp
from leaven.methods.classification.adsh import Adsh
from leaven.methods.classification.crest import CReST, CReSTPlus, grown
from leaven.methods.classification.darp import DARP
from leaven.methods.classification.fixmatch import FixMatch
from leaven.methods.classification.saw import SAW
from leaven.methods.classification.tras import TRAS
from leaven.methods.classification.weak_strong import Step, WeakStrong
from leaven.refine import AlignmentQueue, LatestProposals, keep_confident, refine_to_counts
from leaven.select import EqualShare, equal_share_thresholds, rebalanced_selection

SMALL: dict[str, Any] = {"batch": 16, "ratio": 2, "threshold": 0.3}


@pytest.fixture(scope="module")
def tail(digits_data: Data) -> Data:
    train = digits_data.train
    known = type(train)(train.pixels, train.truth, train.truth, train.names)
    return digits_data.with_train(
        long_tail(known, digits_data.classes, 20, 10, 0, unlabelled_head=30)
    )


# -- Adsh -----------------------------------------------------------------------------------------


def test_adsh_by_the_formula(tail: Data, trainer_for: MakeTrainer) -> None:
    thresholds = torch.full((10,), 0.3)

    def look(step: Step, losses: dict[str, Tensor]) -> None:
        if step.batch.step in (4, 6):
            probs = step.trainer.predict(step.network.classifier, step.data.unlabelled)
            thresholds.copy_(equal_share_thresholds(probs, 0, 0.3, thresholds))
        torch.testing.assert_close(step.part("shares", EqualShare).thresholds, thresholds)
        over = step.seen["weak"].logits.detach().softmax(1) / thresholds
        assert torch.equal(step.target, over.argmax(1))
        assert torch.equal(step.weight, (over.max(1).values >= 1).float())

    run(watched(Adsh(every=2, **SMALL), look), tail, trainer_for)
    assert thresholds[0] == 0.3 and thresholds.min() < 0.3


def test_adsh_before_its_first_look_is_fixmatch(tail: Data, trainer_for: MakeTrainer) -> None:
    expected = run(FixMatch(**SMALL), tail, trainer_for)
    assert same(run(Adsh(every=4, **SMALL), tail, trainer_for), expected)
    assert not same(run(Adsh(every=2, **SMALL), tail, trainer_for), expected)


@pytest.mark.parametrize(("kind", "first"), [(Adsh, 2), (SAW, 1)])
def test_an_epoch_is_a_pass_over_the_unlabelled_items(
    tail: Data, trainer_for: MakeTrainer, kind: type[WeakStrong], first: int
) -> None:
    """64 of them are seen in two steps of 32."""
    few = (tail.train.labels < 0).nonzero().squeeze(1)[:64]
    some = torch.cat([(tail.train.labels >= 0).nonzero().squeeze(1), few])
    data, passes = tail.with_train(tail.train.subset(some)), []

    def look(step: Step, losses: dict[str, Tensor]) -> None:
        assert step.per_pass == 2
        passes.append(step.batch.step)

    by_default = run(watched(kind(**SMALL), look), data, trainer_for)
    assert max(passes) >= 2 * first
    assert same(run(kind(every=2, **SMALL), data, trainer_for), by_default)
    assert not same(run(kind(every=1000, **SMALL), data, trainer_for), by_default)


# -- SAW ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weigh_labelled", [True, False])
def test_saw_by_the_formula(tail: Data, trainer_for: MakeTrainer, weigh_labelled: bool) -> None:
    table = torch.full((len(tail.unlabelled), 10), -1.0)
    weights = torch.ones(10)
    given = effective_weights(torch.bincount(tail.labelled.labels, minlength=10))

    def look(step: Step, losses: dict[str, Tensor]) -> None:
        if step.batch.step in (3, 6):
            said = table[table[:, 0] >= 0].argmax(1)
            weights.copy_(effective_weights(torch.bincount(said, minlength=10)))
        table[step.items] = step.probs
        sure = (step.probs.max(1).values >= 0.3).float() * weights[step.target]
        pull = F.cross_entropy(step.seen["strong"].logits, step.target, reduction="none")
        torch.testing.assert_close(losses["unlabelled"], (sure * pull).mean())
        own = F.cross_entropy(step.seen["labelled"].logits, step.targets, reduction="none")
        factor = given[step.targets] if weigh_labelled else torch.ones(16)
        torch.testing.assert_close(losses["supervised"], (factor * own).mean())

    method = SAW(every=3, weigh_labelled=weigh_labelled, **SMALL)
    run(watched(method, look), tail, trainer_for)
    assert weights.max() > 1 > weights.min() and weights.mean() == pytest.approx(1.0)


# -- TRAS -----------------------------------------------------------------------------------------


def test_tras_by_the_formula(tail: Data, trainer_for: MakeTrainer) -> None:
    began: list[bool] = []
    prior = torch.bincount(tail.labelled.labels, minlength=10) / len(tail.labelled)

    def look(step: Step, losses: dict[str, Tensor]) -> None:
        began.append("target_labelled" in losses)
        seen, offset = step.seen, 1.5 * prior.log()
        proposed = (seen["weak"].logits.detach() - offset).softmax(1)
        torch.testing.assert_close(step.probs, proposed, rtol=1e-4, atol=1e-6)
        if not began[-1]:
            return
        head = step.network.heads["target"]
        labelled = F.cross_entropy(head(seen["labelled"].features) + offset, step.targets)
        torch.testing.assert_close(losses["target_labelled"], labelled)
        confidence, classes = head(seen["weak"].features).softmax(1).max(1)
        strength = 3 * (-offset).softmax(0) + 2
        turned = seen["strong"].logits.detach() - strength[classes].unsqueeze(1) * offset
        pull = F.cross_entropy(
            head(seen["strong"].features), (turned / 2).softmax(1), reduction="none"
        )
        expected = (pull * (confidence >= 0.4)).mean()
        torch.testing.assert_close(losses["target_unlabelled"], expected, rtol=1e-4, atol=1e-5)
        base = torch.autograd.grad(
            losses["target_unlabelled"],
            [seen["strong"].features, seen["strong"].logits, seen["weak"].features],
            retain_graph=True,
            allow_unused=True,
        )
        assert base[0] is not None and base[1] is None and base[2] is None

    method = TRAS(start=0.5, spread=3.0, power=1.5, target_threshold=0.4, **SMALL)
    run(watched(method, look), tail, trainer_for)
    assert began == [False] * 4 + [True] * 4


def test_the_target_head_predicts(tail: Data, trainer_for: MakeTrainer) -> None:
    seen: list[Any] = []
    method = TRAS(start=0.0, **SMALL)
    fitted = run(watched(method, lambda step, _: seen.append(step.teacher)), tail, trainer_for)
    assert torch.equal(fitted.model.state_dict()["head.weight"], seen[-1].heads["target"].weight)


# -- DARP -----------------------------------------------------------------------------------------


def test_darp_by_the_formula(tail: Data, trainer_for: MakeTrainer) -> None:
    items = len(tail.unlabelled)
    table, refined = torch.full((items, 10), 0.1), torch.empty(0)
    wanted = items * torch.bincount(tail.labelled.labels, minlength=10) / len(tail.labelled)

    def look(step: Step, losses: dict[str, Tensor]) -> None:
        nonlocal refined
        proposed = step.seen["weak"].logits.detach().softmax(1)
        table[step.items] = proposed
        torch.testing.assert_close(step.part("latest", LatestProposals).probs, table)
        if step.batch.step < 5:
            assert torch.equal(step.probs, proposed)
            return
        if step.batch.step in (5, 6):
            refined = refine_to_counts(keep_confident(table, wanted, 1.5), wanted, 4)
        torch.testing.assert_close(step.probs, refined[step.items], rtol=1e-4, atol=1e-5)
        assert torch.equal(step.target, step.probs.argmax(1))

    method = DARP(start=0.6, every=3, turns=4, keep=1.5, **SMALL)
    run(watched(method, look), tail, trainer_for)
    torch.testing.assert_close(refined.sum(1), torch.ones(items))


def test_the_shares_that_are_given(tail: Data, trainer_for: MakeTrainer) -> None:
    shares = tuple(float(k + 1) for k in range(10))
    method = DARP(distribution="given", shares=shares, **SMALL)
    trainer = trainer_for(tail, 1)
    counts = method.parts(tail, trainer)["refined"].counts
    expected = len(tail.unlabelled) * torch.tensor(shares) / 55
    torch.testing.assert_close(counts, expected)
    for bad in (None, (1.0,), (-1.0,) * 10, (0.0,) * 10):
        with pytest.raises(ConfigError, match="shares of darp"):
            DARP(distribution="given", shares=bad, **SMALL).parts(tail, trainer)


def test_darp_holds_out_at_most_half_of_a_class() -> None:
    labels = torch.tensor([1, 0, 1, 1, 0, 1, 2, 1, 2, 0, 1])
    held = darp._held_out(labels, 2)
    assert torch.bincount(labels[held], minlength=3).tolist() == [1, 2, 1]


def test_the_estimate_of_darp_is_of_items_that_are_held_out(
    tail: Data, trainer_for: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimates: list[Tensor] = []

    def spy(held_out: Tensor, classes: Tensor, probs: Tensor) -> tuple[Tensor, bool]:
        assert torch.bincount(classes).tolist() == [
            min(3, int(n) // 2) for n in torch.bincount(tail.labelled.labels)
        ]
        assert len(probs) == len(tail.unlabelled)
        estimates.append(torch.arange(10.0) + len(estimates))
        return estimates[-1], len(estimates) > 1

    monkeypatch.setattr(darp, "estimate_counts", spy)
    method = DARP(distribution="estimated", estimation_share=0.5, estimates=3, held_out=3, **SMALL)
    trainer = trainer_for(tail, 20)
    counts = method.parts(trainer.data, trainer)["refined"].counts
    expected = sum(estimates[1:], torch.zeros(10))
    torch.testing.assert_close(counts, len(tail.unlabelled) * expected / expected.sum())
    assert len(estimates) == 3 and trainer.step == 10 and trainer.available == 0.5


def test_a_class_with_one_label_is_no_ground_for_an_estimate(
    tail: Data, trainer_for: MakeTrainer
) -> None:
    labels = tail.train.labels.clone()
    labels[(labels == 9).nonzero().squeeze(1)[1:]] = -1
    few = tail.with_train(replace(tail.train, labels=labels))
    trainer = trainer_for(few, 4)
    counts = DARP(distribution="estimated", **SMALL).parts(few, trainer)["refined"].counts
    expected = len(few.unlabelled) * torch.bincount(few.labelled.labels) / len(few.labelled)
    torch.testing.assert_close(counts, expected)
    assert trainer.step == 0 and trainer.available == 1


# -- CReST ----------------------------------------------------------------------------------------


def test_crest_takes_up_more_of_the_rare_classes(
    tail: Data, trainer_for: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Tensor] = []
    sizes: list[int] = []

    def spy(probs: Tensor, counts: Tensor, power: float) -> Tensor:
        assert counts.tolist() == torch.bincount(tail.labelled.labels).tolist() and power == 0.5
        taken.append(rebalanced_selection(probs, counts, power))
        return taken[-1]

    def spy_grown(data: Data, classes: Tensor) -> Data:
        made = grown(data, classes)
        sizes.append(len(made.labelled))
        assert len(made.unlabelled) == len(tail.unlabelled)
        return made

    monkeypatch.setattr(crest, "rebalanced_selection", spy)
    monkeypatch.setattr(crest, "grown", spy_grown)
    trainer = trainer_for(tail, 9)
    method = CReST(generations=3, power=0.5, **SMALL)
    method.fit(trainer.data, trainer)
    own = len(tail.labelled)
    assert sizes == [own, *(own + int(weight.sum()) for weight in taken[:2])]
    assert len(taken) == 3 and trainer.step == 9 and sizes[1] > own


def test_one_generation_of_crest_is_the_base(tail: Data, trainer_for: MakeTrainer) -> None:
    found = run(CReST(generations=1, **SMALL), tail, trainer_for)
    trainer = trainer_for(tail, 8)
    for _ in trainer.rounds(1):
        network = FixMatch(**SMALL).train(trainer.data, trainer)
    for name, value in network.classifier.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], value), name


def test_grown_data_keeps_labels_and_order(tail: Data) -> None:
    taken = torch.full((len(tail.unlabelled),), -1)
    taken[3], taken[5] = 7, 2
    labelled = grown(tail, taken).labelled
    names = [*tail.labelled.names, tail.unlabelled.names[3], tail.unlabelled.names[5]]
    assert sorted(labelled.names) == sorted(names)
    found = dict(zip(labelled.names, labelled.labels.tolist(), strict=True))
    assert found[tail.unlabelled.names[3]] == 7 and found[tail.unlabelled.names[5]] == 2
    own = dict(zip(tail.labelled.names, tail.labelled.labels.tolist(), strict=True))
    assert all(found[name] == label for name, label in own.items())


def test_the_alignment_of_crest_plus_gets_flatter(tail: Data, trainer_for: MakeTrainer) -> None:
    method = CReSTPlus(generations=3, flattest=0.4, base_set={"align": "none"}, **SMALL)
    trainer = trainer_for(tail, 2)
    for number, power in enumerate((1.0, 0.7, 0.4)):
        learner = method.learner(number)
        assert learner.batch == 16 and learner.threshold == 0.3
        part = learner.parts(trainer.data, trainer)["progressive"]
        assert isinstance(part, AlignmentQueue)
        target = trainer.prior**power
        torch.testing.assert_close(part.target, target / target.sum())
        torch.testing.assert_close(part.queue, torch.full((128, 10), 0.1))
    found = run(CReSTPlus(generations=2, **SMALL), tail, trainer_for)
    assert not same(found, run(CReST(generations=2, **SMALL), tail, trainer_for))


def test_crest_plus_aligns_with_the_batches_before(tail: Data, trainer_for: MakeTrainer) -> None:
    means = [torch.full((10,), 0.1)] * 3

    def look(step: Step, losses: dict[str, Tensor]) -> None:
        if step.batch.step == 0:
            del means[3:]
        probs = step.seen["weak"].logits.detach().softmax(1)
        aligned = probs * step.trainer.prior / torch.stack(means[-3:]).mean(0)
        torch.testing.assert_close(step.probs, aligned / aligned.sum(1, keepdim=True))
        means.append(probs.mean(0))

    learner = CReSTPlus(alignment_batches=3, base_set={"align": "none"}, **SMALL).learner(0)
    run(watched(learner, look), tail, trainer_for)
    assert len(means) == 3 + 8


def test_crest_plus_with_a_class_that_has_no_label(tail: Data, trainer_for: MakeTrainer) -> None:
    labels = tail.train.labels.clone()
    labels[labels == 9] = -1
    trainer = trainer_for(tail.with_train(replace(tail.train, labels=labels)), 1)
    target = CReSTPlus(**SMALL).learner(0).parts(trainer.data, trainer)["progressive"].target
    prior = trainer.prior.clone()
    prior[9] = prior[:9].min()
    torch.testing.assert_close(target, prior / prior.sum())


def test_a_base_that_cannot_be_put_on() -> None:
    assert {"crest", "crest-plus", "darp", "saw", "tras", "adsh"} <= all_methods().keys()
    with pytest.raises(ConfigError, match="crest-plus cannot be put on abc"):
        CReSTPlus(base="abc").host  # noqa: B018


# -- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [
        Adsh(every=2, **SMALL),
        SAW(every=3, **SMALL),
        TRAS(start=0.3, **SMALL),
        DARP(start=0.3, every=3, turns=3, **SMALL),
        DARP(distribution="estimated", estimation_share=0.5, estimates=3, every=3, **SMALL),
        CReST(generations=2, **SMALL),
        CReSTPlus(generations=2, base="flexmatch", **SMALL),
    ],
    ids=["adsh", "saw", "tras", "darp", "darp-estimated", "crest", "crest-plus"],
)
def test_a_run_resumes_to_the_same_bits(
    method: WeakStrong, tail: Data, tmp_path: Path, assert_resumes: Callable[..., Fitted]
) -> None:
    fitted = assert_resumes(method, tail, 12, tmp_path, breaks=(0.4, 0.95))
    assert len(fitted.labels.classes) == len(tail.unlabelled)
