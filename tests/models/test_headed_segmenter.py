"""A segmenter with further heads on its features."""

from __future__ import annotations

import copy

import torch
from torch import nn

from leaven.models.segmentation import (
    HeadedSegmenter,
    Segmenter,
    build_segmenter,
    representation_head,
)


def headed() -> tuple[Segmenter, HeadedSegmenter]:
    torch.manual_seed(0)
    half = (0.5, 0.5, 0.5)
    plain = build_segmenter(
        "unet", ("a", "b", "c"), (3, 16, 24), mean=half, std=half, options={"widths": [4, 6]}
    )
    return plain, HeadedSegmenter(plain, {"representation": representation_head(4, 5)})


def test_pictures_go_through_it_as_without_heads() -> None:
    plain, model = headed()
    images = torch.randint(0, 256, (2, 3, 16, 24)).to(torch.uint8)
    assert torch.equal(model.eval()(images), plain.eval()(images))
    assert torch.equal(model.alone()(images), plain(images))
    assert type(model.alone()) is Segmenter
    assert not any("heads" in name for name in model.alone().state_dict())


def test_heads_are_applied_to_features_and_copied_along() -> None:
    _, model = headed()
    features = model.decode(model.encode(torch.rand(2, 3, 16, 24)))
    vectors = model.apply_head("representation", features)
    assert vectors.shape == (2, 5, 16, 24)
    assert vectors.dtype == torch.float32
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for weight in twin.heads.parameters():
            weight.zero_()
    assert twin.state_dict().keys() == model.state_dict().keys()
    assert not torch.equal(twin.apply_head("representation", features), vectors)


def test_modes_and_precision_come_from_the_segmenter() -> None:
    plain, _ = headed()
    plain.precision = torch.bfloat16
    model = HeadedSegmenter(plain.eval(), {"more": nn.Conv2d(4, 2, 1)})
    assert not model.heads["more"].training
    assert model.alone().precision == torch.bfloat16
    features = model.decode(model.encode(torch.rand(1, 3, 16, 24)))
    assert model.apply_head("more", features).dtype == torch.float32
