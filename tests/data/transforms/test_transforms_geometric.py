"""Geometric operations against torchvision applied to each picture, and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from leaven.data import transforms as T
from leaven.errors import DataError

SHAPES = [(5, 3, 8, 8), (4, 1, 9, 7), (6, 3, 32, 32), (3, 3, 24, 40), (1, 1, 24, 40), (2, 3, 1, 5)]


def pictures(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def spread(low: float, high: float, count: int) -> Tensor:
    """Generic values in [low, high], the ends included when there is more than one."""
    values = torch.rand(count, generator=torch.Generator().manual_seed(1)) * (high - low) + low
    if count > 1:
        values[0], values[-1] = low, high
    return values


def affine_reference(image: Tensor, **changes: object) -> Tensor:
    setting = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]} | changes
    return F.affine(image, interpolation=InterpolationMode.NEAREST, **setting)


def sheared(image: Tensor, x: float, y: float, fill: int) -> Tensor:
    degrees = [math.degrees(math.atan(slope)) for slope in (x, y)]
    return affine_reference(image, shear=degrees, center=[0, 0], fill=[fill])


@pytest.mark.parametrize("fill", [0, 200])
@pytest.mark.parametrize("shape", SHAPES)
def test_rotate_equals_torchvision(shape: tuple[int, ...], fill: int) -> None:
    images, degrees = pictures(shape), spread(-171.3, 179.1, shape[0])
    wanted = [F.rotate(i, float(d), fill=[fill]) for i, d in zip(images, degrees)]
    assert torch.equal(T.rotate(images, degrees, fill), torch.stack(wanted))


@pytest.mark.parametrize("fill", [0, 200])
@pytest.mark.parametrize("shape", SHAPES)
def test_shear_equals_torchvision(shape: tuple[int, ...], fill: int) -> None:
    images, slope = pictures(shape), spread(-0.317, 0.293, shape[0])
    wanted_x = torch.stack([sheared(i, float(s), 0, fill) for i, s in zip(images, slope)])
    wanted_y = torch.stack([sheared(i, 0, float(s), fill) for i, s in zip(images, slope)])
    assert torch.equal(T.shear_x(images, slope, fill), wanted_x)
    assert torch.equal(T.shear_y(images, slope, fill), wanted_y)


@pytest.mark.parametrize("fill", [0, 200])
@pytest.mark.parametrize("shape", SHAPES)
def test_translate_equals_torchvision(shape: tuple[int, ...], fill: int) -> None:
    images = pictures(shape)
    for operation, side, axis in [(T.translate_x, shape[3], 0), (T.translate_y, shape[2], 1)]:
        pixels = spread(-side, side, shape[0]).round().long()
        wanted = []
        for image, move in zip(images, pixels.tolist()):
            translate = [move, 0] if axis == 0 else [0, move]
            wanted.append(affine_reference(image, translate=translate, fill=[fill]))
        assert torch.equal(operation(images, pixels, fill), torch.stack(wanted))


def test_affine_equals_torchvision_where_rotation_scale_and_shear_meet() -> None:
    images = pictures((8, 3, 24, 40))
    angles, scales = spread(-60.7, 51.3, 8), spread(0.63, 1.71, 8)
    matrices, wanted = [], []
    for image, angle, scale in zip(images, angles.tolist(), scales.tolist()):
        turn, slope = math.radians(angle), math.tan(math.radians(11.3))
        # Forwards: shear, scale, turn clockwise (y points down), then move by (3, -2).
        shear = torch.tensor([[1, -slope], [0, 1]])
        rotation = torch.tensor(
            [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
        )
        inverse = torch.linalg.inv((scale * rotation @ shear).double())
        offset = -inverse @ torch.tensor([3.0, -2.0], dtype=torch.float64)
        matrices.append(torch.cat([inverse, offset[:, None]], 1))
        wanted.append(
            affine_reference(
                image, angle=angle, translate=[3, -2], scale=scale, shear=[11.3, 0.0], fill=[9]
            )
        )
    out = T.affine_nearest(images, torch.stack(matrices).float(), 9)
    assert torch.equal(out, torch.stack(wanted))


def test_quarter_turns_are_exact() -> None:
    images = pictures((4, 3, 9, 9))
    turned = T.rotate(images, torch.tensor([0.0, 90.0, 180.0, 270.0]))
    wanted = [images[k].rot90(k, (1, 2)) for k in range(4)]
    assert torch.equal(turned, torch.stack(wanted))


def test_nearest_pixel_is_the_one_that_exact_arithmetic_finds() -> None:
    images, degrees = pictures((6, 1, 33, 20)), spread(-44.3, 89.1, 6)
    out = T.rotate(images, degrees, 77)
    y, x = torch.meshgrid(
        torch.arange(33.0).double() - 16, torch.arange(20.0).double() - 9.5, indexing="ij"
    )
    for image, angle, got in zip(images, degrees.double().deg2rad(), out):
        column = angle.cos() * x - angle.sin() * y + 9.5
        row = angle.sin() * x + angle.cos() * y + 16
        near_tie = ((column % 1 - 0.5).abs() < 1e-4) | ((row % 1 - 0.5).abs() < 1e-4)
        column, row = column.round().long(), row.round().long()
        inside = (column >= 0) & (column < 20) & (row >= 0) & (row < 33)
        wanted = image[0][row.clamp(0, 32), column.clamp(0, 19)]
        wanted = torch.where(inside, wanted, torch.tensor(77, dtype=torch.uint8))
        assert torch.equal(got[0][~near_tie], wanted[~near_tie])
        assert near_tie.double().mean() < 0.05


@pytest.mark.parametrize("shape", SHAPES)
def test_horizontal_flip_equals_torchvision(shape: tuple[int, ...]) -> None:
    images = pictures(shape)
    flags = torch.arange(shape[0]) % 2 == 0
    wanted = [F.horizontal_flip(i) if flag else i for i, flag in zip(images, flags)]
    assert torch.equal(T.horizontal_flip(images, flags), torch.stack(wanted))


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if min(shape[2:]) > 4])
def test_shift_equals_a_crop_after_reflection_padding(shape: tuple[int, ...]) -> None:
    images, padding = pictures(shape), 4
    dx = spread(-padding, padding, shape[0]).round().long()
    dy = dx.flip(0)
    wanted = []
    for image, x, y in zip(images, dx.tolist(), dy.tolist()):
        padded = F.pad(image, [padding], padding_mode="reflect")
        wanted.append(F.crop(padded, padding - y, padding - x, *shape[2:]))
    assert torch.equal(T.shift_reflect(images, dx, dy), torch.stack(wanted))


def test_shift_beyond_the_picture_goes_on_reflecting() -> None:
    row = torch.tensor([10, 20, 30], dtype=torch.uint8).view(1, 1, 1, 3)
    zero = torch.tensor([0])
    # The picture continues as ... 30 20 [10 20 30] 20 10 20 30 ..., of period 4.
    moved = {
        move: T.shift_reflect(row, torch.tensor([move]), zero).flatten().tolist()
        for move in (3, -3, 4, -5)
    }
    assert moved == {3: [20, 30, 20], -3: [20, 10, 20], 4: [10, 20, 30], -5: [20, 30, 20]}


def test_shift_of_a_picture_of_one_pixel_changes_nothing() -> None:
    pixel = torch.full((2, 3, 1, 1), 5, dtype=torch.uint8)
    move = torch.tensor([3, -2])
    assert torch.equal(T.shift_reflect(pixel, move, move), pixel)


def test_flip_and_shift_is_the_flip_and_then_the_shift() -> None:
    images = pictures((16, 3, 9, 12))
    flags = torch.arange(16) % 2 == 1
    dx, dy = torch.arange(16) % 7 - 3, torch.arange(16) % 5 - 2
    wanted = T.shift_reflect(T.horizontal_flip(images, flags), dx, dy)
    assert torch.equal(T.flip_and_shift(images, flags, dx, dy), wanted)


def test_cutout_covers_the_pixels_with_their_centres_in_the_square() -> None:
    images = pictures((6, 3, 8, 10))
    cx = torch.tensor([5.0, 0.0, 10.0, 4.2, 3.0, 5.0])
    cy = torch.tensor([4.0, 0.0, 8.0, 7.9, 3.0, 4.0])
    size = torch.tensor([4.0, 6.0, 3.0, 2.5, 0.0, 40.0])
    out = T.cutout(images, cx, cy, size, fill=99)
    wanted = images.clone()
    for n in range(6):
        for row in range(8):
            for column in range(10):
                across = cx[n] - size[n] / 2 <= column + 0.5 < cx[n] + size[n] / 2
                down = cy[n] - size[n] / 2 <= row + 0.5 < cy[n] + size[n] / 2
                if across and down:
                    wanted[n, :, row, column] = 99
    assert torch.equal(out, wanted)
    assert torch.equal(out[4], images[4])
    assert (out[5] == 99).all()
    assert (out[0] == 99).sum() >= 3 * 16


def test_cutout_defaults_to_mid_grey_and_leaves_its_input_alone() -> None:
    images = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    middle = torch.tensor([2.0])
    assert T.cutout(images, middle, middle, torch.tensor([4.0])).unique().tolist() == [127]
    assert images.sum() == 0


@pytest.mark.parametrize(
    "operation",
    [
        lambda images: T.rotate(images, torch.tensor([0.0, 0.0, 0.0])),
        lambda images: T.shear_x(images, torch.zeros(3)),
        lambda images: T.shear_y(images, torch.zeros(3)),
        lambda images: T.translate_x(images, torch.zeros(3)),
        lambda images: T.translate_y(images, torch.zeros(3)),
        lambda images: T.horizontal_flip(images, torch.zeros(3, dtype=torch.bool)),
        lambda images: T.cutout(images, torch.ones(3), torch.ones(3), torch.zeros(3)),
    ],
)
@pytest.mark.parametrize("channels_last", [False, True])
def test_neutral_parameters_change_nothing_in_any_memory_format(operation, channels_last) -> None:
    images = pictures((3, 3, 7, 10))
    if channels_last:
        images = images.to(memory_format=torch.channels_last)
    assert torch.equal(operation(images), images)


def test_an_empty_batch_stays_empty() -> None:
    images, none = torch.zeros(0, 3, 8, 8, dtype=torch.uint8), torch.zeros(0)
    assert T.rotate(images, none).shape == images.shape
    assert T.shift_reflect(images, none.long(), none.long()).shape == images.shape
    assert T.cutout(images, none, none, none).shape == images.shape


@pytest.mark.parametrize(
    "images", [torch.zeros(2, 3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.uint8)]
)
def test_other_pictures_are_refused(images: Tensor) -> None:
    with pytest.raises(DataError, match=r"torch\.uint8 pictures of shape \(B, C, H, W\)"):
        T.rotate(images, torch.zeros(len(images)))


@pytest.mark.parametrize("degrees", [torch.zeros(3), torch.zeros(2, 1), 10.0])
def test_parameters_that_are_not_one_per_picture_are_refused(degrees: object) -> None:
    images = pictures((2, 3, 8, 8))
    with pytest.raises(DataError, match=r"degrees is .* for 2 pictures"):
        T.rotate(images, degrees)  # type: ignore[arg-type]
