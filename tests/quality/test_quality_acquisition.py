import torch

from leaven.quality import label_next


def slow_scores(probs, features):
    """The score of every item as a first pick, from the formula."""
    n = len(probs)
    features = features - features.mean(0)
    unit = features / features.norm(dim=1, keepdim=True)
    density = [sum(max(0.0, float(unit[i] @ unit[j])) for j in range(n)) / n for i in range(n)]
    values = []
    for i in range(n):
        first, second = sorted(probs[i].tolist(), reverse=True)[:2]
        values.append((1 - (first - second)) * density[i] / max(density))
    return values, unit


def test_picks_equal_the_formula():
    generator = torch.Generator().manual_seed(0)
    probs = torch.randn(40, 4, generator=generator).softmax(1)
    features = torch.randn(40, 6, generator=generator)
    values, unit = slow_scores(probs, features)
    picked, wanted = [], []
    for _ in range(8):
        scores = []
        for i in range(40):
            near = max([max(0.0, float(unit[i] @ unit[j])) for j in picked], default=0.0)
            scores.append(-1.0 if i in picked else values[i] * (1 - min(near, 1.0)))
        best = max(range(40), key=scores.__getitem__)
        picked.append(best)
        wanted.append(scores[best])
    index, score = label_next(probs, features, 8)
    assert index.tolist() == picked
    torch.testing.assert_close(score, torch.tensor(wanted), rtol=1e-4, atol=1e-5)


def test_uncertain_items_come_first():
    sure = torch.tensor([[0.98, 0.01, 0.01]]).repeat(20, 1)
    torn = torch.tensor([[0.4, 0.35, 0.25]]).repeat(3, 1)
    features = torch.randn(23, 8, generator=torch.Generator().manual_seed(1))
    index, score = label_next(torch.cat([sure, torn]), features, 3)
    assert set(index.tolist()) == {20, 21, 22}
    assert (score[:-1] >= score[1:]).all()
    assert ((score >= 0) & (score <= 1)).all()


def test_twins_are_not_both_picked_and_outliers_wait():
    probs = torch.full((42, 2), 0.5)
    left = torch.tensor([[1.0, 0.0, 0.0]]).repeat(20, 1)
    right = torch.tensor([[0.0, 1.0, 0.0]]).repeat(21, 1)
    features = torch.cat([left, right, torch.tensor([[0.0, 0.0, 1.0]])])
    index, _ = label_next(probs, features, 3)
    assert sorted(int(i) // 20 for i in index[:2]) == [0, 1]
    assert int(index[2]) == 41


def test_without_features_and_more_than_there_are():
    probs = torch.randn(5, 3, generator=torch.Generator().manual_seed(2)).softmax(1)
    index, score = label_next(probs, None, 9)
    assert sorted(index.tolist()) == [0, 1, 2, 3, 4]
    assert len(score) == 5
    for count, some in [(0, probs), (3, probs[:0])]:
        index, score = label_next(some, None, count)
        assert len(index) == len(score) == 0


def test_equal_features_and_one_class_do_not_break_it():
    index, score = label_next(torch.ones(4, 1), torch.ones(4, 3), 2)
    assert len(set(index.tolist())) == 2
    assert (score == 0).all()
