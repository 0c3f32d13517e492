"""The same weights and pictures give what torchvision gives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign, roi_align

from leaven.draws import Draws
from leaven.labels.boxes import BoxLabels
from leaven.labels.masks import Masks
from leaven.models.adapters import IMAGENET
from leaven.models.detection import Detector, Pyramid, RegionPool, Regions, build_detector
from leaven.models.detection.anchors import AnchorGrid
from leaven.models.detection.pooling import pooled_regions
from leaven.models.detection.two_stage import TwoStage

HEIGHT, WIDTH = 96, 120
EVERYTHING = 100_000
NAMES = {
    "rpn_objectness": "loss_objectness",
    "rpn_box": "loss_rpn_box_reg",
    "roi_class": "loss_classifier",
    "roi_box": "loss_box_reg",
    "mask": "loss_mask",
}
DENSE_NAMES = {
    "class": "classification",
    "box": "bbox_regression",
    "centreness": "bbox_ctrness",
}


def scene() -> tuple[Tensor, list[Tensor], list[Tensor], Masks]:
    pictures = torch.rand(3, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    boxes = [
        torch.tensor([[5.0, 8.0, 40.0, 50.0], [30.0, 20.0, 110.0, 90.0]]),
        torch.zeros(0, 4),
        torch.tensor([[60.5, 10.25, 100.0, 80.0]]),
    ]
    classes = [torch.tensor([0, 1]), torch.zeros(0, dtype=torch.int64), torch.tensor([1])]
    masks = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.bool)
    masks[0, 8:50, 5:30] = True
    masks[1, 30:90, 30:100] = True
    masks[2, 11:80, 61:90] = True
    return pictures, boxes, classes, Masks.from_dense(masks)


def torchvision_twin(name: str, num_classes: int, **options: object) -> nn.Module:
    """With pictures at their own size, and everything sampled."""
    torch.manual_seed(1)
    return getattr(detection, name)(
        weights=None,
        weights_backbone=None,
        num_classes=num_classes,
        min_size=HEIGHT,
        **options,
    )


def adapted(name: str, twin: nn.Module, tmp_path: object) -> Detector:
    path = f"{tmp_path}/twin.pt"
    torch.save(twin.state_dict(), path)
    return build_detector(
        f"torchvision:{name}",
        ["a", "b"],
        (3, HEIGHT, WIDTH),
        mean=IMAGENET[0],
        std=IMAGENET[1],
        weights=path,
        options={"frozen": False},
    )


def theirs(boxes: list[Tensor], classes: list[Tensor], masks: Masks, shift: int) -> list[dict]:
    targets, row = [], 0
    dense = masks.dense()
    for some, kinds in zip(boxes, classes, strict=True):
        own = dense[row : row + len(some)].to(torch.uint8)
        targets.append({"boxes": some, "labels": kinds + shift, "masks": own})
        row += len(some)
    return targets


def same_detections(model: Detector, twin: nn.Module, pictures: Tensor, shift: int) -> None:
    model.eval(), twin.eval()
    with torch.no_grad():
        expected = twin(list(pictures))
        found = model.detections(pictures, score=0.05, nms=0.5)
    assert found.counts.tolist() == [len(one["boxes"]) for one in expected]
    assert found.counts.sum() > 20
    boxes = torch.cat([one["boxes"] for one in expected])
    assert torch.allclose(found.boxes, boxes, atol=1e-2)
    scores = torch.cat([one["scores"] for one in expected])
    assert torch.allclose(found.scores, scores, atol=1e-4)
    labels = torch.cat([one["labels"] for one in expected])
    assert (found.classes + shift == labels).all()
    if found.masks is not None:
        masks = torch.cat([one["masks"] for one in expected])[:, 0] > 0.5
        assert (found.masks == masks).float().mean() > 0.9999


def same_losses(model: Detector, twin: nn.Module, names: dict[str, str], shift: int) -> None:
    pictures, boxes, classes, masks = scene()
    model.train(), twin.train()
    with torch.no_grad():
        expected = twin(list(pictures), theirs(boxes, classes, masks, shift))
        labels = BoxLabels.from_person(boxes, classes, masks=masks)
        found = model.losses(pictures, labels, Draws(0))
    assert len(found) == len(expected)
    for own, their in names.items():
        if own in found:
            assert torch.isclose(found[own], expected[their], rtol=1e-4, atol=1e-4), own


def test_two_stages(tmp_path: object) -> None:
    # Mask R-CNN is Faster R-CNN with a mask branch: one builder makes both.
    name = "maskrcnn_resnet50_fpn"
    few = {"rpn_post_nms_top_n_train": 60, "rpn_post_nms_top_n_test": 60}
    twin = torchvision_twin(
        name,
        3,
        rpn_batch_size_per_image=EVERYTHING,
        box_batch_size_per_image=EVERYTHING,
        **few,
    )
    with torch.no_grad():
        # Untrained boxes hardly move, and then nothing shows whose deltas are taken.
        twin.roi_heads.box_predictor.bbox_pred.weight.mul_(20)
    model = adapted(name, twin, tmp_path)
    assert isinstance(model, TwoStage)
    model.proposals.rules = replace(model.proposals.rules, count=EVERYTHING, after=(60, 60))
    model.rules = replace(model.rules, count=EVERYTHING)
    same_detections(model, twin, scene()[0], shift=1)
    same_losses(model, twin, NAMES, shift=1)


@pytest.mark.parametrize(
    ("name", "spread"), [("retinanet_resnet50_fpn", 1), ("fcos_resnet50_fpn", 5)]
)
def test_one_stage(name: str, spread: float, tmp_path: object) -> None:
    twin = torchvision_twin(name, 2, nms_thresh=0.5, score_thresh=0.05, detections_per_img=100)
    with torch.no_grad():
        twin.head.classification_head.cls_logits.bias.zero_()
        twin.head.classification_head.cls_logits.weight.mul_(spread)
        twin.head.regression_head.bbox_reg.weight.mul_(spread)
        if name.startswith("fcos"):
            # Boxes without area are no detections here.
            twin.head.regression_head.bbox_reg.bias.fill_(6)
    model = adapted(name, twin, tmp_path)
    same_detections(model, twin, scene()[0], shift=0)
    same_losses(model, twin, DENSE_NAMES, shift=0)


def test_anchors() -> None:
    maps = [torch.zeros(2, 1, 24, 32), torch.zeros(2, 1, 12, 16)]
    sizes = ((32.0, 40.0), (64.0, 80.0))
    generator = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 2)
    pictures = ImageList(torch.zeros(2, 3, 96, 128), [(96, 120)] * 2)
    found = AnchorGrid(sizes, (0.5, 1.0, 2.0), 0.0).boxes(maps, (96, 128))
    assert torch.equal(torch.cat(found), generator(pictures, maps)[0])


def test_region_pooling_in_any_order() -> None:
    draw = torch.Generator().manual_seed(0)
    maps = tuple(torch.rand(2, 4, 64 >> level, 96 >> level, generator=draw) for level in range(3))
    corners = torch.rand(40, 2, generator=draw) * 150
    sides = torch.rand(40, 2, generator=draw).square() * 200 + 1
    boxes = torch.cat([corners, corners + sides], 1)
    pictures = torch.randint(0, 2, (40,), generator=draw)
    pool = MultiScaleRoIAlign(["0", "1", "2"], 7, 2)
    named = {str(number): level for number, level in enumerate(maps)}
    split = [boxes[pictures == number] for number in range(2)]
    expected = pool(named, split, [(256, 384)] * 2)
    pyramid = Pyramid(maps, (256, 384), (256, 384))
    found = RegionPool(7, 3)(pyramid, Regions(boxes, pictures))
    assert torch.allclose(found[pictures.argsort(stable=True)], expected, atol=1e-6)


@pytest.mark.parametrize("output", [7, 14])
def test_pooling_on_a_cpu_is_roi_align(output: int) -> None:
    draw = torch.Generator().manual_seed(0)
    sizes = ((12, 16), (6, 8), (3, 1), (1, 1))
    maps = [torch.rand(2, 4, *size, generator=draw, requires_grad=True) for size in sizes]
    strides = [8.0, 16.0, 32.0, 64.0]
    # Also regions that are empty, inverted, far outside, or larger than the picture.
    boxes = torch.rand(60, 4, generator=draw) * 200 - 50
    boxes[:40, 2:] = boxes[:40, :2] + torch.rand(40, 2, generator=draw) * 90
    boxes[40] = 3
    regions = Regions(boxes, torch.randint(0, 2, (60,), generator=draw))
    which = torch.randint(0, 4, (60,), generator=draw)
    found = pooled_regions(maps, strides, regions, which, output)
    expected = torch.zeros_like(found)
    for number, (level, stride) in enumerate(zip(maps, strides, strict=True)):
        rows = (which == number).nonzero().squeeze(1)
        part = roi_align(level, regions.rois()[rows], output, 1 / stride, 2)
        expected = expected.index_copy(0, rows, part)
    assert torch.allclose(found, expected, atol=1e-5)
    weights = torch.rand(found.shape, generator=draw)
    own, other = (torch.autograd.grad((each * weights).sum(), maps) for each in (found, expected))
    for one, two in zip(own, other, strict=True):
        assert torch.allclose(one, two, atol=1e-4)
    nothing = Regions(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    empty = pooled_regions(maps, strides, nothing, torch.zeros(0, dtype=torch.int64), output)
    assert empty.shape == (0, 4, output, output)
    assert all(not each.any() for each in torch.autograd.grad(empty.sum(), maps))


def test_a_region_that_is_no_number_is_pooled_to_nothing() -> None:
    maps = tuple(torch.rand(2, 4, 16 >> level, 24 >> level) for level in range(2))
    boxes = torch.tensor([[1.0, 2, 30, 40], [float("nan")] * 4, [1, 2, float("inf"), 40]])
    regions = Regions(boxes, torch.tensor([0, 1, 1]))
    found = RegionPool(7, 2)(Pyramid(maps, (64, 96), (64, 96)), regions)
    assert bool(found.isfinite().all())
    assert found[0].any() and not found[1].any()
