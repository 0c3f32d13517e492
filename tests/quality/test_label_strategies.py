"""What is chosen to label next, by the name of the strategy."""

from dataclasses import replace

import pytest
import torch

from leaven.draws import Draws
from leaven.errors import ConfigError
from leaven.quality.acquisition import (
    STRATEGIES,
    UNCERTAINTY,
    Pool,
    choose,
    choose_auto,
    find_strategy,
    label_next,
)


def pool(n=60, k=4, d=6, seed=0, **changes):
    generator = torch.Generator().manual_seed(seed)
    probs = torch.randn(n, k, generator=generator).softmax(1)
    values = {name: unsure(probs) for name, unsure in UNCERTAINTY.items()}
    values["disagreement"] = torch.rand(n, generator=generator)
    fields = {
        "probs": probs,
        "features": torch.randn(n, d, generator=generator),
        "covered": torch.randn(5, d, generator=generator),
        "labelled": 5,
        "classes": k,
    }
    return Pool(values, **{**fields, **changes})


@pytest.mark.parametrize("name", [*STRATEGIES, "auto"])
@pytest.mark.parametrize("n", [1, 2, 60])
def test_different_items_and_the_same_ones_again(name, n):
    items = pool(n)
    for count in (0, 1, 7, n, 2 * n):
        index, score = choose(items, count, name, draws=Draws(1))
        assert len(index) == len(score) == len(set(index.tolist())) == min(count, n)
        assert score.isfinite().all() and (score >= 0).all()
        again, _ = choose(items, count, name, draws=Draws(1))
        assert torch.equal(index, again)


@pytest.mark.parametrize("name", [*STRATEGIES, "auto"])
def test_items_that_cannot_be_told_apart(name):
    same = pool(9, 3, features=torch.ones(9, 4), covered=torch.ones(2, 4))
    same.value.update({key: torch.zeros(9) for key in same.value})
    index, score = choose(same, 20, name, draws=Draws(0))
    assert sorted(index.tolist()) == list(range(9))
    assert score.isfinite().all()
    one = pool(4, 1)
    assert len(set(choose(one, 3, name, draws=Draws(0))[0].tolist())) == 3


@pytest.mark.parametrize("name", STRATEGIES)
def test_without_features(name):
    blind = pool(features=None, covered=None)
    if STRATEGIES[name].needs_features:
        with pytest.raises(ConfigError, match="features"):
            choose(blind, 3, name, draws=Draws(0))
        return
    assert len(choose(blind, 3, name, draws=Draws(0))[0]) == 3


def test_pictures_with_many_labels_each():
    values = {"margin": torch.tensor([0.1, 0.9, 0.5]), "promise": torch.tensor([3.0, 1.0, 2.0])}
    pictures = Pool(values)
    assert choose(pictures, 2, "uncertain-diverse", draws=Draws(0))[0].tolist() == [1, 2]
    index, score = choose(pictures, 2, "promise", draws=Draws(0))
    assert index.tolist() == [0, 2] and score.tolist() == [3, 2]
    with pytest.raises(ConfigError, match="one label each"):
        choose(Pool(values, features=torch.ones(3, 2)), 1, "badge", draws=Draws(0))
    with pytest.raises(ConfigError, match="second opinion"):
        choose(pictures, 1, "disagreement", draws=Draws(0))


def sure(items, confidence):
    """The same items with that mean confidence."""
    probs = torch.full_like(items.probs, (1 - confidence) / (items.probs.shape[1] - 1))
    probs[torch.arange(len(items)), torch.arange(len(items)) % 4] = confidence
    return replace(items, probs=probs)


@pytest.mark.parametrize(
    ("labelled", "confidence", "name"),
    [
        (7, 0.94, "typical"),
        (8, 0.94, "promise"),
        (8, 0.7, "typical"),
        (199, 0.7, "typical"),
        (200, 0.7, "promise"),
        (8, 0.96, "uncertain-diverse"),
    ],
)
def test_auto_by_what_the_model_has_learned(labelled, confidence, name):
    items = sure(pool(labelled=labelled), confidence)
    found, (index, _) = choose_auto(items, 5, Draws(2))
    assert found == name
    assert torch.equal(index, choose(items, 5, name, draws=Draws(2))[0])
    assert torch.equal(index, choose(items, 5, draws=Draws(2))[0])


def test_auto_without_features_or_single_labels():
    blind = pool(features=None, covered=None)
    pictures = pool(labelled=8, probs=None)
    for items in (blind, pictures):
        name, (index, _) = choose_auto(items, 5, Draws(2))
        assert name == "uncertain-diverse"
        wanted = choose(items, 5, "uncertain-diverse", draws=Draws(2))[0]
        assert torch.equal(index, wanted)
    assert torch.equal(choose_auto(blind, 5, Draws(2))[1][0], label_next(blind.probs, None, 5)[0])
    assert choose_auto(pool(labelled=7, probs=None), 5, Draws(2))[0] == "typical"


def test_what_resembles_an_item_labelled_since_waits():
    unit = torch.eye(3)[[0, 0, 1, 2]] * 2 - 0.5
    probs = torch.tensor([[0.5, 0.5], [0.52, 0.48], [0.6, 0.4], [0.7, 0.3]])
    values = {name: unsure(probs) for name, unsure in UNCERTAINTY.items()}
    since = torch.tensor([False, True])
    fields = {"probs": probs, "features": unit, "covered": unit[[3, 0]]}
    before = Pool(values, **fields, told=torch.zeros(2, dtype=torch.bool))
    after = Pool(values, **fields, told=since)
    for name in ("uncertain-diverse", "promise"):
        assert int(choose(before, 1, name, draws=Draws(0))[0]) in (0, 1)
        assert int(choose(after, 1, name, draws=Draws(0))[0]) not in (0, 1)
    assert torch.equal(before.novelty, torch.ones(4))
    assert after.novelty[:2].tolist() == pytest.approx([0, 0], abs=1e-6)


def test_a_wrong_name_is_told():
    with pytest.raises(ConfigError) as error:
        find_strategy("marign")
    assert "'margin'" in str(error.value)
