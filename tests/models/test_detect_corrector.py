"""The box corrector, the cosine head, and overlaps with any box of a picture."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torchvision.ops import box_iou, generalized_box_iou_loss

from leaven.labels import BoxLabels
from leaven.models.detection import BoxCorrector, CosineHead, Regions, best_overlap
from leaven.models.detection.pooling import Pyramid, RegionPool


def pyramid(count: int = 2) -> Pyramid:
    draw = torch.Generator().manual_seed(0)
    maps = tuple(torch.randn(count, 8, 64 // s, 96 // s, generator=draw) for s in (4, 8, 16))
    return Pyramid(maps, (64, 96), (64, 96))


def corrector() -> BoxCorrector:
    torch.manual_seed(0)
    return BoxCorrector(8, 16, RegionPool(5, 3, 112))


def some() -> Regions:
    boxes = torch.tensor([[4.0, 6.0, 30.0, 40.0], [20.0, 10.0, 80.0, 60.0], [5.0, 5.0, 20.0, 20.0]])
    return Regions(boxes, torch.tensor([0, 1, 1]))


def silent(part: BoxCorrector) -> BoxCorrector:
    for head in part.heads:
        nn.init.zeros_(head[-1].weight)  # type: ignore[index, arg-type]
    return part


def test_without_deltas_boxes_stay() -> None:
    refined = silent(corrector()).refine(pyramid(), some())
    assert torch.allclose(refined, some().boxes, atol=1e-4)


def test_each_stage_goes_on_from_the_one_before() -> None:
    part = silent(corrector())
    for head in part.heads:
        nn.init.constant_(head[-1].bias, 0.5)  # type: ignore[index, arg-type]
    stages = part.stages(pyramid(), some())
    assert len(stages) == 3
    assert torch.equal(stages[0][0], some().boxes)
    for (_, before), (given, _) in pairwise(stages):
        assert torch.equal(given, before.detach()) and not given.requires_grad
    # The deltas are coded with weights 10, 20, 30 for the centre: smaller and smaller steps.
    widths = [boxes[0, 2] - boxes[0, 0] for _, boxes in stages]
    factors = torch.exp(torch.tensor([0.5 / 5, 0.5 / 10, 0.5 / 15]))
    assert torch.allclose(widths[0], 26 * factors[0], atol=1e-3)
    assert torch.allclose(widths[1], 26 * factors[0] * factors[1], atol=1e-3)


def test_a_stage_learns_from_boxes_that_are_near_enough() -> None:
    part, regions = silent(corrector()), some()
    overlaps = torch.tensor([0.8, 0.6, 0.4])
    truth = regions.boxes.clone()
    # Boxes of which the true box is a share overlap it by that share.
    truth[:, 2] = truth[:, 0] + (truth[:, 2] - truth[:, 0]) * overlaps
    losses = part.losses(pyramid(), regions, truth)
    each = generalized_box_iou_loss(regions.boxes, truth)
    assert torch.allclose(box_iou(regions.boxes, truth).diagonal(), overlaps, atol=1e-3)
    for number, wanted in enumerate((each.mean(), each[:2].mean(), each[0])):
        assert torch.allclose(losses[f"stage_{number + 1}"], wanted, atol=1e-3)


def test_no_box_has_no_loss_and_a_gradient() -> None:
    part = corrector()
    none = Regions(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    losses = part.losses(pyramid(), none, torch.zeros(0, 4))
    torch.stack(list(losses.values())).sum().backward()
    assert all(value == 0 for value in losses.values())
    assert all(weight.grad is not None for weight in part.parameters())
    assert part.refine(pyramid(), none).shape == (0, 4)


def test_it_learns_to_put_boxes_right() -> None:
    part, features = corrector(), pyramid()
    optimizer = torch.optim.Adam(part.parameters(), lr=3e-3)
    regions = some()
    truth = regions.boxes + torch.tensor([4.0, 4.0, -4.0, -2.0])
    before = box_iou(regions.boxes, truth).diagonal().mean()
    for _ in range(100):
        optimizer.zero_grad()
        torch.stack(list(part.losses(features, regions, truth).values())).sum().backward()
        optimizer.step()
    after = box_iou(part.refine(features, regions), truth).diagonal().mean()
    assert after > before + 0.2


def test_classes_by_cosine() -> None:
    torch.manual_seed(0)
    head = CosineHead(8, 5, 16, 3, scale=10.0, dropout=0.5)
    pooled = torch.randn(6, 8, 5, 5)
    outputs = head.eval()(pooled)
    assert outputs.logits.shape == (6, 4) and outputs.logits.abs().max() <= 10
    hidden = head.hidden(pooled)
    weight = head.class_logits.weight
    wanted = 10 * torch.cosine_similarity(hidden[:, None], weight[None], dim=2)
    assert torch.allclose(outputs.logits, wanted, atol=1e-4)
    assert not torch.equal(head.train()(pooled).logits, head(pooled).logits)


def test_the_best_overlap_in_the_same_picture() -> None:
    boxes: list[Tensor] = [torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 20]]), torch.zeros(0, 4)]
    flags = [torch.tensor([True, False]), torch.zeros(0, dtype=torch.bool)]
    labels = BoxLabels.from_person(
        boxes, [torch.tensor([0, 1]), torch.zeros(0, dtype=torch.int64)], crowd=flags
    )
    regions = Regions(torch.tensor([[0.0, 0, 10, 10]]).expand(2, 4), torch.tensor([0, 1]))
    # Ignore regions count as boxes here.
    assert best_overlap(regions, labels).tolist() == [1.0, 0.0]
    assert best_overlap(regions, labels.keep(~labels.crowd)).tolist() == [0.5, 0.0]
    assert best_overlap(regions.keep(torch.zeros(2).bool()), labels).shape == (0,)
