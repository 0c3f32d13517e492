"""Data made from labels."""

from leaven.models.generation.sampling import SAMPLERS, guided_noise, sample_latents
from leaven.models.generation.signed import to_signed, to_uint8
from leaven.synthesize.copy_paste import Pasted, copy_paste, draw_pastes, paste
from leaven.synthesize.ddpm import DdpmLoss, ddpm_loss, draw_steps, drop_captions
from leaven.synthesize.diffusion import (
    denoise,
    denoising_loss,
    draw_noise_levels,
    drop_classes,
    guided,
    preconditioning,
    sample_pictures,
)
from leaven.synthesize.learned_variance import (
    discretised_log_likelihood,
    log_variance,
    normal_divergence,
    variational_bound,
)
from leaven.synthesize.mosaic import mosaic
from leaven.synthesize.noise_schedule import NoiseSchedule
from leaven.synthesize.pictures import picture_grid

__all__ = [
    "SAMPLERS",
    "DdpmLoss",
    "NoiseSchedule",
    "Pasted",
    "copy_paste",
    "ddpm_loss",
    "denoise",
    "denoising_loss",
    "discretised_log_likelihood",
    "draw_noise_levels",
    "draw_pastes",
    "draw_steps",
    "drop_captions",
    "drop_classes",
    "guided",
    "guided_noise",
    "log_variance",
    "mosaic",
    "normal_divergence",
    "paste",
    "picture_grid",
    "preconditioning",
    "sample_latents",
    "sample_pictures",
    "to_signed",
    "to_uint8",
    "variational_bound",
]
