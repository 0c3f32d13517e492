"""The methods that choose, weigh or align otherwise than FixMatch: each step against its equations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leaven.data import Data
from leaven.data.transforms import Strong
from leaven.draws import Draws
from leaven.errors import ConfigError
from leaven.learn import fairness_loss
from leaven.methods import Fitted, find_method
from leaven.methods.classification.adamatch import AdaMatch
from leaven.methods.classification.dash import Dash
from leaven.methods.classification.defixmatch import DeFixMatch
from leaven.methods.classification.flexmatch import FlexMatch
from leaven.methods.classification.freematch import FreeMatch
from leaven.methods.classification.pseudo_label import PseudoLabel
from leaven.methods.classification.refixmatch import ReFixMatch
from leaven.methods.classification.sequencematch import SequenceMatch, _milder
from leaven.methods.classification.softmatch import SoftMatch
from leaven.methods.classification.uda import UDA
from leaven.methods.classification.weak_strong import Step, WeakStrong
from leaven.refine import DistributionAlignment
from leaven.select import AdaptiveThresholds, CurriculumThresholds, GaussianWeight, LossThreshold
from leaven.train import Trainer

SMALL: dict[str, Any] = {"batch": 16, "ratio": 2, "ema": 0.9}

NAMES = (
    "pseudo-label", "uda", "flexmatch", "freematch", "softmatch", "adamatch", "dash",
    "refixmatch", "defixmatch", "sequencematch",
)  # fmt: skip

Record = tuple[Step, dict[str, Tensor]]
Run = Callable[[WeakStrong, int], list[Record]]


@pytest.fixture
def run(
    digits_data: Data, trainer_for: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    """``run(method, steps)``: what each step knew, and its losses."""
    records: list[Record] = []
    monkeypatch.setattr(
        WeakStrong, "_observe", lambda self, step, losses: records.append((step, losses))
    )

    def fit(method: WeakStrong, steps: int) -> list[Record]:
        records.clear()
        trainer = trainer_for(digits_data, steps)
        method.fit(trainer.data, trainer)
        return list(records)

    yield fit


def each_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits, targets, reduction="none")


def each_divergence(logits: Tensor, targets: Tensor) -> Tensor:
    return F.kl_div(logits.log_softmax(1), targets, reduction="none").sum(1)


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_ends_bit_identical(
    digits_data: Data, tmp_path: Path, assert_resumes: Callable[..., Fitted], name: str
) -> None:
    """The threshold is low enough for the unlabelled losses, and what is remembered, to count."""
    method = find_method(name).configured(SMALL | {"threshold": 0.2})
    assert_resumes(method, digits_data, 12, tmp_path)


def test_pseudo_labels_are_learnt_on_the_view_that_gave_them(run: Run) -> None:
    for step, losses in run(PseudoLabel(threshold=0.2, ramp=0.5, **SMALL), 6):
        assert step.images.keys() == {"labelled", "weak"}
        logits = step.seen["weak"].logits
        assert logits.requires_grad
        confidence, classes = logits.softmax(1).max(1)
        masked = (each_cross_entropy(logits, classes) * (confidence >= 0.2)).mean()
        ramp = min(1.0, step.batch.progress / 0.5)
        torch.testing.assert_close(losses["unlabelled"], ramp * masked)
        assert losses["unlabelled"] > 0 or step.batch.step == 0


def test_uda_sharpens_its_targets(run: Run) -> None:
    for step, losses in run(UDA(threshold=0.2, temperature=0.4, **SMALL), 4):
        weak, strong = step.seen["weak"].logits.detach(), step.seen["strong"].logits
        target = (weak / 0.4).softmax(1)
        torch.testing.assert_close(step.target, target, rtol=1e-4, atol=1e-6)
        weight = weak.softmax(1).max(1).values >= 0.2
        expected = (-(target * strong.log_softmax(1)).sum(1) * weight).mean()
        torch.testing.assert_close(losses["unlabelled"], expected)
        expected = F.cross_entropy(step.seen["labelled"].logits, step.targets)
        torch.testing.assert_close(losses["supervised"], expected)


def test_uda_releases_its_labels(run: Run) -> None:
    for step, losses in run(UDA(release="linear", **SMALL), 4):
        limit = 0.1 + 0.9 * step.batch.step / 4
        logits = step.seen["labelled"].logits
        known = logits.softmax(1)[torch.arange(16), step.targets]
        kept = each_cross_entropy(logits, step.targets)[known <= limit]
        assert len(kept) > 0
        torch.testing.assert_close(losses["supervised"], kept.mean())
        assert step.batch.step or len(kept) < 16


def test_flexmatch_weighs_by_what_it_remembers(run: Run, digits_data: Data) -> None:
    records = run(FlexMatch(threshold=0.25, **SMALL), 8)
    again = CurriculumThresholds(len(digits_data.unlabelled), 10, 0.25)
    fixed = []
    for step, _ in records:
        assert torch.equal(step.weight, again(step.probs, step.items))
        fixed.append((step.probs.max(1).values >= 0.25).float())
    assert not torch.equal(torch.stack([step.weight for step, _ in records]), torch.stack(fixed))
    assert torch.equal(records[0][0].weight, torch.ones(32)), "thresholds start at 0"


def test_freematch_sets_its_thresholds_and_is_fair(run: Run) -> None:
    again = AdaptiveThresholds(10, 0.9)
    for step, losses in run(FreeMatch(momentum=0.9, fairness_weight=0.5, **SMALL), 6):
        assert torch.equal(step.weight, again(step.probs))
        fairness = fairness_loss(
            step.seen["strong"].logits, step.weight, again.mean, again.histogram
        )
        torch.testing.assert_close(losses["fairness"], 0.5 * fairness)
        assert losses["fairness"] < 0
    for _, losses in run(FreeMatch(momentum=0.9, fairness_weight=0.0, **SMALL), 2):
        assert "fairness" not in losses


def test_freematch_keeps_its_thresholds_within_bounds(run: Run) -> None:
    again = AdaptiveThresholds(10, 0.9)
    method = FreeMatch(momentum=0.9, bounds=(0.11, 0.13), **SMALL)
    for step, _ in run(method, 6):
        again(step.probs)
        limits = again.thresholds().clamp(0.11, 0.13)
        confidence, classes = step.probs.max(1)
        assert torch.equal(step.weight, (confidence >= limits[classes]).float())
    assert method.notes(step)["threshold"] == limits.max()
    with pytest.raises(ConfigError, match="least threshold"):
        find_method("freematch").configured({"bounds": [0.95, 0.9]})


@pytest.mark.parametrize("uniform", [True, False])
def test_softmatch_weighs_aligned_and_labels_plain(run: Run, uniform: bool) -> None:
    align, weigh = DistributionAlignment(10, momentum=0.9), GaussianWeight(10, 0.9)
    records = run(SoftMatch(momentum=0.9, uniform=uniform, **SMALL), 6)
    for step, _ in records:
        probs = step.seen["weak"].logits.detach().softmax(1)
        torch.testing.assert_close(step.probs, align(probs) if uniform else probs)
        torch.testing.assert_close(step.weight, weigh(step.probs))
        assert torch.equal(step.target, probs.argmax(1))
    differ = [bool((step.target != step.probs.argmax(1)).any()) for step, _ in records]
    assert any(differ) is uniform


def test_adamatch_learns_both_labelled_views(run: Run) -> None:
    ((step, losses),) = run(AdaMatch(**SMALL), 1)
    logits = [step.seen[name].logits for name in ("labelled", "labelled_strong")]
    expected = sum(F.cross_entropy(each, step.targets) for each in logits) / 2
    torch.testing.assert_close(losses["supervised"], expected)
    assert losses["unlabelled"] == 0, "the ramp starts at 0"


def test_adamatch_mixes_two_passes_and_moves_statistics_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With draws of 0 the pass of all views counts, with draws of 1 the pass of the labelled."""

    def first(share: float) -> tuple[Step, Tensor]:
        plain = Draws.uniform

        def uniform(self: Draws, n: int, *shape: int, low: float = 0.0, high: float = 1.0) -> Any:
            drawn = plain(self, n, *shape, low=low, high=high)
            return torch.full_like(drawn, share) if shape == (10,) else drawn

        with monkeypatch.context() as patch:
            patch.setattr(Draws, "uniform", uniform)
            ((step, _),) = run(AdaMatch(**SMALL), 1)
        return step, step.seen["labelled"].logits.detach()

    step, among_all = first(0.0)
    _, alone = first(1.0)
    network = step.trainer.model()
    fresh = type(step.trainer)(step.data, None, step.trainer.settings).model()
    network.load_state_dict(fresh.state_dict())
    views = list(step.images.values())
    sizes = [len(view) for view in views]
    with torch.no_grad():
        expected = network(torch.cat(views)).split(sizes)[0]
        torch.testing.assert_close(among_all, expected, rtol=1e-4, atol=1e-5)
        labelled = torch.cat([step.images["labelled"], step.images["labelled_strong"]])
        torch.testing.assert_close(alone, network(labelled)[:16], rtol=1e-4, atol=1e-5)
    counts = [
        int(m.num_batches_tracked) for m in step.network.modules() if isinstance(m, nn.BatchNorm2d)
    ]
    assert counts and set(counts) == {1}


