"""The parts that choose what to label next, against their formulas and slow references."""

import importlib
import itertools
import math

import pytest
import torch

from leaven.draws import Draws
from leaven.labels import VOID, BoxLabels
from leaven.quality.acquisition import (
    UNCERTAINTY,
    box_disagreement,
    box_uncertainty,
    directions,
    disagreement,
    entropy,
    gradient_seeding,
    k_center,
    least_confidence,
    margin,
    narrowed,
    nearest,
    novel,
    per_picture,
    pixel_disagreement,
    pixel_mean,
    typical,
)


def random_probs(n, k, seed=0):
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed)).softmax(1)


def random_features(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


# -- uncertainty -----------------------------------------------------------------------------------


def test_uncertainty_by_hand():
    probs = torch.tensor([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0], [1 / 3] * 3])
    assert least_confidence(probs).tolist() == pytest.approx([0.75, 0, 1])
    assert margin(probs).tolist() == pytest.approx([0.8, 0, 1])
    bits = -sum(p * math.log(p) for p in (0.5, 0.3, 0.2)) / math.log(3)
    assert entropy(probs).tolist() == pytest.approx([bits, 0, 1])


@pytest.mark.parametrize("name", UNCERTAINTY)
def test_uncertainty_of_pixels_is_that_of_each_pixel(name):
    maps = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(1)).softmax(1)
    found = UNCERTAINTY[name](maps)
    flat = maps.permute(0, 2, 3, 1).reshape(-1, 5)
    torch.testing.assert_close(found.flatten(), UNCERTAINTY[name](flat))
    assert UNCERTAINTY[name](torch.ones(3, 1)).tolist() == [0, 0, 0]
    assert UNCERTAINTY[name](torch.zeros(0, 4)).shape == (0,)
    torch.testing.assert_close(pixel_mean(found), found.mean((1, 2)))


# -- disagreement ----------------------------------------------------------------------------------


def test_disagreement_by_hand():
    same = random_probs(4, 3)
    assert disagreement([same, same, same]).tolist() == pytest.approx([0] * 4, abs=1e-6)
    one, two = torch.eye(3)[[0, 0]], torch.eye(3)[[1, 0]]
    assert disagreement([one, two]).tolist() == pytest.approx([1, 0])
    p, q = torch.tensor([[0.8, 0.2]]), torch.tensor([[0.4, 0.6]])

    def bits(*values):
        return -sum(v * math.log(v) for v in values)

    wanted = (bits(0.6, 0.4) - (bits(0.8, 0.2) + bits(0.4, 0.6)) / 2) / math.log(2)
    assert float(disagreement([p, q])) == pytest.approx(wanted)
    assert disagreement([torch.ones(2, 1)] * 2).tolist() == [0, 0]
    with pytest.raises(ValueError, match="compared"):
        disagreement([p])
    with pytest.raises(ValueError, match="compared"):
        disagreement([p, same])


def boxes(*pictures):
    """Boxes as (x, class, score) of 10x10, a list for each picture."""
    rows = [row for picture in pictures for row in picture]
    corners = torch.tensor([[x, 0, x + 10, 10] for x, _, _ in rows]).float().view(-1, 4)
    classes = torch.tensor([k for _, k, _ in rows], dtype=torch.int64)
    scores = torch.tensor([s for _, _, s in rows], dtype=torch.float32)
    counts = torch.tensor([len(picture) for picture in pictures])
    return BoxLabels.from_model(corners, classes, scores, counts)


def test_disagreement_of_boxes_is_one_less_f1():
    ours = boxes([(0, 0, 0.9), (50, 1, 0.8)], [], [(0, 0, 0.9)], [], [(0, 0, 0.5)])
    others = boxes([(1, 0, 0.7)], [], [(30, 0, 0.9)], [(0, 1, 0.9)], [(0, 1, 0.5)])
    assert box_disagreement(ours, others, 2).tolist() == pytest.approx([1 / 3, 0, 1, 1, 1])
    torch.testing.assert_close(box_disagreement(ours, others, 2), box_disagreement(others, ours, 2))


def test_disagreement_of_pixels():
    ours = torch.tensor([[0, 1], [2, VOID]], dtype=torch.uint8)
    others = torch.tensor([[0, 2], [VOID, 1]], dtype=torch.uint8)
    assert pixel_disagreement(ours, others) == 0.5
    assert pixel_disagreement(ours, torch.full_like(ours, VOID)) == 0


# -- pictures of boxes -----------------------------------------------------------------------------


