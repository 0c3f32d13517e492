"""Features of crops, from an encoder that was trained without the classes of these data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from leaven.data import ImageSet, MemoryPixels
from leaven.data.pixels import Pixels
from leaven.data.transforms import ColourJitter, ScaleCropFlip, StrongColour, square_crops
from leaven.labels import BoxLabels
from leaven.learn import instance_contrast
from leaven.models import build_model, load_backbone
from leaven.models.classifier import Classifier
from leaven.train import BoxTrainer, Recipe

_DIMENSIONS, _BATCH, _AT_ONCE = 64, 64, 16


@dataclass(frozen=True)
class Descriptor:
    """Attributes:
    encoder: pictures (m, C, side, side) uint8 to features (m, D); frozen, in eval mode.
    side: of the crops, in pixels.
    """

    encoder: nn.Module
    side: int

    @torch.no_grad()
    def __call__(self, crops: Tensor) -> Tensor:
        if isinstance(self.encoder, Classifier):
            return self.encoder.features(crops)
        features: Tensor = self.encoder(crops)
        return features


def published(
    name: str, weights: str | None, channels: int, side: int, device: torch.device
) -> Descriptor:
    """An encoder with published weights, or that of a run; see ``load_backbone``."""
    return Descriptor(load_backbone(name, (channels, side, side), weights=weights).to(device), side)


def learned(
    trainer: BoxTrainer, places: BoxLabels, side: int, share: float, recipe: Recipe
) -> Descriptor:
    """A small net that learns to know two views of a crop among those of other crops.

    Args:
        places: boxes to cut out of the training pictures, whatever they are.
        side: of the crops.
        share: of the budget.
        recipe: how the weights are moved.
    """
    crops = cut_out(trainer.data.train.pixels, places, side).cpu()
    unknown = torch.full((len(crops),), -1)
    names = [str(number) for number in range(len(crops))]
    images: ImageSet[Tensor] = ImageSet(MemoryPixels(crops), unknown, unknown, names)
    model = trainer.built(
        lambda mean, std: build_model(
            "cnn-small",
            [str(number) for number in range(_DIMENSIONS)],
            tuple(crops.shape[1:]),
            mean=mean,
            std=std,
        )
    )
    optimizer = trainer.optimizer(model, recipe)
    trainer.register(descriptor=model, **{"descriptor-optimizer": optimizer})
    stream = images.batches(min(_BATCH, len(crops)))
    for batch in trainer.steps(share=share, name="descriptor", crops=stream):
        model.train()
        first, second = (contrast_view(trainer, batch.crops.images) for _ in range(2))
        both = model(torch.cat([first, second])).chunk(2)
        loss = instance_contrast(*both)
        trainer.observe(losses={"contrast": loss})
        trainer.update(loss, optimizer)
    return Descriptor(model.eval().requires_grad_(False), side)


def contrast_view(trainer: BoxTrainer, crops: Tensor) -> Tensor:
    """A part of a crop, enlarged, perhaps mirrored, in other colours."""
    flip = trainer.data.flip
    seen = ScaleCropFlip(scale=(1.0, 1.4), flip=flip, fill=114)(crops, trainer.draws)
    colours = StrongColour(jitter=ColourJitter(0.4, 0.4, 0.4, 0.1), sigma=(0.1, 1.0))
    return colours(seen.images, trainer.draws)


def cut_out(pixels: Pixels, places: BoxLabels, side: int) -> Tensor:
    """(m, C, side, side) uint8: a square crop of each row of ``places``."""
    crops = [torch.zeros(0, pixels.shape[0], side, side, dtype=torch.uint8)]
    for index in torch.arange(len(places)).split(_AT_ONCE):
        some = places.select(index)
        if not len(some.boxes):
            continue
        images = pixels.batch(index)
        boxes, pictures = some.boxes.to(images.device), some.pictures.to(images.device)
        crops.append(square_crops(images, boxes, pictures, side).cpu())
    return torch.cat(crops)


def describe(descriptor: Descriptor, pixels: Pixels, places: BoxLabels) -> Tensor:
    """(m, D) features of the crops of ``places``, on the CPU."""
    crops = cut_out(pixels, places, descriptor.side)
    device = next(descriptor.encoder.parameters()).device
    # A net needs a row to say how many features it has.
    rows = crops if len(crops) else crops.new_zeros(1, *crops.shape[1:])
    parts = [descriptor(some.to(device)).cpu() for some in rows.split(_BATCH)]
    return torch.cat(parts)[: len(crops)]
