from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.models.detect_scenes import HEIGHT, WIDTH, discs
from torchvision.models import detection as torchvision_detection

from leaven.draws import Draws
from leaven.errors import ModelError
from leaven.models.detection import (
    FCOS,
    BucketHead,
    Detector,
    TwoStage,
    build_detector,
    detector_names,
    export_detector,
)
from leaven.models.files import load_model, save_model
from leaven.models.small import SmallCNN

SMALL = [
    ("rcnn-small", {}),
    ("rcnn-small", {"box_head": "bucket", "box": {"bins": 5}}),
    ("maskrcnn-small", {"quality": True}),
    ("retina-small", {"depth": 1}),
    ("fcos-small", {"norm": "batch"}),
    ("conv-instance-small", {}),
]
LIGHT = {"widths": (8, 8, 16, 16), "channels": 16}
_BACKBONE = {
    "model_type": "rt_detr_resnet",
    "embedding_size": 8,
    "hidden_sizes": [8, 16, 16, 16],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
    "out_features": ["stage2", "stage3", "stage4"],
}
RT_DETR = {
    "backbone_config": _BACKBONE,
    "encoder_in_channels": [16, 16, 16],
    "d_model": 16,
    "encoder_hidden_dim": 16,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "decoder_in_channels": [16, 16, 16],
    "num_queries": 150,
    "decoder_layers": 2,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "num_denoising": 4,
}


def build(name: str, classes: int = 3, **more: object) -> Detector:
    torch.manual_seed(0)
    names = [f"class {number}" for number in range(classes)]
    shape = (3, HEIGHT, WIDTH)
    return build_detector(name, names, shape, mean=(0.1,), std=(0.2,), **more)  # type: ignore[arg-type]


def same(one: Detector, other: Detector) -> None:
    pictures, _ = discs(2)
    found, again = (model.eval().detect(pictures, score=0.0) for model in (one, other))
    assert torch.equal(found.boxes, again.boxes)
    assert torch.equal(found.confidence, again.confidence)
    assert len(found.boxes)


@pytest.mark.parametrize(("name", "options"), SMALL)
def test_saved_and_loaded(name: str, options: dict[str, object], tmp_path: Path) -> None:
    model = build(name, options={**LIGHT, **options})
    save_model(model, tmp_path)
    with torch.no_grad():
        loaded = load_model(tmp_path, Detector)
    assert loaded.spec.classes == model.classes and not loaded.training
    # JSON knows no tuples.
    assert json.loads((tmp_path / "model.json").read_text())["spec"]["task"] == model.spec.task
    same(model, loaded)
    with pytest.raises(ModelError, match="is for"):
        load_model(tmp_path)


@pytest.mark.parametrize(("name", "options"), SMALL)
def test_other_classes_take_all_but_the_heads(
    name: str, options: dict[str, object], tmp_path: Path
) -> None:
    options = {**LIGHT, **options}
    model = build(name, options=options)
    path = save_model(model, tmp_path) / "model.safetensors"
    same(model, build(name, options=options, weights=path))
    other = build(name, classes=5, options=options, weights=str(path))
    assert torch.equal(other.backbone.stem[0].weight, model.backbone.stem[0].weight)  # type: ignore[union-attr]
    assert other.num_classes == 5
    losses = other.losses(*discs(1), Draws(0))
    assert all(value.isfinite() for value in losses.values())


def test_another_box_head_takes_the_rest(tmp_path: Path) -> None:
    path = save_model(build("rcnn-small", options=LIGHT), tmp_path) / "model.safetensors"
    model = build("rcnn-small", options={**LIGHT, "box_head": "bucket"}, weights=path)
    assert isinstance(model, TwoStage) and isinstance(model.box, BucketHead)


@pytest.mark.parametrize("saved", [True, False])
def test_weights_of_fcos_with_and_without_centreness(saved: bool, tmp_path: Path) -> None:
    first = build("fcos-small", options={**LIGHT, "centreness": saved})
    path = save_model(first, tmp_path) / "model.safetensors"
    model = build("fcos-small", options={**LIGHT, "centreness": not saved}, weights=path)
    assert torch.equal(model.head.location.weight, first.head.location.weight)
    assert (model.head.centreness is None) == saved


def test_heads_of_torchvision_for_other_classes(tmp_path: Path) -> None:
    twin = torchvision_detection.fcos_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=8
    )
    torch.save(twin.state_dict(), tmp_path / "twin.pt")
    model = build("torchvision:fcos_resnet50_fpn", weights=tmp_path / "twin.pt")
    assert isinstance(model, FCOS) and model.spec.options == {"frozen": True}
    tower = twin.head.classification_head.conv
    assert torch.equal(model.head.class_tower[3][0].weight, tower[9].weight)  # type: ignore[index]
    assert model.head.class_logits.weight.shape[0] == 3
    assert not any("num_batches" in key for key in model.state_dict())
    fixed = [key for key, weight in model.named_parameters() if not weight.requires_grad]
    assert fixed and all("backbone.body.body" in key for key in fixed)
    with pytest.raises(ModelError, match="do not fit 'torchvision:retinanet"):
        build("torchvision:retinanet_resnet50_fpn", weights=tmp_path / "twin.pt")


