"""Frozen encoders of captions."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.models.generation.tiny import t5_encoder, t5_tokenizer

from leaven.errors import MissingExtraError, ModelError
from leaven.models.generation import T5Words, TableWords, words_of


def test_a_token_is_its_word_and_its_place() -> None:
    words = TableWords(6, 8)
    text, mask, cut = words.encode(["three left and seven right", "seven", ""])
    assert text.shape == (3, 6, 8)
    assert mask.sum(1).tolist() == [6, 2, 1]
    assert cut.tolist() == [0, 0, 0]
    at_three, at_none = text[0, 3] - words.places[3], text[1, 0] - words.places[0]
    assert torch.allclose(at_three, at_none, atol=1e-6)
    assert text[~mask].abs().max() == 0
    assert torch.allclose(text[1, 1], text[2, 0] - words.places[0] + words.places[1], atol=1e-6)


def test_vectors_depend_on_the_seed_and_the_word_alone() -> None:
    said = ["a seven, above a two"]
    words = TableWords(9, 300)
    text, mask, _ = words.encode(said)
    assert mask.sum() == 7
    torch.manual_seed(3)
    other = TableWords(9, 300)
    other.encode(["quite other words", "Seven"])
    assert torch.equal(other.encode(["A SEVEN, above a two"]).text, text)
    assert not torch.allclose(TableWords(9, 300, seed=1).encode(said).text, text)
    assert text[mask].std().item() == pytest.approx(2**0.5, rel=0.1)


@pytest.mark.parametrize("kind", ["table", "t5"])
def test_a_caption_that_is_too_long_is_cut_and_counted(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    words = TableWords(4, 8) if kind == "table" else T5Words(t5_encoder(), t5_tokenizer(), 4)
    said = ["one two", "one two three four five six", "one two three four"]
    with caplog.at_level(logging.WARNING):
        text, mask, cut = words.encode(said)
    assert cut.tolist() == [0, 3, 1]
    assert mask.sum(1).tolist() == [3, 4, 4]
    assert "2 of 3 captions are longer than 4 tokens" in caplog.text
    assert text.isfinite().all()
    caplog.clear()
    words.encode(said[:1])
    assert not caplog.text


def test_a_caption_that_is_cut_keeps_its_end() -> None:
    words = TableWords(3, 8)
    whole, cut = words.encode(["one two three four"]).text, words.encode(["one two"]).text
    assert torch.equal(whole, cut)


def test_t5_is_that_of_transformers() -> None:
    encoder, tokenizer = t5_encoder(), t5_tokenizer()
    words = T5Words(encoder, tokenizer, 6)
    text, mask, _ = words.encode(["a three left of", ""])
    assert mask.sum(1).tolist() == [5, 1]
    alone = tokenizer(["a three left of"], return_tensors="pt")
    expected = encoder(**alone)[0]
    assert torch.allclose(text[0, :5], expected[0], atol=1e-5)
    assert words.width == 16
    assert not any(weight.requires_grad for weight in words.parameters())


def test_a_folder_is_loaded(tmp_path: Path) -> None:
    t5_encoder().save_pretrained(tmp_path / "text_encoder")
    t5_tokenizer().save_pretrained(tmp_path / "tokenizer")
    words = words_of(str(tmp_path), 6, 16)
    expected = T5Words(t5_encoder(), t5_tokenizer(), 6)
    said = ["a seven above a two"]
    assert torch.equal(words.encode(said).text, expected.encode(said).text)
    assert words.fingerprint == expected.fingerprint


def test_other_features_have_another_fingerprint() -> None:
    encoders = [
        TableWords(6, 8),
        TableWords(6, 8, seed=1),
        TableWords(7, 8),
        TableWords(6, 9),
        T5Words(t5_encoder(), t5_tokenizer(), 6),
        T5Words(t5_encoder(), t5_tokenizer(), 7),
        T5Words(t5_encoder(seed=1), t5_tokenizer(), 6),
    ]
    assert len({words.fingerprint for words in encoders}) == len(encoders)
    assert TableWords(6, 8).fingerprint == encoders[0].fingerprint


def test_what_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="T5EncoderModel"):
        words_of(str(tmp_path), 6, 16)
    t5_encoder().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="tokenizer"):
        words_of(str(tmp_path), 6, 16)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match="transformers"):
        words_of(str(tmp_path), 6, 16)


def test_a_torn_file_of_weights_is_said(tmp_path: Path) -> None:
    t5_encoder().save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="T5EncoderModel can be loaded"):
        words_of(str(tmp_path), 6, 16)


def test_missing_weights_are_not_drawn_at_random(tmp_path: Path) -> None:
    t5_encoder().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["encoder.block.1.layer.0.SelfAttention.q.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lack 1 tensors"):
        words_of(str(tmp_path), 6, 16)
