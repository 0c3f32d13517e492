"""Recorded geometry: exact where nothing is resampled, torch's grids elsewhere, boxes with pixels."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import grid_sample

from leaven.data import transforms as T
from leaven.data.transforms.geometry import Geometry, between
from leaven.errors import ConfigError, DataError

SIZE = (12, 17)


def draws(count: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


def pictures(count: int, size: tuple[int, int], channels: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (count, channels, *size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def class_maps(count: int, size: tuple[int, int], classes: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, classes, (count, *size), generator=generator)


def any_geometry(count: int, size: tuple[int, int], view: tuple[int, int], seed: int) -> Geometry:
    """Scale, crop, mirror, turn and shear at once."""
    u = draws(count, 8, seed=seed)
    return (
        T.scaled(0.6 + u[:, :2], size, view)
        .then(T.cropped(8 * u[:, 2] - 4, 8 * u[:, 3] - 4, view, view))
        .then(T.mirrored(u[:, 4] < 0.5, view))
        .then(T.turned(90 * u[:, 5] - 45, view))
        .then(T.sheared(u[:, 6] - 0.5, u[:, 7] - 0.5, view))
    )


def exact_geometry(count: int, size: tuple[int, int], view: tuple[int, int], seed: int) -> Geometry:
    u = draws(count, 4, seed=seed)
    left, top = (20 * u[:, 0] - 10).round(), (20 * u[:, 1] - 10).round()
    moved = T.cropped(left, top, size, view)
    sideways = T.mirrored(u[:, 2] < 0.5, view)
    return moved.then(sideways).then(T.mirrored(u[:, 3] < 0.5, view, upside_down=True))


def sampled_slowly(values: Tensor, geometry: Geometry, fill: float) -> Tensor:
    """Pixel by pixel, from the definition: the value of the pixel that holds the place."""
    back = torch.linalg.inv(geometry.matrix)
    out = values.new_full((*values.shape[:-2], *geometry.view), fill)
    for sample in range(len(values)):
        for v in range(geometry.view[0]):
            for u in range(geometry.view[1]):
                place = back[sample] @ torch.tensor([u + 0.5, v + 0.5, 1], dtype=torch.float64)
                # The inverse is rounded where places are whole numbers of half pixels.
                x, y = (place[:2] + 1e-9).floor().int().tolist()
                if 0 <= x < values.shape[-1] and 0 <= y < values.shape[-2]:
                    out[sample, ..., v, u] = values[sample, ..., y, x]
    return out


@pytest.mark.parametrize("view", [SIZE, (7, 23)])
def test_mirrors_and_whole_pixels_equal_the_definition_and_copy_bytes(
    view: tuple[int, int],
) -> None:
    geometry = exact_geometry(6, SIZE, view, seed=1)
    assert geometry.exact.all()
    images, classes = pictures(6, SIZE), class_maps(6, SIZE)
    assert torch.equal(geometry.images(images, fill=9), sampled_slowly(images, geometry, 9))
    assert torch.equal(geometry.maps(classes), sampled_slowly(classes, geometry, -1))
    probs = draws(6, 4, *SIZE)
    seen, valid = geometry.dense(probs)
    assert torch.equal(seen, sampled_slowly(probs, geometry, 0))
    assert torch.equal(valid, sampled_slowly(torch.ones(6, *SIZE), geometry, 0) == 1)


@pytest.mark.parametrize("seed", range(5))
def test_the_inverse_restores_labels_exactly(seed: int) -> None:
    """Where the view saw them; -1 elsewhere."""
    classes, geometry = class_maps(8, SIZE), exact_geometry(8, SIZE, (14, 13), seed)
    seen = geometry.inverse().valid()
    back = geometry.inverse().maps(geometry.maps(classes))
    assert torch.equal(back, torch.where(seen, classes, -1))
    images = pictures(8, SIZE)
    restored = geometry.inverse().images(geometry.images(images))
    assert torch.equal(restored, images * seen[:, None])
    assert torch.equal(geometry.inverse().inverse().matrix, geometry.matrix)


def test_mirrors_alone_lose_nothing() -> None:
    flips = T.mirrored(torch.tensor([True, False, True]), SIZE)
    classes, images = class_maps(3, SIZE), pictures(3, SIZE)
    assert torch.equal(flips.maps(classes)[0], classes[0].flip(1))
    assert torch.equal(flips.inverse().maps(flips.maps(classes)), classes)
    assert torch.equal(flips.images(images), T.horizontal_flip(images, torch.tensor([1, 0, 1]) > 0))
    assert flips.valid().all()


def test_quarter_turns_are_exact() -> None:
    images, turns = pictures(5, (9, 9)), torch.arange(-1, 4)
    geometry = T.quarter_turned(turns, 9)
    assert geometry.exact.all()
    assert torch.equal(geometry.images(images), T.quarter_turns(images, turns))


def test_turns_equal_the_operation_without_record() -> None:
    images, degrees = pictures(6, (16, 24)), 120 * draws(6) - 60
    turned = T.turned(degrees, (16, 24)).images(images, mode="nearest", fill=7)
    assert (turned == T.rotate(images, degrees, fill=7)).float().mean() > 0.999


@pytest.mark.parametrize("seed", range(4))
def test_nearest_equals_the_definition(seed: int) -> None:
    classes, geometry = class_maps(3, SIZE), any_geometry(3, SIZE, (15, 11), seed)
    assert torch.equal(geometry.maps(classes), sampled_slowly(classes, geometry, -1))
    weights = draws(3, *SIZE)
    assert torch.equal(geometry.maps(weights, fill=0), sampled_slowly(weights, geometry, 0))


def reference_grid(geometry: Geometry) -> Tensor:
    """The places of the view's pixels in [-1, 1], one by one."""
    height, width = geometry.view
    v, u = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    here = torch.stack([u, v, torch.ones_like(u)], -1).double()
    there = torch.einsum("bij,hwj->bhwi", torch.linalg.inv(geometry.matrix), here)
    return there[..., :2] / torch.tensor([geometry.source[1], geometry.source[0]]) * 2 - 1


