"""Between pictures and latents: a frozen autoencoder, or pictures as they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from leaven.models.generation.fingerprint import fingerprint
from leaven.models.generation.hub import from_pretrained
from leaven.models.generation.libraries import library
from leaven.models.generation.signed import to_signed

SCALE = 0.18215
"""What brings latents of the KL autoencoder of Stable Diffusion to about unit spread."""


class Latents(nn.Module, ABC):
    """A frozen way between pictures and latents.

    Attributes:
        channels: c of the latents.
        colours: C of the pictures.
        factor: pixels per row of the latents.
        scale, shift: ``latent = scale (z - shift)`` of a draw z of the posterior.
    """

    channels: int
    colours: int
    factor: int
    scale: float = 1.0
    shift: float = 0.0

    @abstractmethod
    @torch.no_grad()
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and spread of the posterior, each (B, c, H / factor, W / factor) float32.

        Args:
            images: (B, C, H, W), uint8 or floating in [0, 1]; sides are multiples of ``factor``.
        """

    @abstractmethod
    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """(B, C, H, W) float32, about in [-1, 1]."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Other latents have another one."""

    def draw(self, mean: Tensor, std: Tensor, noise: Tensor) -> Tensor:
        """``scale (mean + std noise - shift)``: latents of one visit, noise standard normal.

        Used by: 001.
        """
        return (mean + std * noise - self.shift) * self.scale


class PictureLatents(Latents):
    """Pictures in [-1, 1] are their own latents, without spread."""

    factor = 1

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = self.colours = channels

    @torch.no_grad()
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        signed = to_signed(images).float()
        return signed, torch.zeros_like(signed)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        return latents.float()

    @property
    def fingerprint(self) -> str:
        return fingerprint(self, "pictures", self.channels)


class KlLatents(Latents):
    """A frozen ``AutoencoderKL`` of diffusers; grey pictures are shown to it in its colours.

    Args:
        autoencoder: with its weights.

    Source: Rombach et al., Latent diffusion models, CVPR 2022. Used by: 001.
    """

    def __init__(self, autoencoder: Any) -> None:
        super().__init__()
        self.autoencoder = autoencoder.requires_grad_(False).eval()
        config = autoencoder.config
        self.channels, self.colours = config.latent_channels, config.in_channels
        self.factor = 2 ** (len(config.block_out_channels) - 1)
        self.scale, self.shift = config.scaling_factor, config.shift_factor or 0.0

    @torch.no_grad()
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        weight = next(self.autoencoder.parameters())
        signed = to_signed(images).to(weight).expand(-1, self.colours, -1, -1)
        posterior = self.autoencoder.encode(signed).latent_dist
        return posterior.mean.float(), posterior.std.float()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        weight = next(self.autoencoder.parameters())
        drawn = latents.to(weight) / self.scale + self.shift
        return self.autoencoder.decode(drawn, return_dict=False)[0].float()

    @property
    def fingerprint(self) -> str:
        return fingerprint(self, "kl", self.scale, self.shift)


def latents_of(name: str, channels: int, dtype: torch.dtype = torch.float32) -> Latents:
    """Latents by name, in eval mode on the CPU.

    Args:
        name: ``"identity"`` for pictures as they are; else the name or local folder of an
            ``AutoencoderKL``, or a folder of a whole pipeline, whose part ``vae`` is taken.
        channels: C of pictures as they are.
        dtype: of the weights.

    Raises:
        ModelError: there is no such autoencoder, or it has no safetensors.
        MissingExtraError: without diffusers.
    """
    if name == "identity":
        return PictureLatents(channels).eval()
    diffusers = library("diffusers", "an autoencoder of pictures")
    return KlLatents(from_pretrained(diffusers.AutoencoderKL, name, "vae", dtype)).eval()
