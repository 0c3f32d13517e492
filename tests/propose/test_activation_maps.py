"""Class activation maps and the pixels they are sure of."""

from __future__ import annotations

import torch

from leaven.propose import activated_classes, class_activation_maps


def test_maps_are_0_to_1_for_the_tags_and_0_for_others() -> None:
    scores = torch.tensor(
        [[[[2.0, -3.0, 4.0]], [[9.0, 8.0, 7.0]], [[-1.0, -2.0, -5.0]], [[3.0, 4.0, 5.0]]]]
    )
    maps = class_activation_maps(scores, torch.tensor([[True, False, True, True]]))
    assert maps[0, :, 0].tolist() == [[0.5, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0.5, 1]]


def test_high_is_the_class_low_the_background_between_nothing() -> None:
    maps = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.9, 0.5, 0.1, 0.2], [0.1, 0.2, 0.3, 0.6]])
    maps = maps[None, :, None]
    tags = torch.tensor([[True, True, True]])
    found = activated_classes(maps, tags, 0.55, 0.35, background=0)
    assert found.flatten().tolist() == [1, -1, 0, 2]
    found = activated_classes(maps[:, 1:], tags[:, 1:], 0.55, 0.35)
    assert found.flatten().tolist() == [0, -1, -1, 1]


def test_a_picture_without_tags_is_background() -> None:
    scores = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    maps = class_activation_maps(scores, torch.zeros(1, 3, dtype=torch.bool))
    assert not maps.any()
    none = torch.zeros(1, 3, dtype=torch.bool)
    assert (activated_classes(maps, none, 0.55, 0.35, background=0) == 0).all()


def test_a_tag_that_is_seen_nowhere_leaves_no_background() -> None:
    maps = torch.tensor([[0.0, 0.0], [0.9, 0.1], [0.0, 0.0]])[None, :, None]
    for tags, expected in (([True, True, True], [1, -1]), ([False, True, False], [1, 0])):
        found = activated_classes(maps, torch.tensor([tags]), 0.55, 0.35, background=0)
        assert found.flatten().tolist() == expected
