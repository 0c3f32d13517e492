"""Data made from labels."""

from leaven.synthesize.copy_paste import Pasted, copy_paste, draw_pastes, paste
from leaven.synthesize.diffusion import (
    denoise,
    denoising_loss,
    draw_noise_levels,
    drop_classes,
    guided,
    preconditioning,
    sample_pictures,
)
from leaven.synthesize.mosaic import mosaic
from leaven.synthesize.pictures import picture_grid, to_signed, to_uint8

__all__ = [
    "Pasted",
    "copy_paste",
    "denoise",
    "denoising_loss",
    "draw_noise_levels",
    "draw_pastes",
    "drop_classes",
    "guided",
    "mosaic",
    "paste",
    "picture_grid",
    "preconditioning",
    "sample_pictures",
    "to_signed",
    "to_uint8",
]
