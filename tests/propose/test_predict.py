"""What a model says of pictures: evaluation passes and label passes."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leaven.data import MemoryPixels
from leaven.models.classifier import Classifier, ModelSpec
from leaven.propose import label_pass, predict, predict_features


def classifier(dropout: float = 0.5) -> Classifier:
    torch.manual_seed(0)
    encoder = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    spec = ModelSpec("test", ("a", "b", "c"), (3, 8, 8), (0.5,) * 3, (0.25,) * 3, dropout)
    return Classifier(encoder, nn.Linear(6, 3), spec)


def pictures(n: int) -> Tensor:
    generator = torch.Generator().manual_seed(n)
    return torch.randint(0, 256, (n, 3, 8, 8), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("batch_size", [1, 4, 10, 64])
def test_predict_equals_one_eval_pass(batch_size: int) -> None:
    model, images = classifier(), pictures(10)
    with torch.no_grad():
        expected = copy.deepcopy(model).eval()(images).softmax(1)
    found = predict(model.train(), MemoryPixels(images), batch_size)
    torch.testing.assert_close(found, expected)
    assert found.dtype == torch.float32 and not found.requires_grad


def test_predict_keeps_the_order_of_a_subset() -> None:
    model, pixels = classifier(), MemoryPixels(pictures(10))
    index = torch.tensor([7, 1, 4])
    found = predict(model, pixels.subset(index), 2)
    torch.testing.assert_close(found, predict(model, pixels)[index])


def test_features_come_in_the_same_pass() -> None:
    model, images = classifier().train(), pictures(10)
    probs, features = predict_features(model, MemoryPixels(images), 4)
    torch.testing.assert_close(probs, predict(model, MemoryPixels(images)))
    torch.testing.assert_close(features, model.eval().features(images).detach())


def test_no_pictures_give_no_rows() -> None:
    pixels = MemoryPixels(pictures(0))
    assert predict(classifier(), pixels).shape == (0, 3)
    probs, features = predict_features(classifier(), pixels)
    assert probs.shape == (0, 3) and features.shape == (0, 6)


def test_results_can_be_trained_on() -> None:
    model = classifier()
    probs = predict(model, MemoryPixels(pictures(4)))
    F.cross_entropy(model(pictures(4)), probs).backward()
    assert model.head.weight.grad is not None


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


@pytest.mark.parametrize("pass_over", ["predict", "label_pass"])
def test_every_submodule_is_back_in_its_mode(pass_over: str) -> None:
    model = classifier().train()
    model.encoder[1].eval()
    before = modes(model)
    if pass_over == "predict":
        predict(model, MemoryPixels(pictures(4)))
    else:
        label_pass(model, pictures(4))
    assert modes(model) == before


def test_modes_are_back_after_an_error() -> None:
    model = classifier().train()
    with pytest.raises(RuntimeError):
        predict(model, MemoryPixels(torch.zeros(2, 5, 8, 8, dtype=torch.uint8)))
    assert all(modes(model))


def test_predict_leaves_running_statistics_alone() -> None:
    model = classifier().train()
    before = copy.deepcopy(model.state_dict())
    predict(model, MemoryPixels(pictures(10)))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_batch_size_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        predict(classifier(), MemoryPixels(pictures(2)), 0)


@pytest.mark.parametrize("training", [True, False])
def test_label_pass_uses_batch_statistics_and_no_dropout(training: bool) -> None:
    model, images = classifier().train(training), pictures(10)
    reference = copy.deepcopy(model).train()
    reference.dropout.p = 0.0
    expected = reference(images).softmax(1).detach()
    found = label_pass(model, images)
    torch.testing.assert_close(found, expected)
    assert not found.requires_grad
    assert not torch.allclose(found, predict(model, MemoryPixels(images)), atol=1e-3)


def test_two_label_passes_are_identical_despite_dropout() -> None:
    model, images = classifier(dropout=0.9).train(), pictures(10)
    assert not torch.equal(model(images), model(images))
    assert torch.equal(label_pass(model, images), label_pass(model, images))


def test_label_pass_switches_off_noise_of_any_kind() -> None:
    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.dropout(x.float().mean((2, 3)), 0.5, self.training)

    model, images = Noisy().train(), pictures(10)
    assert torch.equal(label_pass(model, images), images.float().mean((2, 3)).softmax(1))


def test_label_pass_enters_the_running_statistics_as_a_training_pass() -> None:
    model, images = classifier().train(), pictures(10)
    reference = copy.deepcopy(model)
    reference(images)
    label_pass(model, images)
    found, expected = model.encoder[1], reference.encoder[1]
    assert found.num_batches_tracked == 1
    torch.testing.assert_close(found.running_mean, expected.running_mean)
    torch.testing.assert_close(found.running_var, expected.running_var)
