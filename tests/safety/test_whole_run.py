"""A run on a folder of hostile names, from the pictures to the exported data set."""

from __future__ import annotations

import csv
import json
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from tests.safety.hostile import FILES, put
from tests.safety.test_pages import ELEMENTS, Page
from tests.safety.test_terminal import check
from typer.testing import CliRunner

from leaven.cli.main import app

CLASSES = [name for name in FILES if name[0] != "."][:10]
PER_CLASS = 8


@pytest.fixture(scope="module")
def log_as_it_was() -> Iterator[None]:
    logger = logging.getLogger("leaven")
    before, level = (logger.handlers, logger.propagate), logger.level
    with warnings.catch_warnings():
        yield
    logger.handlers, logger.propagate = before
    logger.setLevel(level)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, log_as_it_was: None) -> tuple[Path, str]:
    """The run folder, and what the run said."""
    base = tmp_path_factory.mktemp("whole")
    digits = load_digits()
    for label, name in enumerate(CLASSES):
        for number, row in enumerate(np.flatnonzero(digits.target == label)[:PER_CLASS]):
            place = base / "data" / (name if number < 5 else "unlabelled") / f"{number}"
            place.mkdir(parents=True, exist_ok=True)
            picture = (digits.images[row] * 15).astype(np.uint8)
            Image.fromarray(picture).save(place / f"{CLASSES[label]}-{label}.png")
    done = leaven(
        "run", base / "data", "--model", "cnn-small", "--threads", 1, "--budget", 4, "--set",
        "batch=8", "--set", "ratio=1", "--set", "threshold=0.1", "--out", base / "run",
    )  # fmt: skip
    return base / "run", done


def leaven(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout + done.stderr


def test_the_run_tells_and_shows_plain_text(made: tuple[Path, str]) -> None:
    run, told = made
    check(told)
    found = Page((run / "report.html").read_text("utf-8"))
    assert {tag for tag, _ in found.tags} <= ELEMENTS
    assert [tag for tag, _ in found.tags].count("script") == 1
    assert json.loads((run / "summary.json").read_text("utf-8"))["data"]["classes"] == sorted(
        CLASSES
    )


def test_predictions_are_plain_text_and_no_formulas(made: tuple[Path, str], tmp_path: Path) -> None:
    run, _ = made
    put(
        tmp_path / "new" / "\x1b[31m=1+1.png",
        (run.parent / "data/unlabelled/5").rglob("*.png").__next__().read_bytes(),
    )
    check(leaven("predict", run, tmp_path / "new"))
    check(leaven("predict", run, tmp_path / "new", "--json"))
    check(leaven("predict", run, tmp_path / "new", "--csv", tmp_path / "out.csv"))
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        _, row = csv.reader(file)
    assert not re.match(r"[=+\-@]", row[1])


def test_the_export_stays_in_its_folder_and_is_read_back(
    made: tuple[Path, str], tmp_path: Path
) -> None:
    run, _ = made
    out = tmp_path / "base/out"
    forms = [word for form in ("folder", "csv", "parquet") for word in ("--labels", form)]
    check(leaven("export", run, *forms, "--out", out))
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    names = {"export.json", "pictures", "labels.csv", "labels.parquet"}
    assert {path.name for path in out.iterdir()} == names
    pictures = list(out.rglob("*.png"))
    assert all(path.resolve().is_relative_to(out.resolve()) for path in pictures)
    with (out / "labels.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.reader(file))) == len(pictures) + 1


def test_a_run_whose_export_is_a_link_is_refused(made: tuple[Path, str], tmp_path: Path) -> None:
    run, _ = made
    (run / "export").symlink_to(tmp_path, target_is_directory=True)
    done = CliRunner().invoke(app, ["export", str(run), "--labels", "csv"])
    (run / "export").unlink()
    assert done.exit_code == 2 and "is a link to" in done.stderr
    assert list(tmp_path.iterdir()) == []
