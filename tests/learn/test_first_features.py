"""The distance to the features of another encoder, where things are."""

from __future__ import annotations

import math

import torch

from leaven.learn import masked_feature_distance, patch_classes


def test_a_patch_is_of_the_class_that_fills_it() -> None:
    classes = torch.zeros(1, 8, 8, dtype=torch.int64)
    classes[0, :4, :3] = 2  # 12 of 16 pixels: three quarters
    classes[0, :4, 4:] = 1
    classes[0, 4:, :4] = -1
    classes[0, 4:, 4:6] = 1  # half
    found = patch_classes(classes, (2, 2), 3, 0.75)
    assert found.tolist() == [[[2, 1], [-1, -1]]]
    assert patch_classes(classes, (2, 2), 3, 0.76).tolist() == [[[-1, 1], [-1, -1]]]
    # Unknown pixels count among those of the patch.
    classes[0, 4:6, :4] = 1
    assert patch_classes(classes, (2, 2), 3, 0.6)[0, 1, 0] == -1
    assert patch_classes(classes, (2, 2), 3, 0.5)[0, 1, 0] == 1


def test_in_the_size_of_the_pixels_nothing_changes() -> None:
    classes = torch.randint(-1, 4, (2, 5, 7), generator=torch.Generator().manual_seed(0))
    assert torch.equal(patch_classes(classes, (5, 7), 4, 1.0), classes)


def test_the_mean_distance_over_the_mask() -> None:
    features, others = torch.zeros(1, 2, 1, 3), torch.zeros(1, 2, 1, 3)
    features[0, :, 0, 0] = torch.tensor([3.0, 4.0])
    others[0, :, 0, 1] = torch.tensor([0.0, 2.0])
    features[0, :, 0, 2] = 100
    mask = torch.tensor([[[True, True, False]]])
    assert math.isclose(float(masked_feature_distance(features, others, mask)), 3.5)


def test_equal_features_and_empty_masks_have_no_gradient() -> None:
    features = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(2, 3, 3, dtype=torch.bool)
    for others, seen in ((features.clone(), ~mask), (torch.zeros_like(features), mask)):
        live = features.clone().requires_grad_()
        loss = masked_feature_distance(live, others, seen)
        loss.backward()
        assert loss.item() == 0
        assert live.grad is not None
        assert not live.grad.any()
        assert live.grad.isfinite().all()


def test_the_gradient_is_the_unit_difference_by_the_number_of_places() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(1, 3, 2, 2, generator=generator, requires_grad=True)
    others = torch.randn(1, 3, 2, 2, generator=generator)
    mask = torch.tensor([[[True, False], [True, True]]])
    masked_feature_distance(features, others, mask).backward()
    difference = (features - others).detach()
    expected = difference / difference.norm(dim=1, keepdim=True) * mask / 3
    assert features.grad is not None
    assert torch.allclose(features.grad, expected, atol=1e-6)
