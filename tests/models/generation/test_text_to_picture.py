"""The whole way from a caption to a picture, and published models in diffusers' layout."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.models.generation import tiny
from torch import Tensor

from leaven.errors import ConfigError, ModelError
from leaven.models import load_model, save_model
from leaven.models.generation import (
    SHAPES,
    BlockwiseTextTransformer,
    ClassTransformer,
    KlLatents,
    PictureLatents,
    PictureMaker,
    T5Words,
    TextToPicture,
    TextTransformer,
    load_class_transformer,
    load_published,
    text_to_picture_spec,
)
from leaven.models.generation.build import maker_of
from leaven.synthesize import to_uint8

SAID = ["a three left of a seven", "an one"]


def small(**how: Any) -> TextToPicture:
    shape = replace(SHAPES["digits"], tokens=8, width=24, heads=2)
    spec = text_to_picture_spec(shape, (1, 8, 16), **how)
    model = maker_of(spec)
    assert isinstance(model, TextToPicture)
    return model


class Faint(PictureLatents):
    """Untrained networks end far outside of [-1, 1]; this shows it."""

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        return (latents / 200).tanh()


def faint(model: PictureMaker) -> TextToPicture:
    assert isinstance(model, TextToPicture)
    model._frozen["latents"] = Faint(1)
    return model


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ------------------------------------------------------------------------------------- our own


@pytest.mark.parametrize("blockwise", [False, True])
def test_a_model_is_the_same_after_it_was_saved(
    blockwise: bool, tmp_path: Path, trained: Any
) -> None:
    model = faint(trained(small(blockwise=blockwise)))
    made = model.make(SAID, seeded(), steps=3, guidance=2.0)
    assert made.shape == (2, 1, 8, 16)
    assert made.dtype == torch.uint8
    assert ((made > 0) & (made < 255)).float().mean() > 0.5
    again = faint(load_model(save_model(model, tmp_path), PictureMaker))
    assert torch.equal(again.make(SAID, seeded(), steps=3, guidance=2.0), made)
    kind = BlockwiseTextTransformer if blockwise else TextTransformer
    assert type(again.transformer) is kind
    names = model.state_dict()
    assert all(name.startswith("transformer.") for name in names)


def test_size_and_sampler_may_be_chosen(trained: Any) -> None:
    model = faint(trained(small()))
    made = [model.make(SAID, seeded(), steps=3, sampler=one) for one in ("dpm++", "ddim", "sa")]
    assert not torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    assert model.make(SAID, seeded(), steps=1, size=(12, 4)).shape == (2, 1, 12, 4)
    assert model.make([], seeded(), steps=1).shape == (0, 1, 8, 16)


def test_precision_is_that_of_the_model(trained: Any) -> None:
    model, kinds = trained(small()), []
    model.transformer.net.proj_out.register_forward_hook(
        lambda layer, given, output: kinds.append(output.dtype)
    )
    model.make(SAID, seeded(), steps=1)
    model.precision = torch.bfloat16
    model.make(SAID, seeded(), steps=1)
    assert kinds == [torch.float32, torch.bfloat16]


def test_the_null_caption_has_the_mask_of_the_caption(trained: Any) -> None:
    model = trained(small())
    given, nothing = model.given(SAID, 8, 16)
    assert torch.equal(nothing[1], given[1])
    assert torch.equal(nothing[0][1], model.transformer.null)


def test_sizes_are_told(trained: Any) -> None:
    shape = replace(SHAPES["digits"], tokens=8, width=24, heads=2, sizes=True)
    model = trained(TextToPicture(text_to_picture_spec(shape, (1, 8, 16)), TextTransformer(shape)))
    given, nothing = model.given(SAID, 8, 16)
    for told in (given, nothing):
        assert told[2].tolist() == [[8, 16]] * 2
        assert told[3].tolist() == [0.5] * 2
    assert model.make(SAID, seeded(), steps=1).shape == (2, 1, 8, 16)


@pytest.mark.parametrize("size", [(9, 16), (0, 8), (8, 3)])
def test_a_size_that_does_not_fit_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="multiples of 2"):
        small().make(SAID, seeded(), size=size)


# -------------------------------------------------------------------------- against diffusers


@pytest.fixture
def published(tmp_path: Path, trained: Any) -> Path:
    tiny.pipeline(trained(tiny.transformer())).save_pretrained(tmp_path)
    return tmp_path


def test_a_published_model_makes_the_pictures_of_diffusers(published: Path) -> None:
    from diffusers import PixArtAlphaPipeline

    pipe = PixArtAlphaPipeline.from_pretrained(published)
    pipe.set_progress_bar_config(disable=True)
    how = {"clean_caption": False, "use_resolution_binning": False, "max_sequence_length": 9}
    model = load_published(published, tokens=9)
    for size, steps in (((16, 16), 20), ((8, 24), 4)):
        expected = pipe(
            SAID, generator=seeded(), num_inference_steps=steps, guidance_scale=4.5,
            height=size[0], width=size[1], output_type="pt", **how,
        ).images  # fmt: skip
        found = model.make(SAID, seeded(), steps=steps, guidance=4.5, size=size)
        difference = found.int() - to_uint8(expected * 2 - 1).int()
        assert difference.abs().max() <= 1
        assert (difference != 0).float().mean() < 0.01
        assert expected.std() > 0.02
        assert ((expected > 0) & (expected < 1)).float().mean() > 0.5


def test_latents_are_those_of_diffusers_with_the_null_caption_of_the_paper(trained: Any) -> None:
    """Guidance from the table with the mask of the caption, and a transformer told of sizes."""
    net = trained(tiny.transformer(sample_size=128, use_additional_conditions=True))
    transformer = TextTransformer.of(net, tokens=9)
    torch.nn.init.normal_(transformer.null)
    words, latents = (
        T5Words(tiny.t5_encoder(), tiny.t5_tokenizer(), 9),
        KlLatents(tiny.autoencoder()),
    )
    spec = text_to_picture_spec(transformer.shape, (3, 16, 24))
    model = TextToPicture(spec, transformer, words=words, latents=latents).eval()
    text, mask, _ = words.encode(SAID)
    expected = tiny.pipeline(net)(
        prompt_embeds=text, prompt_attention_mask=mask, negative_prompt=None,
        negative_prompt_embeds=transformer.null.expand_as(text), negative_prompt_attention_mask=mask,
        generator=seeded(), height=16, width=24, num_inference_steps=6, output_type="pt",
        use_resolution_binning=False,
    ).images  # fmt: skip
    found = model.make(SAID, seeded(), steps=6)
    difference = found.int() - to_uint8(expected * 2 - 1).int()
    assert difference.abs().max() <= 1
    assert (difference != 0).float().mean() < 0.01
    assert ((expected > 0) & (expected < 1)).float().mean() > 0.5
    assert transformer.shape.interpolation == 2


def test_a_published_model_loads_its_words_late(published: Path) -> None:
    model = load_published(published, tokens=9)
    assert "words" not in model._frozen
    assert model.spec.shape == (3, 16, 16)
    assert sorted(model.state_dict())[0].startswith("transformer.")
    shutil.rmtree(published / "text_encoder")
    with pytest.raises(ModelError, match="T5EncoderModel"):
        model.make(SAID, seeded(), steps=1)


def test_a_published_model_may_be_of_half_precision(published: Path) -> None:
    model = load_published(published, torch.bfloat16, tokens=9)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert model.make(SAID, seeded(), steps=2).float().std() > 1
    assert next(model.words.parameters()).dtype == torch.bfloat16


def test_a_published_model_may_be_described_as_the_first_ones_were(published: Path) -> None:
    """Before diffusers had a class for it."""
    expected = load_published(published, tokens=9).make(SAID, seeded(), steps=2)
    path = published / "transformer" / "config.json"
    config = json.loads(path.read_text())
    del config["interpolation_scale"], config["use_additional_conditions"]
    config |= {
        "_class_name": "Transformer2DModel",
        "double_self_attention": False,
        "num_vector_embeds": None,
        "only_cross_attention": False,
        "use_linear_projection": False,
    }
    path.write_text(json.dumps(config))
    model = load_published(published, tokens=9)
    assert torch.equal(model.make(SAID, seeded(), steps=2), expected)


def test_a_published_model_goes_on_as_our_own(published: Path, tmp_path: Path) -> None:
    model = load_published(published, tokens=9)
    again = load_model(save_model(model, tmp_path / "own"), PictureMaker)
    made = [one.make(SAID, seeded(), steps=2) for one in (model, again)]
    assert torch.equal(*made)


def test_a_published_teacher_is_loaded(tmp_path: Path, trained: Any) -> None:
    from diffusers import DiTTransformer2DModel

    net = trained(
        DiTTransformer2DModel(
            num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=8,
            num_layers=2, sample_size=8, num_embeds_ada_norm=5,
        )
    )  # fmt: skip
    net.save_pretrained(tmp_path / "transformer")
    teacher = load_class_transformer(tmp_path)
    latents, steps, classes = torch.randn(2, 4, 8, 8), torch.tensor([3, 600]), torch.tensor([0, 5])
    assert isinstance(teacher, ClassTransformer)
    with torch.no_grad():
        expected = ClassTransformer.of(net)(latents, steps, classes)
        assert torch.equal(teacher(latents, steps, classes), expected)


# ----------------------------------------------------------------------------------- bad input


def test_a_missing_part_is_named(published: Path) -> None:
    shutil.rmtree(published / "vae")
    with pytest.raises(ModelError, match="it has no vae"):
        load_published(published)


def test_weights_that_are_no_safetensors_are_refused(published: Path, trained: Any) -> None:
    shutil.rmtree(published / "transformer")
    tiny.transformer().save_pretrained(published / "transformer", safe_serialization=False)
    with pytest.raises(ModelError, match="PixArtTransformer2DModel"):
        load_published(published)


def test_missing_weights_are_not_drawn_at_random(published: Path) -> None:
    path = published / "transformer" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    del state["proj_out.weight"]
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lack 1 tensors"):
        load_published(published)


@pytest.mark.parametrize("content", ["{}", "[1]", "[]"])
def test_a_scheduler_that_does_not_tell_the_noise_is_refused(published: Path, content: str) -> None:
    (published / "scheduler" / "scheduler_config.json").write_text(content)
    with pytest.raises(ModelError, match="beta_schedule|cannot be read"):
        load_published(published)


@pytest.mark.parametrize(
    "change", [{"beta_schedule": "scaled_linear"}, {"prediction_type": "v_prediction"}]
)
def test_other_noise_is_refused(published: Path, change: dict[str, str]) -> None:
    path = published / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match=next(iter(change.values()))):
        load_published(published)


def test_a_damaged_scheduler_is_said(published: Path) -> None:
    (published / "scheduler" / "scheduler_config.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        load_published(published)
