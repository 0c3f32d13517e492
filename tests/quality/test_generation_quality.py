"""Figures of made pictures: closed forms, degenerate sets, and slow references."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import linalg

from leaven.errors import ConfigError
from leaven.models import build_model, save_model
from leaven.models.backbone import load_backbone
from leaven.quality.generation import (
    PIXART_ALPHA,
    Moments,
    TrainingStage,
    agreement,
    conditional_accuracy,
    cost_table,
    frechet_distance,
    gpu_days,
    kernel_distance,
    moments,
    neighbourhood_scores,
    picture_features,
    picture_figures,
    published_days,
    radii,
    squared_discrepancy,
)


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_frechet_distance_of_diagonal_normals() -> None:
    first = Moments(torch.zeros(3).double(), torch.diag(torch.tensor([1.0, 4.0, 0.0])).double())
    other = Moments(
        torch.tensor([1.0, 2, 0]).double(), torch.diag(torch.tensor([9.0, 4, 1])).double()
    )
    # |m|^2 and the squared differences of the standard deviations: 5 + 4 + 0 + 1.
    assert frechet_distance(first, other) == pytest.approx(10.0)


def test_frechet_distance_is_that_of_a_general_root() -> None:
    one, other = (
        moments(_normal(60, 5)),
        moments(_normal(60, 5, seed=1) @ _normal(5, 5, seed=2) + 1),
    )
    root = linalg.sqrtm(one.covariance.numpy() @ other.covariance.numpy()).real
    wanted = float(((one.mean - other.mean) ** 2).sum()) + np.trace(
        one.covariance.numpy() + other.covariance.numpy() - 2 * root
    )
    assert frechet_distance(one, other) == pytest.approx(wanted, rel=1e-8)
    assert frechet_distance(other, one) == pytest.approx(wanted, rel=1e-8)


def test_frechet_distance_without_full_rank() -> None:
    few = _normal(6, 40)
    assert frechet_distance(moments(few), moments(few)) == pytest.approx(0, abs=1e-5)
    moved = frechet_distance(moments(few), moments(few + 3))
    assert moved == pytest.approx(40 * 9, rel=1e-6)


def test_moments_of_numpy() -> None:
    rows = _normal(9, 4)
    mean, covariance = moments(rows.float())
    assert torch.allclose(covariance, torch.from_numpy(np.cov(rows.float().numpy().T)), atol=1e-6)
    assert torch.allclose(mean, rows.mean(0), atol=1e-6)
    with pytest.raises(ValueError, match="2 are the fewest"):
        moments(rows[:1])


def test_discrepancy_is_that_of_loops() -> None:
    x, y = _normal(5, 3), _normal(4, 3, seed=1)

    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        return (float(a @ b) / 3 + 1) ** 3

    wanted = sum(kernel(x[i], x[j]) for i in range(5) for j in range(5) if i != j) / 20
    wanted += sum(kernel(y[i], y[j]) for i in range(4) for j in range(4) if i != j) / 12
    wanted -= 2 * sum(kernel(a, b) for a in x for b in y) / 20
    assert float(squared_discrepancy(x, y)) == pytest.approx(wanted)
    with pytest.raises(ValueError, match="fewest"):
        squared_discrepancy(x[:1], y)


def test_discrepancy_has_no_bias() -> None:
    pairs = [(_normal(8, 2, seed=2 * k), _normal(8, 2, seed=2 * k + 1)) for k in range(2000)]
    draws = torch.stack([squared_discrepancy(x, y) for x, y in pairs])
    error = float(draws.std()) / math.sqrt(len(draws))
    assert abs(float(draws.mean())) < 4 * error
    # The estimate with a row beside itself is off by far more than that.
    itself = [(((rows**2).sum(1) / 2 + 1) ** 3).mean() / 8 for pair in pairs for rows in pair]
    assert 2 * float(torch.stack(itself).mean()) > 20 * error


def test_discrepancy_in_closed_form() -> None:
    """Of one feature, x ~ N(0, 1) and y ~ N(1, 1): by moments of the cubic kernel."""
    # E k(x, x') with (xx' + 1)^3 = 1 + 3 xx' + 3 x^2 x'^2 + x^3 x'^3, by moments m1, m2, m3.
    first, other = (0.0, 1.0, 0.0), (1.0, 2.0, 4.0)
    wanted = sum(w * (a - b) ** 2 for w, a, b in zip((3, 3, 1), first, other, strict=True))
    found = squared_discrepancy(_normal(2000, 1), _normal(2000, 1, seed=1) + 1)
    assert float(found) == pytest.approx(wanted, rel=0.15)


def test_kernel_distance_draws_subsets() -> None:
    x, y = _normal(30, 4), _normal(50, 4, seed=1)
    whole = kernel_distance(x, y[:30], torch.Generator().manual_seed(0), subsets=3)
    assert whole.mean == pytest.approx(float(squared_discrepancy(x, y[:30])))
    assert whole.std == pytest.approx(0, abs=1e-12)
    some = [kernel_distance(x, y, torch.Generator().manual_seed(s), size=10) for s in (1, 1, 2)]
    assert some[0] == some[1] != some[2] and some[0].std > 0


def test_neighbourhoods_are_those_of_loops() -> None:
    real, made, k = _normal(12, 2), _normal(9, 2, seed=1) + 0.5, 2

    def radius(rows: torch.Tensor, i: int) -> float:
        return sorted(float((rows[i] - rows[j]).norm()) for j in range(len(rows)) if j != i)[k - 1]

    assert torch.allclose(
        radii(real, k), torch.tensor([radius(real, i) for i in range(12)]).double()
    )
    inside = [[float((m - r).norm()) <= radius(real, i) for i, r in enumerate(real)] for m in made]
    back = [[float((m - r).norm()) <= radius(made, j) for j, m in enumerate(made)] for r in real]
    found = neighbourhood_scores(real, made, k)
    assert found.precision == pytest.approx(np.mean([any(row) for row in inside]))
    assert found.recall == pytest.approx(np.mean([any(row) for row in back]))
    assert found.density == pytest.approx(np.sum(inside) / (k * 9))
    assert found.coverage == pytest.approx(np.any(inside, axis=0).mean())
    assert 0 < found.precision < 1


def test_neighbourhoods_of_degenerate_sets() -> None:
    real = _normal(40, 3)
    same = neighbourhood_scores(real, real)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1) and same.density > 1
    assert neighbourhood_scores(real, real + 1000) == (0, 0, 0, 0)
    # One good picture again and again: precise, and nothing else.
    collapsed = neighbourhood_scores(real, real[:1].repeat(40, 1))
    assert collapsed.precision == 1
    assert collapsed.recall == pytest.approx(1 / 40) and collapsed.coverage < 0.5
    # Half of them elsewhere.
    half = neighbourhood_scores(real, torch.cat([real[:20], real[:20] + 1000]))
    assert half.precision == 0.5
    with pytest.raises(ValueError, match="no 3-th other neighbour"):
        neighbourhood_scores(real[:3], real)


def test_more_rows_than_are_compared_at_once() -> None:
    real, made = _normal(1100, 2), _normal(1300, 2, seed=1)
    found = neighbourhood_scores(real, made)
    distances = torch.cdist(made, real, compute_mode="donot_use_mm_for_euclid_dist")
    own = torch.cdist(real, real, compute_mode="donot_use_mm_for_euclid_dist").sort(1).values[:, 3]
    assert found.precision == pytest.approx(float((distances <= own).any(1).double().mean()))
    assert found.coverage == pytest.approx(float((distances <= own).any(0).double().mean()))


def _pictures(n: int, seed: int, shape: tuple[int, ...] = (1, 8, 8)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, *shape), generator=generator, dtype=torch.uint8)


@pytest.fixture
def trained(tmp_path, digits_data):
    """A small classifier of digits in a folder: a few steps are enough for features."""
    torch.manual_seed(0)
    model = build_model(
        "cnn-small", [str(d) for d in range(10)], (1, 8, 8), mean=(0.3,), std=(0.35,)
    )
    images = digits_data.train
    rows = torch.arange(512)
    pictures, truth = images.pixels.batch(rows), images.truth[rows]
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(40):
        part = torch.arange(step * 64, step * 64 + 64) % 512
        loss = torch.nn.functional.cross_entropy(model(pictures[part]), truth[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    save_model(model.eval(), tmp_path / "model")
    return tmp_path, model, images


def test_figures_by_a_trained_extractor(trained) -> None:
    folder, model, images = trained
    real, other = (
        images.pixels.batch(torch.arange(200)),
        images.pixels.batch(torch.arange(200, 400)),
    )
    same = picture_figures(real, real, str(folder))
    assert same["fid"] == pytest.approx(0, abs=1e-3) and same["precision"] == same["recall"] == 1
    assert (same["real"], same["made"], same["extractor"]) == (200, 200, "cnn-small")
    good, noise = (picture_figures(real, m, str(folder)) for m in (other, _pictures(200, 0)))
    assert good["fid"] < noise["fid"] and good["kid"] < noise["kid"]
    assert good["precision"] > 0.5 > noise["precision"] and good["coverage"] > noise["coverage"]
    assert (
        picture_figures(real.split(64), other.split(30), load_backbone(str(folder), (1, 8, 8)))
        == good
    )
    truth = images.truth[torch.arange(200, 400)]
    found = conditional_accuracy(other, truth, model)
    assert found.accuracy == pytest.approx(float((model(other).argmax(1) == truth).double().mean()))
    assert found.accuracy > 0.5
    with pytest.raises(ValueError, match="6 of each"):
        picture_figures(real[:5], other, str(folder))
    with pytest.raises(ValueError, match="no picture"):
        picture_figures(real[:0], other, str(folder))


def test_pictures_of_another_shape_are_scaled() -> None:
    pixels = load_backbone("pixels", (3, 4, 4))
    grey = torch.full((2, 1, 9, 7), 51, dtype=torch.uint8)
    assert torch.allclose(picture_features(grey, pixels), torch.full((2, 48), 0.2))
    back = load_backbone("pixels", (1, 9, 7))
    colours = torch.tensor([30, 60, 63], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 9, 7)
    assert torch.allclose(picture_features(colours, back), torch.full((2, 63), 0.2))


def test_agreement() -> None:
    found = agreement(torch.tensor([0, 1, 1, 2]), torch.tensor([0, 0, 1, 2]), 4)
    assert found.accuracy == 0.75
    assert found.per_class[:3].tolist() == [0.5, 1, 1] and found.per_class[3].isnan()


def test_days_of_the_published_schedule() -> None:
    days, a100 = published_days()
    assert days == 1656 and round(a100) == 753
    again = [stage.at(stage.images_per_second) for stage in PIXART_ALPHA]
    assert gpu_days(again) == pytest.approx(1656)
    assert gpu_days(
        [stage.at(10 * stage.images_per_second) for stage in PIXART_ALPHA]
    ) == pytest.approx(165.6)
    table = cost_table()
    assert "| 256 | 150,000 | 11,392 | 1709 | 672 | 29.4 |" in table
    assert "1656 (A100: 753)" in table
    assert table in (Path(__file__).parents[2] / "docs/guide/cost.md").read_text()


def test_days_of_a_plan() -> None:
    assert TrainingStage("a", 86_400, 8, 4.0).gpu_days == pytest.approx(2.0)
    for steps, batch, rate in (
        (0, 1, 1.0),
        (1, 0, 1.0),
        (1, 1, 0.0),
        (1, 1, math.nan),
        (1, 1, math.inf),
    ):
        with pytest.raises(ConfigError):
            TrainingStage("a", steps, batch, rate)