@pytest.mark.parametrize("seed", range(4))
def test_bilinear_equals_torchs_grid_sample(seed: int) -> None:
    geometry = any_geometry(4, SIZE, (15, 20), seed)
    assert not geometry.exact.any()
    values = draws(4, 3, *SIZE)
    grid = reference_grid(geometry)
    wanted = grid_sample(values.double(), grid, padding_mode="border", align_corners=False)
    inside = (grid.abs() < 1).all(-1)
    assert torch.equal(geometry.valid(), inside)
    wanted = torch.where(inside[:, None], wanted, 0.25)
    assert torch.allclose(geometry.images(values, fill=0.25).double(), wanted, atol=1e-5)
    levels = geometry.images((values * 255).byte()).float()
    wanted_levels = geometry.images((values * 255).byte().float())
    assert (levels - wanted_levels).abs().max() <= 0.5 + 1e-3


def test_a_batch_of_both_kinds_equals_its_samples_alone() -> None:
    mixed = T.turned(torch.tensor([0.0, 30.0, 0.0, -11.0]), SIZE)
    assert mixed.exact.tolist() == [True, False, True, False]
    for images in (pictures(4, SIZE), draws(4, 2, *SIZE), draws(4, 2, *SIZE).half()):
        made = mixed.images(images)
        assert made.dtype == images.dtype
        for sample in range(4):
            one = torch.tensor([sample])
            assert torch.equal(made[one], mixed[one].images(images[one]))
        assert torch.equal(made[0], images[0])


