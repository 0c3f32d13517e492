"""Captions to features of their tokens, by frozen encoders."""

from __future__ import annotations

import hashlib
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from leaven.errors import ModelError
from leaven.models.generation.fingerprint import fingerprint
from leaven.models.generation.hub import UNLOADABLE, first_line, from_pretrained, part_of
from leaven.models.generation.libraries import library

log = logging.getLogger(__name__)

_WORD = re.compile(r"\w+|[^\w\s]")
_END = "</s>"
_TOKENIZERS = ("tokenizer.json", "spiece.model")


class Encoded(NamedTuple):
    """Captions as a network takes them.

    Attributes:
        text: (B, T, C_t) float32.
        mask: (B, T) bool, the tokens that are there; the end of the caption is one of them.
        cut: (B,) int64 on the CPU, how many tokens had no place.
    """

    text: Tensor
    mask: Tensor
    cut: Tensor


class Words(nn.Module, ABC):
    """A frozen encoder of captions.

    Attributes:
        tokens: T, places for tokens; longer captions are cut, which is logged and counted.
        width: C_t.
    """

    tokens: int
    width: int

    @torch.no_grad()
    def encode(self, captions: Sequence[str]) -> Encoded:
        """Features of captions, on the device of the encoder; an empty one has its end alone."""
        text, mask = self.features(captions)
        cut = self.cut(captions)
        number = int((cut > 0).sum())
        if number:
            log.warning(
                "%d of %d captions are longer than %d tokens: what comes after is left out, at"
                " most %d tokens.",
                number,
                len(cut),
                self.tokens,
                int(cut.max()),
            )
        return Encoded(text, mask, cut)

    @torch.no_grad()
    def features(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Text and mask of ``encode``, where ``cut`` has said what is left out."""
        return self._encoded(list(captions))

    @abstractmethod
    def cut(self, captions: Sequence[str]) -> Tensor:
        """(B,) int64 on the CPU, how many tokens of captions have no place; nothing is encoded."""

    @abstractmethod
    def _encoded(self, captions: list[str]) -> tuple[Tensor, Tensor]: ...

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Encoders with other features have another one."""


class TableWords(Words):
    """Random vectors that never change: one for each word and one for each place, added.

    A word's vector is drawn from N(0, 1) by a seed made of the word, so that there is no vocabulary
    and no unknown word; case is ignored, and signs are words.

    Args:
        tokens: T, the end of the caption included.
        width: C_t.
        seed: another seed gives other vectors.

    Used by: 001 (small scenes).
    """

    places: Tensor

    def __init__(self, tokens: int, width: int, seed: int = 0) -> None:
        super().__init__()
        self.tokens, self.width, self.seed = tokens, width, seed
        places = torch.stack([self._drawn(f"place {place}") for place in range(tokens)])
        self.register_buffer("places", places)
        self._vectors: dict[str, Tensor] = {}

    def cut(self, captions: Sequence[str]) -> Tensor:
        return _beyond([_said(caption) for caption in captions], self.tokens)

    def _encoded(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        said = [_said(caption) for caption in captions]
        text = torch.zeros(len(said), self.tokens, self.width)
        mask = torch.zeros(len(said), self.tokens, dtype=torch.bool)
        for row, words in enumerate(said):
            # Like T5's, a caption that is cut still has its end.
            kept = [*words[:-1][: self.tokens - 1], _END]
            text[row, : len(kept)] = torch.stack([self._vector(word) for word in kept])
            mask[row, : len(kept)] = True
        text = text.to(self.places.device)
        mask = mask.to(self.places.device)
        return (text + self.places) * mask[:, :, None], mask

    @property
    def fingerprint(self) -> str:
        return fingerprint(self, "table", self.tokens, self.width, self.seed)

    def _vector(self, word: str) -> Tensor:
        if word not in self._vectors:
            self._vectors[word] = self._drawn(f"word {word}")
        return self._vectors[word]

    def _drawn(self, what: str) -> Tensor:
        digest = hashlib.sha256(f"{self.seed} {what}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        return torch.randn(self.width, generator=generator)


class T5Words(Words):
    """The last hidden state of a frozen T5 encoder, captions padded to T tokens.

    Args:
        encoder: a ``T5EncoderModel`` of transformers.
        tokenizer: of the same model.
        tokens: T.

    Source: Raffel et al., T5, JMLR 2020. Used by: 001.
    """

    def __init__(self, encoder: Any, tokenizer: Any, tokens: int = 120) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False).eval()
        self.tokenizer, self.tokens = tokenizer, tokens
        self.width = encoder.config.d_model

    def cut(self, captions: Sequence[str]) -> Tensor:
        return _beyond(self.tokenizer(list(captions)).input_ids, self.tokens)

    def _encoded(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        fitted = self.tokenizer(
            captions,
            padding="max_length",
            max_length=self.tokens,
            truncation=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        device = next(self.encoder.parameters()).device
        mask = fitted.attention_mask.to(device)
        text = self.encoder(fitted.input_ids.to(device), attention_mask=mask)[0]
        return text.float(), mask.bool()

    @property
    def fingerprint(self) -> str:
        return fingerprint(self, "t5", self.tokens)


def words_of(
    name: str, tokens: int, width: int, seed: int = 0, dtype: torch.dtype = torch.float32
) -> Words:
    """An encoder of captions by name, in eval mode on the CPU.

    Args:
        name: ``"table"`` for ``TableWords``; else the name or local folder of a T5 encoder with its
            tokenizer, or a folder of a whole pipeline, whose parts ``text_encoder`` and
            ``tokenizer`` are taken.
        tokens: T.
        width, seed: C_t and the seed of ``TableWords``.
        dtype: of the weights.

    Raises:
        ModelError: there is no such encoder, or it has no safetensors.
        MissingExtraError: without transformers.
    """
    if name == "table":
        return TableWords(tokens, width, seed).eval()
    transformers = library("transformers", "an encoder of captions")
    encoder = from_pretrained(transformers.T5EncoderModel, name, "text_encoder", dtype)
    return T5Words(encoder, _tokenizer(transformers, name), tokens).eval()


def _tokenizer(transformers: Any, name: str) -> Any:
    place = part_of(name, "tokenizer")
    problem = "there is no file of a tokenizer"
    # Without files transformers makes a tokenizer that knows no word.
    if not Path(place).is_dir() or any((Path(place) / file).is_file() for file in _TOKENIZERS):
        try:
            return transformers.AutoTokenizer.from_pretrained(place)
        except UNLOADABLE as error:
            problem = first_line(error)
    raise ModelError(
        f"The tokenizer of {name!r} cannot be loaded: {problem}.",
        "the files of the tokenizer, " + " or ".join(_TOKENIZERS),
        "Copy them beside the encoder, or give the folder of the whole pipeline.",
    )


def _said(caption: str) -> list[str]:
    """The words and signs of a caption, and its end."""
    return [*_WORD.findall(caption.lower()), _END]


def _beyond(tokens: Sequence[Sequence[object]], places: int) -> Tensor:
    """(B,) int64, how many tokens of each caption have no place."""
    return torch.tensor([max(len(row) - places, 0) for row in tokens], dtype=torch.int64)
