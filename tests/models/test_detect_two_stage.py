from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tests.models.detect_scenes import HEIGHT, WIDTH, discs
from torch import Tensor
from torchvision.ops import box_iou

from leaven.draws import Draws
from leaven.labels.boxes import BoxLabels
from leaven.models.detection import Regions, TwoStage, build_detector, mask_iou, quality_loss
from leaven.models.detection.two_stage import RegionSample


def small(name: str = "rcnn-small", **options: object) -> TwoStage:
    torch.manual_seed(0)
    light = {"widths": (8, 8, 16, 16), "channels": 16, "hidden": 16}
    model = build_detector(
        name,
        ["red", "green", "blue"],
        (3, HEIGHT, WIDTH),
        mean=(0.1,),
        std=(0.2,),
        options={**light, **options},
    )
    assert isinstance(model, TwoStage)
    return model.train()


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


def crowded(labels: BoxLabels, rows: Tensor) -> BoxLabels:
    return replace(labels, crowd=rows)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rcnn-small", {}),
        ("rcnn-small", {"box_head": "bucket"}),
        ("maskrcnn-small", {"quality": True}),
    ],
)
def test_losses_of_some_and_of_no_boxes(name: str, options: dict[str, object]) -> None:
    model = small(name, **options)
    pictures, labels = discs(2)
    nothing = labels.keep(torch.zeros(len(labels.boxes), dtype=torch.bool))
    ignored = crowded(labels, torch.ones(len(labels.boxes), dtype=torch.bool))
    for targets in (
        labels,
        nothing,
        ignored,
        labels.select(torch.tensor([0, 0])).keep(torch.arange(8) < 4),
    ):
        model.zero_grad()
        losses = model.losses(pictures, targets, Draws(0))
        assert all(value.ndim == 0 and value.isfinite() for value in losses.values())
        total(losses).backward()
        grads = [weight.grad for weight in model.parameters()]
        assert all(grad is not None and grad.isfinite().all() for grad in grads)
    assert losses["rpn_objectness"] > 0


def test_float_and_whole_number_pictures_are_the_same() -> None:
    model = small()
    pictures, labels = discs(2)
    first = model.losses(pictures, labels, Draws(0))
    second = model.losses(pictures.float() / 255, labels, Draws(0))
    assert all(torch.allclose(first[name], second[name], atol=1e-5) for name in first)


def test_the_parts_make_the_whole() -> None:
    model = small()
    pictures, labels = discs(2)
    whole = model.losses(pictures, labels, Draws(5))
    draws = Draws(5)
    features = model.features(pictures)
    anchors = model.rpn(features)
    parts = model.rpn_losses(anchors, labels, draws)
    chosen = model.sample(model.propose(anchors), labels, draws)
    outputs = model.roi_outputs(features, chosen.regions)
    parts["roi_class"] = model.roi_class_loss(outputs, chosen.labels)
    parts["roi_box"] = model.roi_box_loss(outputs, chosen)
    assert {n: float(v.detach()) for n, v in parts.items()} == {
        n: float(v.detach()) for n, v in whole.items()
    }


def test_samples_know_their_target() -> None:
    model = small()
    pictures, labels = discs(3)
    chosen = model.sample(model.propose(model.rpn(model.features(pictures))), labels, Draws(0))
    found = chosen.positive
    assert (labels.classes[chosen.target[found]] == chosen.labels[found]).all()
    assert torch.equal(labels.boxes[chosen.target[found]], chosen.boxes[found])
    assert (labels.pictures[chosen.target[found]] == chosen.regions.pictures[found]).all()
    assert (chosen.labels[~found] == 3).all()
    # The true boxes themselves are among the positives.
    assert set(chosen.target[found].tolist()) == set(range(len(labels.boxes)))
    assert (chosen.regions.pictures.diff() >= 0).all()
    counts = torch.bincount(chosen.regions.pictures)
    assert (counts <= 128).all()


def some_outputs(model: TwoStage) -> tuple[Tensor, RegionSample, object]:
    pictures, labels = discs(2)
    features = model.features(pictures)
    chosen = model.sample(model.propose(model.rpn(features)), labels, Draws(0))
    return pictures, chosen, model.roi_outputs(features, chosen.regions)


