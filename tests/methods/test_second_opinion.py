"""SHOT, and the accuracy of a network without labels by the second opinion of its adapted copy."""

import copy
import itertools
from dataclasses import replace

import pytest
import torch

import leaven
from leaven.data import MemoryPixels
from leaven.draws import Draws
from leaven.methods.classification.second_opinion import SecondOpinion
from leaven.methods.classification.shot import Shot
from leaven.models import Classifier
from leaven.models.classifier import ModelSpec
from leaven.propose import predict
from leaven.quality.accuracy import agreement
from leaven.train import Budget, Settings, Trainer


@pytest.fixture(scope="module")
def source(digits_source):
    return digits_source(6)


@pytest.fixture(scope="module")
def unlabelled(digits_data):
    """256 digits in noise, without a label."""
    train = digits_data.unlabelled.subset(torch.arange(640, 896))
    images = train.pixels.batch(torch.arange(256))
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1)) * 60
    pixels = MemoryPixels((images / 1.5 + noise).clamp(0, 255).to(torch.uint8))
    return digits_data.with_train(replace(train, pixels=pixels, sources=None))


def trainer(data, model, folder=None, kind=Trainer, **settings):
    settings = {"threads": 1, "device": "cpu", "precision": "fp32", **settings}
    chosen = Settings(budget=Budget(steps=10**6), model=str(model), **settings)
    return kind(data, folder, chosen, resume=folder is not None)


@pytest.fixture(scope="module")
def adapted(source, unlabelled):
    """The network, its adapted copy, and what the network says of the pictures."""
    run = trainer(unlabelled, source)
    first = run.trained()
    copied = SecondOpinion(epochs=4).adapt(copy.deepcopy(first), run.data, run)
    return first, copied, predict(first, unlabelled.unlabelled.pixels)


def asked(adapted, images, seed=0, **values):
    _, copied, probs = adapted
    return SecondOpinion(**values).asked(copied, images, probs, Draws(seed))


# -- SHOT -----------------------------------------------------------------------------------------


def test_it_adapts_the_encoder_and_keeps_the_head(source, unlabelled):
    run = trainer(unlabelled, source)
    before = run.trained()
    fitted = Shot(epochs=5).fit(run.data, run)
    truth = unlabelled.unlabelled.truth
    plain = float((predict(before, unlabelled.unlabelled.pixels).argmax(1) == truth).float().mean())
    assert fitted.labels.accuracy(truth) > plain + 0.03
    assert torch.equal(fitted.model.head.weight, before.head.weight)
    assert not torch.equal(
        next(fitted.model.encoder.parameters()), next(before.encoder.parameters())
    )
    assert all(weight.requires_grad for weight in fitted.model.parameters())
    assert run.step == 5 * 4


def test_labels_are_those_of_prototypes_at_the_start_of_each_epoch(source, unlabelled, monkeypatch):
    made = []
    original = Shot.labels

    def watched(self, student, images):
        made.append(original(self, student, images))
        return made[-1]

    monkeypatch.setattr(Shot, "labels", watched)
    run = trainer(unlabelled, source)
    Shot(epochs=3, batch=100).fit(run.data, run)
    assert len(made) == 3 and run.step == 6
    assert all(labels.shape == (256,) for labels in made)


def test_no_epochs_leave_the_network_as_it_is(source, unlabelled):
    run = trainer(unlabelled, source)
    before = run.trained().state_dict()
    after = Shot(epochs=0).fit(run.data, run).model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


class _BrokenOff(Exception):
    pass


class _Fragile(Trainer):
    def update(self, loss, optimizer):
        moved = super().update(loss, optimizer)
        if self.step == 6:
            raise _BrokenOff
        return moved


@pytest.mark.parametrize("method", [Shot(epochs=2), SecondOpinion(epochs=2, size=0.3)])
def test_a_run_resumes_to_the_same_bits(source, unlabelled, tmp_path, method):
    whole = trainer(unlabelled, source)
    expected = method.fit(whole.data, whole)
    broken = trainer(unlabelled, source, folder=tmp_path, kind=_Fragile, checkpoint_steps=3)
    with pytest.raises(_BrokenOff):
        method.fit(broken.data, broken)
    again = trainer(unlabelled, source, folder=tmp_path, checkpoint_steps=3)
    found = method.fit(again.data, again)
    mine, theirs = found.model.state_dict(), expected.model.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert torch.equal(found.labels.probs, expected.labels.probs)
    assert torch.equal(found.labels.weight, expected.labels.weight)


# -- the second opinion ---------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["sample", "domain", "mixed"])
def test_no_change_is_plain_agreement_exactly(adapted, unlabelled, rule):
    images = unlabelled.unlabelled
    found = asked(adapted, images, size=0.0, rule=rule)
    _, copied, probs = adapted
    plain = predict(copied, images.pixels).argmax(1)
    assert torch.equal(found.adapted, plain) and torch.equal(found.perturbed, plain)
    assert found.accuracy == agreement(probs.argmax(1), plain) < 1