def test_boxes_of_a_picture_are_aggregated():
    labels = boxes([(0, 0, 0.5), (20, 0, 1.0)], [], [(0, 0, 0.25)])
    unsure = box_uncertainty(labels.confidence, "margin")
    assert unsure.tolist() == pytest.approx([1, 0, 0.5])
    assert per_picture(unsure, labels).tolist() == pytest.approx([1, 0, 0.5])
    assert per_picture(unsure, labels, "mean").tolist() == pytest.approx([0.5, 0, 0.5])
    assert per_picture(unsure, labels, "max").tolist() == pytest.approx([1, 0, 0.5])
    bits = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert box_uncertainty(labels.confidence, "entropy").tolist() == pytest.approx([1, 0, bits])
    nothing = boxes([], [])
    for how in ("sum", "mean", "max"):
        assert per_picture(torch.zeros(0), nothing, how).tolist() == [0, 0]


# -- directions ------------------------------------------------------------------------------------


def test_wide_features_keep_their_distances():
    wide = random_features(60, 3000)
    found = narrowed(wide)
    assert found.shape == (60, 256)
    ratio = torch.pdist(found) / torch.pdist(wide)
    assert 0.99 < float(ratio.mean()) < 1.01
    assert float(ratio.std()) < 0.08
    torch.testing.assert_close(narrowed(wide[7:9]), found[7:9], rtol=1e-3, atol=1e-3)
    assert torch.equal(narrowed(wide[:, :256]), wide[:, :256])


def test_nearest_items_are_those_of_a_full_search():
    unit = directions(torch.ones(30, 2), random_features(30, 4))
    rows = torch.tensor([3, 17])
    index, likeness = nearest(unit[rows], unit, rows, 5)
    for at, row in enumerate(rows.tolist()):
        cosine = [(-float(unit[row] @ unit[j]), j) for j in range(30) if j != row]
        assert index[at].tolist() == [j for _, j in sorted(cosine)[:5]]
        wanted = [max(0.0, -value) for value, _ in sorted(cosine)[:5]]
        assert likeness[at].tolist() == pytest.approx(wanted, abs=1e-6)
    alone = nearest(unit[:1], unit[:1], torch.tensor([0]), 5)
    assert alone[0].shape == (1, 0)


# -- novelty ---------------------------------------------------------------------------------------


def test_novel_items_shrink_by_what_was_picked_and_told():
    unit = torch.tensor([[1.0, 0], [1, 0], [0, 1], [-1, 0]])
    value = torch.tensor([1.0, 0.9, 0.5, 0.1])
    index, score = novel(value, unit, 9)
    assert index.tolist() == [0, 2, 3, 1]
    assert score.tolist() == pytest.approx([1, 0.5, 0.1, 0])
    told = torch.tensor([0.0, 0.0, 1, 1])
    assert novel(value, unit, 2, told)[0].tolist() == [2, 3]


# -- k-center --------------------------------------------------------------------------------------


def slow_k_center(features, count, covered):
    picks, distances = [], []
    centres = [list(map(float, row)) for row in covered]
    rows = [list(map(float, row)) for row in features]
    for _ in range(count):
        reach = [
            -1 if i in picks else min(math.dist(row, centre) for centre in centres)
            for i, row in enumerate(rows)
        ]
        best = max(range(len(rows)), key=reach.__getitem__)
        picks.append(best)
        distances.append(reach[best])
        centres.append(rows[best])
    return picks, distances


def test_k_center_equals_the_formula():
    features, covered = random_features(40, 5), random_features(3, 5, seed=1)
    index, distance = k_center(features, 12, covered)
    wanted, distances = slow_k_center(features, 12, covered)
    assert index.tolist() == wanted
    assert distance.tolist() == pytest.approx(distances, rel=1e-4)
    assert (distance[:-1] >= distance[1:]).all()


def test_k_center_is_within_twice_the_best():
    features = random_features(9, 2, seed=4)

    def radius(centres):
        return float(torch.cdist(features, features[list(centres)]).amin(1).max())

    best = min(radius(some) for some in itertools.combinations(range(9), 3))
    assert radius(k_center(features, 3)[0].tolist()) <= 2 * best + 1e-6


def test_k_center_without_labels_begins_in_the_middle():
    features = torch.tensor([[-4.0], [0.5], [3.0], [0.0]])
    index, distance = k_center(features, 9)
    assert index.tolist() == [3, 0, 2, 1]
    assert distance.tolist() == pytest.approx([4, 4, 3, 0.5])
    same = k_center(torch.ones(5, 3), 9)
    assert sorted(same[0].tolist()) == [0, 1, 2, 3, 4] and same[1].tolist() == [0] * 5
    for empty in (k_center(features, 0), k_center(features[:0], 3, features)):
        assert len(empty[0]) == len(empty[1]) == 0


# -- badge -----------------------------------------------------------------------------------------


