"""A method that translates pictures, measured and written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from leaven.data import Data, ImageSet, PairedPictures
from leaven.data.changed_pixels import classes_of_colours
from leaven.data.paired_maps import photos_with_maps
from leaven.data.pixel_maps import PixelMaps
from leaven.job.picture_stage import PictureStage
from leaven.methods import Fitted
from leaven.methods.segmentation.supervised import Supervised
from leaven.models.generation import UNetTranslator
from leaven.quality.pictures import PictureMeter, fcn_score
from leaven.quality.segmentation import SegmentationMeter
from leaven.report.grid import Samples
from leaven.train import Budget, PixelTrainer, Settings

MEASURED = 500
"""So many of the held-out pairs are measured at most, evenly spaced."""

SHOWN = 12
"""Held-out pairs in the grid of samples; two beside each other, three pictures each."""

SEGMENTER_STEPS, SEGMENTER_PIXELS = 300, 8 * 96 * 96
"""What the segmenter of the FCN score is trained for, and with about how many pixels a step."""

WEAK = 0.2
"""A segmenter whose mean IoU on real pictures is less can hardly tell good pictures from bad ones."""

_AT_ONCE = 16


class TranslationStage(PictureStage):
    """What ``PictureStage`` is for pairs of pictures.

    Of label maps that became photos the FCN score is found as well, with a small U-Net that is
    trained on the real photos of the training pairs; of photos that became label maps how many
    pixels are right.
    """

    names: ClassVar[tuple[str, ...]] = (
        "l1", "psnr", "gradient_distance", "colour_overlap",
        "fcn_pixel_accuracy", "fcn_mean_accuracy", "fcn_miou", "fcn_real_miou",
        "pixel_accuracy", "mean_accuracy", "miou",
    )  # fmt: skip

    def measure(
        self, fitted: Fitted[Any, Any], held_out: ImageSet[PairedPictures]
    ) -> dict[str, float | None]:
        held_out = _spread(held_out, MEASURED)
        meter, parts = PictureMeter(), []
        for index in _parts(held_out):
            made = self.made(fitted.model, held_out.pixels.batch(index), int(index[0]))
            meter.add(made, held_out.labels[index])
            parts.append(made.cpu())
        found = meter.metrics()
        if self.data.classes:
            found |= self.of_maps(held_out, parts)
        real = (held_out.labels[index] for index in _parts(held_out))
        compared = self.compared(real, parts, len(held_out))
        return {name: found.get(name) for name in self.names} | compared

    @staticmethod
    def made_shape(data: Data[PairedPictures]) -> tuple[int, ...]:
        return data.train.labels.shape

    def made(self, model: UNetTranslator, given: Tensor, first: int = 0) -> Tensor:
        """What ``model`` makes of pictures, of which ``first`` is the number of the first."""
        generator = torch.Generator().manual_seed(self.trainer.settings.seed * 1_000_003 + first)
        return model.make(given, generator)

    def of_maps(self, held_out: ImageSet[PairedPictures], made: list[Tensor]) -> dict[str, float]:
        """The figures that need the classes of the pixels."""
        classes, swap = self.data.classes, self.swapped
        photos = photos_with_maps(self.data, swap=swap)
        maps = photos_with_maps(Data("", classes, held_out), swap=swap).train
        truth = [maps.labels[index].cpu() for index in _parts(maps)]
        if swap:
            right = SegmentationMeter(len(classes), border=0)
            for pictures, known in zip(made, truth, strict=True):
                right.add(classes_of_colours(pictures, len(classes)), known)
            return right.metrics()
        segment = self.segmenter(photos)
        real = (maps.pixels.batch(index) for index in _parts(maps))
        found = fcn_score(segment, zip(made, truth, strict=True), len(classes))
        best = fcn_score(segment, zip(real, truth, strict=True), len(classes))
        if best["miou"] < WEAK:
            self.add_note(
                f"The segmenter of the FCN score has a mean IoU of {best['miou']:.2f} on real "
                "pictures: the score says little here."
            )
        scores = {f"fcn_{name}": value for name, value in found.items()}
        return scores | {"fcn_real_miou": best["miou"]}

    @property
    def swapped(self) -> bool:
        """Whether photos become label maps."""
        return self.config.swap

    def segmenter(self, photos: Data[PixelMaps]) -> Callable[[Tensor], Tensor]:
        """Learned on real photos: pictures (B, C, H, W) uint8 to classes (B, H, W)."""
        own, (_, height, width) = self.trainer.settings, photos.shape
        settings = Settings(
            budget=Budget(steps=SEGMENTER_STEPS),
            seed=own.seed,
            device=own.device,
            precision=own.precision,
            threads=self.trainer.threads,
            evaluations=1,
        )
        trainer = PixelTrainer(photos, None, settings)
        batch = min(8, max(1, SEGMENTER_PIXELS // (height * width)))
        method = Supervised(batch=batch, scale=(1.0, 1.25), ema=0.95)
        model = method.fit(trainer.data, trainer).model.eval()

        @torch.no_grad()
        def segment(pictures: Tensor) -> Tensor:
            return model(pictures.to(trainer.device)).argmax(1).cpu()

        return segment

    def write_labels(self, fitted: Fitted[Any, Any]) -> dict[str, Any]:
        """There are none: what was learned from are all pairs there are."""
        names = ("accepted_share", "accuracy", "estimated_accuracy")
        return {"items": 0, "accepted": 0, **dict.fromkeys(names)}

    def samples(self, fitted: Fitted[Any, Any]) -> Samples:
        """Given, made and real of some held-out pairs, of training pairs where none is held out."""
        data = self.trainer.data
        pairs = _spread(data.test or data.val or data.train, SHOWN)
        index = torch.arange(len(pairs))
        given = pairs.pixels.batch(index)
        rows = (given, self.made(fitted.model, given), pairs.labels[index])
        shown = torch.stack([_coloured(pictures) for pictures in rows], 1).flatten(0, 1)
        texts = [f"{name}: {what}" for name in pairs.names for what in ("given", "made", "real")]
        settings = {
            "method": self.method.card.name,
            "steps": self.trainer.step,
            "seed": self.trainer.settings.seed,
        }
        return Samples(shown, texts, 6 if len(pairs) > 1 else 3, settings)


def _spread(pairs: ImageSet[PairedPictures], most: int) -> ImageSet[PairedPictures]:
    """At most so many of the pairs, evenly spaced."""
    if len(pairs) <= most:
        return pairs
    return pairs.subset(torch.linspace(0, len(pairs) - 1, most).long())


def _coloured(pictures: Tensor) -> Tensor:
    return pictures.cpu().expand(-1, 3, -1, -1)


def _parts(pairs: ImageSet[Any]) -> tuple[Tensor, ...]:
    return torch.arange(len(pairs)).split(_AT_ONCE)
