"""``leaven run --task translation`` from end to end: folders, label maps, greys, and bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from leaven.job import load_result
from leaven.models import load_model
from leaven.models.generation import UNetTranslator
from leaven.report.grid import read_settings

SHORT = (
    "--task", "translation", "--budget", 4, "--threads", 1, "--set", "width=4", "--set", "batch=2",
)  # fmt: skip


def folders(root: Path, count: int = 6, side: int = 32) -> Path:
    """Pairs in A and B, each a third of them for testing."""
    generator = np.random.default_rng(0)
    for number in range(count):
        split = "test" if number % 3 == 0 else "train"
        values = generator.integers(0, 256, (side, side, 3), dtype=np.uint8)
        for folder, picture in (("A", values), ("B", 255 - values)):
            (root / folder / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(root / folder / split / f"{number}.png")
    return root


def maps(root: Path, count: int = 6) -> Path:
    generator = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for number in range(count):
        mask = np.zeros((32, 32), dtype=np.uint8)
        mask[: generator.integers(8, 24)] = 1
        photo = np.where(mask[..., None] == 1, (200, 120, 40), (20, 60, 180)).astype(np.uint8)
        Image.fromarray(photo).save(root / "images" / f"{number}.png")
        Image.fromarray(mask).save(root / "masks" / f"{number}.png")
    (root / "classes.json").write_text(json.dumps(["water", "land"]))
    return root


@pytest.fixture(scope="module")
def done(leaven: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of a finished run on pairs, and its summary."""
    base = tmp_path_factory.mktemp("pairs")
    out = base / "run"
    result = leaven("run", folders(base / "data"), *SHORT, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    return out, json.loads(result.stdout)


def test_a_run_on_two_folders(done: tuple[Path, dict[str, Any]]) -> None:
    out, summary = done
    assert summary["method"] == "pix2pix"
    assert (summary["data"]["items"], summary["data"]["test"]) == (4, 2)
    found = {name for name, value in summary["metrics"].items() if value is not None}
    assert found == {"l1", "psnr", "gradient_distance", "colour_overlap"}
    assert 0 < summary["metrics"]["l1"] < 1
    assert isinstance(load_model(out / "model", UNetTranslator), UNetTranslator)
    grid = Image.open(out / "samples.png")
    # Two pairs in one row, three pictures each, with gaps of 4.
    assert grid.size == (6 * 32 + 5 * 4, 32)
    said = read_settings(out / "samples.png")
    assert (said["method"], said["steps"]) == ("pix2pix", 4)
    assert len(said["texts"]) == 6
    shown = torch.from_numpy(np.array(grid))
    assert torch.equal(shown[:, :32], 255 - shown[:, 72:104])


def test_its_report_and_result(done: tuple[Path, dict[str, Any]], leaven: Any) -> None:
    out, summary = done
    page = (out / "report.html").read_text()
    assert "data:image/png;base64" in page
    assert "overlap of colours" in page
    assert "No comparison was made" not in page
    assert "4 pairs" in page
    result = load_result(out)
    assert result.labels is None
    assert result.metrics == summary["metrics"]
    assert leaven("report", out).exit_code == 0


def test_what_cannot_be_done_with_it(done: tuple[Path, dict[str, Any]], refused: Any) -> None:
    out, _ = done
    assert "leaven generate" in refused("predict", out, out / "samples.png")
    assert "a run for translation" in refused("export", out)
    assert "labels none" in refused("review", out, "--no-open")
    assert "labels none" in refused("suggest", out)


@pytest.mark.parametrize("swap", [False, True])
def test_label_maps(leaven: Any, tmp_path: Path, swap: bool, monkeypatch: Any) -> None:
    monkeypatch.setattr("leaven.job.translation_stage.SEGMENTER_STEPS", 5)
    more = ("--swap",) if swap else ()
    result = leaven(
        "run", maps(tmp_path / "data"), *SHORT, "--test-share", 0.3, *more,
        "--out", tmp_path / "run", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    metrics, prefix = summary["metrics"], "" if swap else "fcn_"
    names = {f"{prefix}{name}" for name in ("pixel_accuracy", "mean_accuracy", "miou")}
    names |= set() if swap else {"fcn_real_miou"}
    other = {n for n, v in metrics.items() if v is not None and ("acc" in n or "miou" in n)}
    assert other == names
    assert summary["data"]["classes"] == ["water", "land"]
    shown = leaven("run", "--resume", "--out", tmp_path / "run")
    assert shown.exit_code == 0, shown.output
    assert "overlap of colours" in shown.stdout


def test_greys_become_coloured(leaven: Any, tmp_path: Path) -> None:
    folders(tmp_path / "data")
    result = leaven(
        "run", tmp_path / "data" / "B", *SHORT, "--pairs", "grey", "--out", tmp_path / "run",
        "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    model = load_model(tmp_path / "run" / "model", UNetTranslator)
    assert model.lab
    assert json.loads(result.stdout)["data"]["test"] == 2


def test_several_seeds(leaven: Any, tmp_path: Path) -> None:
    folders(tmp_path / "data")
    result = leaven(
        "run", tmp_path / "data", *SHORT, "--seeds", "0,1", "--out", tmp_path / "runs", "--quiet"
    )
    assert result.exit_code == 0, result.output
    assert "±" in result.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--labels-per-class", 4), "--labels-per-class is given for translation"),
        (("--compare",), "--compare is given for translation"),
        (("--model", "unet"), "--set width=N"),
        (("--promise", 0.9), "--promise is given for translation"),
        (("--set", "layers=5"), "layers is 5, and the pictures are 32x32"),
        (("--pairs", "grays"), "pairs is 'grays'"),
        (("--method", "fixmatch"), "is a method for classification"),
    ],
)
def test_bad_options(refused: Any, tmp_path: Path, options: tuple[Any, ...], words: str) -> None:
    assert words in refused(
        "run", folders(tmp_path / "data"), *SHORT, *options, "--out", tmp_path / "run", "--quiet"
    )
    assert not (tmp_path / "run" / "summary.json").exists()


def test_options_of_pairs_alone(refused: Any, tmp_path: Path) -> None:
    assert "use --labels-per-class, the number of labels" in refused("run", "--labelled", 4)
    assert "--swap is given for classification" in refused(
        "run", "--swap", "--out", tmp_path / "run"
    )
    assert "--pairs is given for segmentation" in refused(
        "run", "--task", "segmentation", "--pairs", "grey", "--out", tmp_path / "run"
    )


def test_pictures_that_are_no_pairs(refused: Any, tmp_path: Path) -> None:
    data = folders(tmp_path / "data") / "A"
    assert "Nothing tells which pictures" in refused(
        "run", data, *SHORT, "--out", tmp_path / "run", "--quiet"
    )
