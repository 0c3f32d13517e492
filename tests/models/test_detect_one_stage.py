from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.models.detect_scenes import HEIGHT, WIDTH, discs
from torch import Tensor
from torchvision.ops import box_iou

from leaven.draws import Draws
from leaven.models.detection import (
    FCOS,
    IGNORED,
    OneStage,
    Retina,
    Targets,
    build_detector,
)

NAMES = ["retina-small", "fcos-small"]
CPU = torch.device("cpu")


def small(name: str, **options: object) -> OneStage:
    torch.manual_seed(0)
    light = {"widths": (8, 8, 16, 16), "channels": 16}
    model = build_detector(
        name,
        ["red", "green", "blue"],
        (3, HEIGHT, WIDTH),
        mean=(0.1,),
        std=(0.2,),
        options={**light, **options},
    )
    assert isinstance(model, OneStage)
    return model.train()


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


@pytest.mark.parametrize("name", NAMES)
def test_losses_of_some_and_of_no_boxes(name: str) -> None:
    model = small(name)
    pictures, labels = discs(2)
    nothing = labels.keep(torch.zeros(len(labels.boxes), dtype=torch.bool))
    ignored = replace(labels, crowd=torch.ones(len(labels.boxes), dtype=torch.bool))
    for targets in (labels, nothing, ignored):
        model.zero_grad()
        losses = model.losses(pictures, targets, Draws(0))
        assert all(value.ndim == 0 and value.isfinite() for value in losses.values())
        total(losses).backward()
        grads = [weight.grad for weight in model.parameters()]
        assert all(grad is not None and grad.isfinite().all() for grad in grads)
        assert losses["class"] > 0
    assert losses["box"] == 0


@pytest.mark.parametrize("name", NAMES)
def test_outputs(name: str) -> None:
    model = small(name, depth=4)
    outputs = model.outputs(discs(2)[0])
    # 72 x 100 is padded to 80 x 112.
    assert outputs.grids == ((20, 28), (10, 14), (5, 7))
    count = sum(height * width for height, width in outputs.grids)
    assert outputs.logits.shape == (2, count, 3) and outputs.boxes.shape == (2, count, 4)
    assert [len(tower) for tower in outputs.class_towers] == [4, 4, 4]
    assert outputs.box_towers[1][3].shape == (2, 16, 10, 14)
    strides = outputs.strides.unique().tolist()
    assert strides == [4, 8, 16]
    assert outputs.points[0].tolist() == [2, 2] and outputs.points[-1].tolist() == [104, 72]
    maps = outputs.maps(outputs.logits)
    assert [tuple(one.shape) for one in maps] == [(2, 3, h, w) for h, w in outputs.grids]
    # A row of the second level: row 3, column 5.
    assert torch.equal(maps[1][:, :, 3, 5], outputs.logits[:, 560 + 3 * 14 + 5])
    scores, boxes = model(discs(2)[0])
    assert ((scores >= 0) & (scores <= 1)).all() and (boxes[..., 2] <= WIDTH).all()


@pytest.mark.parametrize("name", NAMES)
def test_anchors_in_ignore_regions_have_no_gradient(name: str) -> None:
    model = small(name)
    pictures, labels = discs(1)
    labels = replace(labels, crowd=labels.classes == 2)
    outputs = model.outputs(pictures)
    blocks = Targets.of(labels, CPU)
    places = model.assign(outputs, blocks)
    silent = places == IGNORED
    assert silent.any()
    losses = model.assigned_losses(outputs, blocks, places)
    (grad,) = torch.autograd.grad(total(losses), outputs.logits)
    assert (grad[silent] == 0).all() and (grad[~silent] != 0).all()
    assert 2 not in labels.classes[blocks.rows[0, places[0][places[0] >= 0]]]


def test_points_and_boxes_of_fcos_by_hand() -> None:
    model = small("fcos-small")
    assert isinstance(model, FCOS)
    anchors = torch.tensor([[4.0, 4.0, 8.0, 8.0]])
    location = torch.tensor([[[1.0, 2.0, -3.0, 0.5]]])
    assert model.decode(location, anchors).tolist() == [[[2, -2, 6, 8]]]


def test_fcos_without_centreness_scores_by_classes() -> None:
    model, (pictures, labels) = small("fcos-small", centreness=False), discs(2)
    outputs = model.outputs(pictures)
    assert outputs.centreness is None
    assert torch.equal(model.scores(outputs), outputs.logits.sigmoid())
    assert set(model.losses(pictures, labels, Draws(0))) == {"class", "box"}


def test_assignment_of_fcos_against_loops() -> None:
    model = small("fcos-small")
    pictures, labels = discs(3, each=6)
    outputs = model.outputs(pictures)
    found = model.assign(outputs, Targets.of(labels, CPU))
    levels = [range(560), range(560, 700), range(700, 735)]
    for picture in range(3):
        boxes = labels.boxes[labels.pictures == picture].tolist()
        for level, rows in enumerate(levels):
            stride = 4 << level
            low = 0 if level == 0 else 4 * stride
            high = float("inf") if level == 2 else 8 * stride
            for row in rows:
                x, y = outputs.points[row].tolist()
                fitting = []
                for place, (x1, y1, x2, y2) in enumerate(boxes):
                    sides = (x - x1, y - y1, x2 - x, y2 - y)
                    away = max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2))
                    if min(sides) > 0 and low < max(sides) < high and away < 1.5 * stride:
                        fitting.append(((x2 - x1) * (y2 - y1), place))
                assert int(found[picture, row]) == (min(fitting)[1] if fitting else -1)


def test_deltas_of_retina_have_their_spreads() -> None:
    model = small("retina-small")
    assert isinstance(model, Retina)
    anchors = torch.tensor([[0.0, 0.0, 20.0, 20.0]])
    location = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
    assert torch.allclose(
        model.decode(location, anchors), torch.tensor([[[2.0, 0.0, 22.0, 20.0]]]), atol=1e-5
    )


@pytest.mark.parametrize("name", NAMES)
def test_it_learns(name: str) -> None:
    model = small(name, widths=(16, 16, 32, 32), channels=32)
    pictures, labels = discs(1, each=3)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(50):
        optimizer.zero_grad()
        total(model.losses(pictures, labels, Draws(0))).backward()
        optimizer.step()
    found = model.detect(pictures, score=0.3)
    overlap = box_iou(labels.boxes, found.boxes) * (
        (labels.pictures[:, None] == found.pictures) & (labels.classes[:, None] == found.classes)
    )
    assert (overlap.amax(1) > 0.5).float().mean() > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_detections_are_in_order_and_have_an_area(name: str) -> None:
    model = small(name).eval()
    with torch.no_grad():
        found = model.detections(discs(2)[0], score=0.0, most=9)
    assert found.counts.tolist() == [9, 9]
    assert all((one.diff() <= 0).all() for one in found.scores.split(9))
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert found.labels().confidence.equal(found.scores)
