"""Segmentation networks of other libraries against the libraries' own forward."""

import copy
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from leaven.errors import ModelError
from leaven.models import Segmenter, build_segmenter, load_model, redraw_decoder, save_model

SEGFORMER = {
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [4, 8, 12, 16],
    "num_attention_heads": [1, 1, 2, 2],
    "decoder_hidden_size": 12,
}
MASK2FORMER = {
    "backbone_config": {
        "embed_dim": 8,
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 2, 2],
        "window_size": 4,
    },
    "feature_size": 32,
    "mask_feature_size": 16,
    "hidden_dim": 32,
    "encoder_feedforward_dim": 32,
    "dim_feedforward": 32,
    "encoder_layers": 1,
    "decoder_layers": 4,
    "num_attention_heads": 2,
    "num_queries": 7,
}

ADAPTERS: list[tuple[str, dict[str, Any]]] = [
    ("torchvision:lraspp_mobilenet_v3_large", {}),
    ("timm:test_resnet", {"width": 16, "low": 8}),
    ("transformers:segformer", SEGFORMER),
    ("transformers:mask2former", MASK2FORMER),
]


def build(
    name: str, shape: tuple[int, ...] = (3, 64, 80), classes: int = 4, **kwargs: Any
) -> Segmenter:
    torch.manual_seed(0)
    names = [f"c{i}" for i in range(classes)]
    return build_segmenter(name, names, shape, mean=[0.0], std=[1.0], **kwargs).eval()


def pictures(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def moved(model: nn.Module) -> nn.Module:
    """In eval mode, with batch statistics and biases that are not those of the start."""
    torch.manual_seed(1)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr]
            part.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
        if isinstance(part, nn.Conv2d | nn.Linear) and part.bias is not None:
            nn.init.normal_(part.bias, std=0.1)
    return model.eval()


