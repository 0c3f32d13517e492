"""How familiar pictures look: shares of what flows along the graph, and small copies."""

from __future__ import annotations

import pytest
import torch

from leaven.data import MemoryPixels
from leaven.quality.evidence import foreign_share
from leaven.quality.familiarity import apartness, disagreement, familiarity, looks


def clouds(count: int, places: list[float], seed: int = 0) -> torch.Tensor:
    """Rows around points on a line, far apart."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.tensor(places).repeat_interleave(count)[:, None]
    return torch.cat([centres, torch.zeros(len(centres), 1)], 1) + 0.5 * torch.randn(
        len(centres), 2, generator=generator
    )


def test_a_cloud_without_a_label_is_not_familiar_and_one_with_labels_has_its_share() -> None:
    rows = clouds(100, [0.0, 50.0, 100.0])
    labels = torch.full((300,), -1)
    labels[:20], labels[100:120] = 0, 1
    score = familiarity(rows, labels)
    unknown = labels < 0
    assert score[200:].max() == 0
    # All that flows inside a cloud of 100 with 20 labels: a fifth of it is of labelled items.
    assert score[20:100].mean() == pytest.approx(0.2, abs=0.05)
    # As if it had no label, and as if there were still 20 of its class.
    assert score[:20].mean() == pytest.approx(0.2, abs=0.05)
    assert foreign_share(score[~unknown], score[unknown]) == pytest.approx(100 / 260, abs=0.06)


def test_the_only_label_of_a_class_says_nothing() -> None:
    labels = torch.full((60,), -1)
    labels[0], labels[30:34] = 0, 1
    score = familiarity(clouds(30, [0.0, 50.0]), labels)
    assert score.isnan().nonzero().flatten().tolist() == [0]


def test_without_a_label_nothing_is_familiar() -> None:
    assert familiarity(clouds(30, [0.0]), torch.full((30,), -1)).eq(0).all()


def test_as_many_groups_as_there_are_clouds_lie_apart() -> None:
    rows = clouds(60, [0.0, 50.0, 100.0])
    assert [apartness(rows, groups) for groups in (1, 2, 3)] == pytest.approx([1, 1, 1], abs=1e-5)
    assert apartness(rows, 4) < 0.99
    one = torch.randn(180, 20, generator=torch.Generator().manual_seed(0))
    assert apartness(one, 1) == pytest.approx(1, abs=1e-5) and apartness(one, 3) < 0.8


def test_every_item_is_a_group_at_most() -> None:
    # All are neighbours of all: W = 1 - I over n - 1, whose other eigenvalues are -1 / (n - 1).
    rows = torch.eye(4)
    assert [apartness(rows, groups) for groups in (1, 2, 4)] == pytest.approx([1, -1 / 3, -1 / 3])
    assert apartness(rows[:1], 1) == 1
    with pytest.raises(ValueError, match="5 groups of 4 rows"):
        apartness(rows, 5)


@pytest.mark.parametrize("side", [4, 16, 40])
def test_pictures_of_one_kind_look_alike(side: int) -> None:
    generator = torch.Generator().manual_seed(0)
    base = 120 * torch.randint(0, 2, (2, 3, side, side), generator=generator)
    noise = torch.randint(0, 60, (40, 3, side, side), generator=generator)
    images = (base.repeat_interleave(20, 0) + noise).to(torch.uint8)
    rows = looks(MemoryPixels(images), torch.arange(40))
    assert len(rows) == 40 and rows.shape[1] <= 32
    assert rows.mean(0).abs().max() < 1e-2
    nearest = torch.cdist(rows, rows).fill_diagonal_(torch.inf).argmin(1)
    assert torch.equal(nearest // 20, torch.arange(40) // 20)
    assert torch.equal(looks(MemoryPixels(images), torch.arange(40)), rows)


def test_wrong_labels_differ_from_those_of_their_neighbours() -> None:
    rows = clouds(40, [0.0, 50.0, 100.0])
    labels = torch.arange(3).repeat_interleave(40)
    assert disagreement(rows, labels) == 0
    labels[::40] = torch.tensor([1, 2, 0])  # One of each cloud.
    assert disagreement(rows, labels) == pytest.approx(3 / 120)


def test_labels_by_chance_differ_from_those_of_their_neighbours() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (800,), generator=generator)
    rows = torch.randn(800, 8, generator=generator)
    assert disagreement(rows, labels) == pytest.approx(0.75, abs=0.06)
