"""Segmenters: the small nets, what methods take from them, files and ONNX."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leaven.errors import ModelError
from leaven.models import (
    Classifier,
    Segmenter,
    build_model,
    build_segmenter,
    export_onnx,
    load_model,
    redraw_decoder,
    save_model,
    segmenter_names,
)

SMALL: list[tuple[str, dict[str, Any]]] = [
    ("unet", {"widths": [4, 6, 8, 10]}),
    ("unet", {"widths": [4, 6, 8], "up": "transposed", "norm": "group"}),
    ("deeplab-small", {"widths": [4, 6, 8, 10], "width": 8}),
    ("deeplab-small", {"widths": [4, 6, 8, 10], "width": 8, "output_stride": 4}),
]


def build(
    name: str, shape: tuple[int, ...] = (3, 32, 40), classes: int = 4, seed: int = 0, **kwargs: Any
) -> Segmenter:
    torch.manual_seed(seed)
    names = [f"c{i}" for i in range(classes)]
    model = build_segmenter(name, names, shape, mean=[0.4], std=[0.2], **kwargs)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr]
            part.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return model.eval()


def pictures(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(("name", "options"), SMALL)
@pytest.mark.parametrize("shape", [(3, 32, 40), (1, 17, 23)])
def test_a_step_moves_every_weight(
    name: str, options: dict[str, Any], shape: tuple[int, ...]
) -> None:
    model = build(name, shape, options=options).train()
    images, truth = pictures(2, *shape), pictures(2, *shape[1:]).long() % 4
    logits = model(images)
    assert logits.shape == (2, 4, *shape[1:])
    assert logits.dtype == torch.float32
    F.cross_entropy(logits, truth).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(("name", "options"), SMALL)
def test_forward_is_made_of_its_parts(name: str, options: dict[str, Any]) -> None:
    model, images = build(name, options=options), pictures(2, 3, 33, 41)
    features = model.encode(images)
    assert [maps.shape[1] for maps in features] == list(model.encoder_channels)
    sizes = [maps.shape[2] for maps in features]
    assert sizes == sorted(sizes, reverse=True)
    assert len(features) >= 2
    pixel = model.decode(features)
    assert pixel.shape[:2] == (2, model.num_features)
    low = model.classify(pixel)
    assert low.shape == (2, 4, *pixel.shape[2:])
    assert torch.equal(model.resize(low, (33, 41)), model(images))


@pytest.mark.parametrize(
    ("name", "options", "channels", "strides"),
    [
        ("unet", {}, (16, 32, 64, 96), (1, 2, 4, 8)),
        ("deeplab-small", {}, (24, 96), (2, 8)),
        ("deeplab-small", {"output_stride": 4}, (24, 96), (2, 4)),
    ],
)
def test_the_sizes_that_the_docs_say(
    name: str, options: dict[str, Any], channels: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    model = build(name, (3, 120, 160), classes=11, options=options)
    assert (model.encoder_channels, model.strides) == (channels, strides)
    maps = model.encode(pictures(1, 3, 120, 160))[-1]
    assert maps.shape[2:] == (120 // strides[-1], 160 // strides[-1])
    weights = sum(p.numel() for p in model.parameters())
    assert weights == {"unet": 365_531, "deeplab-small": 534_835}[name]


def test_a_dropped_channel_changes_the_logits_and_none_does_not() -> None:
    model, images = build("unet", options=SMALL[0][1]), pictures(2, 3, 32, 40)
    features = model.encode(images)
    for number in range(len(features)):
        dropped = [maps.clone() for maps in features]
        dropped[number][:, ::2] = 0
        assert not torch.equal(model.decode(dropped), model.decode(features))


@pytest.mark.parametrize("name", ["unet", "deeplab-small"])
def test_pictures_are_normalised_inside(name: str) -> None:
    model, images = build(name), pictures(2, 3, 32, 40)
    expected = model.net.encode((images.float() / 255 - 0.4) / 0.2)[-1]
    assert torch.allclose(model.encode(images)[-1], expected, atol=1e-6)
    assert torch.allclose(model(images), model(images.float() / 255), atol=1e-5)


@pytest.mark.parametrize(("name", "options"), SMALL)
def test_channels_last_and_half_precision_say_the_same(name: str, options: dict[str, Any]) -> None:
    model, images = build(name, options=options), pictures(2, 3, 33, 41)
    expected = model(images)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = model(images.to(memory_format=torch.channels_last))
    assert torch.allclose(found, expected, atol=1e-4)
    model.precision = torch.bfloat16
    rough = model(images)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, expected)
    assert (rough - expected).abs().max() < 0.1 * expected.abs().max()
    assert {maps.dtype for maps in model.encode(images)} == {torch.float32}
    model.train()(images).sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())  # type: ignore[union-attr]


def test_bilinear_steps_are_aligned_as_the_net_says() -> None:
    model, maps = build("deeplab-small"), torch.rand(1, 4, 5, 7)
    expected = F.interpolate(maps, (9, 13), mode="bilinear", align_corners=True)
    assert torch.equal(model.resize(maps, (9, 13)), expected)
    assert torch.allclose(expected[..., ::2, ::2], maps)


@pytest.mark.parametrize("name", ["unet", "deeplab-small"])
def test_a_redrawn_decoder_sits_on_the_same_encoder(name: str) -> None:
    first, second, third = (build(name, seed=5) for _ in range(3))
    redraw_decoder(second, torch.Generator().manual_seed(1))
    redraw_decoder(third, torch.Generator().manual_seed(1))
    for mine, theirs in zip(first.encoder_parameters(), second.encoder_parameters(), strict=True):
        assert torch.equal(mine, theirs)
    drawn = [p for p in first.decoder_parameters() if p.ndim == 4]
    others = [p for p in second.decoder_parameters() if p.ndim == 4]
    assert len(drawn) >= 4
    assert not any(torch.equal(mine, theirs) for mine, theirs in zip(drawn, others, strict=True))
    for mine, theirs in zip(second.parameters(), third.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    both = {id(p) for p in first.encoder_parameters() + first.decoder_parameters()}
    assert both == {id(p) for p in first.parameters()}


def test_redrawing_leaves_the_global_generator() -> None:
    model = build("unet", options=SMALL[0][1])
    before = torch.get_rng_state()
    redraw_decoder(model, torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_decoder_has_no_part_in_the_encoder() -> None:
    for name in segmenter_names():
        model, images = build(name), pictures(1, 3, 32, 40)
        before = model.encode(images)
        with torch.no_grad():
            for parameter in model.decoder_parameters():
                parameter.zero_()
        for mine, theirs in zip(before, model.encode(images), strict=True):
            assert torch.equal(mine, theirs)


@pytest.mark.parametrize(("name", "options"), SMALL)
def test_a_saved_segmenter_is_the_same_bit_by_bit(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    model, images = build(name, options=options), pictures(2, 3, 32, 40)
    save_model(model, tmp_path, {"miou": 0.5})
    assert json.loads((tmp_path / "model.json").read_text())["spec"]["task"] == "segmentation"
    loaded = load_model(tmp_path, Segmenter)
    assert loaded.spec == model.spec
    assert loaded.classes == ("c0", "c1", "c2", "c3")
    assert (loaded.encoder_channels, loaded.strides) == (model.encoder_channels, model.strides)
    assert torch.equal(loaded(images), model(images))


def test_a_model_of_another_task_is_refused(tmp_path: Path) -> None:
    save_model(build("unet", options=SMALL[0][1]), tmp_path / "pixels")
    classifier = build_model("cnn-small", ["a", "b"], (3, 8, 8), mean=[0.5], std=[0.5])
    save_model(classifier, tmp_path / "pictures")
    with pytest.raises(ModelError, match="is for segmentation: 'unet'"):
        load_model(tmp_path / "pixels")
    with pytest.raises(ModelError, match="is for classification: 'cnn-small'"):
        load_model(tmp_path / "pictures", Segmenter)
    assert isinstance(load_model(tmp_path / "pictures", nn.Module), Classifier)


def test_another_number_of_classes_starts_the_head_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, options = build("unet", options=SMALL[0][1]), SMALL[0][1]
    path = save_model(source, tmp_path) / "model.safetensors"
    same = build("unet", seed=1, options=options, weights=path)
    images = pictures(1, 3, 32, 40)
    with caplog.at_level(logging.INFO):
        other = build("unet", classes=7, seed=1, options=options, weights=path)
    assert "starts anew" in caplog.text
    assert other(images).shape[1] == 7
    for mine, theirs in zip(source.net.parameters(), other.net.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(same.head.weight, source.head.weight)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "options"), SMALL)
def test_onnx_says_the_same(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model, path = build(name, (3, 17, 23), options=options), tmp_path / "model.onnx"
    assert export_onnx(model, path) < 1e-3
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images = pictures(3, 3, 17, 23)
    (found,) = session.run(["logits"], {"images": images.numpy()})
    assert found.shape == (3, 4, 17, 23)
    assert np.abs(found - model(images).detach().numpy()).max() < 1e-3


@pytest.mark.parametrize(
    ("name", "shape", "kwargs", "message"),
    [
        ("unett", (3, 32, 32), {}, "Did you mean 'unet'"),
        ("deeplab_small", (3, 32, 32), {}, "Did you mean 'deeplab-small'"),
        ("torchvison:fcn_resnet50", (3, 32, 32), {}, "Did you mean 'torchvision'"),
        ("unet", (3, 4, 4), {}, "does not take pictures of 4x4 pixels"),
        ("unet", (3, 8, 8), {}, "one position"),
        ("deeplab-small", (3, 8, 8), {}, "one position"),
        ("unet", (12,), {}, "feature rows have no pixels"),
        ("unet", (3, 32, 32), {"classes": 1}, "two classes or more"),
        ("unet", (3, 32, 32), {"options": {"width": [8, 8]}}, "Did you mean 'widths'"),
        ("unet", (3, 32, 32), {"options": {"widths": [8]}}, "two or more widths"),
        ("unet", (3, 32, 32), {"options": {"up": "nearest"}}, "up='nearest'"),
        ("deeplab-small", (3, 32, 32), {"options": {"output_stride": 16}}, "output_stride=16"),
        ("deeplab-small", (3, 32, 32), {"options": {"widths": [8, 8]}}, "four widths"),
        ("unet", (3, 32, 32), {"weights": "default"}, "no published weights"),
        ("unet", (3, 32, 32), {"weights": Path("none.safetensors")}, "no weights file"),
    ],
)
def test_what_cannot_be_built_is_said(
    name: str, shape: tuple[int, ...], kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        build(name, shape, **kwargs)


def test_weights_of_another_net_are_refused(tmp_path: Path) -> None:
    path = save_model(build("unet", options=SMALL[0][1]), tmp_path) / "model.safetensors"
    with pytest.raises(ModelError, match="do not fit the model"):
        build("deeplab-small", weights=path)
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "foreign.pt")
    with pytest.raises(ModelError, match="were not written by leaven"):
        build("unet", weights=tmp_path / "foreign.pt")
