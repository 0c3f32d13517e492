"""SPARSE: who is moved by which loss, what is selected, when, and a run end to end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from leaven.data import Data
from leaven.errors import ConfigError, DataError
from leaven.learn import entropy, mutual_loss, prototype_loss
from leaven.methods import Fitted
from leaven.methods.classification.sparse import Nets, Sparse
from leaven.models import load_model, save_model
from leaven.train import Trainer

SMALL: dict[str, Any] = {"batch": 8, "widths": (4, 8), "critic_width": 4, "every": 1}


def method(**values: Any) -> Sparse:
    return Sparse(**SMALL | values)


def test_a_run_resumes(
    digits_data: Data, assert_resumes: Callable[..., Fitted], tmp_path: Path
) -> None:
    """Labelled steps are 0 to 4, translations come after."""
    fitted = assert_resumes(method(), digits_data, 9, tmp_path, breaks=(0.4, 0.85))
    assert fitted.model.spec.name == "cnn-small|patch-critic"
    loaded = load_model(save_model(fitted.model, tmp_path / "model"))
    pictures = digits_data.unlabelled.pixels.batch(torch.arange(5))
    assert torch.allclose(loaded(pictures), fitted.model(pictures), atol=1e-5)


def test_the_classifier_may_predict_alone(
    digits_data: Data, trainer_for: Callable[..., Trainer]
) -> None:
    trainer = trainer_for(digits_data, 2)
    fitted = method(predict_with="classifier").fit(trainer.data, trainer)
    assert fitted.model.spec.name == "cnn-small"


@pytest.fixture
def nets(digits_data: Data, trainer_for: Callable[..., Trainer]) -> Nets:
    return method().networks(digits_data, trainer_for(digits_data, 1))


def moved(*modules: nn.Module) -> list[bool]:
    """Which of them got a gradient that is not 0, since the last time."""
    found = []
    for module in modules:
        grads = [w.grad for w in module.parameters() if w.grad is not None]
        found.append(any(bool(grad.abs().sum() > 0) for grad in grads))
        module.zero_grad()
    return found


def some(count: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures, proposed classes, wanted classes."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(count, 1, 8, 8, generator=generator)
    return pictures, *torch.randint(10, (2, count), generator=generator)


def test_each_loss_moves_its_own_network_alone(nets: Nets) -> None:
    real, classes, others = some()
    three = (nets.classifier, nets.critic, nets.translator)
    sparse = method()
    sparse.critic_step(nets, real, classes, others, torch.rand(6)).backward()
    assert moved(*three) == [False, True, False]
    sparse.translator_step(nets, real, classes, others).backward()
    assert moved(*three) == [False, False, True]
    sparse.classifier_step(nets, real, others).backward()
    assert moved(*three) == [True, False, False]


def test_the_critic_learns_classes_from_real_pictures_alone(nets: Nets) -> None:
    """With realism and penalty of weight 0 nothing of the translations is left."""
    real, classes, others = some()
    nn.init.zeros_(nets.critic.realism.weight)
    sparse = method(penalty_weight=0.0)
    losses = [
        sparse.critic_step(nets, real, classes, z, torch.rand(6)).item()
        for z in (others, others.flip(0))
    ]
    expected = nn.functional.cross_entropy(nets.critic(real)[1], classes).item()
    assert losses == pytest.approx([expected, expected])


def test_the_translator_comes_back_as_what_was_proposed(nets: Nets) -> None:
    """Without other terms, ten times the mean distance of G(G(x, z), y) from x."""
    real, classes, others = some()
    nets.translator.eval()
    sparse = method()
    found = sparse.translator_step(nets, real, classes, others)
    with torch.no_grad():
        made = nets.translator(real, others)
        scores, logits = nets.critic(made)
        own = nets.translator.classify(made)
        ce = nn.functional.cross_entropy(logits, others) + nn.functional.cross_entropy(own, others)
        back = (nets.translator(made, classes) - real).abs().mean()
    assert found.item() == pytest.approx((ce - scores.mean() + 10 * back).item(), rel=1e-5)


def test_the_loss_of_the_labels_is_the_formula_and_reaches_one_network_at_a_time() -> None:
    logits = [torch.randn(5, 4, requires_grad=True) for _ in range(3)]
    y = torch.tensor([0, 1, 2, 3, 0])
    sparse = method()
    for number, own in enumerate(logits):
        loss = sparse.supervised(logits, number, y)
        expected = (
            prototype_loss(own, y, 0.1)
            + 0.1 * mutual_loss(torch.stack(logits), y, 0.5)
            + 0.01 * entropy(own)
        )
        assert loss.item() == pytest.approx(expected.item())
        wanted = torch.autograd.grad(expected, own)[0]
        loss.backward()
        assert torch.allclose(own.grad, wanted, atol=1e-7)
        assert [one.grad is not None for one in logits] == [n == number for n in range(3)]
        own.grad = None


def test_a_quarter_of_a_batch_is_selected() -> None:
    assert Sparse().selected(24) == 6
    confidence = torch.rand(24, generator=torch.Generator().manual_seed(0))
    tau = confidence.quantile(0.75)
    assert int((confidence >= tau).sum()) == 6
    assert method(quantile=0.0).selected(8) == 8
    with pytest.raises(ConfigError, match="two selected items"):
        Sparse.configured({"batch": 4, "quantile": 0.9})


def test_items_that_are_not_selected_leave_no_trace_in_critic_and_translator(
    digits_data: Data, trainer_for: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both steps see the most confident items, and the classifier learns from all of them."""
    seen: dict[str, Tensor] = {}
    confident: list[Tensor] = []
    for name in ("critic_step", "translator_step", "classifier_step"):
        monkeypatch.setattr(Sparse, name, _watched(name, seen))
    observe = Trainer.observe

    def watching(self: Trainer, **values: Any) -> None:
        if "confidence" in values:
            weight, confidence = values["weight"], values["confidence"]
            confident.append(confidence[weight > 0].min() - confidence[weight == 0].max())
            assert weight.sum() == 2
        observe(self, **values)

    monkeypatch.setattr(Trainer, "observe", watching)
    trainer = trainer_for(digits_data, 8)
    method().fit(trainer.data, trainer)
    assert [len(seen[name]) for name in sorted(seen)] == [8, 2, 2]
    assert len(confident) == 3 and all(gap >= 0 for gap in confident)


