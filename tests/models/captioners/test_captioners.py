"""Captioners of the published classes, built small and saved here."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from leaven.errors import ModelError
from leaven.models.captioners import load_captioner
from leaven.propose.captions import caption_prompt, write_captions

KINDS = ("llava", "old llava", "blip", "blip2", "instructblip", "git", "encoder-decoder")
SIZES = ((40, 60), (90, 30), (50, 50), (33, 32), (64, 31))
RAW = ("", "a red dog", "a cat in the house", "", "a green tree with a cat")
NAMES = ("a", "b", "c", "d", "e")


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    noise = np.random.default_rng(0)
    return [Image.fromarray(noise.integers(0, 255, (*size, 3), dtype=np.uint8)) for size in SIZES]


@pytest.mark.parametrize("kind", KINDS)
def test_a_caption_depends_on_its_own_item_alone(kind, captioners, pictures) -> None:
    captioner = load_captioner(str(captioners[kind]), temperature=1.0, max_tokens=12)
    together = write_captions(captioner, pictures, NAMES, RAW, seed=1)
    alone = [
        write_captions(captioner, [picture], [name], [raw], seed=1)[0]
        for picture, name, raw in zip(pictures, NAMES, RAW)
    ]
    assert [one.text for one in together] == [one.text for one in alone]
    assert together == write_captions(captioner, pictures, NAMES, RAW, seed=1)
    other = write_captions(captioner, pictures, NAMES, RAW, seed=2)
    assert [one.text for one in together] != [one.text for one in other]
    assert all(0 <= one.tokens <= 12 for one in together)
    assert all(one.tokens == 12 for one in together if one.cut)
    assert len({one.text for one in together}) == 5


@pytest.mark.parametrize("kind", ["llava", "old llava", "blip", "blip2", "instructblip"])
def test_the_raw_caption_changes_what_is_written(kind, captioners, pictures) -> None:
    captioner = load_captioner(str(captioners[kind]), temperature=1.0, max_tokens=12)
    assert captioner.follows
    one, other = (
        write_captions(captioner, pictures[:1], ["a"], [raw])[0].text for raw in ("", "a blue sky")
    )
    assert one != other
    if kind == "blip":
        assert other.startswith("a blue sky")


@pytest.mark.parametrize("kind", ["encoder-decoder", "git"])
def test_a_model_without_words_takes_none(kind, captioners, pictures) -> None:
    captioner = load_captioner(str(captioners[kind]), max_tokens=12)
    assert not captioner.follows
    with_raw = write_captions(captioner, pictures, NAMES, RAW)
    assert with_raw == write_captions(captioner, pictures, NAMES)


def test_without_temperature_it_is_what_the_library_writes(captioners, pictures) -> None:
    """The same prompt through transformers alone, one picture at a time and greedy."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = captioners["llava"]
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    captioner = load_captioner(str(folder), temperature=0, max_tokens=10)
    written = write_captions(captioner, pictures, NAMES, RAW)
    for picture, raw, one in zip(pictures, RAW, written):
        asked = [{"type": "image"}, {"type": "text", "text": caption_prompt(raw)}]
        prompt = processor.apply_chat_template(
            [{"role": "user", "content": asked}], add_generation_prompt=True
        )
        inputs = processor(images=picture, text=prompt, return_tensors="pt")
        ids = model.generate(**inputs, max_new_tokens=10, do_sample=False)
        drawn = ids[0, inputs.input_ids.shape[1] :]
        assert one.text == processor.decode(drawn, skip_special_tokens=True).strip()


def test_prompts_are_padded_on_the_left(captioners, pictures) -> None:
    captioner = load_captioner(str(captioners["llava"]), max_tokens=4)
    mask = captioner._inputs(pictures, list(RAW), caption_prompt)["attention_mask"]
    assert bool((mask[:, -1] == 1).all())
    assert bool((mask.diff(dim=1) >= 0).all())
    assert bool((mask[:, 0] == 0).any())


