"""Borders of label maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from leaven.refine import label_borders

INSIDE = (slice(None), slice(1, -1), slice(1, -1))


def sobel(classes: Tensor, num_classes: int) -> Tensor:
    """Straight from the formula: one-hot maps, two filters, magnitudes, their sum."""
    onehot = torch.stack([classes == k for k in range(num_classes)], 1).double()
    across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]).double()
    total = torch.zeros(classes.shape).double()
    for k in range(num_classes):
        x, y = (
            F.conv2d(onehot[:, k : k + 1], f[None, None], padding=1) for f in (across, across.T)
        )
        total += (x**2 + y**2).sqrt()[:, 0]
    return total > 0


def test_it_is_sobel_on_one_hot_maps() -> None:
    generator = torch.Generator().manual_seed(0)
    for count in (1, 2, 5):
        blocks = torch.randint(0, count, (3, 4, 5), generator=generator)
        classes = blocks.repeat_interleave(4, 1).repeat_interleave(3, 2)
        assert torch.equal(label_borders(classes, count), sobel(classes, count))
        noise = torch.randint(-1, count, (3, 9, 8), generator=generator)
        assert torch.equal(label_borders(noise, count), sobel(noise, count))


def test_a_constant_map_has_its_frame_alone() -> None:
    border = label_borders(torch.full((1, 6, 7), 2), 3)
    assert not border[INSIDE].any()
    assert border.sum() == 6 * 7 - 4 * 5


def test_two_half_planes_have_a_band_of_two_pixels() -> None:
    classes = (torch.arange(10) >= 5).long().expand(1, 8, 10)
    band = label_borders(classes, 2)[INSIDE]
    assert band.any(1).squeeze(0).nonzero().squeeze(1).tolist() == [3, 4]
    assert band[:, :, 3:5].all()


def test_unknown_pixels_are_no_class() -> None:
    classes = torch.full((1, 9, 9), -1)
    assert not label_borders(classes, 3).any()
    classes[:, 2:7, 2:7] = 1
    border = label_borders(classes, 3)
    # The edge of what is known is one, as the frame is; two pixels off nothing is.
    assert border[0, 2, 4] and border[0, 1, 4]
    assert not border[0, 0].any() and not border[0, 3:6, 3:6].any()


def test_no_picture() -> None:
    assert label_borders(torch.empty(0, 4, 4, dtype=torch.int64), 2).shape == (0, 4, 4)