def test_adamatch_is_relative_to_its_labelled_predictions(run: Run) -> None:
    target, means = torch.full((10,), 0.1), [torch.full((10,), 0.1)]
    records = run(AdaMatch(threshold=0.8, momentum=0.5, ramp=1.0, alignment_batches=2, **SMALL), 6)
    for step, losses in records:
        labelled = step.seen["labelled"].logits.detach().softmax(1)
        probs = step.seen["weak"].logits.detach().softmax(1)
        target = 0.5 * target + 0.5 * labelled.mean(0)
        means = [*means, probs.mean(0)][-2:]
        aligned = probs * target / torch.stack(means).mean(0)
        aligned = aligned / aligned.sum(1, keepdim=True)
        torch.testing.assert_close(step.probs, aligned, rtol=1e-4, atol=1e-6)
        limit = 0.8 * labelled.max(1).values.mean()
        assert torch.equal(step.weight, (step.probs.max(1).values >= limit).float())
        ramp = 0.5 - math.cos(math.pi * step.batch.progress) / 2
        each = each_cross_entropy(step.seen["strong"].logits, step.probs.argmax(1))
        torch.testing.assert_close(losses["unlabelled"], ramp * (each * step.weight).mean())
    assert 0 < sum(float(step.weight.mean()) for step, _ in records) < 6