def test_predictions_stay_distributions_and_pass_gradients() -> None:
    probs = draws(3, 5, *SIZE).softmax(1).requires_grad_()
    seen, valid = any_geometry(3, SIZE, SIZE, 3).dense(probs)
    assert 0.1 < valid.float().mean() < 1
    assert torch.allclose(seen.sum(1), valid.float(), atol=1e-5)
    (gradient,) = torch.autograd.grad(seen.square().sum(), probs)
    assert gradient.isfinite().all() and (gradient != 0).any()
    shown = torch.zeros(3, *SIZE, dtype=torch.bool)
    shown[:, :6] = True
    _, partly = T.unmoved(3, SIZE).dense(probs, shown)
    assert torch.equal(partly, shown)


@pytest.mark.parametrize("seed", range(4))
def test_composition_equals_the_one_step_warp(seed: int) -> None:
    first = any_geometry(3, SIZE, (15, 20), seed)
    second = any_geometry(3, (15, 20), (9, 8), seed + 10)
    points, rows = 17 * draws(6, 2), torch.tensor([0, 0, 1, 1, 2, 2])
    once = first.then(second).points(points, rows)
    assert torch.allclose(once, second.points(first.points(points, rows), rows), atol=1e-4)
    moved = exact_geometry(3, SIZE, (15, 20), seed)
    turned = exact_geometry(3, (15, 20), (9, 8), seed + 5)
    classes = class_maps(3, SIZE)
    both = turned.maps(moved.maps(classes))
    # A pixel that left the first view is lost to the second, and to it alone.
    assert torch.equal(both[both >= 0], moved.then(turned).maps(classes)[both >= 0])
    shown = turned.valid(source=moved.valid())
    assert torch.equal(torch.where(shown, moved.then(turned).maps(classes), -1), both)


def test_between_two_views() -> None:
    weak, strong = any_geometry(4, (96, 128), (80, 90), 1), any_geometry(4, (96, 128), (64, 70), 2)
    points, rows = 100 * draws(8, 2), torch.arange(8) % 4
    there = between(weak, strong)
    assert (there.source, there.view) == ((80, 90), (64, 70))
    direct = strong.points(points, rows)
    assert torch.allclose(there.points(weak.points(points, rows), rows), direct, atol=1e-4)
    back = between(strong, weak).points(there.points(points, rows), rows)
    assert torch.allclose(back, points, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    angle=st.floats(-180, 180),
    stretch=st.tuples(st.floats(0.25, 4), st.floats(0.25, 4)),
    slope=st.tuples(st.floats(-1, 0.9), st.floats(-0.9, 1)),
    move=st.tuples(st.floats(-50, 50), st.floats(-50, 50)),
    flip=st.booleans(),
)
def test_any_map_there_and_back(
    angle: float,
    stretch: tuple[float, float],
    slope: tuple[float, float],
    move: tuple[float, float],
    flip: bool,
) -> None:
    size = (30, 40)
    geometry = (
        T.scaled(torch.tensor([stretch]), size, size)
        .then(T.turned(torch.tensor([angle]), size))
        .then(T.sheared(torch.tensor([slope[0]]), torch.tensor([slope[1]]), size))
        .then(T.shifted(torch.tensor([move[0]]), torch.tensor([move[1]]), size))
        .then(T.mirrored(torch.tensor([flip]), size))
    )
    identity = geometry.then(geometry.inverse()).matrix
    assert torch.allclose(identity, torch.eye(3).double()[None], atol=1e-9)
    points = 40 * draws(5, 2)
    rows = torch.zeros(5, dtype=torch.int64)
    back = geometry.inverse().points(geometry.points(points, rows), rows)
    assert torch.allclose(back, points, atol=1e-4)
    classes = class_maps(1, size)
    assert set(geometry.maps(classes).unique().tolist()) <= set(range(-1, 5))


def test_a_scale_there_and_back_keeps_regions() -> None:
    """Twice as large and back is exact; other scales and turns keep most of a region."""
    maps = torch.zeros(2, 40, 60, dtype=torch.int64)
    maps[:, 8:30, 10:45] = 1
    double = T.scaled(torch.full((2,), 2.0), (40, 60), (80, 120))
    assert torch.equal(double.inverse().maps(double.maps(maps)), maps)
    for geometry in (
        T.scaled(torch.tensor([0.6, 1.37]), (40, 60), (56, 84)),
        T.turned(torch.tensor([25.0, -14.0]), (40, 60)),
    ):
        back = geometry.inverse().maps(geometry.maps(maps))
        union = ((back == 1) | (maps == 1)).sum((1, 2))
        assert (((back == 1) & (maps == 1)).sum((1, 2)) / union > 0.93).all()