@pytest.mark.parametrize("count", [2, 4])
def test_two_are_selected_of_fewer_pictures_than_a_batch(
    digits_data: Data, trainer_for: Callable[..., Trainer], count: int
) -> None:
    """The translator's deepest maps are of one pixel, of which no statistics could be made."""
    data = of_unlabelled(digits_data, count)
    trainer = trainer_for(data, 7)
    sparse = method(widths=(4, 4, 4, 4))
    assert sparse.translates(5, data) and sparse.selected(count) == 1
    fitted = sparse.fit(trainer.data, trainer)
    assert len(fitted.labels) == count and trainer.step == 7


@pytest.mark.parametrize("count", [0, 1])
def test_with_fewer_than_two_unlabelled_pictures_it_says_so(
    digits_data: Data, trainer_for: Callable[..., Trainer], count: int
) -> None:
    data = of_unlabelled(digits_data, count)
    with pytest.raises(DataError, match=f"unlabelled pictures, and {data.name} has {count}"):
        method().fit(data, trainer_for(data, 7))


def of_unlabelled(data: Data, count: int) -> Data:
    """The data with the first ``count`` of the unlabelled pictures."""
    train = data.train
    kept = (train.labels < 0).cumsum(0) <= count
    return data.with_train(train.subset((train.labels >= 0) | kept))


def _watched(name: str, seen: dict[str, Tensor]) -> Callable[..., Tensor]:
    step = getattr(Sparse, name)

    def watched(self: Sparse, nets: Nets, images: Tensor, *others: Tensor) -> Tensor:
        seen[name] = images
        return step(self, nets, images, *others)

    return watched


def test_epochs_alternate_and_each_is_all_of_the_items(
    digits_data: Data, trainer_for: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """40 labels and 1217 others in batches of 64: one labelled step an epoch, 19 translating."""
    steps: list[tuple[str, Tensor]] = []
    for name, stream in (("learn_labelled", "labelled"), ("learn_unlabelled", "unlabelled")):

        def note(self: Any, batch: Any, *_: Any, kind: str = stream) -> None:
            steps.append((kind, getattr(batch, kind).items))

        monkeypatch.setattr(Sparse, name, note)
    trainer = trainer_for(digits_data, 44)
    method(batch=64, every=3).fit(trainer.data, trainer)
    kinds = "".join(kind[0] for kind, _ in steps)
    assert kinds == ("l" + "u" * 19 + "ll") * 2
    epochs = [items for kind, items in steps if kind == "unlabelled"]
    for epoch in (epochs[:19], epochs[19:]):
        assert len(torch.cat(epoch).unique()) == 19 * 64
    assert not any(method(every=0).translates(step, digits_data) for step in range(100))


def test_the_best_weights_on_validation_items_are_kept(
    digits_data: Data, trainer_for: Callable[..., Trainer]
) -> None:
    val = digits_data.train.subset(torch.arange(60))
    data = replace(digits_data, val=replace(val, labels=val.truth))
    trainer = trainer_for(data, 6)
    scores: list[float] = []
    measure = trainer.measure

    def falling(model: nn.Module, images: Any) -> dict[str, float]:
        scores.append(-float(len(scores)))
        return measure(model, images) | {"accuracy": scores[-1]}

    trainer.measure = falling  # type: ignore[method-assign]
    fitted = method(evaluations=3).fit(trainer.data, trainer)
    last = trainer._registered["classifier"].state_dict()
    kept = fitted.model.encoder.encoders[0].state_dict()
    assert len(scores) > 3
    assert any(not torch.equal(last[f"encoder.{name}"], value) for name, value in kept.items())


def test_feature_rows_are_refused(feature_data: Data, trainer_for: Callable[..., Trainer]) -> None:
    with pytest.raises(DataError, match="feature rows"):
        method().fit(feature_data, trainer_for(feature_data, 3))
