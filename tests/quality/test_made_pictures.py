from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from leaven.cielab import lab_of, rgb_of, same_lightness
from leaven.quality.pictures import ColourHistogram, GradientHistogram, PictureMeter, fcn_score
from leaven.report.palette import seen


def flat(*colours: tuple[int, int, int], side: int = 4) -> Tensor:
    """Pictures of one colour each."""
    values = torch.tensor(colours, dtype=torch.uint8)[:, :, None, None]
    return values.expand(-1, -1, side, side).contiguous()


def noise(count: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 8, 8), generator=generator).byte()


def test_lab_is_that_of_the_slow_way() -> None:
    pictures = noise()
    rows = pictures.permute(0, 2, 3, 1).reshape(-1, 3).numpy() / 255
    wanted = seen(rows).reshape(2, 8, 8, 3).transpose(0, 3, 1, 2)
    assert np.allclose(lab_of(pictures).numpy(), wanted, atol=2e-3)
    assert torch.equal((rgb_of(lab_of(pictures)) * 255).round().byte(), pictures)


def test_known_colours() -> None:
    found = lab_of(flat((255, 255, 255), (0, 0, 0), (255, 0, 0)))[:, :, 0, 0]
    wanted = torch.tensor([[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20]])
    torch.testing.assert_close(found, wanted, atol=0.02, rtol=0)
    grey = flat((77, 77, 77))
    assert torch.equal(same_lightness(grey), grey[:, :1])


def test_the_same_pictures() -> None:
    meter = PictureMeter()
    meter.add(noise(), noise())
    found = meter.metrics()
    assert (found["l1"], found["psnr"], found["gradient_distance"]) == (0, 100, 0)
    assert found["colour_overlap"] == pytest.approx(1)


def test_differences_in_closed_form() -> None:
    meter = PictureMeter()
    # In batches of other sizes than one.
    meter.add(flat((0, 0, 0), (51, 51, 51)), flat((51, 51, 51), (51, 51, 51)))
    meter.add(flat((255, 255, 255)), flat((0, 0, 0)))
    found = meter.metrics()
    assert found["l1"] == pytest.approx((0.2 + 0 + 1) / 3)
    assert found["psnr"] == pytest.approx((-10 * math.log10(0.04) + 100 + 0) / 3)
    assert found["gradient_distance"] == 0
    # L of made is 0, 21, 100 and of real 21, 21, 0.
    assert found["lightness_overlap"] == pytest.approx(2 / 3)
    assert found["a_overlap"] == pytest.approx(1)
    assert found["colour_overlap"] == pytest.approx((2 / 3 + 2) / 3)


def test_gradients_in_closed_form() -> None:
    step = torch.zeros(1, 1, 5, 5, dtype=torch.uint8)
    step[..., 2:] = 100
    one, other = GradientHistogram(), GradientHistogram()
    one.add(step)
    other.add(torch.zeros_like(step))
    # 4 of the 16 pixels lie before the step; their gradient of 100 levels is to become 0.
    assert one.distance(other) == other.distance(one) == pytest.approx(0.25 * 100 / 255)
    assert int(one.counts.sum()) == 16


def test_blurred_pictures_lack_gradients_and_grey_ones_colours() -> None:
    real = noise(8)
    small = torch.nn.functional.avg_pool2d(real.float(), 3, 1, 1).byte()
    sharp, blurred = noise(8, seed=1), small
    distance = []
    for made in (sharp, blurred):
        meter = PictureMeter()
        meter.add(made, real)
        distance.append(meter.metrics()["gradient_distance"])
    assert 2 * distance[0] < distance[1]
    one, other = ColourHistogram(), ColourHistogram()
    one.add(real)
    other.add(same_lightness(real).expand(-1, 3, -1, -1))
    overlap = one.overlap(other)
    assert overlap["lightness"] > 0.9
    assert overlap["a"] < 0.2


def test_grey_pictures_have_lightness_alone() -> None:
    meter = PictureMeter()
    meter.add(noise()[:, :1], noise()[:, :1])
    assert set(meter.metrics()) >= {"colour_overlap", "lightness_overlap"}
    assert "a_overlap" not in meter.metrics()


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="no picture"):
        PictureMeter().metrics()
    with pytest.raises(ValueError, match="made"):
        PictureMeter().add(noise(1), noise(2))


def test_fcn_score_from_one_confusion_matrix() -> None:
    """The class of a pixel is read from its brightness; two maps, one unknown pixel."""
    truth = torch.tensor([[[0, 0, 1, 1]], [[1, 1, 1, -1]]])
    said = torch.tensor([[[0, 1, 1, 1]], [[1, 1, 0, 2]]])
    pictures = (said * 100).byte()[:, None].expand(-1, 3, -1, -1)

    def segment(images: Tensor) -> Tensor:
        return (images[:, 0].long() + 50) // 100

    found = fcn_score(segment, [(pictures[:1], truth[:1]), (pictures[1:], truth[1:])], 4)
    # Rows: class 0: 1 right, 1 as class 1; class 1: 1 as class 0, 4 right.
    assert found["pixel_accuracy"] == pytest.approx(5 / 7)
    assert found["mean_accuracy"] == pytest.approx((1 / 2 + 4 / 5) / 2)
    assert found["miou"] == pytest.approx((1 / 3 + 4 / 6) / 2)


def test_pictures_are_scaled_to_their_maps() -> None:
    sizes = []

    def segment(images: Tensor) -> Tensor:
        sizes.append(tuple(images.shape[2:]))
        return torch.zeros(len(images), *images.shape[2:], dtype=torch.int64)

    truth = torch.zeros(1, 8, 12, dtype=torch.int64)
    found = fcn_score(segment, [(noise(1)[..., :4, :6], truth)], 3)
    assert sizes == [(8, 12)]
    assert found["miou"] == 1
