"""The ways in which image-to-text models of transformers take a picture and a prompt."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from leaven.models.captioners.base import Captioner, Instruct, Written
from leaven.models.captioners.sampling import OwnDraws


class _Processed(Captioner):
    """A captioner whose processor takes pictures and prompts together."""

    def __init__(self, model: Any, processor: Any, temperature: float, max_tokens: int) -> None:
        super().__init__(model, processor.tokenizer, temperature, max_tokens)
        self.processor = processor
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token

    def _inputs(
        self, pictures: Sequence[Image.Image], raw: Sequence[str], instruct: Instruct
    ) -> dict[str, Tensor]:
        prompts = [self._prompt(instruct(text)) for text in raw]
        # A list of one picture for each prompt: several models count pictures by prompt.
        return self._placed(
            self.processor(
                images=[[picture] for picture in pictures],
                text=prompts,
                padding=True,
                return_tensors="pt",
            )
        )

    @abstractmethod
    def _prompt(self, instruction: str) -> str:
        """The prompt of one picture, in the form that the model was trained with."""

    def _marks(self) -> list[str]:
        mark = getattr(self.processor, "image_token", None)
        return [*super()._marks(), *([str(mark)] if mark else [])]


class ChatCaptioner(_Processed):
    """A model with a chat template (LLaVA, Qwen-VL, SmolVLM, Gemma 3 and their kind), or an older
    LLaVA without one, which is asked as its first versions were."""

    def _prompt(self, instruction: str) -> str:
        if self.processor.chat_template is None:
            return f"USER: {self.processor.image_token}\n{instruction} ASSISTANT:"
        asked = [{"type": "image"}, {"type": "text", "text": instruction}]
        return str(
            self.processor.apply_chat_template(
                [{"role": "user", "content": asked}], add_generation_prompt=True, tokenize=False
            )
        )


class QuestionCaptioner(_Processed):
    """BLIP-2 and InstructBLIP: the question is written before the answer, as they were trained."""

    def _prompt(self, instruction: str) -> str:
        if self.model.config.model_type == "instructblip":
            return instruction
        return f"Question: {instruction} Answer:"

    def _inputs(
        self, pictures: Sequence[Image.Image], raw: Sequence[str], instruct: Instruct
    ) -> dict[str, Tensor]:
        prompts = [self._prompt(instruct(text)) for text in raw]
        return self._placed(
            self.processor(images=list(pictures), text=prompts, padding=True, return_tensors="pt")
        )

    def _ends(self) -> set[int]:
        said = self.model.language_model.generation_config.eos_token_id
        return super()._ends() if said is None else set(said) if isinstance(said, list) else {said}


class Beginning(Captioner):
    """BLIP: it follows no instruction and goes on with what is begun, so that the raw caption is the
    beginning of the caption it writes; without one it writes all of it.

    Its library drops the last token of the prompt, whatever it is, so that only prompts of one
    length can be in a batch; they are written in groups.
    """

    def __init__(self, model: Any, processor: Any, temperature: float, max_tokens: int) -> None:
        super().__init__(model, processor.tokenizer, temperature, max_tokens)
        self.processor = processor

    def write(
        self,
        pictures: Sequence[Image.Image],
        raw: Sequence[str],
        seeds: Sequence[int],
        instruct: Instruct,
    ) -> list[Written]:
        plain = [self._plain(text) for text in raw]
        kept = [self._within(text) for text in plain]
        groups: dict[int, list[int]] = defaultdict(list)
        for row, text in enumerate(kept):
            groups[len(self.tokenizer(text).input_ids)].append(row)
        found: dict[int, Written] = {}
        for rows in groups.values():
            written = super().write(
                [pictures[row] for row in rows],
                [kept[row] for row in rows],
                [seeds[row] for row in rows],
                instruct,
            )
            found.update(zip(rows, written))
        return [
            replace(
                found[row],
                text=" ".join(filter(None, (text, found[row].text))),
                raw_cut=text != plain[row],
            )
            for row, text in enumerate(kept)
        ]

    def _within(self, text: str) -> str:
        """The beginning of the raw caption for which there is room."""
        if self.context is None:
            return text
        room = self._room(self.context)
        while text and (excess := len(self.tokenizer(text).input_ids) - room) > 0:
            text = self._shortened(text, excess)
        return text

    def _inputs(
        self, pictures: Sequence[Image.Image], raw: Sequence[str], instruct: Instruct
    ) -> dict[str, Tensor]:
        ids = torch.tensor([self.tokenizer(text).input_ids for text in raw])
        pixels = self.processor.image_processor(list(pictures), return_tensors="pt")
        return self._placed({**pixels, "input_ids": ids, "attention_mask": torch.ones_like(ids)})

    def _ends(self) -> set[int]:
        return {self.model.config.text_config.sep_token_id}


class PictureOnly(Captioner):
    """A vision encoder with a text decoder, and GIT: they take a picture and no words at all, so
    that raw captions are not used."""

    follows: ClassVar[bool] = False

    def __init__(
        self, model: Any, processor: Any, tokenizer: Any, temperature: float, max_tokens: int
    ) -> None:
        super().__init__(model, tokenizer, temperature, max_tokens)
        self.processor = processor

    def _inputs(
        self, pictures: Sequence[Image.Image], raw: Sequence[str], instruct: Instruct
    ) -> dict[str, Tensor]:
        return self._placed(self.processor(list(pictures), return_tensors="pt"))

    def _fitted(
        self, pictures: Sequence[Image.Image], raw: Sequence[str], instruct: Instruct
    ) -> tuple[list[str], dict[str, Tensor]]:
        return list(raw), self._inputs(pictures, raw, instruct)

    def _length(self, inputs: dict[str, Tensor]) -> int:
        # The token that begins every answer.
        return 1

    def _generate(self, inputs: dict[str, Tensor], draws: OwnDraws, answer: int) -> Tensor:
        return super()._generate({"pixel_values": inputs["pixel_values"]}, draws, answer)
