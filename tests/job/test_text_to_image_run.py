"""``leaven run --task text-to-image`` from end to end."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tests.models.generation import tiny

import leaven
from leaven.data import embedded_captions
from leaven.errors import ConfigError, DataError, ModelError, RunError
from leaven.job import text_stage
from leaven.job.config import RunConfig
from leaven.job.generate import Wanted, generate
from leaven.labels import LabelStore
from leaven.methods.generation.pixart_alpha import PixArtAlpha
from leaven.models.generation import TextToPicture
from leaven.report import write_report
from leaven.report.grid import read_settings

OPTIONS = {
    "task": "text-to-image",
    "budget": 9,
    "threads": 1,
    "device": "cpu",
    "precision": "fp32",
    "options": {"width": 24, "blocks": 2, "heads": 2},
    "set": {"batch": 4, "shares": [0.34, 0.33, 0.33]},
}
SETTINGS = {"steps": 2}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(text_stage, "SAMPLER", {**text_stage.SAMPLER, **SETTINGS})


@pytest.fixture
def photos(tmp_path):
    """Twelve pictures of 16x16 with captions, dark and light ones."""
    root = tmp_path / "photos"
    for number in range(12):
        name = root / ("dark" if number % 2 else "light") / f"{number:02}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        shade = 40 if number % 2 else 200
        Image.fromarray(np.full((16, 16, 3), shade + number, np.uint8)).save(name)
        name.with_suffix(".txt").write_text(f"a {name.parent.name} square")
    return root


def test_the_embedded_scenes_from_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded_captions, "COUNT", 60)
    monkeypatch.setattr(embedded_captions, "TEST", 12)
    result = leaven.run(out=tmp_path / "run", **OPTIONS)
    assert isinstance(result.model, TextToPicture)
    metrics = result.metrics
    assert 0 < metrics["denoising_error"] < 2
    assert 0 < metrics["denoising_error_without_captions"] < 2
    assert 0 <= metrics["conditional_accuracy"] <= 1
    assert metrics["real_accuracy"] > 0.6
    assert result.summary["method"] == "pixart-alpha"
    assert result.summary["data"]["name"] == "digit scenes"
    assert result.names[0] == "scenes/00000"
    assert result.labels.texts[0].startswith("a")
    picture = result.model.make(["a three"], torch.Generator().manual_seed(0), steps=2)
    assert picture.shape == (1, 1, 12, 24)
    settings = read_settings(tmp_path / "run" / "samples.png")
    assert settings["sampler"] == "dpm++"
    assert settings["guidance"] == 4.5
    assert len(settings["texts"]) == len(set(settings["texts"])) <= 16
    lines = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {line["phase"] for line in lines} == {"pixels", "words", "finer 12x24", "end"}
    page = (tmp_path / "run" / "report.html").read_text()
    assert all(f"<li>{text}</li>" in page for text in settings["texts"])
    (tmp_path / "run" / "samples.png").write_bytes(b"no picture")
    assert "<li>a " not in write_report(tmp_path / "run").read_text()


def test_a_folder_of_pictures_and_its_store(photos, tmp_path):
    result = leaven.run(photos, out=tmp_path / "run", **OPTIONS)
    assert result.metrics["denoising_error"] is None  # With twelve pictures none are held out.
    said = LabelStore(tmp_path / "run" / "labels").read_captions()
    assert dict(zip(said.names, said.labels.texts, strict=True))["dark/01.png"] == "a dark square"
    assert result.summary["labels"]["with_class"] == 12
    assert result.classes == ("dark", "light")
    assert (tmp_path / "run" / "samples.png").is_file()


@pytest.mark.parametrize("stage", ["pixels", "words", "finer 16x16"])
def test_a_run_that_was_stopped_comes_back_to_the_bit(photos, tmp_path, monkeypatch, stage):
    whole = leaven.run(photos, out=tmp_path / "whole", **OPTIONS)
    calls = stopped_in(monkeypatch, stage)
    with pytest.raises(KeyboardInterrupt):
        leaven.run(photos, out=tmp_path / "run", checkpoint_seconds=1e-9, **OPTIONS)
    assert calls[-1] == stage
    monkeypatch.undo()
    monkeypatch.setattr(text_stage, "SAMPLER", {**text_stage.SAMPLER, **SETTINGS})
    again = leaven.run(photos, out=tmp_path / "run", resume=True, **OPTIONS)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value), name
    grids = [(tmp_path / run / "samples.png").read_bytes() for run in ("whole", "run")]
    assert grids[0] == grids[1]


def stopped_in(monkeypatch, stage):
    """Stops a run in the second step of a stage."""
    calls, names = [], []
    trained = PixArtAlpha._trained

    def named(method, run, name, *rest):
        names.append(name)
        return trained(method, run, name, *rest)

    from leaven.methods.generation import pixart_alpha

    loss = pixart_alpha.ddpm_loss

    def stopped(*values):
        calls.append(names[-1])
        if calls.count(stage) == 2:
            raise KeyboardInterrupt
        return loss(*values)

    monkeypatch.setattr(PixArtAlpha, "_trained", named)
    monkeypatch.setattr(pixart_alpha, "ddpm_loss", stopped)
    return calls


def test_a_run_is_not_resumed_with_other_stages(photos, tmp_path):
    leaven.run(photos, out=tmp_path / "run", **OPTIONS)
    for changes in ({"shares": [0.0, 0.5, 0.5]}, {"start": "scratch"}, {"base": 4}):
        other = {**OPTIONS, "set": {**OPTIONS["set"], **changes}}
        with pytest.raises(RunError, match="other options"):
            leaven.run(photos, out=tmp_path / "run", resume=True, **other)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("labelled", 4),
        ("labels_per_class", 4),
        ("promise", 0.9),
        ("features", "pixels"),
        ("compare", True),
        ("truth_column", "truth"),
        ("swap", True),
    ],
)
def test_options_of_other_tasks_are_refused(photos, tmp_path, option, value):
    with pytest.raises(ConfigError, match=option.replace("_", "[_-]")):
        leaven.run(photos, out=tmp_path / "run", **OPTIONS, **{option: value})
    assert not (tmp_path / "run").exists()


def test_bad_values_are_said_before_anything_is_trained(photos, tmp_path):
    with pytest.raises(DataError, match="no batch of 40"):
        leaven.run(photos, out=tmp_path / "run", **{**OPTIONS, "set": {"batch": 40}})
    with pytest.raises(ConfigError, match="no network 'huge'"):
        leaven.run(photos, out=tmp_path / "other", **{**OPTIONS, "model": "huge"})
    with pytest.raises(ConfigError, match="shares"):
        leaven.run(photos, out=tmp_path / "more", **{**OPTIONS, "set": {"shares": [0.5, 0.5]}})


def test_long_prompts_are_cut_with_a_word(photos, tmp_path, caplog):
    chosen = {**OPTIONS, "set": {**OPTIONS["set"], "tokens": 3}}
    result = leaven.run(photos, out=tmp_path / "run", **chosen)
    texts = [finding["text"] for finding in result.summary["health"]]
    assert any("longer than the 3 tokens" in text for text in texts)
    with caplog.at_level("WARNING", logger="leaven"):
        result.model.make(["a very dark square"], torch.Generator().manual_seed(0), steps=1)
    assert "longer than 3 tokens" in caplog.text


def test_the_usual_budget_is_that_of_the_task():
    from leaven.job.config import RunConfig

    assert RunConfig.make(task="text-to-image").settled().budget == "3600"
    assert RunConfig.make(task="text-to-image").settled().settled().budget == "3600"
    assert RunConfig.make(task="text-to-image", budget=2000).settled().budget == "2000"
    assert RunConfig.make().settled().budget == "2000"


def test_made_pictures_are_compared_with_real_ones_where_an_extractor_is_named(photos, tmp_path):
    result = leaven.run(
        photos, out=tmp_path / "run", extractor="pixels", test_share=0.5, image_size=16,
        **{**OPTIONS, "set": {**OPTIONS["set"], "base": 8}},
    )  # fmt: skip
    metrics = result.metrics
    assert metrics["fid"] > 0
    assert 0 <= metrics["precision"] <= 1
    assert 0 <= metrics["recall"] <= 1
    notes = " ".join(finding["text"] for finding in result.summary["health"])
    assert "6 made and 6 real pictures by pixels" in notes
    assert "(FID)" in (tmp_path / "run" / "report.html").read_text()


def test_too_few_pictures_are_not_compared(photos, tmp_path):
    result = leaven.run(
        photos, out=tmp_path / "run", extractor="pixels", test_share=0.2, image_size=16,
        **{**OPTIONS, "set": {**OPTIONS["set"], "base": 8}},
    )  # fmt: skip
    assert result.metrics["fid"] is None
    assert "too few" in " ".join(finding["text"] for finding in result.summary["health"])


def test_a_wrong_extractor_is_said_before_anything_is_trained(photos, tmp_path):
    with pytest.raises(ModelError, match="no backbone 'nothing'"):
        leaven.run(photos, out=tmp_path / "run", extractor="nothing", image_size=16, **OPTIONS)
    assert not (tmp_path / "run").exists()


def test_folders_among_the_hyperparameters_are_kept_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t5").mkdir()
    values = {"words": "t5", "latents": "identity", "teacher": "dit", "batch": 4}
    assert PixArtAlpha.whole_paths(values) == {
        "words": str(tmp_path / "t5"), "latents": "identity", "teacher": str(tmp_path / "dit"),
        "batch": 4,
    }  # fmt: skip
    assert PixArtAlpha.whole_paths({"words": "table", "teacher": None}) == {
        "words": "table", "teacher": None,
    }  # fmt: skip


def test_a_run_with_encoders_of_a_published_model_goes_on_from_anywhere(
    photos, tmp_path, monkeypatch
):
    """T5 and an autoencoder from a local folder: features once, a resume, and pictures of the run."""
    tiny.pipeline(tiny.transformer()).save_pretrained(tmp_path / "published")
    monkeypatch.chdir(tmp_path)
    options = {
        **OPTIONS,
        "image_size": 16,
        "set": {
            **OPTIONS["set"], "words": "published", "latents": "published", "tokens": 6, "base": 16,
        },
    }  # fmt: skip
    stopped_in(monkeypatch, "words")
    with pytest.raises(KeyboardInterrupt):
        leaven.run(photos, out=tmp_path / "run", checkpoint_seconds=1e-9, **options)
    monkeypatch.undo()
    monkeypatch.setattr(text_stage, "SAMPLER", {**text_stage.SAMPLER, **SETTINGS})
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run/features").glob("*.npy")}
    result = leaven.run(config=RunConfig.read(tmp_path / "run/config.yaml"), resume=True)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert result.model.latents.factor == 2
    made = generate(
        Wanted(
            tmp_path / "run",
            ("a two left of a three",),
            out=tmp_path / "made",
            count=1,
            steps=2,
            device="cpu",
        )
    )
    assert len(made.pictures) == 1
    again = result.model.make(["a two"], torch.Generator().manual_seed(0), steps=2)
    assert again.shape == (1, 3, 16, 16)
