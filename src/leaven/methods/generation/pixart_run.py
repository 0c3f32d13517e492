"""What the stages of a run of PixArt-alpha share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from leaven.data import Data
from leaven.data.buckets import BucketStream, bucket_sizes, nearest_bucket
from leaven.data.caption_features import sizes_of
from leaven.labels.described import Described
from leaven.methods.generation.pixart_features import Encoders, FeatureFiles
from leaven.methods.generation.pixart_plan import Scale, Sizes
from leaven.models.generation import TextTransformer, TransformerShape
from leaven.synthesize import NoiseSchedule
from leaven.train import PictureTrainer


@dataclass(frozen=True)
class PixArtRun:
    """What the stages share.

    Attributes:
        data: of the run.
        trainer: its services.
        encoders: of captions and pictures.
        files: their features.
        shape: of the networks, but for the rows of their latents; see ``of``.
        sizes: of the pictures.
        scale: how networks of the shape are trained.
        shares: of the budget.
        good: (n,) bool, the pictures of stage 3.
        schedule: of the noise.
    """

    data: Data[Described]
    trainer: PictureTrainer
    encoders: Encoders
    files: FeatureFiles
    shape: TransformerShape
    sizes: Sizes
    scale: Scale
    shares: tuple[float, float, float]
    good: Tensor
    schedule: NoiseSchedule

    @property
    def multiple(self) -> int:
        """Of which the sides of pictures are multiples: the patch times pixels per row of latents."""
        return self.shape.patch * self.encoders.latents.factor

    def of(self, size: tuple[int, int]) -> TransformerShape:
        """The network for pictures of a height and width."""
        return replace(self.shape, side=size[0] // self.encoders.latents.factor)

    def several(self, chosen: Tensor, size: tuple[int, int]) -> bool:
        """Whether the pictures that are ``chosen`` (n,) have several aspect ratios."""
        if size[0] != size[1]:
            return False
        sizes = sizes_of(self.data.train.subset(chosen))
        found = nearest_bucket(sizes, bucket_sizes(size[0], self.multiple))
        return len(found[found >= 0].unique()) > 1

    def streams(self, stream: BucketStream) -> dict[str, Any]:
        """What a batch holds."""
        return {"pictures": stream}

    def trial(self, batch: int) -> Callable[[], None]:
        """A step of stage 2 with noise for pictures, to be timed."""
        size = self.sizes.base
        shape, factor = self.of(size), self.encoders.latents.factor
        made: list[TextTransformer] = []

        def step() -> None:
            if not made:
                made.append(TextTransformer(shape))
            latents = torch.randn(batch, shape.channels, *(side // factor for side in size))
            text = torch.randn(batch, shape.tokens, shape.text_width)
            mask = torch.ones(batch, shape.tokens, dtype=torch.bool)
            steps = torch.randint(1000, (batch,))
            made[0](latents, steps, text, mask).square().mean().backward()

        return step
