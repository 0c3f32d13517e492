"""Predictions through windows, of pictures and volumes."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from leaven.propose import foreground, predict_windows


class Places(nn.Module):
    """Logits that depend on the values and on the place in the window; what it saw is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []
        self.dropout = nn.Dropout(0.9)

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(tuple(images.shape[2:]))
        place = torch.linspace(-1, 1, images[0, 0].numel()).view(images.shape[2:])
        return self.dropout(torch.cat([images, images * place], 1))


def slow(images: Tensor, window: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """As the authors write it: ``ceil((side - window) / stride) + 1`` windows, each at the multiple of
    the stride that fits."""
    sides = images.shape[2:]
    total, count = torch.zeros(len(images), 2, *sides), torch.zeros(sides)
    numbers = [
        range(math.ceil((side - own) / step) + 1)
        for side, own, step in zip(sides, window, stride, strict=True)
    ]
    model = Places().eval()
    for number in itertools.product(*numbers):
        place = [
            slice(min(step * n, side - own), min(step * n, side - own) + own)
            for n, side, own, step in zip(number, sides, window, stride, strict=True)
        ]
        index = (slice(None), slice(None), *place)
        total[index] += model(images[index]).softmax(1)
        count[tuple(place)] += 1
    return total / count


@pytest.mark.parametrize(
    ("size", "window", "stride"),
    [
        ((9, 11), (4, 5), (3, 2)),
        ((8, 8), (4, 4), (4, 4)),
        ((7, 9, 6), (4, 4, 3), (3, 4, 1)),
        ((5, 5, 5), (5, 5, 5), (1, 1, 1)),
    ],
)
def test_the_mean_over_all_windows(
    size: tuple[int, ...], window: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    images = torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(0))
    model = Places().train()
    found = predict_windows(model, images, window, stride)
    assert model.training
    assert set(model.seen) == {window}
    torch.testing.assert_close(found, slow(images, window, stride))
    torch.testing.assert_close(found.sum(1), torch.ones(2, *size))


@pytest.mark.parametrize(("size", "window"), [((3, 9), (6, 6)), ((3, 7, 9), (6, 4, 12))])
def test_what_is_smaller_than_the_window_is_padded_on_both_sides(
    size: tuple[int, ...], window: tuple[int, ...]
) -> None:
    images = torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(0))
    stride = tuple(2 for _ in window)
    padded = torch.zeros(1, 1, *(max(s, w) for s, w in zip(size, window, strict=True)))
    inner = tuple(
        slice(max(0, w - s) // 2, max(0, w - s) // 2 + s) for s, w in zip(size, window, strict=True)
    )
    padded[(..., *inner)] = images
    found = predict_windows(Places(), images, window, stride)
    assert found.shape == (1, 2, *size)
    torch.testing.assert_close(found, slow(padded, window, stride)[(..., *inner)])


def test_bad_windows() -> None:
    images = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match="2 axes"):
        predict_windows(Places(), images, (4, 4, 4), (1, 1, 1))
    for stride in ((3, 1), (0, 1)):
        with pytest.raises(ValueError, match="steps"):
            predict_windows(Places(), images, (2, 2), stride)


@pytest.mark.parametrize("size", [(3, 4), (3, 4, 5)])
def test_the_foreground_is_where_its_probability_is_enough(size: tuple[int, ...]) -> None:
    logits = torch.randn(2, 2, *size, generator=torch.Generator().manual_seed(0))
    logits[:, :, 0] = 0  # just as probable
    found = foreground(logits)
    assert (found[:, 0] == 1).all()
    assert torch.equal(found, (logits[:, 1] >= logits[:, 0]).long())
    assert torch.equal(foreground(logits, 0.9), (logits.softmax(1)[:, 1] >= 0.9).long())
    with pytest.raises(ValueError, match="2 classes"):
        foreground(torch.zeros(1, 3, 2, 2))