def test_directions() -> None:
    size, rows = (10, 20), torch.zeros(1, dtype=torch.int64)
    point = torch.tensor([[15.0, 5.0]])

    def at(geometry: Geometry) -> list[float]:
        return geometry.points(point, rows)[0].tolist()

    one = torch.ones(1)
    assert at(T.turned(90 * one, size)) == pytest.approx([10, 0])
    assert at(T.mirrored(one > 0, size)) == [5, 5]
    assert at(T.mirrored(one > 0, size, upside_down=True)) == [15, 5]
    assert at(T.shifted(3 * one, -2 * one, size)) == [18, 3]
    assert at(T.cropped(3 * one, 2 * one, size, (5, 5))) == [12, 3]
    assert at(T.scaled(2 * one, size, size)) == [30, 10]
    slope = math.tan(math.radians(30))
    sheared = at(T.sheared(0 * one, slope * one, size))
    assert sheared == pytest.approx([15, 5 + 5 * slope])
    unmoved = T.unmoved(1, size)
    assert at(unmoved) == [15, 5] and unmoved.exact.all()


def test_empty_batches() -> None:
    none = torch.zeros(0)
    geometry = T.scaled(none, SIZE, (5, 6)).then(T.turned(none, (5, 6)))
    assert geometry.images(pictures(0, SIZE)).shape == (0, 3, 5, 6)
    assert geometry.maps(class_maps(0, SIZE)).shape == (0, 5, 6)
    assert geometry.valid().shape == (0, 5, 6)
    assert geometry.points(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)).shape == (0, 2)


def test_void_stays_void() -> None:
    void = torch.full((2, *SIZE), -1)
    assert (any_geometry(2, SIZE, SIZE, 0).maps(void) == -1).all()


def test_bad_input() -> None:
    with pytest.raises(DataError, match="invertible"):
        T.scaled(torch.tensor([1.0, 0.0]), SIZE, SIZE)
    with pytest.raises(DataError, match="invertible"):
        T.turned(torch.tensor([float("nan")]), SIZE)
    with pytest.raises(DataError, match="shape"):
        Geometry(torch.eye(3), SIZE, SIZE)
    geometry = T.unmoved(2, SIZE)
    with pytest.raises(DataError, match="inverse"):
        geometry.images(pictures(2, (12, 16)))
    with pytest.raises(ConfigError, match="bicubic"):
        geometry.images(pictures(2, SIZE), mode="bicubic")
    with pytest.raises(DataError, match=r"\(2, 12, 17\)"):
        geometry.maps(class_maps(3, SIZE))
    with pytest.raises(DataError, match="followed"):
        geometry.then(T.unmoved(2, (3, 3)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu() -> None:
    for geometry in (exact_geometry(5, SIZE, (9, 20), 0), any_geometry(5, SIZE, (9, 20), 0)):
        images, classes = pictures(5, SIZE), class_maps(5, SIZE)
        seen = geometry.images(images.cuda())
        assert seen.is_cuda
        assert (seen.cpu().int() - geometry.images(images).int()).abs().max() <= 1
        same = geometry.maps(classes.cuda()).cpu() == geometry.maps(classes)
        assert same.float().mean() > 0.99
        assert torch.equal(geometry.valid("cuda").cpu(), geometry.valid())
        boxes, rows = torch.tensor([[1.0, 2, 9, 8]] * 5), torch.arange(5)
        moved, share = geometry.boxes(boxes.cuda(), rows.cuda())
        assert torch.allclose(moved.cpu(), geometry.boxes(boxes, rows)[0]) and share.is_cuda
