"""Operations on grey levels against torchvision applied to each picture, and closed forms."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from leaven.data import transforms as T
from leaven.errors import DataError

SHAPES = [(5, 3, 8, 8), (4, 1, 9, 7), (6, 3, 32, 32), (3, 3, 24, 40), (1, 1, 24, 40), (2, 3, 2, 5)]
FACTORS = [0.0, 0.05, 0.35, 0.65, 0.95, 1.0, 1.4, 1.9]


def pictures(shape: tuple[int, ...], kind: str = "noise") -> Tensor:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    if kind == "constant":
        return noise[:, :, :1, :1].expand(shape).contiguous()
    if kind == "narrow":
        return 100 + noise % 23
    if kind == "few":
        return (noise > 240).byte() * 40 + 3
    return noise


KINDS = ["noise", "constant", "narrow", "few"]


def compare(got: Tensor, wanted: list[Tensor], share: float = 0.0) -> None:
    """At most one grey level of difference, on at most ``share`` of the values."""
    difference = (got.int() - torch.stack(wanted).int()).abs()
    assert difference.max() <= (1 if share else 0)
    assert (difference > 0).double().mean() <= share


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("shape", SHAPES)
def test_brightness_equals_torchvision(shape, factor: float, kind: str) -> None:
    images = pictures(shape, kind)
    wanted = [F.adjust_brightness(image, factor) for image in images]
    compare(T.brightness(images, torch.full((len(images),), factor)), wanted)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "operation,reference",
    [
        (T.contrast, F.adjust_contrast),
        (T.color, F.adjust_saturation),
        (T.sharpness, F.adjust_sharpness),
    ],
    ids=["contrast", "color", "sharpness"],
)
def test_blends_equal_torchvision(operation, reference, shape, factor: float, kind: str) -> None:
    images = pictures(shape, kind)
    factors = torch.full((len(images),), factor)
    wanted = [reference(image, float(factors[0])) for image in images]
    # A constant picture's blend is a whole number in exact arithmetic, and is then rounded down:
    # the last bit of float32 decides, and torchvision's own differs within one picture.
    compare(operation(images, factors), wanted, share=1.0 if kind == "constant" else 0.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", range(9))
def test_posterize_equals_torchvision(bits: int, kind: str) -> None:
    images = pictures((3, 3, 24, 40), kind)
    wanted = [F.posterize(image, bits) for image in images]
    compare(T.posterize(images, torch.full((3,), bits)), wanted)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threshold", [0, 1, 85.3, 128, 170.6667, 254.9, 255])
def test_solarize_equals_torchvision(threshold: float, kind: str) -> None:
    images = pictures((3, 3, 24, 40), kind)
    wanted = [F.solarize(image, threshold) for image in images]
    compare(T.solarize(images, torch.full((3,), float(threshold))), wanted)


def test_solarize_at_256_changes_nothing() -> None:
    images = pictures((2, 1, 8, 8))
    assert torch.equal(T.solarize(images, torch.tensor([256, 256])), images)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "operation,reference",
    [(T.autocontrast, F.autocontrast), (T.equalize, F.equalize)],
    ids=["autocontrast", "equalize"],
)
def test_stretches_equal_torchvision(operation, reference, shape, kind: str) -> None:
    images = pictures(shape, kind)
    compare(operation(images), [reference(image) for image in images])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_equalize_equals_pillow(shape, kind: str) -> None:
    images = pictures(shape, kind)
    wanted = []
    for image in images:
        planes = [ImageOps.equalize(Image.fromarray(plane.numpy())) for plane in image]
        wanted.append(torch.stack([F.pil_to_tensor(plane)[0] for plane in planes]))
    compare(T.equalize(images), wanted)


def test_each_picture_has_its_own_parameter() -> None:
    images = pictures((8, 3, 9, 12))
    operations: list[tuple[Callable[[Tensor, Tensor], Tensor], Tensor]] = [
        (T.brightness, torch.tensor(FACTORS)),
        (T.contrast, torch.tensor(FACTORS)),
        (T.color, torch.tensor(FACTORS)),
        (T.sharpness, torch.tensor(FACTORS)),
        (T.posterize, torch.arange(8)),
        (T.solarize, torch.arange(8) * 32),
    ]
    for operation, values in operations:
        alone = [operation(images[n : n + 1], values[n : n + 1])[0] for n in range(8)]
        assert torch.equal(operation(images, values), torch.stack(alone))


@pytest.mark.parametrize("operation", [T.autocontrast, T.equalize])
def test_stretches_leave_constant_pictures_alone(operation) -> None:
    images = torch.arange(6, dtype=torch.uint8).view(2, 3, 1, 1).expand(2, 3, 8, 8) * 51
    assert torch.equal(operation(images), images)


def test_autocontrast_reaches_both_ends() -> None:
    stretched = T.autocontrast(pictures((3, 3, 32, 32), "narrow")).flatten(2)
    assert (stretched.amin(2) == 0).all()
    assert (stretched.amax(2) == 255).all()


def test_sharpness_leaves_edges_and_tiny_pictures_alone() -> None:
    images, factor = pictures((2, 3, 8, 8)), torch.zeros(2)
    smooth = T.sharpness(images, factor)
    border = torch.ones(8, 8, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    assert torch.equal(smooth[..., border], images[..., border])
    assert not torch.equal(smooth, images)
    tiny = images[:, :, :2]
    assert torch.equal(T.sharpness(tiny, factor), tiny)


def test_colour_needs_one_or_three_channels() -> None:
    images = torch.zeros(2, 4, 8, 8, dtype=torch.uint8)
    with pytest.raises(DataError, match="4 channels"):
        T.contrast(images, torch.ones(2))
    with pytest.raises(DataError, match="4 channels"):
        T.color(images, torch.ones(2))


def test_other_pictures_and_parameters_are_refused() -> None:
    with pytest.raises(DataError, match="float32"):
        T.equalize(torch.zeros(2, 3, 8, 8))
    with pytest.raises(DataError, match="factor is"):
        T.brightness(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.ones(3))