def test_gradient_seeding_equals_kmeans_plus_plus_on_whole_gradients():
    probs, features = random_probs(30, 4), random_features(30, 6, seed=2)
    index, distance = gradient_seeding(probs, features, 10, Draws(5))
    residual = probs - torch.nn.functional.one_hot(probs.argmax(1), 4)
    gradients = (residual[:, :, None] * features[:, None]).flatten(1).double()
    chance = Draws(5).uniform(10)
    picked = [int(gradients.norm(dim=1).argmax())]
    assert float(distance[0]) == pytest.approx(float(gradients.norm(dim=1).max()), rel=1e-4)
    for draw in chance[1:]:
        apart = torch.cdist(gradients, gradients[picked]).amin(1).square()
        apart[picked] = 0
        total = apart.cumsum(0)
        place = int((total > draw * total[-1]).nonzero()[0])
        assert float(distance[len(picked)]) == pytest.approx(float(apart[place].sqrt()), rel=1e-3)
        picked.append(place)
    assert index.tolist() == picked


def test_gradients_of_the_last_layer_are_what_is_compared():
    layer = torch.nn.Linear(6, 4, bias=False)
    features = random_features(5, 6)
    probs = layer(features).softmax(1).detach()
    index, length = gradient_seeding(probs, features, 1, Draws(0))
    loss = torch.nn.functional.cross_entropy(layer(features[index]), probs[index].argmax(1))
    (gradient,) = torch.autograd.grad(loss, layer.weight)
    assert float(length) == pytest.approx(float(gradient.norm()), rel=1e-4)


def test_gradient_seeding_of_equal_and_sure_items():
    sure = torch.eye(3)[[0, 1, 2, 0]]
    index, distance = gradient_seeding(sure, torch.ones(4, 2), 9, Draws(1))
    assert sorted(index.tolist()) == [0, 1, 2, 3] and distance.tolist() == [0] * 4
    equal = torch.full((6, 2), 0.5)
    index, _ = gradient_seeding(equal, torch.ones(6, 2), 9, Draws(1))
    assert sorted(index.tolist()) == list(range(6))
    assert len(gradient_seeding(sure[:0], torch.ones(0, 2), 3, Draws(1))[0]) == 0
    again = gradient_seeding(random_probs(50, 3), random_features(50, 4), 9, Draws(3))
    once = gradient_seeding(random_probs(50, 3), random_features(50, 4), 9, Draws(3))
    assert torch.equal(again[0], once[0])


# -- typical ---------------------------------------------------------------------------------------


def groups(sizes, seed=0):
    """Clouds of those sizes around the axes of a space, and the cloud of each item."""
    generator = torch.Generator().manual_seed(seed)
    which = torch.repeat_interleave(torch.tensor(sizes))
    noise = 0.1 * torch.randn(len(which), len(sizes), generator=generator)
    return torch.eye(len(sizes))[which] + noise, which


def test_typical_items_are_of_the_largest_groups_without_a_label():
    features, which = groups([40, 30, 20, 10])
    index, share = typical(features, 3)
    assert sorted(which[index].tolist()) == [0, 1, 2]
    assert share.tolist() == pytest.approx([0.4, 0.3, 0.3], abs=0.11)
    covered = features[:1]
    index, _ = typical(features[1:], 3, covered)
    assert sorted(which[1:][index].tolist()) == [1, 2, 3]


def test_the_most_typical_item_is_the_one_nearest_to_its_neighbours():
    features, _ = groups([12, 12])
    index, _ = typical(features, 2)
    unit = torch.nn.functional.normalize(features, dim=1)
    for start in (0, 12):
        own = unit[start : start + 12]
        distance = torch.cdist(own, own) + torch.eye(12) * 1e9
        means = distance.topk(6, largest=False).values.mean(1)
        assert start + int(means.argmin()) in index.tolist()


def test_typical_of_small_equal_and_few_items():
    features, which = groups([20, 20, 2])
    first = typical(features, 3)[0]
    assert which[first[-1]] == 2
    same = typical(torch.ones(7, 3), 20)[0]
    assert sorted(same.tolist()) == list(range(7))
    assert len(typical(torch.ones(0, 3), 3, torch.ones(4, 3))[0]) == 0
    one = typical(torch.ones(1, 3), 3)
    assert one[0].tolist() == [0]
    assert torch.equal(typical(features, 9, seed=3)[0], typical(features, 9, seed=3)[0])
    assert len(set(typical(features, 42)[0].tolist())) == 42


def test_large_clusters_are_measured_against_some_of_their_items(monkeypatch):
    features, which = groups([300, 200])
    module = importlib.import_module("leaven.quality.acquisition.typical")
    exact = module._by_typicality(features, which, 500, 0)
    monkeypatch.setattr(module, "REFERENCES", 100)
    near = module._by_typicality(features, which, 500, 0)
    assert near != exact and sorted(near) == sorted(exact)
    assert sum(exact.index(item) for item in near[:50]) / 50 < 100
    assert sorted(which[typical(features, 2)[0]].tolist()) == [0, 1]
