"""Features of pictures, by which sets of them are compared."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from leaven.models.backbone import Backbone


@torch.no_grad()
def picture_features(
    pictures: Tensor | Iterable[Tensor], extractor: Backbone, batch: int = 64
) -> Tensor:
    """(n, D) float32 on the CPU, of uint8 pictures (n, C, H, W) or of batches of them.

    They are brought to the shape that the extractor takes: scaled bilinearly with antialiasing, grey
    ones repeated in every colour, colours averaged for an extractor of greys.

    Raises:
        ValueError: there is no picture.
    """
    parts = pictures.split(batch) if isinstance(pictures, Tensor) else pictures
    found = [extractor(_shaped(part, extractor)).cpu() for part in parts if len(part)]
    if not found:
        raise ValueError("there is no picture to take features of")
    return torch.cat(found)


def _shaped(pictures: Tensor, extractor: Backbone) -> Tensor:
    """Pictures (B, C, H, W) uint8 in the shape of the extractor, uint8."""
    channels, height, width = extractor.spec.shape
    if pictures.shape[1] != channels:
        grey = pictures.float().mean(1, keepdim=True).round().to(torch.uint8)
        pictures = grey.expand(-1, channels, -1, -1)
    if tuple(pictures.shape[2:]) == (height, width):
        return pictures
    scaled = interpolate(
        pictures.to(extractor.mean.device).float(), (height, width), mode="bilinear", antialias=True
    )
    return scaled.round().clamp(0, 255).to(torch.uint8)