def test_dash_warms_up_then_lowers_its_limit(run: Run) -> None:
    method = Dash(warm_up=0.25, interval=0.125, rate=1.5, least=0.9, temperature=0.5, **SMALL)
    records = run(method, 16)
    momentum, loss, mass = 1 - 16 / 40, 0.0, 0.0
    for step, losses in records[:4]:
        labelled = F.cross_entropy(step.seen["labelled"].logits, step.targets).item()
        loss, mass = momentum * loss + (1 - momentum) * labelled, momentum * mass + 1 - momentum
        assert step.weight.sum() == 0 and losses["unlabelled"] == 0
    weights = []
    for number, (step, losses) in enumerate(records[4:]):
        limit = max(1.0001 * 1.5 ** -(number // 2) * loss / mass, 0.9)
        logits = step.seen["weak"].logits.detach()
        hard = F.one_hot(logits.argmax(1), 10).float()
        target = hard if limit <= 0.9 else (logits / 0.5).softmax(1)
        torch.testing.assert_close(step.target, target, rtol=1e-4, atol=1e-6)
        sure = each_cross_entropy(logits, logits.argmax(1)) < limit
        assert torch.equal(step.weight, sure.float())
        weights.append(step.weight)
        # The mean is over the trusted items alone.
        each = -(target * step.seen["strong"].logits.log_softmax(1)).sum(1)
        expected = 0.9 * each[sure].mean() if sure.any() else torch.zeros(())
        torch.testing.assert_close(losses["unlabelled"], expected)
    assert limit == 0.9 and bool((weights[0] == 1).any()) and bool((weights[-1] == 0).any())


def test_dash_trusts_nothing_without_a_loss_under_the_limit(run: Run) -> None:
    records = run(Dash(warm_up=0.5, interval=0.01, rate=10, least=1e-3, **SMALL), 4)
    step, losses = records[-1]
    assert float(step.part("select", LossThreshold).limit(25)) == pytest.approx(1e-3)
    assert step.weight.sum() == 0 and losses["unlabelled"] == 0
    assert all(bool(weight.isfinite().all()) for weight in step.network.parameters())


def test_dash_without_a_warm_up_measures_in_the_first_step(run: Run) -> None:
    (step, _), (second, _) = run(Dash(warm_up=0.0, **SMALL), 2)
    labelled = F.cross_entropy(step.seen["labelled"].logits, step.targets).item()
    assert float(step.weight.sum()) == 0
    assert float(second.parts["select"].limit(0)) == pytest.approx(1.0001 * labelled, rel=1e-4)  # type: ignore[operator]


def test_refixmatch_holds_unconfident_items_softly(run: Run) -> None:
    method = ReFixMatch(threshold=0.25, temperature=0.5, unlabelled_weight=0.7, **SMALL)
    records = run(method, 5)
    for step, losses in records:
        weak, strong = step.seen["weak"].logits.detach(), step.seen["strong"].logits
        below = (weak.softmax(1).max(1).values < 0.25).float()
        each = each_divergence(strong, (weak / 0.5).softmax(1))
        torch.testing.assert_close(losses["unconfident"], 0.7 * (each * below).mean())
        each = each_cross_entropy(strong, weak.argmax(1))
        torch.testing.assert_close(losses["unlabelled"], 0.7 * (each * (1 - below)).mean())
    assert all(losses["unconfident"] > 0 for _, losses in records)


def test_defixmatch_takes_its_bias_back(run: Run) -> None:
    records = run(DeFixMatch(threshold=0.2, unlabelled_weight=0.5, **SMALL), 5)
    for step, losses in records:
        logits = {name: seen.logits for name, seen in step.seen.items()}
        terms = {}
        for weak, strong in (("weak", "strong"), ("labelled", "labelled_strong")):
            confidence, classes = logits[weak].detach().softmax(1).max(1)
            each = each_cross_entropy(logits[strong], classes)
            terms[weak] = (each * (confidence >= 0.2)).mean()
        expected = 0.5 * (terms["weak"] - terms["labelled"])
        torch.testing.assert_close(losses["unlabelled"], expected, rtol=1e-4, atol=1e-6)
        both = [F.cross_entropy(logits[n], step.targets) for n in ("labelled", "labelled_strong")]
        torch.testing.assert_close(losses["supervised"], sum(both) / 2)
    assert any(losses["unlabelled"] < 0 for _, losses in records)


def test_sequencematch_holds_each_view_to_a_weaker_one(run: Run, digits_data: Data) -> None:
    method = SequenceMatch(threshold=0.22, temperature=0.5, unlabelled_weight=0.7, **SMALL)
    again = CurriculumThresholds(len(digits_data.unlabelled), 10, 0.22)
    for step, losses in run(method, 5):
        assert torch.equal(step.weight, again(step.probs, step.items))
        logits = {name: seen.logits for name, seen in step.seen.items()}
        for weaker, stronger in (("weak", "medium"), ("medium", "strong"), ("weak", "strong")):
            target = logits[weaker].detach()
            sure = (target.softmax(1).max(1).values >= 0.22).float()
            each = each_divergence(logits[stronger], (target / 0.5).softmax(1))
            expected = 0.7 * (each * sure).mean()
            torch.testing.assert_close(losses[f"{weaker}_{stronger}"], expected)


def test_the_medium_view_is_the_strong_one_with_fewer_operations(digits_data: Data) -> None:
    weak, strong = digits_data.views()
    medium = _milder(strong, 1)
    assert isinstance(medium, Strong) and isinstance(strong, Strong)
    assert (medium.augment.ops, strong.augment.ops) == (1, 2)
    assert vars(medium.weak) == vars(strong.weak) and vars(medium.cutout) == vars(strong.cutout)
    assert _milder(weak, 1) is weak


def test_a_threshold_out_of_use_still_decides_what_is_accepted() -> None:
    for kind in (FreeMatch, SoftMatch, Dash):
        assert kind(threshold=0.7).acceptance == 0.7
