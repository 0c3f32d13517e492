"""CoMatch, CR-Match and ShrinkMatch: their terms in a step, their limits, and runs end to end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from leaven.data import Data
from leaven.learn import all_turns, cross_entropy
from leaven.methods import Fitted
from leaven.methods.classification.comatch import CoMatch
from leaven.methods.classification.crmatch import CRMatch
from leaven.methods.classification.fixmatch import FixMatch
from leaven.methods.classification.shrinkmatch import ShrinkMatch
from leaven.methods.classification.weak_strong import Step, WeakStrong
from leaven.refine import NeighbourMemory
from leaven.select import RunningShare
from leaven.train import Trainer

SMALL = {"batch": 16, "ratio": 2}
Make = Callable[..., Trainer]


class Stop(Exception):
    """Ends a run after a step that was watched."""


def step_of(
    method: WeakStrong, trainer: Trainer, number: int = 0
) -> tuple[Step, dict[str, Tensor]]:
    """Step ``number`` of a run and its losses, before the weights move."""
    found: list[tuple[Step, dict[str, Tensor]]] = []
    kind = type(method)

    class Watched(kind):  # type: ignore[valid-type, misc]
        def learn(self, step: Step) -> dict[str, Tensor]:
            losses = super().learn(step)
            if step.batch.step == number:
                found.append((step, losses))
                raise Stop
            return losses

    with pytest.raises(Stop):
        Watched(**method.model_dump()).fit(trainer.data, trainer)
    return found[0]


def gradients(loss: Tensor, module: nn.Module) -> list[Tensor]:
    """The gradient of every weight; zeros where none arrives."""
    weights = list(module.parameters())
    found = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)]


def none(found: list[Tensor]) -> bool:
    return not any(bool(gradient.any()) for gradient in found)


# -- CoMatch --------------------------------------------------------------------------------------


def test_comatch_smooths_by_the_memory_of_the_steps_before(
    digits_data: Data, trainer_for: Make
) -> None:
    method = CoMatch(memory_batches=2, alignment_batches=4, **SMALL)
    sizes = []
    for number in (1, 2):
        step, _ = step_of(method, trainer_for(digits_data, 5), number)
        memory = step.part("memory", NeighbourMemory)
        aligned = memory.probs[memory.written - 48 : memory.written - 16]
        assert len(memory.probs) == 96
        if number < 2:
            assert memory.written == 96
            assert torch.equal(step.probs, aligned)
            known = memory.probs[80:].argmax(1)
            assert torch.equal(known, step.targets) and memory.probs[80:].max() == 1
        else:
            # The ring was full, and this batch has taken the place of the first one.
            own = memory.probs[:32]
            assert not torch.allclose(step.probs, own)
            # A tenth of the probability comes from the neighbours.
            assert (step.probs - own).abs().sum(1).max() <= 0.2 + 1e-5
        sizes.append(int(memory.written))
    assert sizes == [96, 144]


def test_comatch_targets_are_soft_and_the_graph_draws_both_strong_views(
    digits_data: Data, trainer_for: Make
) -> None:
    method = CoMatch(threshold=0.2, graph_threshold=0.1, **SMALL)
    step, losses = step_of(method, trainer_for(digits_data, 2))
    assert torch.equal(step.target, step.probs) and not step.probs.requires_grad
    expected = cross_entropy(step.seen["strong"].logits, step.probs, step.weight)
    torch.testing.assert_close(losses["unlabelled"], expected)
    assert not torch.equal(step.images["strong"], step.images["other"])
    assert not none(gradients(losses["contrast"], step.network.heads["embed"]))
    assert none(gradients(losses["contrast"], step.network.classifier.head))
    assert not none(gradients(losses["contrast"], step.network.classifier.encoder))
    for name in ("strong", "other"):
        features = step.seen[name].features
        (pull,) = torch.autograd.grad(losses["contrast"], features, retain_graph=True)
        assert bool(pull.any())


# -- CR-Match -------------------------------------------------------------------------------------


def test_crmatch_turns_weak_views_and_projects_maps(digits_data: Data, trainer_for: Make) -> None:
    method = CRMatch(threshold=0.0, **SMALL)
    step, losses = step_of(method, trainer_for(digits_data, 2))
    turned, turns = all_turns(step.images["weak"][:16])
    assert torch.equal(step.images["turned"], turned)
    heads, seen = step.network.heads, step.seen
    guesses = heads["rotation"](seen["turned"].features)
    torch.testing.assert_close(losses["rotation"], cross_entropy(guesses, turns))

    maps = {name: seen[name].maps for name in ("weak", "strong")}
    assert all(each is not None and each.shape == (32, 32, 2, 2) for each in maps.values())
    z = {
        name: heads["distance"](each.flatten(1)) for name, each in maps.items() if each is not None
    }
    cosine = nn.functional.cosine_similarity(z["weak"], z["strong"])
    torch.testing.assert_close(losses["distance"], cosine.clamp_min(0).mean())
    assert none(gradients(losses["distance"], step.network.classifier.head))
    assert not none(gradients(losses["distance"], step.network.classifier.encoder))


def test_crmatch_holds_only_trusted_items_apart(digits_data: Data, trainer_for: Make) -> None:
    step, losses = step_of(CRMatch(threshold=1.0, **SMALL), trainer_for(digits_data, 2))
    assert not bool(step.weight.any())
    assert losses["distance"] == 0 and losses["rotation"] > 0


def test_crmatch_without_a_pass_of_their_own_pulls_both_views(
    digits_data: Data, trainer_for: Make
) -> None:
    for joint in (True, False):
        method = CRMatch(threshold=0.0, joint=joint, **SMALL)
        step, losses = step_of(method, trainer_for(digits_data, 2))
        weak, strong = step.seen["weak"].maps, step.seen["strong"].maps
        assert weak is not None and strong is not None
        assert weak.requires_grad == joint and strong.requires_grad
        head = step.network.heads["distance"]
        z = {name: head(maps.flatten(1)) for name, maps in (("weak", weak), ("strong", strong))}
        pulled = z["weak"] if joint else z["weak"].detach()
        cosine = nn.functional.cosine_similarity(pulled, z["strong"]).clamp_min(0).mean()
        expected = gradients(cosine, head)
        for found, wanted in zip(gradients(losses["distance"], head), expected, strict=True):
            torch.testing.assert_close(found, wanted)


# -- ShrinkMatch ----------------------------------------------------------------------------------


def test_the_shrunk_loss_passes_the_second_head_alone(digits_data: Data, trainer_for: Make) -> None:
    step, losses = step_of(ShrinkMatch(threshold=0.25, **SMALL), trainer_for(digits_data, 8), 4)
    network, loss = step.network, losses["shrunk"]
    assert 0 < step.weight.mean() < 1
    assert none(gradients(loss, network.classifier.head))
    assert not none(gradients(loss, network.classifier.encoder))
    assert not none(gradients(loss, network.heads["shrunk"]))
    assert none(gradients(losses["unlabelled"], network.heads["shrunk"]))


def test_certain_items_and_hopeless_ones_get_no_shrunk_loss(
    digits_data: Data, trainer_for: Make
) -> None:
    for threshold in (0.0, 1.0):
        step, losses = step_of(
            ShrinkMatch(threshold=threshold, share_momentum=0.0, **SMALL),
            trainer_for(digits_data, 2),
        )
        assert bool((step.weight == (threshold == 0)).all())
        assert losses["shrunk"] == 0


def test_the_shrunk_loss_is_the_formula(digits_data: Data, trainer_for: Make) -> None:
    method = ShrinkMatch(threshold=0.25, unlabelled_weight=3.0, **SMALL)
    trainer = trainer_for(digits_data, 8)
    outputs: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        outputs.append(output)

    handle: Any = None

    class Hooked(ShrinkMatch):
        def attach(self, network: Any, trainer: Trainer) -> dict[str, nn.Module]:
            nonlocal handle
            handle = network.heads["shrunk"].register_forward_hook(keep)
            return {}

    step, losses = step_of(Hooked(**method.model_dump()), trainer, 4)
    handle.remove()
    share = step.part("certain", RunningShare).share
    total = 0.0
    for i, probs in enumerate(step.probs):
        if step.weight[i] > 0:
            continue
        order = probs.argsort(descending=True).tolist()
        for c in range(2, 10):
            kept = [order[0], *order[c:]]
            if probs[order[0]] / probs[kept].sum() >= 0.25:
                among = outputs[-1][i][kept].log_softmax(0)
                total -= (among[0] * probs[order[0]]).item()
                break
    assert total > 0
    expected = 3.0 * share * total / len(step.probs)
    torch.testing.assert_close(losses["shrunk"], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "change", [{"threshold": 0.0}, {"shrink_weight": 0.0, "threshold": 0.4}], ids=["all", "none"]
)
def test_shrinkmatch_without_its_loss_is_fixmatch_with_soft_aligned_targets(
    digits_data: Data, trainer_for: Make, change: dict[str, float]
) -> None:
    class Soft(FixMatch):
        def parts(self, data: Data, trainer: Trainer) -> dict[str, nn.Module]:
            return {"align": ShrinkMatch().parts(data, trainer)["align"]}

        def refine(self, step: Step, probs: Tensor) -> Tensor:
            return step.parts["align"](probs)

        def aim(self, step: Step, probs: Tensor) -> Tensor:
            return probs

    models = []
    for method in (
        ShrinkMatch(**SMALL | change),
        Soft(**SMALL, threshold=change["threshold"]),
    ):
        trainer = trainer_for(digits_data, 6)
        models.append(method.fit(trainer.data, trainer).model.state_dict())
    for name, value in models[0].items():
        assert torch.equal(value, models[1][name]), name


def test_the_share_runs_on_unless_it_is_restarted(digits_data: Data, trainer_for: Make) -> None:
    shares = {}
    for restart in (0, 3):
        method = ShrinkMatch(threshold=0.3, share_momentum=0.5, restart=restart, **SMALL)
        weights = []
        for number in range(5):
            step, _ = step_of(method, trainer_for(digits_data, 8), number)
            weights.append(float(step.weight.mean()))
            shares[restart, number] = float(step.part("certain", RunningShare).share)
        running = weights[0]
        for number in range(1, 5):
            fresh = restart and number % restart == 0
            running = weights[number] if fresh else 0.5 * running + 0.5 * weights[number]
            assert shares[restart, number] == pytest.approx(running, abs=1e-6)
    assert shares[0, 2] == shares[3, 2] and shares[0, 4] != shares[3, 4]


# -- runs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [
        CoMatch(threshold=0.2, memory_batches=2, **SMALL),
        CRMatch(threshold=0.2, **SMALL),
        ShrinkMatch(threshold=0.4, restart=5, **SMALL),
    ],
    ids=lambda method: method.card.name,
)
def test_a_resumed_run_ends_bit_identical(
    digits_data: Data, tmp_path: Path, assert_resumes: Callable[..., Fitted], method: WeakStrong
) -> None:
    assert_resumes(method, digits_data, 12, tmp_path)


@pytest.mark.parametrize("kind", [CoMatch, CRMatch, ShrinkMatch])
def test_end_to_end_learns(digits_data: Data, trainer_for: Make, kind: type[WeakStrong]) -> None:
    trainer = trainer_for(digits_data, 70)
    method = kind.configured({"batch": 16, "ratio": 2, "ema": 0.95, "recipe.lr": 0.1})
    fitted = method.fit(trainer.data, trainer)
    assert trainer.measure(fitted.model, digits_data.test)["accuracy"] > 0.65
