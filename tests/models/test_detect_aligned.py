"""FAM-3D: boxes taken from neighbouring levels and cells."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests.models.detect_scenes import HEIGHT, WIDTH, discs
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from leaven.draws import Draws
from leaven.errors import ModelError
from leaven.models.detection import (
    AlignedRetina,
    BoxAlignment,
    build_detector,
    export_detector,
    mix_scales,
    move_sides,
)

SIZES = ((8, 10), (4, 5), (2, 3))
STRIDES = (4.0, 8.0, 16.0)


def levels(seed: int = 0, channels: int = 4) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.rand(2, channels, *size, generator=draw) * 40 for size in SIZES]


def constant(value: float, channels: int = 4) -> list[Tensor]:
    return [torch.full((2, channels, *size), value) for size in SIZES]


def resized(level: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(level, size, mode="bilinear", align_corners=False)


def aligned(**options: object) -> AlignedRetina:
    torch.manual_seed(0)
    light = {"widths": (8, 8, 16, 16), "channels": 16, "align": True}
    model = build_detector(
        "retina-small",
        ["red", "green", "blue"],
        (3, HEIGHT, WIDTH),
        mean=(0.1,),
        std=(0.2,),
        options={**light, **options},
    )
    assert isinstance(model, AlignedRetina)
    return model


def test_no_offset_changes_nothing() -> None:
    boxes = levels()
    mixed = mix_scales(boxes, constant(0.0))
    assert all(torch.equal(own, other) for own, other in zip(mixed, boxes, strict=True))
    for level in boxes:
        moved = move_sides(level, torch.zeros(2, 8, *level.shape[-2:]))
        assert torch.allclose(moved, level, atol=1e-4)


def test_the_middle_level_takes_the_coarser_boxes() -> None:
    in_strides = [level / stride for level, stride in zip(levels(), STRIDES, strict=True)]
    boxes = [level * stride for level, stride in zip(in_strides, STRIDES, strict=True)]
    mixed = mix_scales(boxes, constant(1.0))
    wanted = resized(in_strides[2], SIZES[1]) * STRIDES[2] / STRIDES[1]
    assert torch.allclose(mixed[1] / STRIDES[1], wanted, atol=1e-5)
    # The coarsest level has no coarser one; offsets beyond 1 count as 1.
    assert torch.equal(mixed[2], boxes[2])
    assert torch.equal(mix_scales(boxes, constant(7.0))[0], mixed[0])


def test_the_finer_boxes_and_the_ends() -> None:
    boxes = levels()
    mixed = mix_scales(boxes, constant(-0.25))
    assert torch.equal(mixed[0], boxes[0])
    for level in (1, 2):
        finer = resized(boxes[level - 1], SIZES[level])
        assert torch.allclose(mixed[level], 0.75 * boxes[level] + 0.25 * finer, atol=1e-5)


def test_a_constant_field_of_boxes_stays() -> None:
    offsets = [4 * level / 40 - 2 for level in levels(3)]
    for mixed in mix_scales(constant(13.0), offsets):
        assert torch.allclose(mixed, torch.tensor(13.0), atol=1e-5)


def test_sides_move_as_by_a_deformable_convolution() -> None:
    boxes = levels()[0]
    offsets = torch.randn(2, 8, *SIZES[0], generator=torch.Generator().manual_seed(1)) * 2
    wanted = deform_conv2d(boxes, offsets, torch.ones(4, 1, 1, 1))
    assert torch.allclose(move_sides(boxes, offsets), wanted, atol=1e-3)
    # The upper side is read one cell below, the others stay.
    one = torch.zeros(2, 8, *SIZES[0])
    one[:, 2] = 1
    moved = move_sides(boxes, one)
    assert torch.allclose(moved[:, 1, :-1], boxes[:, 1, 1:], atol=1e-4)
    assert torch.allclose(moved[:, [0, 2, 3]], boxes[:, [0, 2, 3]], atol=1e-4)


def test_it_begins_all_but_as_the_identity_and_learns() -> None:
    torch.manual_seed(0)
    part = BoxAlignment(8, 2)
    towers = [[tower] * 4 for tower in levels(5, 8)]
    boxes = levels()
    for own, other in zip(part(towers, boxes), boxes, strict=True):
        assert (own - other).abs().max() < 2
    torch.cat([level.flatten() for level in part(towers, boxes)]).square().sum().backward()
    assert all(
        weight.grad is not None and weight.grad.abs().sum() > 0 for weight in part.parameters()
    )


def test_the_ends_repeat_their_own_features() -> None:
    torch.manual_seed(0)
    part = BoxAlignment(8, 1)
    towers = [[tower, tower] for tower in levels(5, 8)]
    alone, _ = part.offsets(towers[:1])
    inner = F.relu(part.reduce(torch.cat(towers[0], 1)))
    assert torch.allclose(alone[0], part.scale(torch.cat([inner] * 3, 1)), atol=1e-5)


def test_the_detector_gives_the_aligned_boxes() -> None:
    model = aligned().eval()
    plain = build_detector(
        "retina-small",
        model.classes,
        (3, HEIGHT, WIDTH),
        mean=(0.1,),
        std=(0.2,),
        options={"widths": (8, 8, 16, 16), "channels": 16},
    ).eval()
    plain.load_state_dict(
        {name: v for name, v in model.state_dict().items() if not name.startswith("alignment")}
    )
    pictures = discs(2)[0]
    for part in (model.alignment.scale, model.alignment.place):
        nn.init.zeros_(part.weight)
    with torch.no_grad():
        ours, theirs = model.outputs(pictures), plain.outputs(pictures)  # type: ignore[operator]
        assert torch.allclose(ours.boxes, theirs.boxes, atol=1e-2)
        nn.init.constant_(model.alignment.scale.bias, 0.5)  # type: ignore[arg-type]
        moved = model.outputs(pictures)
    assert torch.equal(moved.logits, theirs.logits)
    assert (moved.boxes - theirs.boxes).abs().max() > 1


def test_losses_reach_the_alignment_also_without_boxes() -> None:
    model = aligned().train()
    pictures, labels = discs(2)
    nothing = labels.keep(torch.zeros(len(labels.boxes), dtype=torch.bool))
    for targets in (labels, nothing):
        model.zero_grad()
        torch.stack(list(model.losses(pictures, targets, Draws(0)).values())).sum().backward()
        grads = [weight.grad for weight in model.parameters()]
        assert all(grad is not None and grad.isfinite().all() for grad in grads)


def test_several_anchors_per_cell_are_refused() -> None:
    model = aligned()
    with pytest.raises(ModelError, match="2 anchors per cell"):
        AlignedRetina(
            model.spec,
            16,
            backbone=model.backbone,
            head=model.head,
            grid=type(model.grid)(((8.0, 16.0), (16.0, 32.0))),
            channels=16,
        )


def test_it_is_exported(tmp_path: Path) -> None:
    assert export_detector(aligned().eval(), tmp_path / "model.onnx") < 1e-2


def test_nine_anchors_per_cell() -> None:
    options = {"widths": (8, 8, 16, 16), "channels": 16, "octaves": 3, "ratios": [0.5, 1.0, 2.0]}
    model = build_detector(
        "retina-small", ["red"], (3, HEIGHT, WIDTH), mean=(0.1,), std=(0.2,), options=options
    )
    outputs = model.outputs(discs(1)[0])  # type: ignore[operator]
    assert outputs.logits.shape[1] == 9 * sum(h * w for h, w in outputs.grids)
    sides = outputs.anchors[:9, 2:] - outputs.anchors[:9, :2]
    # On the finest level from 16 pixels on, a third of an octave more each, rounded to even ones.
    squares = sides[sides[:, 0] == sides[:, 1]][:, 0]
    assert squares.tolist() == [16, 20, 26]
    assert sides.unique(dim=0).shape[0] == 9
