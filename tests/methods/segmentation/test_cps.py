"""CPS: two networks label each other."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from leaven.data import Data
from leaven.data.pixel_maps import PixelMaps
from leaven.learn import mix, pixel_cross_entropy
from leaven.methods import Fitted
from leaven.methods.segmentation.cps import CPS, CPSCutMix, crossed
from leaven.methods.segmentation.few_maps import PixelRun
from leaven.train import Optimizer, Recipe
from leaven.train.pixel_trainer import PixelTrainer

RECIPE = Recipe(optimizer="adamw", lr=0.02, schedule="poly")
SMALL: dict[str, Any] = {"batch": 2, "recipe": RECIPE}


class NothingMixed(CPSCutMix):
    def mask(self, run: PixelRun, count: int, size: tuple[int, int]) -> Tensor:
        return torch.zeros(count, *size, dtype=torch.bool)


def peer_of(run: PixelRun) -> nn.Module:
    return run.parts["peer"]


def gradients(net: nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(net.parameters()), retain_graph=True))


def alike(first: list[Tensor], second: list[Tensor]) -> bool:
    pairs = list(zip(first, second, strict=True))
    assert any(float(one.abs().max()) > 0 for one, _ in pairs)
    return all(torch.allclose(one, other, atol=1e-6) for one, other in pairs)


def test_the_networks_differ_in_their_decoders_alone(started: Callable[..., PixelRun]) -> None:
    begun = started(CPS(**SMALL))
    own, peer = begun.student, peer_of(begun)
    for mine, other in zip(own.encoder_parameters(), peer.encoder_parameters(), strict=True):
        assert torch.equal(mine, other)
    assert not torch.equal(own.head.weight, peer.head.weight)
    assert len(begun.optimizer.parameters) == 2 * len(list(own.parameters()))


def test_the_gradient_is_that_of_constant_labels(started: Callable[..., PixelRun]) -> None:
    method = CPS(**SMALL, cross_weight=1.5)
    begun = started(method)
    before = begun.draws.state_dict()
    loss = method.loss(begun)
    found = [gradients(net, loss) for net in (begun.student, peer_of(begun))]

    begun.draws.load_state_dict(before)
    sample = begun.batch.labelled
    labelled = method.weak(begun, sample.images)
    seen = method.weak(begun, begun.batch.unlabelled.images)
    y = labelled.geometry.maps(sample.targets)
    shown = torch.cat([labelled.geometry.valid(), seen.geometry.valid()])
    logits = [
        torch.cat([net(labelled.images), net(seen.images)])
        for net in (begun.student, peer_of(begun))
    ]
    said = [torch.where(shown, each.argmax(1), -1).clone() for each in logits]
    for number, net in enumerate((begun.student, peer_of(begun))):
        supervised = pixel_cross_entropy(logits[number][:2], y)
        alone = supervised + 1.5 * pixel_cross_entropy(logits[number], said[1 - number])
        assert alike(found[number], gradients(net, alone))


def test_equal_networks_label_themselves(started: Callable[..., PixelRun]) -> None:
    method = CPS(**SMALL)
    begun = started(method)
    peer_of(begun).load_state_dict(begun.student.state_dict())
    loss = method.loss(begun)
    own, peer = (gradients(net, loss) for net in (begun.student, peer_of(begun)))
    assert alike(own, peer)
    logits = torch.randn(2, 3, 4, 5)
    twice = crossed([logits, logits], [logits.argmax(1)] * 2)
    assert torch.allclose(twice, 2 * pixel_cross_entropy(logits, logits.argmax(1)))


@pytest.mark.parametrize("kind", [CPS, CPSCutMix])
def test_which_network_is_the_first_does_not_matter(
    kind: type[CPS], started: Callable[..., PixelRun]
) -> None:
    method = kind(**SMALL)
    begun = started(method)
    before = begun.draws.state_dict()
    loss = method.loss(begun)
    own, peer = copy.deepcopy(begun.student.state_dict()), peer_of(begun).state_dict()
    begun.student.load_state_dict(peer)
    peer_of(begun).load_state_dict(own)
    begun.draws.load_state_dict(before)
    assert torch.equal(method.loss(begun), loss)


def test_without_the_cross_term_each_learns_as_if_alone(started: Callable[..., PixelRun]) -> None:
    """One optimiser of both makes the steps of two, to the last bit."""
    method = CPS(**SMALL, cross_weight=0.0)
    begun = started(method)
    alone = [copy.deepcopy(net) for net in (begun.student, peer_of(begun))]
    optimizers = [Optimizer([net], RECIPE) for net in alone]
    for _ in range(3):
        before = begun.draws.state_dict()
        assert method.step(begun)
        begun.draws.load_state_dict(before)
        images, classes = method.labelled(begun)
        for net, optimizer in zip(alone, optimizers, strict=True):
            assert begun.trainer.update(pixel_cross_entropy(net(images), classes), optimizer)
    for net, other in zip((begun.student, peer_of(begun)), alone, strict=True):
        for mine, theirs in zip(net.parameters(), other.parameters(), strict=True):
            assert torch.equal(mine, theirs)


def test_predictions_may_be_mixed_before_or_after_the_argmax() -> None:
    first, second = torch.randn(2, 3, 5, 6, 7).unbind(0)
    mask = torch.rand(3, 6, 7) < 0.5
    mixed = mix(mask, first, second).argmax(1)
    assert torch.equal(mixed, mix(mask, first.argmax(1), second.argmax(1)))


def test_nothing_mixed_is_the_first_batch_alone(started: Callable[..., PixelRun]) -> None:
    method = NothingMixed(**SMALL, cross_weight=1.0)
    begun = started(method)
    before = begun.draws.state_dict()
    found = method.loss(begun)
    begun.draws.load_state_dict(before)
    images, classes = method.labelled(begun)
    seen = method.weak(begun, begun.batch.unlabelled.images)
    assert len(seen.images) == 4
    shown = seen.geometry.valid()[:2]
    nets = (begun.student, peer_of(begun))
    logits = [net(seen.images[:2]) for net in nets]
    said = [torch.where(shown, each.argmax(1), -1) for each in logits]
    supervised = sum(pixel_cross_entropy(net(images), classes) for net in nets)
    assert torch.allclose(found, supervised + crossed(logits, said))


@pytest.mark.parametrize("kind", [CPS, CPSCutMix])
def test_the_first_network_is_the_result(
    kind: type[CPS], maps_data: Data[PixelMaps], pixel_trainer_for: Callable[..., PixelTrainer]
) -> None:
    trainer = pixel_trainer_for(maps_data, 60)
    method = kind(**SMALL, scale=(1.0, 1.0), cross_weight=0.1)
    last = method.train(trainer)
    for mine, theirs in zip(
        last.student.state_dict().values(), method.final(last).state_dict().values(), strict=True
    ):
        assert torch.equal(mine, theirs)
    found = trainer.measure(method.final(last), trainer.data.test)
    assert found["miou"] > 0.5, found


@pytest.mark.parametrize("kind", [CPS, CPSCutMix])
def test_a_resumed_run_ends_bit_identical(
    kind: type[CPS],
    maps_data: Data[PixelMaps],
    assert_resumes: Callable[..., Fitted],
    tmp_path: Path,
) -> None:
    assert_resumes(kind(**SMALL), maps_data, 8, tmp_path)
