"""``leaven generate`` with tiny models of words and of translation."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from leaven.models import build_model, save_model
from leaven.models.classifier import ModelSpec
from leaven.models.generation import (
    TextToPicture,
    TextTransformer,
    TransformerShape,
    UNetTranslator,
    text_to_picture_spec,
)
from leaven.report.grid import read_settings

SHAPE = TransformerShape(
    channels=1, side=8, width=16, blocks=1, heads=2, text_width=8, tokens=6, learned_variance=False
)
QUICK = ("--steps", 2, "--device", "cpu")


def _spread(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    return model.eval()


@pytest.fixture(scope="module")
def words_run(tmp_path_factory):
    run = tmp_path_factory.mktemp("words")
    spec = text_to_picture_spec(SHAPE, (1, 8, 16))
    save_model(_spread(TextToPicture(spec, TextTransformer(SHAPE))), run / "model")
    return run


def _translator(folder, given=3, classes=(), **options):
    spec = ModelSpec(
        "unet-translator", classes, (3, 16, 16), (0.5,) * 3, (0.5,) * 3, task="translation",
        options={"given": given, "width": 4, "depth": 2, **options},
    )  # fmt: skip
    save_model(_spread(UNetTranslator(spec)), folder / "model")
    return folder


def _pixels(path):
    with Image.open(path) as image:
        return np.asarray(image).copy()


def test_pictures_of_prompts(leaven, words_run, tmp_path) -> None:
    out = tmp_path / "made"
    said = ["a three left of a seven", "<script>alert(1)</script> ../../etc"]
    result = leaven("generate", words_run, *said, "-n", 3, "--batch", 2, *QUICK, "--out", out)
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in out.iterdir())
    assert names == [f"0000{k}.png" for k in range(1, 7)] + ["generate.html", "grid.png"]
    settings = read_settings(out / "00005.png")
    assert settings["prompt"] == said[1] and settings["seed"] == 1
    assert settings["steps"] == 2 and settings["guidance"] == 4.5 and settings["size"] == [8, 16]
    assert settings["sampler"] == "dpm++" and settings["model"] == words_run.name
    assert _pixels(out / "00001.png").shape == (8, 16)
    assert read_settings(out / "grid.png")["texts"] == said
    # Two rows of three, enlarged to 96 pixels and more, with gaps of 4.
    assert _pixels(out / "grid.png").shape == (2 * 48 + 4, 3 * 96 + 8, 3)
    page = (out / "generate.html").read_text()
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page
    assert "http" not in page.replace("http-equiv", "").lower()
    assert page.count('src="data:image/png;base64,') == 6


def test_a_picture_is_made_again_by_its_settings_alone(leaven, words_run, tmp_path) -> None:
    for name, extra in (("all", ("-n", 4, "--seed", 5)), ("one", ("-n", 1, "--seed", 7))):
        for sampler in ("dpm++", "iddpm", "sa"):
            result = leaven(
                "generate", words_run, "seven", *extra, *QUICK, "--steps", 3, "--sampler", sampler,
                "--out", tmp_path / name / sampler,
            )  # fmt: skip
            assert result.exit_code == 0, result.output
    for sampler in ("dpm++", "iddpm", "sa"):
        whole, alone = (tmp_path / name / sampler for name in ("all", "one"))
        assert read_settings(whole / "00003.png") == read_settings(alone / "00001.png")
        wanted = _pixels(whole / "00003.png").astype(int)
        # One grey level of another rounding where another number are computed at once.
        assert np.abs(wanted - _pixels(alone / "00001.png")).max() <= 1
        assert np.abs(wanted - _pixels(whole / "00001.png")).max() > 5


def test_prompts_of_a_file_and_json(leaven, words_run, tmp_path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("\ufeffone\n\n two  \n")
    result = leaven(
        "generate", words_run, "--from", file, "-n", 1, *QUICK, "--out", tmp_path / "o", "--json"
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [row["prompt"].strip() for row in found["pictures"]] == ["one", "two"]
    assert [row["file"] for row in found["pictures"]] == ["00001.png", "00002.png"]
    assert found["settings"]["precision"] == "fp32" and found["left_out"] == {}


def test_what_does_not_fit_is_said_and_cut(leaven, words_run, tmp_path) -> None:
    long = "a one left of a two above a three"
    result = leaven(
        "generate",
        words_run,
        long,
        "-n",
        2,
        "--batch",
        1,
        *QUICK,
        "--out",
        tmp_path / "o",
        "--json",
    )
    assert json.loads(result.stdout)["left_out"] == {long: 4}
    assert result.stderr.count("longer than 6 tokens") == 1
    assert "last 4 tokens" in (tmp_path / "o" / "generate.html").read_text()


def test_folders_of_a_run_are_numbered(leaven, words_run) -> None:
    for number in ("001", "002"):
        assert leaven("generate", words_run, "one", "-n", 1, *QUICK).exit_code == 0
        assert (words_run / "generated" / number / "00001.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "There is no prompt"),
        ((" ",), "Prompt 1 is empty"),
        (("one", "http://a.de/b"), "Nothing is left of prompt 2"),
        (("x" * 10_001,), "10001 letters"),
        (("one", "--guidance", "-1"), "guidance is -1"),
        (("one", "--guidance", "nan"), "guidance is nan"),
        (("one", "--steps", 0), "steps is 0"),
        (("one", "-n", 0), "-n is 0"),
        (("one", "--size", "9x16"), "9 x 16"),
        (("one", "--size", "big"), "--size is 'big'"),
        (("one", "--sampler", "dpm"), "no sampler 'dpm'"),
        (("--from", "nowhere.txt"), "cannot be read"),
        (("one", "--device", "nodevice"), "cannot be used"),
    ],
)
def test_bad_input(refused, words_run, tmp_path, arguments, said) -> None:
    out = tmp_path / "o"
    # What the console wraps is joined again.
    assert said in " ".join(refused("generate", words_run, *arguments, "--out", out).split())
    assert not out.exists()


def test_a_folder_with_files_is_left_alone(refused, words_run, tmp_path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    assert "is there already" in refused("generate", words_run, "one", "--out", tmp_path)


def test_models_that_make_no_pictures(refused, tmp_path) -> None:
    assert "no model" in refused("generate", tmp_path, "one")
    model = build_model("cnn-small", ["a", "b"], (1, 8, 8), mean=(0.5,), std=(0.5,))
    save_model(model, tmp_path / "model")
    assert "makes no pictures" in refused("generate", tmp_path, "one")


def test_translation_of_label_maps(leaven, refused, tmp_path) -> None:
    run = _translator(tmp_path / "run", classes=("sky", "road"))
    maps = tmp_path / "maps"
    maps.mkdir()
    numbers = np.zeros((16, 16), dtype=np.uint8)
    numbers[8:] = 1
    Image.fromarray(numbers).save(maps / "a.png")
    # The same map in the colours of the training.
    coloured = np.zeros((16, 16, 3), dtype=np.uint8)
    coloured[8:] = (128, 0, 0)
    Image.fromarray(coloured).save(maps / "b.png")
    result = leaven("generate", run, "--from", maps, "-n", 2, "--out", tmp_path / "o")
    assert result.exit_code == 0, result.output
    made = [_pixels(tmp_path / "o" / f"0000{k}.png") for k in range(1, 5)]
    assert read_settings(tmp_path / "o" / "00004.png")["given"] == "b.png"
    assert np.array_equal(made[0], made[2]) and np.array_equal(made[1], made[3])
    assert not np.array_equal(made[0], made[1])  # another seed, another dropout
    grid = _pixels(tmp_path / "o" / "grid.png")
    assert grid.shape == (2 * 96 + 4, 3 * 96 + 8, 3)
    assert np.array_equal(grid[:96, :96][::6, ::6], coloured)  # what was given, in front
    assert (tmp_path / "o" / "generate.html").read_text().count('alt="given"') == 2
    for extra, said in (
        (("a prompt",), "prompts are given"),
        (("--from", maps, "--guidance", 2), "--guidance is given"),
        (("--from", tmp_path / "none"), "no file or folder"),
        ((), "none is given"),
    ):
        assert said in " ".join(refused("generate", run, *extra, "--out", tmp_path / "p").split())


def test_greys_are_coloured(leaven, tmp_path) -> None:
    run = _translator(tmp_path / "run", given=1, lab=True)
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    assert (
        leaven("generate", run, "--from", tmp_path / "a.png", "--out", tmp_path / "o").exit_code
        == 0
    )
    assert _pixels(tmp_path / "o" / "00001.png").shape == (16, 16, 3)
