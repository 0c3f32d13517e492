"""Pictures from captions: encoder of captions, transformer and autoencoder as one model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from leaven.errors import ConfigError
from leaven.models.classifier import ModelSpec
from leaven.models.generation.latents import Latents, latents_of
from leaven.models.generation.maker import PictureMaker
from leaven.models.generation.sampling import sample_latents
from leaven.models.generation.shape import TransformerShape
from leaven.models.generation.signed import to_uint8
from leaven.models.generation.transformer import BlockwiseTextTransformer, TextTransformer
from leaven.models.generation.words import Words, words_of
from leaven.models.precision import autocast

NAME = "text-transformer"


def text_to_picture_spec(
    shape: TransformerShape,
    size: tuple[int, int, int],
    *,
    words: str = "table",
    latents: str = "identity",
    seed: int = 0,
    blockwise: bool = False,
    nothing: str = "table",
) -> ModelSpec:
    """The spec of a ``TextToPicture``.

    Args:
        shape: of its transformer.
        size: (C, H, W) of the pictures it makes when no other size is asked for.
        words: see ``words_of``; the encoder has the tokens and the width of the shape.
        latents: see ``latents_of``.
        seed: of ``TableWords``.
        blockwise: a ``BlockwiseTextTransformer``, the control.
        nothing: what guidance leads away from: ``"table"``, the null caption of the transformer
            with the mask of the caption, or ``"empty"``, the empty caption with its own mask.
    """
    options = {
        "transformer": shape.to_json(),
        "words": words,
        "latents": latents,
        "seed": seed,
        "blockwise": blockwise,
        "nothing": nothing,
    }
    return ModelSpec(NAME, (), size, (), (), options=options, task="text-to-image")


def text_to_picture(spec: ModelSpec) -> TextToPicture:
    """A model of the spec, with first weights; its frozen encoders are loaded when needed."""
    kind = BlockwiseTextTransformer if spec.options["blockwise"] else TextTransformer
    return TextToPicture(spec, kind(TransformerShape(**spec.options["transformer"])))


class TextToPicture(PictureMaker):
    """Makes pictures of captions with a ``TextTransformer``.

    The encoder of captions and the autoencoder are frozen and no part of the weights: they are
    named in ``spec.options`` and loaded when they are first needed, on the device of the
    transformer.

    Args:
        spec: see ``text_to_picture_spec``.
        transformer: of the shape in the spec.
        words, latents: loaded already; else as the spec names them.
        dtype: of encoders that are loaded.

    Source: Chen et al., PixArt-alpha, ICLR 2024. Used by: 001.
    """

    def __init__(
        self,
        spec: ModelSpec,
        transformer: TextTransformer,
        *,
        words: Words | None = None,
        latents: Latents | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.spec, self.transformer, self.dtype = spec, transformer, dtype
        # In a dictionary, so that they are no parts of this module and not saved with it.
        self._frozen: dict[str, Any] = {}
        if words is not None:
            self._frozen["words"] = words
        if latents is not None:
            self._frozen["latents"] = latents
        self._said: dict[str, tuple[Tensor, Tensor]] = {}

    @property
    def words(self) -> Words:
        """The encoder of captions."""
        if "words" not in self._frozen:
            shape, options = self.transformer.shape, self.spec.options
            self._frozen["words"] = words_of(
                options["words"], shape.tokens, shape.text_width, options["seed"], self.dtype
            )
        return self._frozen["words"].to(self._device)

    @property
    def latents(self) -> Latents:
        """The way between pictures and latents."""
        if "latents" not in self._frozen:
            options = self.spec.options
            self._frozen["latents"] = latents_of(options["latents"], self.spec.shape[0], self.dtype)
        return self._frozen["latents"].to(self._device)

    @torch.no_grad()
    def make(  # type: ignore[override]
        self,
        given: Sequence[str],
        generator: torch.Generator | Sequence[torch.Generator],
        *,
        steps: int = 20,
        guidance: float = 4.5,
        size: tuple[int, int] | None = None,
        sampler: str = "dpm++",
    ) -> Tensor:
        """Pictures of captions, (B, C, H, W) uint8.

        Args:
            given: B captions, cleaned as those of training were; the end of one that is too long
                is left out, and this is logged.
            generator: on the CPU, of everything random; or one for each picture, so that it does
                not depend on the others.
            steps: evaluations of the transformer.
            guidance: 1 for none; see ``guided_noise``.
            size: (H, W) of the pictures; as in the spec without it.
            sampler: a name of ``SAMPLERS``.

        Raises:
            ConfigError: a size that does not fit the patches, or an unknown sampler.
            ModelError: an encoder cannot be loaded.
        """
        height, width = size or self.spec.shape[1:]
        latents = self.latents
        self.check_size(height, width)
        if len(given) == 0:
            return torch.empty(0, latents.colours, height, width, dtype=torch.uint8)
        tensors = self.given(given, height, width)
        drawn = sample_latents(
            self.output,
            *tensors,
            (latents.channels, height // latents.factor, width // latents.factor),
            generator,
            sampler=sampler,
            steps=steps,
            guidance=guidance,
        )
        return to_uint8(latents.decode(drawn))

    @property
    def _device(self) -> torch.device:
        return self.transformer.null.device

    def check_size(self, height: int, width: int) -> None:
        """Refuses a size that is no multiple of the patches.

        Raises:
            ConfigError: it is none.
        """
        unit = self.latents.factor * self.transformer.shape.patch
        if height < unit or width < unit or height % unit or width % unit:
            raise ConfigError(
                f"Pictures of {height} x {width} pixels do not fit the model.",
                f"a height and a width that are multiples of {unit}",
                f"Ask for {max(round(height / unit), 1) * unit} x"
                f" {max(round(width / unit), 1) * unit} pixels.",
            )

    def given(
        self, captions: Sequence[str], height: int, width: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        """What the transformer is told of the captions, and of no caption."""
        count = len(captions)
        if self.spec.options["nothing"] == "empty":
            texts, masks = self._encoded([*captions, ""])
            text, mask = texts[:count], masks[:count]
            other = texts[count:].expand_as(text), masks[count:].expand_as(mask)
        else:
            text, mask = self._encoded(captions)
            other = self.transformer.null.float().expand_as(text), mask
        given, nothing = [text, mask], list(other)
        if self.transformer.shape.sizes:
            size = text.new_tensor([height, width]).expand(len(text), 2)
            both = [size, size[:, 0] / size[:, 1]]
            given, nothing = given + both, nothing + both
        return given, nothing

    def _encoded(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Text (B, T, C_t) and mask (B, T). Equal captions are encoded once, those of the call before
        not again: an encoder may be many times as large as the transformer."""
        wanted = dict.fromkeys(captions)
        new = [caption for caption in wanted if caption not in self._said]
        if new:
            found = self.words.encode(new)
            self._said |= dict(zip(new, zip(found.text, found.mask, strict=True), strict=True))
        self._said = {caption: self._said[caption] for caption in wanted}
        rows = [self._said[caption] for caption in captions]
        text, mask = (torch.stack(column).to(self._device) for column in zip(*rows, strict=True))
        return text, mask

    def output(self, latents: Tensor, steps: Tensor, text: Tensor, *given: Tensor) -> Tensor:
        """What the transformer says of noisy latents at steps, told what ``given`` gives."""
        kind = self.transformer.null.dtype
        with autocast(latents, self.precision):
            return self.transformer(latents.to(kind), steps, text.to(kind), *given)