def test_grey_pictures() -> None:
    model = build_detector("fcos-small", ["a"], (1, 64, 64), mean=(0.5,), std=(0.5,), options=LIGHT)
    assert model.detect(torch.zeros(1, 1, 64, 64)).counts.shape == (1,)


def test_rt_detr(tmp_path: Path) -> None:
    name = "transformers:rt-detr"
    model = build(name, options={"config": RT_DETR}).train()
    pictures, labels = discs(2)
    state = torch.get_rng_state()
    losses = model.losses(pictures, labels, Draws(3))
    again = model.losses(pictures, labels, Draws(3))
    assert torch.equal(state, torch.get_rng_state())
    assert losses.keys() == {"class", "box", "giou"}
    assert all(torch.allclose(losses[key], again[key]) for key in losses)
    nothing = labels.keep(torch.zeros(len(labels.boxes), dtype=torch.bool))
    empty = model.losses(pictures, nothing, Draws(3))
    assert all(value.isfinite() for value in empty.values()) and empty["class"] > 0
    sum(empty.values()).backward()  # type: ignore[union-attr]
    save_model(model, tmp_path / "own")
    same(model, load_model(tmp_path / "own", Detector))
    model.network.save_pretrained(tmp_path / "library")  # type: ignore[operator, union-attr]
    same(model, build(name, weights=tmp_path / "library"))
    other = build(name, classes=5, weights=tmp_path / "library")
    assert other(pictures)[0].shape == (2, 150, 5)


def test_boxes_of_rt_detr_are_those_of_the_library() -> None:
    from transformers import RTDetrImageProcessor

    model = build("transformers:rt-detr", options={"config": RT_DETR}).eval()
    pictures, _ = discs(1)
    with torch.no_grad():
        raw = model.network(pixel_values=model.normalise(pictures))  # type: ignore[operator]
        sides = torch.tensor([[96, 128]])
        (expected,) = RTDetrImageProcessor().post_process_object_detection(raw, 0.0, sides)
        scores, boxes = model(pictures)
    order = scores.flatten().topk(150).indices
    assert torch.allclose(scores.flatten()[order], expected["scores"], atol=1e-5)
    limits = torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])
    theirs = torch.minimum(expected["boxes"].clamp_min(0), limits)
    assert torch.allclose(boxes[0, order // 3], theirs, atol=1e-3)


@pytest.mark.parametrize("name", ["retina-small", "conv-instance-small"])
def test_onnx(name: str, tmp_path: Path) -> None:
    model = build(name, options=LIGHT)
    assert export_detector(model, tmp_path / "model.onnx") < 1e-2
    assert (tmp_path / "model.onnx").stat().st_size > 1000


def test_two_stages_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="two stages"):
        export_detector(build("rcnn-small", options=LIGHT), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Did you mean 'rcnn-small'"):
        build("rcnn-smal")
    with pytest.raises(ModelError, match="no option 'wide'"):
        build("rcnn-small", options={"wide": 3})
    with pytest.raises(ModelError, match="no box head named 'bucked'"):
        build("rcnn-small", options={"box_head": "bucked"})
    with pytest.raises(ModelError, match="cannot be built"):
        build("rcnn-small", options={"widths": (8,)})
    with pytest.raises(ModelError, match="No class"):
        build("rcnn-small", classes=0)
    with pytest.raises(ModelError, match="no published weights 'default'"):
        build("fcos-small", weights="default")
    with pytest.raises(ModelError, match="no published weights 'COCO_V9'"):
        build("torchvision:fcos_resnet50_fpn", weights="COCO_V9")
    with pytest.raises(ModelError, match="no folder"):
        build("transformers:rt-detr", weights=tmp_path / "nowhere")
    with pytest.raises(ModelError, match="no option 'depth'"):
        build("transformers:rt-detr", options={"depth": 3})
    with pytest.raises(ModelError, match="feature rows"):
        build_detector("fcos-small", ["a"], (7,), mean=(0.0,), std=(1.0,))
    with pytest.raises(ModelError, match="2 channels"):
        build_detector("torchvision:fcos_resnet50_fpn", ["a"], (2, 9, 9), mean=(0.0,), std=(1.0,))
    net = SmallCNN((3, 32, 32))
    torch.save(net.state_dict(), tmp_path / "other.pt")
    with pytest.raises(ModelError, match="do not fit"):
        build("fcos-small", weights=tmp_path / "other.pt")


def test_names() -> None:
    assert "rcnn-small" in detector_names()
    assert "maskrcnn-small" in detector_names("instance")
    assert set(detector_names("instance")) < set(detector_names())