@pytest.mark.parametrize(
    ("name", "channels", "strides"),
    [
        ("deeplabv3_resnet50", (256, 512, 1024, 2048), (4, 8, 8, 8)),
        ("fcn_resnet50", (256, 512, 1024, 2048), (4, 8, 8, 8)),
        ("deeplabv3_mobilenet_v3_large", (40, 960), (8, 16)),
        ("lraspp_mobilenet_v3_large", (40, 960), (8, 16)),
    ],
)
def test_torchvision_says_the_same(
    tmp_path: Path, name: str, channels: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    from torchvision import models

    auxiliary = {} if name.startswith("lraspp") else {"aux_loss": True}
    library = moved(
        models.get_model(name, weights=None, weights_backbone=None, num_classes=4, **auxiliary)
    )
    save_file(library.state_dict(), tmp_path / "whole.safetensors")
    model = build(f"torchvision:{name}", weights=tmp_path / "whole.safetensors")
    assert (model.encoder_channels, model.strides) == (channels, strides)
    images = pictures(1, 3, 64, 80)
    with torch.no_grad():
        expected, found = library(images)["out"], model(images)
    assert expected.abs().max() > 0.01
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
    odd = pictures(1, 3, 57, 71)
    with torch.no_grad():
        assert torch.allclose(model(odd), library(odd)["out"], rtol=1e-4, atol=1e-5)


def test_a_torchvision_head_of_other_classes_starts_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from torchvision import models

    name = "lraspp_mobilenet_v3_large"
    library = models.get_model(name, weights=None, weights_backbone=None, num_classes=21)
    save_file(library.state_dict(), tmp_path / "whole.safetensors")
    with caplog.at_level(logging.INFO):
        model = build(f"torchvision:{name}", weights=tmp_path / "whole.safetensors")
    assert "starts anew" in caplog.text
    assert model(pictures(1, 3, 64, 80)).shape == (1, 4, 64, 80)
    assert torch.equal(
        model.net.get_parameter("model.classifier.cbr.0.weight"),
        library.get_parameter("classifier.cbr.0.weight"),
    )


def test_published_weights_of_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the download replaced by what it would bring."""
    from torchvision import models
    from torchvision.models._api import WeightsEnum

    name = "lraspp_mobilenet_v3_large"
    whole = moved(models.get_model(name, weights=None, weights_backbone=None, num_classes=21))
    backbone = moved(models.mobilenet_v3_large(weights=None))

    def bring(weights: Any, **_: Any) -> dict[str, Tensor]:
        return (whole if "LRASPP" in type(weights).__name__ else backbone).state_dict()

    monkeypatch.setattr(WeightsEnum, "get_state_dict", bring)
    images, part = pictures(1, 3, 64, 80), "0.0.weight"
    model = build(f"torchvision:{name}", classes=21, weights="default")
    with torch.no_grad():
        assert torch.allclose(model(images), whole(images)["out"], rtol=1e-4, atol=1e-5)
    fewer = build(f"torchvision:{name}", classes=4, weights="COCO_WITH_VOC_LABELS_V1")
    assert fewer(images).shape[1] == 4
    mine = fewer.net.get_parameter(f"model.backbone.{part}")
    assert torch.equal(mine, whole.get_parameter(f"backbone.{part}"))
    started = build(f"torchvision:{name}", weights="imagenet")
    mine = started.net.get_parameter(f"model.backbone.{part}")
    assert torch.equal(mine, backbone.get_parameter(f"features.{part}"))


def test_grey_pictures_are_repeated() -> None:
    name = "torchvision:lraspp_mobilenet_v3_large"
    grey, colour = build(name, (1, 64, 80)), build(name)
    images = pictures(1, 1, 64, 80)
    assert torch.equal(grey(images), colour(images.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize(
    ("name", "shape", "stride"),
    [
        ("timm:test_resnet", (1, 64, 80), 16),
        ("timm:test_convnext", (3, 64, 80), 16),
        ("timm:mobilenetv3_small_050", (3, 64, 80), 16),
        ("timm:test_vit", (3, 64, 96), 16),
    ],
)
def test_any_backbone_of_timm_gets_a_decoder(
    name: str, shape: tuple[int, int, int], stride: int
) -> None:
    pytest.importorskip("timm")
    model = build(name, shape, options={"width": 16, "low": 8})
    images = pictures(2, *shape)
    features = model.encode(images)
    assert [maps.shape[1] for maps in features] == list(model.encoder_channels)
    assert model.strides[-1] == stride
    assert model.num_features == 16
    assert model(images).shape == (2, 4, *shape[1:])
    model.train()(images).square().mean().backward()
    assert all(p.grad is not None for p in model.decoder_parameters())


def test_maps_of_timm_with_channels_last_are_turned() -> None:
    pytest.importorskip("timm")
    options = {"width": 16, "low": 8, "embed_dim": 8, "depths": (1, 1, 1, 1)}
    model = build("timm:swin_tiny_patch4_window7_224", (3, 64, 64), options=options)
    assert model.encoder_channels == (8, 64)
    assert model.strides == (4, 32)


def test_timm_starts_from_a_file_of_the_whole_model(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    whole = moved(timm.create_model("test_resnet", num_classes=7))
    save_file(whole.state_dict(), tmp_path / "whole.safetensors")
    options = {"width": 16, "output_stride": 32}
    model = build("timm:test_resnet", weights=tmp_path / "whole.safetensors", options=options)
    images = pictures(1, 3, 64, 80)
    with torch.no_grad():
        expected = whole.forward_intermediates(images, intermediates_only=True)
        low, last = model.encode(images)
    assert torch.allclose(low, expected[1], atol=1e-5)
    assert torch.allclose(last, expected[-1], atol=1e-5)
    save_file({"conv.weight": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ModelError, match="do not fit the model"):
        build("timm:test_resnet", weights=tmp_path / "foreign.safetensors", options=options)


def segformer(folder: Path, classes: int = 4) -> Any:
    transformers = pytest.importorskip("transformers")
    config = transformers.SegformerConfig(**SEGFORMER, num_labels=classes)
    library = moved(transformers.SegformerForSemanticSegmentation(config))
    library.save_pretrained(folder)
    return library


def test_segformer_says_the_same(tmp_path: Path) -> None:
    library = segformer(tmp_path)
    model = build(f"transformers:{tmp_path}", weights="default")
    assert model.encoder_channels == (4, 8, 12, 16)
    assert model.strides == (4, 8, 16, 32)
    images = pictures(2, 3, 57, 71)
    with torch.no_grad():
        logits = library(images).logits
        expected = F.interpolate(logits, (57, 71), mode="bilinear", align_corners=False)
        assert torch.allclose(model(images), expected, atol=1e-5)
    assert expected.abs().max() > 0.01


def mask2former(folder: Path, classes: int = 4) -> Any:
    transformers = pytest.importorskip("transformers")
    stages = ["stage1", "stage2", "stage3", "stage4"]
    backbone: Any = MASK2FORMER["backbone_config"]
    swin = transformers.SwinConfig(**backbone, out_features=stages)
    config = transformers.Mask2FormerConfig(
        **{**MASK2FORMER, "backbone_config": swin}, num_labels=classes
    )
    library = moved(transformers.Mask2FormerForUniversalSegmentation(config))
    library.save_pretrained(folder)
    return library


def test_mask2former_says_the_same(tmp_path: Path) -> None:
    library = mask2former(tmp_path)
    model = build(f"transformers:{tmp_path}", weights="default")
    assert model.strides == (4, 8, 16, 32)
    images = pictures(2, 3, 64, 80)
    with torch.no_grad():
        outputs = library(images)
        found = model.classify(model.decode(model.encode(images)))
    # The library's own rule for maps of classes, before it is brought to the size of the pictures.
    probs = outputs.class_queries_logits.softmax(-1)[..., :-1]
    masks = outputs.masks_queries_logits.sigmoid()
    scores = torch.einsum("bqc,bqhw->bchw", probs, masks)
    assert torch.allclose(found.exp(), scores + 1e-6, rtol=1e-4, atol=1e-6)
    assert torch.equal(found.argmax(1), scores.argmax(1))
    assert torch.allclose(found.softmax(1), scores / scores.sum(1, keepdim=True), atol=1e-4)


def test_mask2former_stays_finite_where_no_query_sees_anything() -> None:
    model = build("transformers:mask2former", options=MASK2FORMER)
    bias = model.net.get_parameter("model.class_predictor.bias")
    with torch.no_grad():
        bias.copy_(torch.tensor([-200.0, -200, -200, -200, 200]))
    logits = model(pictures(1, 3, 64, 64))
    F.cross_entropy(logits, torch.zeros(1, 64, 64, dtype=torch.long)).backward()
    assert logits.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (segformer, "decode_head.linear_fuse.weight"),
        (mask2former, "model.transformer_module.queries_features.weight"),
    ],
)
def test_published_weights_of_other_classes_start_the_head_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Any, part: str
) -> None:
    library = make(tmp_path, classes=9)
    with caplog.at_level(logging.INFO):
        model = build(f"transformers:{tmp_path}", weights="default")
    assert "start anew" in caplog.text
    assert model(pictures(1, 3, 64, 80)).shape == (1, 4, 64, 80)
    assert torch.equal(model.net.get_parameter(f"model.{part}"), library.get_parameter(part))


def test_a_mask2former_file_of_other_classes_starts_the_classes_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = "transformers:mask2former"
    source = build(name, classes=9, options=MASK2FORMER)
    path = save_model(source, tmp_path) / "model.safetensors"
    with caplog.at_level(logging.INFO):
        model = build(name, options=MASK2FORMER, weights=path)
    assert "another number of classes" in caplog.text
    part = "model.model.transformer_module.queries_features.weight"
    assert torch.equal(model.net.get_parameter(part), source.net.get_parameter(part))


@pytest.mark.parametrize(("name", "options"), ADAPTERS)
def test_a_saved_adapter_is_the_same(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    model = build(name, (1, 64, 80), options=options)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path, Segmenter)
    assert loaded.spec == model.spec
    images = pictures(1, 1, 64, 80)
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))


@pytest.mark.parametrize(("name", "options"), ADAPTERS)
def test_a_copy_shares_nothing_and_decoding_leaves_the_features(
    name: str, options: dict[str, Any]
) -> None:
    model, images = build(name, options=options), pictures(2, 3, 64, 80)
    with torch.no_grad():
        logits, features = model(images), model.encode(images)
        assert torch.equal(model.decode(features), model.decode(features))
        twin = copy.deepcopy(model)
        for parameter in model.parameters():
            parameter.zero_()
        assert torch.equal(twin(images), logits)


@pytest.mark.parametrize(("name", "options"), ADAPTERS)
def test_half_precision_trains_the_whole_net(name: str, options: dict[str, Any]) -> None:
    model, images = build(name, options=options).train(), pictures(2, 3, 64, 80)
    model.precision = torch.bfloat16
    logits = model(images)
    assert logits.dtype == torch.float32
    F.cross_entropy(logits, torch.ones(2, 64, 80, dtype=torch.long)).backward()
    first = model.encoder_parameters()[0]
    assert first.grad is not None
    assert first.grad.isfinite().all()
    assert first.grad.abs().sum() > 0


@pytest.mark.parametrize(("name", "options"), ADAPTERS)
def test_redrawn_decoders_differ_on_one_encoder(name: str, options: dict[str, Any]) -> None:
    model, images = build(name, options=options), pictures(1, 3, 64, 80)
    with torch.no_grad():
        features, logits = model.encode(images), model(images)
        redraw_decoder(model, torch.Generator().manual_seed(1))
        for before, after in zip(features, model.eval().encode(images), strict=True):
            assert torch.equal(before, after)
        assert not torch.allclose(model(images), logits)


def test_a_folder_needs_its_files_once(tmp_path: Path) -> None:
    segformer(tmp_path / "hub")
    model = build(f"transformers:{tmp_path / 'hub'}", weights="default")
    save_model(model, tmp_path / "own")
    for file in (tmp_path / "hub").iterdir():
        file.unlink()
    loaded, images = load_model(tmp_path / "own", Segmenter), pictures(1, 3, 64, 80)
    assert torch.equal(loaded(images), model(images))


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("torchvision:deeplabv3_resnet5", {}, "Did you mean 'deeplabv3_resnet50'"),
        ("torchvision:resnet18", {}, "no segmentation model named"),
        ("torchvision:fcn_resnet50", {"shape": (4, 64, 64)}, "1 or 3 channels"),
        ("torchvision:fcn_resnet50", {"weights": "nonsense"}, "no published weights"),
        ("torchvision:fcn_resnet50", {"options": {"aux_loss": True}}, "has no option 'aux_loss'"),
        ("timm:test_resne", {}, "Did you mean"),
        ("timm:test_resnet", {"options": {"nonsense": 1}}, "cannot be built"),
        ("timm:test_resnet", {"options": {"output_stride": 5}}, "cannot be built"),
        ("transformers:segfrmer", {}, "Did you mean 'segformer'"),
        ("transformers:segformer", {"weights": "default"}, "no published weights"),
        ("transformers:segformer", {"options": {"depth": [1]}}, "Did you mean 'depths'"),
        ("transformers:segformer", {"options": {"depths": 3}}, "no configuration"),
        ("transformers:segformer", {"shape": (4, 64, 64)}, "1 or 3 channels"),
        ("transformers:nobody/nothing", {}, "cannot be had"),
    ],
)
def test_what_cannot_be_adapted_is_said(name: str, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build(name, **kwargs)


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    transformers.SwinConfig().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="of the kind 'swin'"):
        build(f"transformers:{tmp_path}")
