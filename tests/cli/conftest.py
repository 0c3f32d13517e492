"""The command line in this process, and runs of a few steps that the tests look at."""

import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from leaven.cli.main import app

SHORT = ("--model", "cnn-small", "--threads", "1", "--set", "batch=16", "--set", "ratio=2")


def call(*arguments):
    """Runs ``leaven`` with ``arguments``; the log and the warnings filter are put back."""
    logger = logging.getLogger("leaven")
    before = logger.handlers, logger.propagate, logger.level
    try:
        with warnings.catch_warnings():
            return CliRunner().invoke(app, [str(argument) for argument in arguments])
    finally:
        logger.handlers, logger.propagate, level = before
        logger.setLevel(level)


@pytest.fixture(scope="session")
def leaven():
    return call


@pytest.fixture
def refused(leaven):
    """Calls ``leaven`` with bad input and gives what it says, in its three parts."""

    def check(*arguments):
        result = leaven(*arguments)
        assert result.exit_code == 2, result.output
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        lines = result.stderr.splitlines()
        parts = {line.split(":")[0] for line in lines if not line.startswith(" ")}
        assert parts >= {"Found", "Expected", "Do"}, result.stderr
        return result.stderr

    return check


@pytest.fixture(scope="session")
def finished(leaven, tmp_path_factory):
    """A finished run on the digits, with the baseline, in which labels are accepted."""
    out = tmp_path_factory.mktemp("digits") / "run"
    result = leaven(
        "run", *SHORT, "--labels-per-class", 4, "--compare", "--set", "threshold=0.12",
        "--set", "recipe.lr=1e-2", "--budget", 12, "--out", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return out, result


def write_digits(folder: Path, count: int, labelled: int) -> Path:
    """The first digits as PNG files: the first ``labelled`` by class, the others not."""
    digits = load_digits()
    for number in range(count):
        label = str(digits.target[number])
        place = folder / (f"digit {label}" if number < labelled else "unlabelled")
        place.mkdir(parents=True, exist_ok=True)
        picture = np.rint(digits.images[number] * (255 / 16)).astype(np.uint8)
        Image.fromarray(picture).save(place / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="session")
def folder_run(leaven, tmp_path_factory):
    """A finished run on a folder of pictures: the run and the pictures."""
    base = tmp_path_factory.mktemp("folder")
    pictures = write_digits(base / "pictures", 150, 60)
    result = leaven(
        "run", pictures, *SHORT, "--budget", 12, "--set", "threshold=0.12", "--out", base / "run"
    )
    assert result.exit_code == 0, result.output
    return base / "run", pictures
