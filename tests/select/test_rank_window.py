"""Ranks of classes, the classes a pixel is safely not, and how undecided it is."""

from __future__ import annotations

import math

import torch

from leaven.select import class_ranks, negative_classes, pixel_entropy


def test_ranks_count_the_more_likely_classes() -> None:
    probs = torch.rand(2, 6, 3, 4, generator=torch.Generator().manual_seed(0))
    expected = (probs[:, None] > probs[:, :, None]).sum(2)
    assert torch.equal(class_ranks(probs), expected)
    assert class_ranks(torch.ones(1, 3, 1, 1)).flatten().tolist() == [0, 1, 2]


def test_against_the_rule_pixel_by_pixel() -> None:
    generator = torch.Generator().manual_seed(1)
    ranks = class_ranks(torch.rand(2, 7, 4, 5, generator=generator))
    classes = torch.randint(-1, 7, (2, 4, 5), generator=generator)
    given = torch.rand(2, 4, 5, generator=generator) < 0.5
    uncertain = ~given & (torch.rand(2, 4, 5, generator=generator) < 0.6)
    found = negative_classes(ranks, classes, given, uncertain, (2, 5))
    assert found.any()
    for b in range(2):
        for y in range(4):
            for x in range(5):
                for c in range(7):
                    rank, label = int(ranks[b, c, y, x]), int(classes[b, y, x])
                    expected = False
                    if given[b, y, x]:
                        expected = label >= 0 and label != c and rank < 2
                    elif uncertain[b, y, x]:
                        expected = 2 <= rank < 5
                    assert bool(found[b, c, y, x]) == expected


def test_a_window_beyond_the_classes_ends_with_them() -> None:
    ranks = class_ranks(torch.tensor([0.4, 0.3, 0.2, 0.1]).view(1, 4, 1, 1))
    unknown, no, yes = torch.full((1, 1, 1), -1), torch.zeros(1, 1, 1) > 0, torch.ones(1, 1, 1) > 0
    found = negative_classes(ranks, unknown, no, yes, (3, 20))
    assert found.flatten().tolist() == [False, False, False, True]
    assert not negative_classes(ranks, unknown, yes, no, (3, 20)).any()


def test_entropy() -> None:
    probs = torch.tensor([[0.25, 1.0], [0.25, 0.0], [0.25, 0.0], [0.25, 0.0]])[None, :, None]
    entropy = pixel_entropy(probs)
    assert entropy.shape == (1, 1, 2)
    assert math.isclose(float(entropy[0, 0, 0]), math.log(4), rel_tol=1e-6)
    assert float(entropy[0, 0, 1]) == 0
