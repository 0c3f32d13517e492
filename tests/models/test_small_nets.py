"""The small nets and how they are built by name."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

from leaven.errors import ModelError
from leaven.models import Classifier, build_model, default_model, model_names

SHAPES = [(1, 8, 8), (3, 32, 32), (3, 28, 64)]


def build(name: str, shape: tuple[int, int, int] = (3, 32, 32), **kwargs: Any) -> Classifier:
    torch.manual_seed(0)
    classes = [str(i) for i in range(10)]
    return build_model(name, classes, shape, mean=[0.5], std=[0.25], **kwargs)


def pictures(size: int, shape: Sequence[int]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(size)
    return torch.randint(0, 256, (size, *shape), dtype=torch.uint8, generator=generator)


def weights(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("name", ["cnn-small", "resnet-small", "wrn-10-1"])
def test_shapes_and_gradients(name: str, norm: str, shape: tuple[int, int, int]) -> None:
    model = build(name, shape, options={"norm": norm})
    images = pictures(4, shape)
    features, logits = model.features(images), model(images)
    assert features.shape == (4, model.num_features)
    assert logits.shape == (4, model.num_classes) == (4, 10)
    logits.logsumexp(1).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    kinds = {type(part) for part in model.modules()}
    assert (nn.GroupNorm in kinds, nn.BatchNorm2d in kinds) == (norm == "group", norm == "batch")


def test_weights_of_the_published_nets() -> None:
    assert weights(build("wrn-28-2")) == 1_467_610
    # Three stages of three convolutions without bias, each followed by 2 weights per channel.
    convolutions = 9 * (3 * 128 + 2 * 128 * 128 + 128 * 256 + 2 * 256 * 256 + 256 * 512)
    convolutions += 512 * 256 + 256 * 128
    norms = 2 * (3 * 128 + 3 * 256 + 512 + 256 + 128)
    assert weights(build("cnn-13")) == convolutions + norms + 128 * 10 + 10


def test_the_default_nets_are_small() -> None:
    assert 1e5 < weights(build("cnn-small")) < 3e5
    assert weights(build("resnet-small")) < 1.5e6


@pytest.mark.parametrize(
    ("side", "maps"), [(2, 2), (4, 2), (8, 2), (16, 4), (32, 8), (64, 8), (128, 8)]
)
def test_poolings_follow_the_picture_size(side: int, maps: int) -> None:
    model = build("cnn-small", (1, side, side))
    encoder: Any = model.encoder
    out = encoder.stages(encoder.stem(torch.zeros(1, 1, side, side)))
    assert out.shape == (1, 128, maps, maps)


def test_the_wide_resnet_follows_its_formula() -> None:
    """Against a forward pass written from the paper, with weights by name."""
    model = build("wrn-10-2").eval()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-1, 1)  # type: ignore[union-attr]
            part.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    state = {name: value.double() for name, value in model.state_dict().items()}

    def activate(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        scale = state[f"{name}.weight"] / (var + 1e-3).sqrt()
        x = (x - mean.view(-1, 1, 1)) * scale.view(-1, 1, 1) + state[f"{name}.bias"].view(-1, 1, 1)
        return x.clamp_min(0) + 0.1 * x.clamp_max(0)

    conv = nn.functional.conv2d
    images = pictures(2, (3, 16, 16))
    x = conv((images.double() / 255 - 0.5) / 0.25, state["encoder.conv.weight"], padding=1)
    for i, stride in enumerate((1, 2, 2)):
        block = f"encoder.stages.{i}"
        a = activate(x, f"{block}.norm1")
        inner = conv(a, state[f"{block}.conv1.weight"], stride=stride, padding=1)
        inner = conv(activate(inner, f"{block}.norm2"), state[f"{block}.conv2.weight"], padding=1)
        x = inner + conv(a, state[f"{block}.shortcut.weight"], stride=stride)
    features = activate(x, "encoder.norm").mean((2, 3))
    logits = features @ state["head.weight"].T + state["head.bias"]
    torch.testing.assert_close(model(images), logits.float(), rtol=1e-4, atol=1e-4)


def test_the_momentum_of_the_wide_resnet() -> None:
    model = build("wrn-10-1", options={"momentum": 0.001})
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(norms) == 7
    assert {(part.momentum, part.eps) for part in norms} == {(0.001, 1e-3)}


def test_start_values_have_the_spread_of_the_paper() -> None:
    model = build("wrn-28-2")
    for part in model.modules():
        if isinstance(part, nn.Conv2d) and part.weight.numel() > 10_000:
            fan_out = part.out_channels * part.kernel_size[0] ** 2
            assert part.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
            assert part.bias is None


@pytest.mark.parametrize("name", ["cnn-small", "cnn-13", "timm:test_resnet"])
def test_equal_seeds_give_equal_nets(name: str) -> None:
    first, second = build(name).state_dict(), build(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    torch.manual_seed(1)
    other = build_model(name, ["a", "b"], (3, 32, 32), mean=[0.5], std=[0.25]).state_dict()
    assert any(not torch.equal(first[k], other[k]) for k in first if k.startswith("encoder"))


@pytest.mark.parametrize("name", ["cnn-small", "resnet-small", "wrn-10-1", "cnn-13"])
def test_evaluation_is_deterministic_and_leaves_the_state(name: str) -> None:
    model = build(name, dropout=0.5).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    images = pictures(3, (3, 32, 32))
    assert torch.equal(model(images), model(images))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not torch.equal(model.train()(images), model(images))


def test_uint8_and_float_pictures_are_the_same() -> None:
    model, images = build("cnn-small").eval(), pictures(3, (3, 32, 32))
    assert torch.equal(model(images), model(images.float() / 255))


def test_normalisation_is_inside() -> None:
    model = build_model("cnn-small", ["a", "b"], (3, 8, 8), mean=[0.1, 0.2, 0.3], std=[1, 2, 4])
    images = torch.full((1, 3, 8, 8), 51, dtype=torch.uint8)  # 0.2
    expected = torch.tensor([0.1, 0.0, -0.025])
    torch.testing.assert_close(model.normalise(images)[0, :, 0, 0], expected)


@pytest.mark.parametrize("name", ["cnn-small", "resnet-small", "wrn-10-1", "cnn-13"])
def test_channels_last_changes_nothing_but_the_memory(name: str) -> None:
    model, images = build(name).eval(), pictures(2, (3, 32, 32))
    expected = model(images)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = model(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_bfloat16_gives_float32_logits_near_those_of_float32() -> None:
    model, images = build("cnn-small").eval(), pictures(2, (3, 32, 32))
    expected = model(images)
    model.precision = torch.bfloat16
    logits = model(images)
    assert logits.dtype == model.features(images).dtype == torch.float32
    assert not torch.equal(logits, expected)
    torch.testing.assert_close(logits, expected, rtol=0.1, atol=0.1)


def test_names_and_defaults() -> None:
    assert {"cnn-small", "resnet-small", "wrn-28-2", "cnn-13"} <= set(model_names())
    assert default_model((1, 8, 8)) == default_model((3, 40, 60)) == "cnn-small"
    assert default_model((3, 41, 60)) == "resnet-small"
    for name in model_names():
        assert build(name).spec.name == name


def test_one_value_of_mean_and_std_stands_for_all_channels() -> None:
    model = build_model("cnn-small", ["a", "b"], (3, 8, 8), mean=[0.5], std=[0.1, 0.2, 0.3])
    assert model.spec.mean == (0.5, 0.5, 0.5)
    assert model.spec.std == (0.1, 0.2, 0.3)


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("cnn-smal", {}, "no model named 'cnn-smal'.*Did you mean 'cnn-small'"),
        ("tim:resnet18", {}, "no model named 'tim:resnet18'.*'timm'"),
        ("wrn-27-2", {}, r"wrn-27-2.*depth of 6 n \+ 4"),
        ("wrn-4-2", {}, "depth of"),
        ("cnn-small", {"options": {"widht": 8}}, "no option 'widht'.*Did you mean 'width'"),
        ("wrn-28-2", {"options": {"width": 8}}, "no option 'width'"),
        ("cnn-small", {"options": {"norm": "layer"}}, "norm='layer'.*norm='group'"),
        ("cnn-small", {"options": {"width": "wide"}}, "cannot be built with the options"),
        ("cnn-small", {"options": {"width": 0}}, "width=0"),
        ("resnet-small", {"options": {"blocks": 0}}, "blocks=0"),
        ("cnn-small", {"weights": "default"}, "no published weights 'default'"),
        ("cnn-small", {"dropout": 1.0}, "dropout=1.0"),
        ("cnn-13", {"shape": (3, 8, 8)}, "8x8 pixels.*12 pixels or more"),
        ("cnn-small", {"shape": (3, 0, 8)}, r"picture shape \(3, 0, 8\)"),
    ],
)
def test_what_cannot_be_built(name: str, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=f"(?s){message}"):
        build(name, **kwargs)


@pytest.mark.parametrize(
    ("classes", "mean", "std", "message"),
    [
        (["one"], [0.5], [0.5], r"1 class\(es\)"),
        (["a", "b"], [0.5, 0.5], [0.5], "mean has 2 values for pictures of 3 channels"),
        (["a", "b"], [0.5], [0.5, 0.0, 0.5], "std="),
    ],
)
def test_what_does_not_fit_together(
    classes: list[str], mean: list[float], std: list[float], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        build_model("cnn-small", classes, (3, 8, 8), mean=mean, std=std)


def test_importing_models_loads_no_model_library() -> None:
    program = (
        "import sys, leaven.models\n"
        "print([m for m in ('timm', 'torchvision', 'onnx', 'onnxruntime') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
