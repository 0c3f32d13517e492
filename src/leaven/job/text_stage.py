"""A method that makes pictures from words, measured and written."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from leaven.data import ImageSet
from leaven.data.embedded_captions import EMBEDDED_NAME
from leaven.job.picture_stage import PictureStage
from leaven.labels.described import Described
from leaven.methods import Fitted
from leaven.models.generation import TextToPicture
from leaven.quality.digit_reader import DigitReader
from leaven.refine import clean_caption
from leaven.report.grid import Samples
from leaven.synthesize import NoiseSchedule
from leaven.synthesize.held_out import denoising_error

MEASURED = 512
"""So many held-out pictures are measured at most."""

READ = 100
"""So many pictures are made of held-out captions and read, where they can be read."""

SHOWN = 16
"""Captions of the grid of samples."""

SAMPLER: dict[str, Any] = {"sampler": "dpm++", "steps": 20, "guidance": 4.5}
"""How pictures are made for the report, as published."""

_AT_ONCE = 64


class TextStage(PictureStage):
    """What ``PictureStage`` is for captions: how well noise is told from held-out pictures with
    their captions and without, and of the embedded scenes whether what is made of a caption shows
    what it says."""

    names: ClassVar[tuple[str, ...]] = (
        "denoising_error", "denoising_error_without_captions", "conditional_accuracy",
        "real_accuracy",
    )  # fmt: skip

    def measure(
        self, fitted: Fitted[Any, Any], held_out: ImageSet[Described]
    ) -> dict[str, float | None]:
        held_out = _first(held_out, MEASURED)
        model: TextToPicture = fitted.model
        found: dict[str, float | None] = dict.fromkeys(self.names)
        found["denoising_error"] = self.error(model, held_out, told=True)
        found["denoising_error_without_captions"] = self.error(model, held_out, told=False)
        if self.data.name == EMBEDDED_NAME:
            found |= self.reading(model, held_out)
        if self.extractor is not None:
            real = (
                held_out.pixels.batch(index)
                for index in torch.arange(len(held_out)).split(_AT_ONCE)
            )
            made = self.made(model, held_out.labels[torch.arange(len(held_out))])
            found |= self.compared(real, [made], len(held_out))
        return found

    def error(self, model: TextToPicture, images: ImageSet[Described], *, told: bool) -> float:
        """The error of the noise, with captions or with the caption that says nothing."""
        schedule = NoiseSchedule().to(self.trainer.device)
        generator = torch.Generator().manual_seed(0)
        height, width = images.pixels.shape[1:]
        errors = []
        for index in torch.arange(len(images)).split(_AT_ONCE):
            pictures = images.pixels.batch(index).to(self.trainer.device)
            mean, std = model.latents.encode(pictures)
            clean = model.latents.draw(mean, std, torch.zeros_like(mean))
            given, nothing = model.given(self.cleaned(images.labels[index]), height, width)
            tensors = given if told else nothing

            def say(noisy: Tensor, steps: Tensor, tensors: list[Tensor] = tensors) -> Tensor:
                return model.output(noisy, steps, *tensors)

            first = int(index[0])
            errors.append(denoising_error(say, clean, schedule, generator, first).cpu())
        return float(torch.cat(errors).mean())

    def reading(self, model: TextToPicture, images: ImageSet[Described]) -> dict[str, float | None]:
        """How many pictures show their captions, made ones and real ones."""
        reader, images = DigitReader(), _first(images, READ)
        index = torch.arange(len(images))
        captions = images.labels[index]
        made = reader.right(self.made(model, captions), captions)
        real = reader.right(images.pixels.batch(index), captions)
        return {
            "conditional_accuracy": sum(made) / len(made),
            "real_accuracy": sum(real) / len(real),
        }

    def made(self, model: TextToPicture, captions: list[str]) -> Tensor:
        """(n, C, H, W) uint8 of captions, each from a seed of its own."""
        captions = self.cleaned(captions)
        seed = self.trainer.settings.seed * 1_000_003
        generators = [torch.Generator().manual_seed(seed + row) for row in range(len(captions))]
        parts = [
            model.make(captions[start : start + _AT_ONCE], generators[start : start + _AT_ONCE],
                       **SAMPLER).cpu()
            for start in range(0, len(captions), _AT_ONCE)
        ]  # fmt: skip
        return torch.cat(parts)

    def cleaned(self, captions: list[str]) -> list[str]:
        """Captions as the method learned them."""
        clean = getattr(self.method, "clean", False)
        return [clean_caption(text) for text in captions] if clean else captions

    def write_labels(self, fitted: Fitted[Any, Any]) -> dict[str, Any]:
        """What the training pictures are said to show, as it was learned from."""
        trainer, said = self.trainer, self.data.train.labels
        trainer.save_labels(trainer.last_round + 1, said)
        known = said.known
        lengths = [len(text.split()) for text in said.texts if text]
        return {
            "items": len(said),
            "accepted": int(known.sum()),
            "accepted_share": float(known.float().mean()),
            "accuracy": None,
            "estimated_accuracy": None,
            "words_per_caption": sum(lengths) / max(1, len(lengths)),
            "with_class": int((said.classes >= 0).sum()),
            "good": int(said.good.sum()),
        }

    def samples(self, fitted: Fitted[Any, Any]) -> Samples:
        """Pictures of captions that are held out, of those that were learned where none are."""
        data = self.trainer.data
        images = data.test or data.val or data.labelled
        captions = [text for text in images.labels.texts if text]
        chosen = list(dict.fromkeys(captions))[:SHOWN]
        settings = {
            "method": self.method.card.name,
            "steps_trained": self.trainer.step,
            "seed": self.trainer.settings.seed,
            **SAMPLER,
        }
        return Samples(self.made(fitted.model, chosen), chosen, 4, settings)


def _first(images: ImageSet[Described], most: int) -> ImageSet[Described]:
    return images if len(images) <= most else images.subset(torch.arange(most))
