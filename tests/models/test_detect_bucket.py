from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from leaven.errors import ModelError
from leaven.models.detection import BucketCoder, BucketHead, bucket_loss, side_certainty
from leaven.models.detection.box_head import RegionOutputs


def regions(count: int = 30) -> tuple[Tensor, Tensor]:
    """Regions, and boxes whose sides lie in the ranges of their sides."""
    draw = torch.Generator().manual_seed(0)
    low = torch.rand(count, 2, generator=draw) * 50
    sides = torch.rand(count, 2, generator=draw) * 40 + 2
    boxes = torch.cat([low, low + sides], 1)
    centre, half = low + sides / 2, sides / 2 * 1.7
    away = torch.rand(count, 4, generator=draw) * half.repeat(1, 2)
    return boxes, torch.cat([centre - away[:, :2], centre + away[:, 2:]], 1)


def one_hot(bins: Tensor, count: int) -> Tensor:
    return F.one_hot(bins, count).float() * 50


@pytest.mark.parametrize("bins", [1, 2, 7])
def test_encoding_and_decoding_gives_the_box_back(bins: int) -> None:
    boxes, targets = regions()
    coder = BucketCoder(bins, 1.7)
    where, offsets = coder.encode(boxes, targets)
    found = coder.decode(boxes, one_hot(where, bins), offsets)
    assert torch.allclose(found, targets, atol=1e-4)
    assert offsets.gather(-1, where[..., None]).abs().max() <= 0.5 + 1e-4


def test_buckets_by_hand() -> None:
    # Enlarged by 2 the region is 0 to 40 in x: the left side lies in 0 to 20, in 4 buckets of 5.
    coder = BucketCoder(4, 2.0)
    centres, width = coder.buckets(torch.tensor([[10.0, 10.0, 30.0, 50.0]]))
    assert centres[0, 0].tolist() == [2.5, 7.5, 12.5, 17.5]
    assert centres[0, 2].tolist() == [22.5, 27.5, 32.5, 37.5]
    assert centres[0, 1].tolist() == [-5.0, 5.0, 15.0, 25.0]
    assert width[0, :, 0].tolist() == [5.0, 10.0, 5.0, 10.0]
    where, offsets = coder.encode(
        torch.tensor([[10.0, 10.0, 30.0, 50.0]]), torch.tensor([[11.0, -9.0, 39.0, 31.0]])
    )
    assert where.tolist() == [[2, 0, 3, 0]]
    assert torch.allclose(offsets[0, 0], torch.tensor([1.7, 0.7, -0.3, -1.3]))


def test_decoding_moves_and_grows_with_region_and_box() -> None:
    boxes, _ = regions()
    draw = torch.Generator().manual_seed(1)
    logits, offsets = (torch.randn(30, 4, 7, generator=draw) for _ in range(2))
    coder = BucketCoder()
    found = coder.decode(boxes, logits, offsets)
    moved = coder.decode(boxes * 3 + 11, logits, offsets)
    assert torch.allclose(moved, found * 3 + 11, atol=1e-3)


def test_certainty() -> None:
    assert torch.allclose(side_certainty(torch.zeros(3, 4, 7)), torch.full((3,), 1 / 7))
    sharp = one_hot(torch.randint(0, 7, (3, 4)), 7) * 10
    assert torch.allclose(side_certainty(sharp), torch.ones(3))
    half = torch.zeros(1, 4, 7)
    half[:, :2, 3] = 500
    assert torch.allclose(side_certainty(half), torch.tensor([0.5 + 0.5 / 7]))


def test_loss_is_its_formula() -> None:
    boxes, targets = regions(5)
    coder = BucketCoder()
    draw = torch.Generator().manual_seed(2)
    logits, offsets = (torch.randn(5, 4, 7, generator=draw) for _ in range(2))
    bins, true = coder.encode(boxes, targets)
    found = bucket_loss(logits, offsets, bins, true)
    for row in range(5):
        expected = 0.0
        for side in range(4):
            expected -= logits[row, side].log_softmax(0)[bins[row, side]]
            for bucket in true[row, side].abs().argsort()[:2]:
                gap = (offsets[row, side, bucket] - true[row, side, bucket]).abs()
                expected += gap**2 / 2 * 9 if gap < 1 / 9 else gap - 1 / 18
        assert torch.isclose(found[row], torch.as_tensor(expected), atol=1e-4)


def test_the_true_bucket_is_pulled_up_and_all_others_down() -> None:
    logits = torch.zeros(1, 4, 7, requires_grad=True)
    bins = torch.tensor([[0, 3, 6, 2]])
    bucket_loss(logits, torch.zeros(1, 4, 7), bins, torch.zeros(1, 4, 7)).sum().backward()
    assert logits.grad is not None
    true = F.one_hot(bins, 7).bool()
    assert (logits.grad[true] < 0).all() and (logits.grad[~true] > 0).all()


def test_offsets_far_from_the_side_are_not_trained() -> None:
    boxes, targets = regions(3)
    bins, true = BucketCoder().encode(boxes, targets)
    offsets = torch.full((3, 4, 7), 9.0, requires_grad=True)
    bucket_loss(torch.zeros(3, 4, 7), offsets, bins, true).sum().backward()
    assert offsets.grad is not None
    trained = offsets.grad != 0
    assert (trained.sum(-1) == 2).all() and trained.gather(-1, bins[..., None]).all()


def test_the_head() -> None:
    torch.manual_seed(0)
    head = BucketHead(4, 7, 16, 3, bins=5)
    outputs = head(torch.randn(6, 4, 7, 7))
    boxes, targets = regions(6)
    assert outputs.probs.shape == (6, 4)
    decoded = head.decode(outputs.location, boxes)
    assert decoded.shape == (6, 3, 4)
    assert (decoded[..., 2:] >= decoded[..., :2]).all()
    certainty = head.certainty(outputs)
    assert ((certainty >= 1 / 5) & (certainty <= 1)).all()
    loss = head.location_loss(outputs.location, boxes, torch.zeros(6, dtype=torch.int64), targets)
    assert loss.shape == (6,) and loss.isfinite().all()
    none = RegionOutputs(outputs.logits[:0], outputs.location[:0])
    assert head.certainty(none).shape == (0,)


def test_a_head_without_buckets_is_refused() -> None:
    with pytest.raises(ModelError, match="bins=0"):
        BucketHead(4, 7, 16, 3, bins=0)
