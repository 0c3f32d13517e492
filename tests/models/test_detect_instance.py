from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tests.models.detect_scenes import HEIGHT, WIDTH, discs
from torch import Tensor

from leaven.draws import Draws
from leaven.labels.boxes import BoxLabels
from leaven.models.detection import (
    BACKGROUND,
    IGNORED,
    ConvInstance,
    Targets,
    build_detector,
    cropped_masks,
    mask_loss,
    mask_terms,
)

CPU = torch.device("cpu")


def small(**options: object) -> ConvInstance:
    torch.manual_seed(0)
    model = build_detector(
        "conv-instance-small",
        ["red", "green", "blue"],
        (3, HEIGHT, WIDTH),
        mean=(0.1,),
        std=(0.2,),
        options={"widths": (8, 8, 16, 16), "channels": 16, **options},
    )
    assert isinstance(model, ConvInstance)
    return model.train()


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


def test_losses_of_some_and_of_no_boxes() -> None:
    model = small()
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
    assert losses["mask"] == 0 and losses["quality"] == 0 and losses["class"] > 0


def test_masks_of_cells_are_three_convolutions() -> None:
    model = small()
    outputs = model.outputs(discs(2)[0])
    pictures, cells = torch.tensor([1, 0, 1]), torch.tensor([0, 50, 139])
    found = model.mask_logits(outputs, pictures, cells)
    assert found.shape == (3, HEIGHT, WIDTH)
    # 72 x 100 is padded to 80 x 112: 10 x 14 cells of stride 8, mask features of stride 2.
    assert outputs.features.shape == (2, 8, 40, 56) and outputs.points.shape == (140, 2)
    for row, (picture, cell) in enumerate(zip(pictures.tolist(), cells.tolist())):
        x, y = cell % 14 * 8 + 4, cell // 14 * 8 + 4
        away_x = (x - (torch.arange(56) * 2 + 1)) / 64
        away_y = (y - (torch.arange(40) * 2 + 1)) / 64
        away = torch.stack([away_x.expand(40, 56), away_y[:, None].expand(40, 56)])
        values = torch.cat([outputs.features[picture], away])[None]
        kernel = outputs.kernels[picture, cell]
        parts = kernel.split([80, 8, 64, 8, 8, 1])
        values = F.conv2d(values, parts[0].view(8, 10, 1, 1), parts[1]).relu()
        values = F.conv2d(values, parts[2].view(8, 8, 1, 1), parts[3]).relu()
        values = F.conv2d(values, parts[4].view(1, 8, 1, 1), parts[5])
        large = F.interpolate(values, (80, 112), mode="bilinear")[0, 0, :HEIGHT, :WIDTH]
        assert torch.allclose(found[row], large, atol=1e-5)
    assert model.mask_logits(outputs, pictures[:0], cells[:0]).shape == (0, HEIGHT, WIDTH)


def test_cells_of_a_box() -> None:
    model = small()
    outputs = model.outputs(discs(1)[0])
    # One box around the centre of cell 15 (row 1, column 1), one too small for any centre.
    boxes = torch.tensor([[4.0, 4.0, 20.0, 20.0], [64.5, 40.5, 66.5, 42.5]])
    labels = BoxLabels.from_person([boxes], [torch.tensor([0, 1])])
    places = model.assign(outputs, Targets.of(labels, CPU))[0]
    assert (places == 0).nonzero().flatten().tolist() == [15]
    assert (places == 1).nonzero().flatten().tolist() == [5 * 14 + 8]
    assert (places[places != 0] <= 1).all() and (places == BACKGROUND).sum() == 138
    crowd = replace(labels, crowd=torch.tensor([True, False]))
    ignored = model.assign(outputs, Targets.of(crowd, CPU))[0]
    # Those of which half or more lies in the ignore region.
    assert (ignored == IGNORED).nonzero().flatten().tolist() == [1, 14, 15, 16, 29]


