"""Frozen backbones, classifiers of their features, and the two as one model of pictures."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from leaven.errors import MissingExtraError, ModelError
from leaven.models import (
    Backbone,
    Classifier,
    build_model,
    export_onnx,
    load_backbone,
    load_model,
    save_model,
    stack,
)

SHAPE = (3, 16, 16)


def pictures(size: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    generator = torch.Generator().manual_seed(size)
    return torch.randint(0, 256, (size, *shape), dtype=torch.uint8, generator=generator)


def build(name: str, shape: tuple[int, ...] = SHAPE, **options: Any) -> Classifier:
    torch.manual_seed(0)
    model = build_model(name, ["a", "b"], shape, mean=[0.4], std=[0.2], options=options)
    return model.eval()


def rows_classifier(name: str, width: int, **options: Any) -> Classifier:
    torch.manual_seed(1)
    mean, std = torch.randn(width).tolist(), (torch.rand(width) + 0.5).tolist()
    return build_model(
        name, ["a", "b", "c"], (width,), mean=mean, std=std, dropout=0.2, options=options
    ).eval()


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    save_model(build("cnn-small", width=8), folder / "model")
    return folder


# -- classifiers of rows --------------------------------------------------------------------------


def test_linear_and_mlp_take_rows() -> None:
    rows = torch.randn(4, 6)
    linear = rows_classifier("linear", 6)
    expected = linear.head((rows - linear.mean) / linear.std)
    torch.testing.assert_close(linear(rows), expected)
    assert linear.num_features == 6
    mlp = rows_classifier("mlp", 6, hidden=5, layers=2)
    hidden = (rows - mlp.mean) / mlp.std
    for layer in (mlp.encoder[1], mlp.encoder[3]):
        hidden = layer(hidden).relu()
    torch.testing.assert_close(mlp(rows), mlp.head(hidden))
    assert mlp.num_features == 5


def test_centred_rows_have_mean_zero_and_length_one() -> None:
    rows = torch.randn(4, 6)
    rows[3] = 2.0
    centred = rows_classifier("centred", 6)
    centred.mean.zero_(), centred.std.fill_(1.0)
    found = centred.features(rows)
    torch.testing.assert_close(found.mean(1), torch.zeros(4))
    torch.testing.assert_close(found.norm(dim=1), torch.tensor([1.0, 1.0, 1.0, 0.0]))
    torch.testing.assert_close(found[:3], centred.features(3 * rows[:3] + 1))


def test_linear_takes_the_pixels_of_pictures() -> None:
    model = build("linear")
    images = pictures(3)
    flat = ((images / 255 - 0.4) / 0.2).flatten(1)
    torch.testing.assert_close(model(images), model.head(flat))


def test_what_does_not_fit_rows_is_refused() -> None:
    with pytest.raises(ModelError, match="not feature rows") as error:
        rows_classifier("cnn-small", 6)
    assert "linear, mlp" in error.value.expected
    with pytest.raises(ModelError, match="hidden=0"):
        rows_classifier("mlp", 6, hidden=0)
    with pytest.raises(ModelError, match="shape"):
        build_model("linear", ["a", "b"], (3, 4), mean=[0.4], std=[0.2])


# -- backbones ------------------------------------------------------------------------------------


def test_pixels_are_the_pixels() -> None:
    backbone = load_backbone("pixels", SHAPE)
    assert backbone.num_features == 3 * 16 * 16
    images = pictures(2)
    torch.testing.assert_close(backbone(images), images.flatten(1) / 255)


@pytest.mark.parametrize("name", ["cifar-resnet-8", "wrn-10-1"])
def test_nets_of_any_depth_are_backbones(name: str, tmp_path: Path) -> None:
    model = build(name)
    save_model(model, tmp_path)
    backbone = load_backbone(name, SHAPE, weights=tmp_path / "model.safetensors")
    images = pictures(2)
    torch.testing.assert_close(backbone(images), model.features(images))


def test_the_folder_of_a_run_is_a_backbone(run_folder: Path) -> None:
    model, images = load_model(run_folder / "model"), pictures(4)
    for name in (run_folder, run_folder / "model"):
        backbone = load_backbone(str(name), SHAPE)
        torch.testing.assert_close(backbone(images), model.features(images))
        assert backbone.spec.name == "cnn-small"
        assert backbone.spec.options == {"width": 8}
    frozen = load_backbone(str(run_folder), SHAPE)
    assert not frozen.training
    assert not any(value.requires_grad for value in frozen.parameters())
    with pytest.raises(ModelError, match="3x16x16") as error:
        load_backbone(str(run_folder), (3, 20, 20))
    assert "--image-size 16" in error.value.do
    with pytest.raises(ModelError, match="brings its own"):
        load_backbone(str(run_folder), SHAPE, weights="other.safetensors")


def test_a_small_net_needs_weights_and_takes_those_of_leaven(run_folder: Path) -> None:
    with pytest.raises(ModelError, match="no published weights"):
        load_backbone("cnn-small", SHAPE)
    file = run_folder / "model" / "model.safetensors"
    backbone = load_backbone("cnn-small", SHAPE, weights=file, options={"width": 8})
    model, images = load_model(run_folder / "model"), pictures(4)
    torch.testing.assert_close(backbone(images), model.features(images))
    assert backbone.spec.mean == pytest.approx((0.4,) * 3)
    with pytest.raises(ModelError, match="(?s)no backbone 'cnn-smal'.*mean 'cnn-small'"):
        load_backbone("cnn-smal", SHAPE)


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("timm:mobilenetv3_small_050", (0.485, 0.456, 0.406)),
        ("torchvision:shufflenet_v2_x0_5", None),
    ],
)
def test_a_model_of_a_library_sees_pictures_as_its_weights_were_trained(
    tmp_path: Path, name: str, mean: tuple[float, ...] | None
) -> None:
    pytest.importorskip("timm")
    shape = (3, 32, 32)
    trained = build(name, shape)
    state = {f"{n}": v.contiguous() for n, v in trained.encoder.model.state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    backbone = load_backbone(name, shape, weights=tmp_path / "weights.safetensors")
    mean = mean or (0.485, 0.456, 0.406)
    assert backbone.spec.mean == pytest.approx(mean)
    std = torch.tensor(backbone.spec.std).view(1, 3, 1, 1)
    images = pictures(2, shape)
    seen = (images / 255 - torch.tensor(mean).view(1, 3, 1, 1)) / std
    torch.testing.assert_close(backbone(images), trained.encoder(seen))


def test_grey_pictures_get_the_mean_over_the_channels(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    trained = build("timm:mobilenetv3_small_050", (1, 32, 32))
    save_file(trained.encoder.model.state_dict(), tmp_path / "w.safetensors")
    backbone = load_backbone(
        "timm:mobilenetv3_small_050", (1, 32, 32), weights=tmp_path / "w.safetensors"
    )
    assert backbone.spec.mean == pytest.approx((sum((0.485, 0.456, 0.406)) / 3,))


@pytest.fixture
def tiny_clip(tmp_path: Path) -> str:
    """A CLIP model of a few thousand weights, known to open_clip by its name."""
    open_clip = pytest.importorskip("open_clip")
    vision = {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8, "head_width": 32}
    text = {"context_length": 8, "vocab_size": 32, "width": 16, "heads": 2, "layers": 1}
    config = {"embed_dim": 12, "vision_cfg": vision, "text_cfg": text}
    file = tmp_path / "tiny-clip.json"
    file.write_text(json.dumps(config))
    open_clip.add_model_config(file)
    return "openclip:tiny-clip"


@pytest.mark.parametrize("shape", [(3, 16, 16), (3, 8, 8), (1, 32, 32)])
def test_the_picture_half_of_clip_is_a_backbone(
    tmp_path: Path, tiny_clip: str, shape: tuple[int, int, int]
) -> None:
    import open_clip

    torch.manual_seed(0)
    whole = open_clip.create_model("tiny-clip").eval()
    torch.save(whole.state_dict(), tmp_path / "clip.pt")
    backbone = load_backbone(tiny_clip, shape, weights=tmp_path / "clip.pt")
    assert backbone.num_features == 12
    images = pictures(3, shape)
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1) for v in (whole.visual.image_mean, whole.visual.image_std)
    )
    if shape[0] == 1:
        mean, std = mean.mean(), std.mean()
    seen = (images / 255 - mean) / std
    seen = torch.nn.functional.interpolate(seen, (16, 16), mode="bicubic", antialias=shape[1] > 16)
    expected = whole.encode_image(seen.expand(-1, 3, -1, -1))
    torch.testing.assert_close(backbone(images), expected, rtol=1e-4, atol=1e-5)
    head = rows_classifier("linear", 12)
    again = load_model(save_model(stack(backbone, head), tmp_path / "model"))
    torch.testing.assert_close(again(images), head(backbone(images)))


def test_clip_says_what_it_does_not_have(tiny_clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="no classification model named 'ViT-B-3'"):
        load_backbone("openclip:ViT-B-3", SHAPE)
    with pytest.raises(ModelError, match="no published weights 'default'"):
        load_backbone(tiny_clip, SHAPE)
    with pytest.raises(ModelError, match="another activation") as error:
        load_backbone("openclip:ViT-B-32", SHAPE, weights="openai")
    assert "ViT-B-32-quickgelu" in error.value.expected
    with pytest.raises(ModelError, match="4 channels"):
        load_backbone(tiny_clip, (4, 16, 16))
    monkeypatch.setitem(__import__("sys").modules, "open_clip", None)
    with pytest.raises(MissingExtraError, match="open_clip"):
        load_backbone(tiny_clip, SHAPE)


# -- one model of pictures ------------------------------------------------------------------------


def backbones(run_folder: Path) -> list[Backbone]:
    return [load_backbone("pixels", SHAPE), load_backbone(str(run_folder), SHAPE)]


@pytest.mark.parametrize("head", ["centred", "linear", "mlp"])
def test_a_stack_is_the_classifier_of_the_features(
    run_folder: Path, tmp_path: Path, head: str
) -> None:
    images = pictures(5)
    for backbone in backbones(run_folder):
        rows = rows_classifier(head, backbone.num_features)
        model = stack(backbone, rows)
        expected = rows(backbone(images))
        torch.testing.assert_close(model(images), expected)
        assert model.spec.name == f"{backbone.spec.name}+{head}"
        assert (model.spec.shape, model.spec.classes) == (SHAPE, ("a", "b", "c"))
        again = load_model(save_model(model, tmp_path / backbone.spec.name))
        torch.testing.assert_close(again(images), expected)
        assert again.spec == model.spec


def test_a_run_on_features_is_a_backbone_again(run_folder: Path, tmp_path: Path) -> None:
    below = load_backbone(str(run_folder), SHAPE)
    save_model(stack(below, rows_classifier("mlp", 32, hidden=6)), tmp_path / "model")
    backbone = load_backbone(str(tmp_path), SHAPE)
    assert backbone.num_features == 6
    model = stack(backbone, rows_classifier("linear", 6))
    assert model.spec.name == "cnn-small+mlp+linear"
    images = pictures(3)
    expected = model(images)
    again = load_model(save_model(model, tmp_path / "second"))
    torch.testing.assert_close(again(images), expected)


def test_two_nets_by_one_name_can_be_built_and_trained() -> None:
    options = {"backbone": {"width": 8}, "head": {"hidden": 4}}
    model = build("cnn-small+mlp", **options)
    assert model(pictures(2)).shape == (2, 2)
    assert model.num_features == 4
    with pytest.raises(ModelError, match="no option 'width'"):
        build("cnn-small+mlp", width=8)
    with pytest.raises(ModelError, match="takes pictures"):
        build("cnn-small+cnn-small")


def test_a_stack_becomes_onnx(run_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    backbone = load_backbone(str(run_folder), SHAPE)
    model = stack(backbone, rows_classifier("linear", 32))
    assert export_onnx(model, tmp_path / "model.onnx") < 1e-4
