"""What all captioners do: fit the prompt into the context, draw the answer, cut it out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from leaven.errors import ModelError
from leaven.models.captioners.sampling import OwnDraws

Instruct = Callable[[str], str]
"""From a raw caption, which may be empty, to what the captioner is asked to do."""

LEAST_ANSWER = 8
"""Tokens that have to be left for the answer."""

LONGEST_RAW = 4000
"""Letters of a raw caption that are looked at; what comes after is cut before it is tokenised."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a captioner wrote about a picture.

    Attributes:
        text: the caption.
        tokens: how many tokens were drawn.
        cut: the limit of tokens was met before the captioner had ended.
        raw_cut: the raw caption was shortened so that prompt and answer fit the context.
    """

    text: str
    tokens: int
    cut: bool
    raw_cut: bool


class Captioner(ABC):
    """A model of transformers that writes text about a picture, with what prepares its input.

    Args:
        model: in eval mode, on its device.
        tokenizer: of its text.
        temperature: of the draws, 0 or more; 0 takes the most probable token always.
        max_tokens: the longest caption.

    Attributes:
        follows: it takes the raw caption into account.
    """

    follows: ClassVar[bool] = True

    def __init__(self, model: Any, tokenizer: Any, temperature: float, max_tokens: int) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.temperature, self.max_tokens = temperature, max_tokens

    @property
    def context(self) -> int | None:
        """Tokens of prompt and answer together; None where there is no limit."""
        text = self.model.config.get_text_config(decoder=True)
        limit = getattr(text, "max_position_embeddings", None)
        return limit if isinstance(limit, int) and limit > 0 else None

    @torch.inference_mode()
    def write(
        self,
        pictures: Sequence[Image.Image],
        raw: Sequence[str],
        seeds: Sequence[int],
        instruct: Instruct,
    ) -> list[Written]:
        """One caption for each picture.

        Args:
            pictures: n pictures in RGB, of any sizes.
            raw: n raw captions, empty where there is none.
            seeds: n seeds of the draws, see ``OwnDraws``.
            instruct: makes the prompt from the raw caption.

        Raises:
            ModelError: the context holds no prompt with an answer.
        """
        plain = [self._plain(text) for text in raw]
        fitted, inputs = self._fitted(pictures, plain, instruct)
        answer = self._answer(self._length(inputs))
        draws = OwnDraws(seeds, self.temperature, answer)
        tokens = self._generate(inputs, draws, answer)
        return [
            Written(*self._read(row, answer), raw_cut=given != kept)
            for row, given, kept in zip(tokens, plain, fitted, strict=True)
        ]

    @abstractmethod
    def _inputs(
        self, pictures: Sequence[Image.Image], raw: Sequence[str], instruct: Instruct
    ) -> dict[str, Tensor]:
        """The input of the model, on its device, padded on the left."""

    def _generate(self, inputs: dict[str, Tensor], draws: OwnDraws, answer: int) -> Tensor:
        """(B, t) the tokens that were drawn."""
        written = self.model.generate(
            **inputs,
            logits_processor=[draws],
            max_new_tokens=answer,
            do_sample=False,
            num_beams=1,
        )
        # Some models give the prompt back before the answer and some do not.
        return written[:, written.shape[1] - draws.step :]

    def _length(self, inputs: dict[str, Tensor]) -> int:
        """Tokens of the longest prompt, that of pictures included."""
        return int(inputs["input_ids"].shape[1])

    def _fitted(
        self, pictures: Sequence[Image.Image], raw: Sequence[str], instruct: Instruct
    ) -> tuple[list[str], dict[str, Tensor]]:
        """Raw captions so short that prompt and answer fit the context, and the input of them."""
        kept = list(raw)
        inputs = self._inputs(pictures, kept, instruct)
        if self.context is None:
            return kept, inputs
        room = self._room(self.context)
        # Cutting text may change how its last word is tokenised, so it is looked at again.
        while True:
            lengths = inputs["attention_mask"].sum(1).tolist()
            shorter = [
                self._shortened(text, length - room) if length > room else text
                for text, length in zip(kept, lengths, strict=True)
            ]
            if shorter == kept:
                return kept, inputs
            kept = shorter
            inputs = self._inputs(pictures, kept, instruct)

    def _room(self, context: int) -> int:
        """Tokens that a prompt may have: what the longest answer leaves, and half of a context that is
        short for it."""
        return max(context - self.max_tokens, context // 2)

    def _shortened(self, text: str, excess: int) -> str:
        tokens = self.tokenizer(text, add_special_tokens=False).input_ids if text else []
        shorter = self.tokenizer.decode(tokens[: max(0, len(tokens) - excess)]).strip()
        return shorter if len(shorter) < len(text) else ""

    def _answer(self, prompt: int) -> int:
        """Tokens that the answer may have behind a prompt of so many."""
        if self.context is None:
            return self.max_tokens
        answer = min(self.max_tokens, self.context - prompt)
        if answer < min(LEAST_ANSWER, self.max_tokens):
            raise ModelError(
                f"The captioner holds {self.context} tokens, and picture and prompt alone take "
                f"{prompt}.",
                f"room for an answer of {LEAST_ANSWER} tokens or more",
                "Use a captioner with a longer context.",
            )
        return answer

    def _plain(self, raw: str) -> str:
        """The raw caption without the words that mean something to the model, such as its mark of a
        picture."""
        text = raw[:LONGEST_RAW]
        for word in self._marks():
            text = text.replace(word, " ")
        return " ".join(text.split())

    def _marks(self) -> list[str]:
        added = (str(token) for token in self.tokenizer.get_added_vocab())
        return sorted({*added, *self.tokenizer.all_special_tokens}, key=len, reverse=True)

    def _read(self, tokens: Tensor, answer: int) -> tuple[str, int, bool]:
        """Text, number of tokens, and whether it was cut."""
        ends = self._ends()
        drawn = tokens.tolist()
        count = next((place for place, token in enumerate(drawn) if token in ends), len(drawn))
        text = self.tokenizer.decode(drawn[:count], skip_special_tokens=True).strip()
        cut = count == len(drawn) and count >= answer
        return text, count, cut

    def _ends(self) -> set[int]:
        """The tokens that end an answer."""
        said = self.model.generation_config.eos_token_id
        if said is None:
            said = self.tokenizer.eos_token_id
        return set(said) if isinstance(said, list) else {said}

    def _placed(self, inputs: Any) -> dict[str, Tensor]:
        """On the device of the model; pictures in its dtype."""
        device, dtype = self.model.device, self.model.dtype
        return {
            name: value.to(device, dtype) if value.is_floating_point() else value.to(device)
            for name, value in inputs.items()
            if isinstance(value, Tensor)
        }