def test_where_the_copy_is_sure_of_everything_nothing_is_changed(adapted, unlabelled):
    _, copied, probs = adapted
    certain = copy.deepcopy(copied)
    with torch.no_grad():
        certain.head.weight *= 1e4
    images = unlabelled.unlabelled
    found = SecondOpinion(size=0.5).asked(certain, images, probs, Draws(0))
    assert float(found.radius.max()) < 1e-3
    assert torch.equal(found.perturbed, found.adapted)


def test_a_copy_that_is_the_network_itself_agrees_with_all(adapted, unlabelled):
    first, _, probs = adapted
    own = SecondOpinion(size=0.0).asked(first, unlabelled.unlabelled, probs, Draws(0))
    assert own.accuracy == 1


def test_the_order_of_pictures_does_not_matter(adapted, unlabelled):
    images = unlabelled.unlabelled
    _, copied, probs = adapted
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(2))
    method = SecondOpinion(size=0.3)
    found = method.asked(copied, images, probs, Draws(4))
    moved = method.asked(copied, images.subset(order), probs[order], Draws(4))
    assert moved.accuracy == found.accuracy
    assert torch.equal(moved.perturbed, found.perturbed[order])
    torch.testing.assert_close(moved.radius, found.radius[order])


def test_the_larger_the_change_the_lower_the_estimate(adapted, unlabelled):
    sizes = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6)
    found = [asked(adapted, unlabelled.unlabelled, size=s, rule="domain").accuracy for s in sizes]
    assert all(after <= before + 0.01 for before, after in itertools.pairwise(found))
    assert found[-1] < found[0] - 0.1
    assert all(0 <= accuracy <= 1 for accuracy in found)


def test_neither_network_changes(adapted, unlabelled):
    first, copied, _ = adapted
    before = [copy.deepcopy(model.state_dict()) for model in (first, copied)]
    copied.train()
    asked(adapted, unlabelled.unlabelled, size=0.3, iterations=2)
    for model, state in zip((first, copied), before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert all(weight.grad is None for weight in model.parameters())


def test_changes_have_the_length_that_is_asked_for(adapted, unlabelled, monkeypatch):
    from leaven.methods.classification import second_opinion as module

    lengths, original = [], module.stronger_sign

    def watched(model, images, direction, targets, radius):
        change, logits = original(model, images, direction, targets, radius)
        lengths.append(change.flatten(1).norm(dim=1) / change[0].numel() ** 0.5)
        return change, logits

    monkeypatch.setattr(module, "stronger_sign", watched)
    found = asked(adapted, unlabelled.unlabelled, size=0.3)
    torch.testing.assert_close(torch.cat(lengths), found.radius, rtol=1e-5, atol=1e-7)


def test_two_classes_of_a_linear_network_flip_beyond_their_margin(digits_data):
    """acc is the share of pictures whose distance to the border exceeds the change, or which are
    pushed deeper into their class by it."""
    spec = ModelSpec("linear", ("a", "b"), (1, 8, 8), (0.5,), (1.0,))
    head = torch.nn.Linear(64, 2, bias=False)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        head.weight.copy_(0.05 * torch.randn(2, 64, generator=generator))
    model = Classifier(torch.nn.Flatten(), head, spec).eval()
    images = digits_data.unlabelled.subset(torch.arange(200))
    probs = predict(model, images.pixels)
    found = SecondOpinion(size=0.2, rule="domain").asked(model, images, probs, Draws(0))
    inputs = model.normalise(images.pixels.batch(torch.arange(200))).flatten(1)
    difference = head.weight[0] - head.weight[1]
    margin = (inputs @ difference).abs() / difference.norm() / 8
    beyond = found.radius > margin
    flipped = found.perturbed != found.adapted
    assert bool(beyond.any()) and not bool((flipped & ~beyond).any())
    # The stronger sign is the one across where the picture is far enough from the border to be sure.
    assert float(flipped[beyond].float().mean()) > 0.5


def test_a_run_accepts_what_the_second_opinion_shares(unlabelled, source):
    run = trainer(unlabelled, source)
    fitted = SecondOpinion(epochs=2, size=0.3).fit(run.data, run)
    trained = run.trained().state_dict()
    assert all(
        torch.equal(value, trained[name]) for name, value in fitted.model.state_dict().items()
    )
    share = fitted.labels.accepted_share
    assert 0 < share < 1 and f"{share:.1%}" in fitted.note


def test_a_whole_run_needs_no_label(source, tmp_path):
    result = leaven.run(
        "digits", method="second-opinion", model=str(source), out=tmp_path / "run",
        labels_per_class=1, threads=1, set={"epochs": 1}, budget=10,
    )  # fmt: skip
    found = [line["text"] for line in result.summary["health"] if line["code"] == "method"]
    assert "estimated" in found[0]
