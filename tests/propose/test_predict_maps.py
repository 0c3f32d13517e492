"""Distributions of every pixel of whole sets, whole, through windows and at several scales."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leaven.data.pixels import MemoryPixels
from leaven.models import build_segmenter
from leaven.propose import predict_maps


class PointWise(nn.Module):
    """Logits that depend on one pixel alone, and on the column where ``places`` is not 0."""

    def __init__(self, places: float = 0.0) -> None:
        super().__init__()
        self.places, self.sizes = places, list[tuple[int, ...]]()
        self.dropout = nn.Dropout(0.5)
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append(tuple(images.shape))
        images = images.float() / 255 if images.dtype == torch.uint8 else images
        columns = torch.arange(images.shape[-1]) * self.places
        return self.dropout(images.mean(1, keepdim=True) * self.weight + columns * self.weight)


def pixels(count: int = 5, height: int = 12, width: int = 15) -> MemoryPixels:
    generator = torch.Generator().manual_seed(0)
    shape = (count, 3, height, width)
    return MemoryPixels(torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator))


def test_batches_in_order() -> None:
    model, data = PointWise().train(), pixels()
    chunks = list(predict_maps(model, data, 2))
    assert [len(chunk) for chunk in chunks] == [2, 2, 1]
    whole = torch.cat(chunks)
    assert whole.dtype == torch.float32
    assert not whole.requires_grad
    assert torch.allclose(whole.sum(1), torch.ones(5, 12, 15))
    expected = model.eval()(data.images).softmax(1)
    assert torch.allclose(whole, expected, atol=1e-6)


def test_modes_are_kept_between_batches() -> None:
    model = PointWise().train()
    model.dropout.eval()
    for _ in predict_maps(model, pixels(), 2):
        assert model.training
        assert not model.dropout.training
        assert torch.is_grad_enabled()


def test_no_pictures_give_nothing() -> None:
    assert list(predict_maps(PointWise(), pixels(0))) == []


@pytest.mark.parametrize("window", [(5, 6), (12, 4), (3, 15), (1, 1), (12, 15), (40, 7)])
def test_windows_of_a_pixelwise_model_change_nothing(window: tuple[int, int]) -> None:
    model, data = PointWise().eval(), pixels(2)
    expected = model(data.images).softmax(1)
    (found,) = predict_maps(model, data, 8, window=window)
    assert torch.allclose(found, expected, atol=1e-6)


def test_windows_move_by_two_thirds_and_their_mean_counts() -> None:
    model, data = PointWise(places=0.3).eval(), pixels(1, 6, 15)
    (found,) = predict_maps(model, data, window=(6, 6))
    assert model.sizes == [(1, 3, 6, 6)] * 4
    total, seen = torch.zeros(1, 3, 6, 15), torch.zeros(15)
    for left in (0, 4, 8, 9):
        total[..., left : left + 6] += model(data.images[..., left : left + 6]).softmax(1)
        seen[left : left + 6] += 1
    assert torch.allclose(found, total / seen, atol=1e-6)
    assert torch.allclose(found.sum(1), torch.ones(1, 6, 15))


def test_flip_is_the_mean_with_the_mirror_image() -> None:
    model, data = PointWise(places=0.3).eval(), pixels(2)
    (found,) = predict_maps(model, data, flip=True)
    mirrored = model(data.images.flip(-1)).softmax(1).flip(-1)
    expected = (model(data.images).softmax(1) + mirrored) / 2
    assert not torch.allclose(expected, mirrored)
    assert torch.allclose(found, expected, atol=1e-6)


def test_scales_are_brought_back_and_averaged() -> None:
    model, data = PointWise(places=0.3).eval(), pixels(2)
    (found,) = predict_maps(model, data, scales=(1.0, 0.5, 1.5))
    assert [size[2:] for size in model.sizes] == [(12, 15), (6, 8), (18, 22)]
    expected = model(data.images).softmax(1)
    for size in ((6, 8), (18, 22)):
        images = F.interpolate(data.images.float() / 255, size, mode="bilinear")
        probs = model(images).softmax(1)
        expected = expected + F.interpolate(probs, (12, 15), mode="bilinear")
    assert torch.allclose(found, expected / 3, atol=1e-5)


def test_a_segmenter_of_odd_pictures() -> None:
    torch.manual_seed(0)
    options = {"widths": [4, 6, 8]}
    model = build_segmenter("unet", ["a", "b"], (3, 21, 27), mean=[0.5], std=[0.2], options=options)
    (found,) = predict_maps(
        model, pixels(2, 21, 27), window=(13, 13), scales=(0.75, 1.25), flip=True
    )
    assert found.shape == (2, 2, 21, 27)
    assert torch.allclose(found.sum(1), torch.ones(2, 21, 27), atol=1e-5)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"batch_size": 0}, "at least one picture"),
        ({"window": (0, 4)}, "at least one pixel"),
        ({"scales": ()}, "scales are"),
        ({"scales": (1.0, 0.0)}, "scales are"),
    ],
)
def test_bad_arguments_are_refused_at_once(kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predict_maps(PointWise(), pixels(), **kwargs)