def test_weighted_class_loss() -> None:
    model = small()
    _, chosen, outputs = some_outputs(model)
    plain = F.cross_entropy(outputs.logits, chosen.labels)
    ones = torch.ones(len(chosen.labels))
    assert torch.isclose(model.roi_class_loss(outputs, chosen.labels), plain)
    assert torch.isclose(model.roi_class_loss(outputs, chosen.labels, ones), plain)
    assert torch.isclose(model.roi_class_loss(outputs, chosen.labels, 7 * ones), plain)
    background = chosen.labels == 3
    weight = (~background).float()
    loss = model.roi_class_loss(outputs, chosen.labels, weight)
    rows = F.cross_entropy(outputs.logits[~background], chosen.labels[~background])
    assert torch.isclose(loss, rows)
    (grad,) = torch.autograd.grad(loss, outputs.logits)
    assert (grad[background] == 0).all() and (grad[~background] != 0).any(1).all()
    ignored = torch.where(background, -1, chosen.labels)
    assert torch.isclose(model.roi_class_loss(outputs, ignored), rows)
    assert model.roi_class_loss(outputs, chosen.labels, 0 * ones) == 0
    little = torch.full_like(ones, 1e-3)
    expected = F.cross_entropy(outputs.logits, chosen.labels, reduction="sum") * 1e-3
    assert torch.isclose(model.roi_class_loss(outputs, chosen.labels, little), expected)


@pytest.mark.parametrize("head", ["delta", "bucket"])
def test_weighted_box_loss(head: str) -> None:
    model = small(box_head=head)
    _, chosen, outputs = some_outputs(model)
    plain = model.roi_box_loss(outputs, chosen)
    rows = chosen.positive.nonzero().squeeze(1)
    one = torch.zeros(len(chosen.labels))
    parts = [model.roi_box_loss(outputs, chosen, one.index_fill(0, row, 1.0)) for row in rows]
    assert torch.isclose(torch.stack(parts).sum(), plain, rtol=1e-4)
    assert torch.isclose(
        model.roi_box_loss(outputs, chosen, torch.full_like(one, 0.5)), plain / 2, rtol=1e-4
    )
    (grad,) = torch.autograd.grad(model.roi_box_loss(outputs, chosen), outputs.location)
    assert (grad[~chosen.positive] == 0).all() and (grad[rows] != 0).any(1).all()


def test_ignore_regions_take_the_loss_away() -> None:
    model = small()
    pictures, _ = discs(1)
    features = model.features(pictures)
    place = torch.tensor([[60.0, 40.0, 70.0, 50.0]])
    regions = Regions(place, torch.zeros(1, dtype=torch.int64))
    wide = torch.tensor([[50.0, 30.0, 90.0, 70.0]])
    boxes = BoxLabels.from_person([wide], [torch.tensor([1])])
    ignored = crowded(boxes, torch.tensor([True]))
    assert len(model.sample(regions, ignored, Draws(0)).labels) == 0
    nothing = boxes.keep(torch.tensor([False]))
    assert model.sample(regions, nothing, Draws(0)).labels.tolist() == [3]
    # The proposal network too: anchors under the ignore region have no gradient.
    anchors = model.rpn(features)
    model.proposals.rules = replace(model.proposals.rules, count=10**6)
    inside = (anchors.anchors[:, :2] >= wide[0, :2]).all(1) & (
        anchors.anchors[:, 2:] <= wide[0, 2:]
    ).all(1)
    assert inside.any()
    for targets, silent in ((ignored, True), (nothing, False)):
        loss = total(model.rpn_losses(anchors, targets, Draws(0)))
        (grad,) = torch.autograd.grad(loss, anchors.objectness, retain_graph=True)
        assert bool((grad[0, inside] == 0).all()) == silent
        assert (grad[0, ~inside] != 0).any()


def test_scores_of_given_regions() -> None:
    model = small()
    pictures, labels = discs(2)
    features = model.features(pictures)
    regions = Regions(labels.boxes, labels.pictures)
    with torch.no_grad():
        probs, boxes = model.roi_scores(features, regions)
        order = torch.randperm(len(regions))
        shuffled = model.roi_scores(features, regions.keep(order))
    assert probs.shape == (8, 4) and boxes.shape == (8, 3, 4)
    assert torch.allclose(probs.sum(1), torch.ones(8))
    assert torch.allclose(shuffled[0], probs[order], atol=1e-6)
    assert torch.allclose(shuffled[1], boxes[order], atol=1e-4)
    with torch.no_grad():
        model.box.deltas.weight.zero_()
        model.box.deltas.bias.zero_()
        _, still = model.roi_scores(features, regions)
    assert torch.allclose(still, labels.boxes[:, None].expand(-1, 3, -1), atol=1e-4)


