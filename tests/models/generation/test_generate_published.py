"""Pictures of a model in the layout of diffusers."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from tests.models.generation import tiny

from leaven.errors import ModelError
from leaven.job.generate import Wanted, generate
from leaven.report.grid import read_settings


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_published_pipeline(tmp_path: Path, precision: str) -> None:
    folder = tmp_path / "published"
    tiny.pipeline(tiny.transformer()).save_pretrained(folder, safe_serialization=True)
    wanted = Wanted(
        folder, ("a two left of a three",), out=tmp_path / "o", count=2, steps=2, batch=2,
        device="cpu", precision=precision,
    )  # fmt: skip
    told: list[tuple[int, int]] = []
    made = generate(wanted, progress=lambda done, of: told.append((done, of)))
    assert told == [(1, 2), (2, 2)]
    assert read_settings(tmp_path / "o" / "00002.png")["seed"] == 1
    assert made.settings["precision"] == {"fp32": "fp32", "bf16": "bfloat16"}[precision]
    with Image.open(tmp_path / "o" / "00001.png") as image:
        assert image.size == (16, 16) and image.mode == "RGB"


def test_a_published_model_that_is_not_whole(tmp_path: Path) -> None:
    (tmp_path / "transformer").mkdir()
    with pytest.raises(ModelError, match="not a whole model"):
        generate(Wanted(tmp_path, ("a",), out=tmp_path / "o", device="cpu"))