def test_mask_terms_are_their_formulas() -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 4, generator=draw)
    true = (torch.rand(3, 5, 4, generator=draw) > 0.5).float()
    true[2] = 0
    cross, dice = mask_terms(logits, true)
    for row in range(3):
        p, y = logits[row].sigmoid(), true[row]
        expected = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
        assert torch.isclose(cross[row], expected, atol=1e-5)
        overlap = 2 * (p * y).sum() / (p.square().sum() + y.square().sum())
        assert torch.isclose(dice[row], 1 - overlap, atol=1e-5)
    assert dice[2] == 1
    assert mask_terms(logits[:0], true[:0])[0].shape == (0,)


def test_mask_loss_scales_with_each_weight() -> None:
    logits = torch.randn(3, 4, 4, requires_grad=True)
    true = torch.ones(3, 4, 4)
    plain = mask_loss(logits, true)
    assert torch.isclose(plain, F.binary_cross_entropy_with_logits(logits, true))
    (one,) = torch.autograd.grad(mask_loss(logits, true, torch.tensor([1.0, 0, 0])), logits)
    (two,) = torch.autograd.grad(mask_loss(logits, true, torch.tensor([3.0, 1, 0])), logits)
    assert torch.allclose(two[0], 3 * one[0]) and (two[1] != 0).all() and (two[2] == 0).all()
    assert mask_loss(logits[:0], true[:0]) == 0


def test_cropped_masks() -> None:
    masks = torch.zeros(2, 20, 20, dtype=torch.bool)
    masks[1, 5:15, 5:10] = True
    boxes = torch.tensor([[5.0, 5.0, 15.0, 15.0], [5.0, 5.0, 15.0, 15.0]])
    found = cropped_masks(masks, torch.tensor([1, 0]), boxes, 10)
    assert (found[0, 1:-1, 1:4] == 1).all() and (found[0, :, 6:] == 0).all()
    assert (found[1] == 0).all()
    assert cropped_masks(masks[:0], torch.zeros(0, dtype=torch.int64), boxes[:0], 4).shape == (
        0, 4, 4,
    )  # fmt: skip


def test_detections_have_masks_and_quality() -> None:
    model = small().eval()
    with torch.no_grad():
        found = model.detections(discs(2)[0], score=0.0, most=6)
    assert found.masks is not None and found.quality is not None
    assert found.masks.shape == (12, HEIGHT, WIDTH)
    assert ((found.quality > 0) & (found.quality < 1)).all()
    labels = model.detect(discs(2)[0], score=1.0)
    assert labels.counts.tolist() == [0, 0] and labels.masks is not None


def test_it_learns_masks() -> None:
    model = small(widths=(16, 16, 32, 32), channels=32)
    pictures, labels = discs(1, each=3)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    draws = Draws(0)
    for _ in range(70):
        optimizer.zero_grad()
        total(model.losses(pictures, labels, draws)).backward()
        optimizer.step()
    found = model.detect(pictures, score=0.3)
    assert labels.masks is not None and found.masks is not None
    true, seen = labels.masks.dense().flatten(1).float(), found.masks.dense().flatten(1).float()
    shared = true @ seen.T
    union = true.sum(1)[:, None] + seen.sum(1) - shared
    same = (labels.pictures[:, None] == found.pictures) & (labels.classes[:, None] == found.classes)
    best = (shared / union * same).amax(1)
    assert (best > 0.6).float().mean() > 0.8


def test_masks_are_sampled_per_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small(masks=2)
    asked = []
    whole = model.mask_logits

    def counted(outputs: object, pictures: Tensor, cells: Tensor) -> Tensor:
        asked.append(torch.bincount(pictures).tolist())
        return whole(outputs, pictures, cells)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "mask_logits", counted)
    pictures, labels = discs(3)
    model.losses(pictures, labels, Draws(0))
    assert asked == [[2, 2, 2]]