def test_a_raw_caption_is_shortened_until_prompt_and_answer_fit(captioners, pictures) -> None:
    captioner = load_captioner(str(captioners["short llava"]), temperature=1.0, max_tokens=16)
    raw = ["a red dog " * 400, "a cat", ""]
    written = write_captions(captioner, pictures[:3], NAMES[:3], raw)
    assert [one.raw_cut for one in written] == [True, False, False]
    (alone,) = write_captions(captioner, pictures[1:2], NAMES[1:2], raw[1:2])
    assert written[1].text == alone.text
    kept, inputs = captioner._fitted(
        pictures[:3], [" ".join(text.split()) for text in raw], caption_prompt
    )
    assert inputs["input_ids"].shape[1] + 16 <= captioner.context == 64
    assert len(kept[0]) < 100


def test_a_short_raw_caption_is_left_whole(captioners, pictures) -> None:
    captioner = load_captioner(str(captioners["llava"]), max_tokens=16)
    written = write_captions(captioner, pictures, NAMES, RAW)
    assert not any(one.raw_cut for one in written)


def test_the_answer_has_what_the_prompt_leaves(captioners, pictures) -> None:
    captioner = load_captioner(str(captioners["short llava"]), temperature=5.0, max_tokens=1024)
    (written,) = write_captions(captioner, pictures[:1], ["a"])
    assert written.tokens < 64
    blip = load_captioner(str(captioners["blip"]), temperature=5.0, max_tokens=1024)
    written = write_captions(blip, pictures[:2], NAMES[:2], ["a dog " * 100, "a cat"])
    assert [one.raw_cut for one in written] == [True, False]


def test_a_context_without_room_is_refused(captioners, pictures) -> None:
    captioner = load_captioner(str(captioners["short llava"]), max_tokens=16)
    with pytest.raises(ModelError, match="holds 64 tokens"):
        captioner.write(pictures[:1], [""], [0], lambda raw: "a dog " * 40)


def test_marks_in_a_raw_caption_mean_nothing(captioners, pictures) -> None:
    """A raw caption that holds the mark of a picture would count as a second picture."""
    for kind in KINDS:
        captioner = load_captioner(str(captioners[kind]), temperature=0, max_tokens=6)
        plain, marked = (
            write_captions(captioner, pictures[:1], ["a"], [raw])
            for raw in ("a dog on a tree", "a dog <image> on</s> a tree<pad>")
        )
        assert plain == marked


def test_the_end_is_no_part_of_the_caption(captioners) -> None:
    captioner = load_captioner(str(captioners["llava"]), max_tokens=4)
    dog, cat = captioner.tokenizer("dog cat", add_special_tokens=False).input_ids
    assert captioner._read(torch.tensor([dog, cat, 2, 0]), 4) == ("dog cat", 2, False)
    assert captioner._read(torch.tensor([dog, cat, dog, cat]), 4) == ("dog cat dog cat", 4, True)
    assert captioner._read(torch.tensor([2, 0]), 4) == ("", 0, False)


def test_no_such_captioner(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no captioner"):
        load_captioner(str(tmp_path / "none"))


def test_a_model_that_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "resnet"}))
    with pytest.raises(ModelError, match="'resnet', which writes no text"):
        load_captioner(str(tmp_path))


def test_a_pickle_is_refused(captioners, tmp_path: Path) -> None:
    folder = shutil.copytree(captioners["encoder-decoder"], tmp_path / "pickled")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_captioner(str(folder))


def test_missing_weights_are_not_drawn_at_random(captioners, tmp_path: Path) -> None:
    folder = shutil.copytree(captioners["encoder-decoder"], tmp_path / "part")
    state = load_file(folder / "model.safetensors")
    name = next(name for name in state if "mlp" in name or "intermediate" in name)
    del state[name]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lack 1 tensors"):
        load_captioner(str(folder))


def test_a_torn_file_of_weights_is_said(captioners, tmp_path: Path) -> None:
    folder = shutil.copytree(captioners["encoder-decoder"], tmp_path / "torn")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_captioner(str(folder))
