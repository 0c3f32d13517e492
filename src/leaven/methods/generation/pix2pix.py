"""pix2pix: pictures become other pictures; a critic learns what the difference should look like."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from leaven.data import Data, PairedPictures
from leaven.data.streams import Sample
from leaven.data.transforms import ScaleCropFlip
from leaven.draws import Draws
from leaven.errors import ConfigError
from leaven.learn import discriminator_loss, judging, realism_loss
from leaven.learn.adversarial import Game
from leaven.methods.base import Card, Fitted, Method
from leaven.models.classifier import ModelSpec
from leaven.models.generation.translator import (
    DEEPEST,
    NAME,
    SHALLOWEST,
    UNetTranslator,
    small_normal,
    usual_depth,
)
from leaven.models.patch_critic import PatchDiscriminator, least_side, usual_layers
from leaven.train import PictureTrainer, Recipe

LARGE = 128
"""From this side on networks are as wide as in the paper, below it half as wide."""


class Pix2Pix(Method):
    """Image-to-image translation with conditional adversarial networks (CVPR 2017).

    Of a pair (x, y) the generator G, a U-Net with dropout in place of noise, makes G(x); the critic
    D says of every patch of a pair whether y is real. Per batch, after one crop and one mirror for
    both pictures of a pair, one step of each:

        D: (BCE(D(x, y), 1) + BCE(D(x, G(x)), 0)) / 2, without a gradient to G
        G: adversarial BCE(D(x, G(x)), 1) + reconstruction |y - G(x)|_1, D as it now is, held still

    BCE is taken of every patch, then its mean. Pictures are in [-1, 1]; greys that get colours are
    in CIELAB, x = L / 50 - 1 and y = (a, b) / 110. Weights start from N(0, 0.02). When pictures are
    made, dropout stays on and batch norm takes the statistics of what is made, as in training.

    The ablations of the paper: ``adversarial=0`` (L1 alone), ``reconstruction=0`` (the critic
    alone), ``conditional=false`` (D sees y alone), ``skips=false`` (encoder and decoder),
    ``layers=0`` (D sees pixels) and 1, 3, 5 (patches of 16, 70, 286 pixels).

    Where the published codes differ: D's loss is halved in its gradient (the port does; the Torch
    code reports half of it, which Adam makes the same); G is judged by D after D's step (the port;
    the Torch code mixes outputs from before with weights from after). Pictures are scaled up for
    the crop bilinearly, not bicubically. Below 128 pixels networks are narrower and flatter, and
    patches smaller, where nothing else is said: the paper has 256.
    """

    card: ClassVar[Card] = Card(
        name="pix2pix",
        title="Image-to-Image Translation with Conditional Adversarial Networks",
        summary="A U-Net turns a picture into another; a critic of pairs of patches learns the loss.",
        task="translation",
        evidence="pairs of pictures",
        year=2017,
        venue="CVPR",
        paper="https://arxiv.org/abs/1611.07004",
        code="https://github.com/phillipi/pix2pix",
        number=44,
        parts=(
            "models.generation.UNet",
            "models.PatchDiscriminator",
            "learn.discriminator_loss",
            "learn.realism_loss",
            "learn.judging",
            "data.transforms.ScaleCropFlip",
            "quality.GradientHistogram",
            "quality.ColourHistogram",
        ),
        claim="Cityscapes, label maps to photos, class IoU of a segmenter of real photos: L1 0.11, "
        "conditional GAN 0.16, both 0.17; real photos 0.21.",
        measured="CamVid at 64x64, 10 epochs, 3 seeds, mean IoU of a segmenter of real photos: both "
        "31.1 %, L1 28.0 %, critic alone 20.4 %, both without skips 21.6 %; gradients twice as near to "
        "real ones as L1's, L1 nearest to the photo; colours 5.3 points further off, where nearer "
        "ones were expected.",
    )
    needs_unlabelled: ClassVar[bool] = False

    batch: int = Field(1, ge=1, description="pairs per step")
    recipe: Recipe = Field(
        Recipe(optimizer="adam", lr=2e-4, momentum=0.5, weight_decay=0.0, schedule="constant"),
        description="how the weights of both networks are moved",
    )
    reconstruction: float = Field(100.0, ge=0, description="lambda, the weight of |y - G(x)|")
    adversarial: float = Field(1.0, ge=0, description="weight of what D says; 0: there is no D")
    game: Game = Field("bce", description="how D's scores are judged: bce or least-squares")
    conditional: bool = Field(True, description="whether D sees x beside y")
    layers: int | None = Field(
        None,
        ge=0,
        le=5,
        description="of D, for patches of 1, 16, 34, 70, 142, 286 pixels; by the side of the pictures "
        "when not set, 3 from 117 pixels on",
    )
    skips: bool = Field(True, description="whether G is a U-Net; else an encoder and a decoder")
    dropout: float = Field(0.5, ge=0, lt=1, description="in the first three levels of the decoder")
    width: int | None = Field(
        None, ge=1, description="channels of G's first level; 64 from 128 pixels on, else 32"
    )
    critic_width: int | None = Field(None, ge=1, description="of D's first; as G when not set")
    depth: int | None = Field(
        None,
        ge=SHALLOWEST,
        le=DEEPEST,
        description="levels of G; by the side of the pictures when not set, 8 of 256 pixels",
    )
    jitter: float = Field(
        286 / 256, ge=1, le=4, description="pairs are scaled up so much, and cut at random places"
    )

    def fit(
        self, data: Data[PairedPictures], trainer: PictureTrainer
    ) -> Fitted[UNetTranslator, None]:
        generator = trainer.built(lambda mean, std: self.generator(data))
        generator_optimizer = trainer.optimizer(generator, self.recipe)
        trainer.register(generator=generator, generator_optimizer=generator_optimizer)
        critic = None
        if self.adversarial > 0:
            critic = trainer.built(lambda mean, std: self.critic(data, generator))
            critic_optimizer = trainer.optimizer(critic, self.recipe)
            trainer.register(critic=critic, critic_optimizer=critic_optimizer)
        view = ScaleCropFlip(scale=(self.jitter, self.jitter), flip=data.flip)

        for batch in trainer.steps(pairs=data.labelled.batches(self.batch)):
            given, wanted = jittered(batch.pairs, view, trainer.draws)
            x, y = generator.encode_given(given), generator.encode_wanted(wanted)
            made = generator.translate(x)
            losses, told = {"l1": (made - y).abs().mean()}, None
            loss = self.reconstruction * losses["l1"]
            if critic is not None:
                real, false = critic(self.seen(x, y)), critic(self.seen(x, made.detach()))
                losses["critic"] = discriminator_loss(real, false, self.game)
                told = right_share(real.detach(), false.detach(), self.game)
                trainer.update(losses["critic"], critic_optimizer)
                with judging(critic):
                    losses["realism"] = realism_loss(critic(self.seen(x, made)), self.game)
                loss = loss + self.adversarial * losses["realism"]
            trainer.observe(
                losses={name: value.detach() for name, value in losses.items()}, told=told
            )
            trainer.update(loss, generator_optimizer)

        return Fitted(generator.eval(), None)

    def seen(self, x: Tensor, y: Tensor) -> Tensor:
        """What D judges: y beside x, or y alone."""
        return torch.cat([x, y], 1) if self.conditional else y

    def generator(self, data: Data[PairedPictures]) -> UNetTranslator:
        """A new G for the pairs of ``data``."""
        wanted, (given, height, width) = data.train.labels, data.shape
        channels = wanted.shape[0]
        options = {
            "given": given,
            "width": self.width or usual_width(height, width),
            "depth": self.depth or usual_depth(height, width),
            "skips": self.skips,
            "dropout": self.dropout,
            "lab": wanted.of_grey,
        }
        half = (0.5,) * channels
        shape = (channels, height, width)
        spec = ModelSpec(NAME, data.classes, shape, half, half, options=options, task="translation")
        model = UNetTranslator(spec)
        small_normal(model)
        return model

    def critic(self, data: Data[PairedPictures], generator: UNetTranslator) -> PatchDiscriminator:
        """A new D for what ``generator`` makes.

        Raises:
            ConfigError: the pictures are too small for so many layers.
        """
        _, height, width = data.shape
        side = min(height, width)
        layers = usual_layers(side) if self.layers is None else self.layers
        if side < least_side(layers):
            raise ConfigError(
                f"layers is {layers}, and the pictures are {width}x{height}.",
                f"a shorter side of {least_side(layers)} pixels or more for {layers} layers",
                f"take fewer layers, for example --set layers={usual_layers(side)}, or larger "
                "pictures (--image-size).",
            )
        channels = generator.wanted + (generator.given if self.conditional else 0)
        first = self.critic_width or self.width or usual_width(height, width)
        model = PatchDiscriminator(channels, layers, first)
        small_normal(model)
        return model


def jittered(pairs: Sample, view: ScaleCropFlip, draws: Draws) -> tuple[Tensor, Tensor]:
    """Both pictures of each pair through one geometry: what is given, and what is wanted."""
    size = (pairs.images.shape[2], pairs.images.shape[3])
    geometry = view.geometry(len(pairs), size, draws)
    return geometry.images(pairs.images), geometry.images(pairs.targets)


def right_share(real: Tensor, made: Tensor, game: Game) -> Tensor:
    """0-d, the share of patches whose scores are nearer to what they should be."""
    middle = 0.0 if game == "bce" else 0.5
    return ((real > middle).float().mean() + (made < middle).float().mean()) / 2


def usual_width(height: int, width: int) -> int:
    """Channels of the first level for pictures of this size."""
    return 64 if min(height, width) >= LARGE else 32