def test_proposals_lie_in_their_picture() -> None:
    model = small()
    regions = model.propose(model.rpn(model.features(discs(2)[0])))
    assert (regions.boxes >= 0).all()
    assert (regions.boxes[:, 2] <= WIDTH).all() and (regions.boxes[:, 3] <= HEIGHT).all()
    assert torch.bincount(regions.pictures).max() <= 256
    model.eval()
    fewer = model.propose(model.rpn(model.features(discs(2)[0])))
    assert torch.bincount(fewer.pictures).max() <= 128
    assert not regions.boxes.requires_grad


def test_detection_keeps_modes_and_gives_no_gradient() -> None:
    model = small()
    model.backbone.eval()
    found = model.detect(discs(2)[0], score=0.0, most=7)
    assert model.training and not model.backbone.training
    assert found.counts.tolist() == [7, 7] and not found.confidence.requires_grad
    assert found.known.all() and (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    nothing = model.detect(discs(2)[0], score=1.0)
    assert nothing.counts.tolist() == [0, 0]


def test_suppression_by_class_score_times_certainty() -> None:
    model = small(box_head="bucket").eval()
    with torch.no_grad():
        found = model.detections(discs(2)[0], score=0.0, nms=0.3)
    assert found.quality is not None
    assert ((found.quality >= 1 / 7) & (found.quality <= 1)).all()
    scores = found.scores.split(found.counts.tolist())
    assert all((one.diff() <= 0).all() for one in scores)


def test_masks_and_their_quality() -> None:
    model = small("maskrcnn-small", quality=True).eval()
    pictures, labels = discs(2)
    with torch.no_grad():
        found = model.detections(pictures, score=0.0, most=5)
    assert found.masks is not None and found.masks.shape == (10, HEIGHT, WIDTH)
    as_labels = found.labels()
    assert as_labels.masks is not None
    assert torch.equal(as_labels.masks.dense(), found.masks)
    kept = found.keep(torch.arange(10) >= 5)
    assert kept.counts.tolist() == [0, 5] and torch.equal(kept.masks, found.masks[5:])
    with pytest.raises(ValueError, match="without masks"):
        model.losses(pictures, replace(labels, masks=None), Draws(0))
    with pytest.raises(ValueError, match="masks of"):
        model.losses(pictures[..., :-4], labels, Draws(0))


def test_the_quality_loss_reaches_no_mask() -> None:
    logits = torch.randn(4, 8, 8, requires_grad=True)
    quality = torch.zeros(4, requires_grad=True)
    true = torch.zeros(4, 8, 8)
    true[:, :4] = 1
    overlap = mask_iou(logits, true)
    quality_loss(quality, overlap).backward()
    assert logits.grad is None
    assert torch.allclose(quality.grad, (0.5 - overlap) / 4)
    slow = [
        ((one > 0) & (two > 0.5)).sum() / ((one > 0) | (two > 0.5)).sum()
        for one, two in zip(logits, true)
    ]
    assert torch.allclose(overlap, torch.stack(slow))
    assert mask_iou(torch.full((1, 2, 2), -1.0), torch.zeros(1, 2, 2)).tolist() == [0]
    assert quality_loss(quality[:0], overlap[:0]) == 0


def test_half_precision() -> None:
    model = small("maskrcnn-small", quality=True)
    model.precision = torch.bfloat16
    pictures, labels = discs(2)
    losses = model.losses(pictures, labels, Draws(0))
    assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())
    total(losses).backward()


def test_it_learns() -> None:
    torch.manual_seed(0)
    model = small(widths=(16, 16, 32, 32), channels=32, hidden=64)
    pictures, labels = discs(1, each=3)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    draws = Draws(0)
    for _ in range(60):
        optimizer.zero_grad()
        total(model.losses(pictures, labels, draws)).backward()
        optimizer.step()
    found = model.detect(pictures, score=0.3)
    overlap = box_iou(labels.boxes, found.boxes) * (
        (labels.pictures[:, None] == found.pictures) & (labels.classes[:, None] == found.classes)
    )
    assert (overlap.amax(1) > 0.5).float().mean() > 0.8
