"""PixArt-alpha: a transformer learns pixels, then words, then what is beautiful."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from leaven.data import Data
from leaven.data.buckets import BucketStream
from leaven.data.caption_features import CaptionBatch
from leaven.data.feature_files import Dtype
from leaven.errors import ConfigError
from leaven.labels.described import Described
from leaven.methods.base import Card, Fitted, Method, NameOrFolder
from leaven.methods.generation.pixart_features import FeatureFiles, encoders_of
from leaven.methods.generation.pixart_plan import (
    batch_of,
    interpolation_of,
    scale_of,
    shape_of,
    sizes_of,
)
from leaven.methods.generation.pixart_run import PixArtRun
from leaven.models.generation import (
    BlockwiseTextTransformer,
    ClassTransformer,
    TextToPicture,
    TextTransformer,
    TransformerShape,
    copy_shared,
    hand_over,
    load_class_transformer,
    reparameterise,
    text_to_picture_spec,
)
from leaven.synthesize import NoiseSchedule, ddpm_loss, draw_steps, drop_captions, drop_classes
from leaven.train import EMA, Optimizer, PictureTrainer, Recipe

N = TypeVar("N", bound=nn.Module)
Noise = Callable[[Tensor, Tensor, CaptionBatch], Tensor]
"""What a network says of noisy latents at steps, for the pictures of a batch."""

Start = Literal["reparameterised", "copied", "scratch"]


class PixArtAlpha(Method):
    """PixArt-alpha: fast training of a diffusion transformer for text-to-image (ICLR 2024).

    Latents x_0 of a frozen autoencoder get noise, ``x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps``,
    linear betas, t uniform in 0..999; the network says what the noise was and how uncertain the way
    back is:

        loss = mean (eps_hat - eps)^2 + KL(q(x_(t-1) | x_t, x_0) || p(x_(t-1) | x_t))

    where the KL teaches the variance alone. Three stages, each from the averaged weights of the one
    before:

    1. pixels: a transformer that is told a class, dropped with probability ``drop``, learns what
       pictures look like. Without classes it is told nothing.
    2. words: a transformer with one modulation for all blocks and attention to the tokens of dense
       captions. All that both have is copied; attention to words adds 0 at first; the table of block
       i is ``E_i = f_i(t*) - S(t*)``, so that at t* = ``step`` it does what the first one did.
    3. finer: the pictures that are marked as good, or all, larger, in several aspect ratios where
       there are several. Positions are tables without weights, made anew for the size.

    Captions are replaced by the null caption with probability ``drop``. Text features, and mean and
    spread of latents, are found once and kept in files; latents are drawn anew at every visit.

    What is not set is as published for networks of width 256 and more: batches of 176, 40 and 12 up
    to 256, 512 and 1024 px, a rate of 2e-5 times sqrt(batch / 256) after 1000 steps, averages at
    0.9999, 46, 23 and 31 % of the budget. Smaller ones have batches of 64, a rate of 1e-3 after 100
    steps, 0.995, and 40, 45 and 15 %.

    Deviations: averages begin with a smaller decay, ``(1 + n) / (10 + n)``, so that short stages are
    not ruled by their start; a stage hands its averaged weights on, where the code gives the last
    ones; biases are not decayed; the rate rises over at most a twentieth of a stage; bf16 where the
    authors have fp16. Pictures are not mirrored, as in the paper.
    """

    card: ClassVar[Card] = Card(
        name="pixart-alpha",
        title="PixArt-alpha: Fast Training of Diffusion Transformer for Photorealistic Text-to-Image "
        "Synthesis",
        summary="A diffusion transformer learns pixels from classes, then words from dense captions, "
        "then what is good; weights are handed over.",
        task="text-to-image",
        evidence="captions",
        year=2024,
        venue="ICLR",
        paper="https://arxiv.org/abs/2310.00426",
        code="https://github.com/PixArt-alpha/PixArt-alpha",
        number=1,
        parts=(
            "models.generation.ClassTransformer",
            "models.generation.TextTransformer",
            "models.generation.reparameterise",
            "refine.clean_caption",
            "synthesize.ddpm_loss",
            "synthesize.drop_captions",
            "models.generation.sample_latents",
            "data.buckets.BucketStream",
            "train.EMA",
        ),
        claim="COCO FID-30K 7.32 with 0.6 B weights after 753 A100 days, 12 % of what Stable "
        "Diffusion 1.5 (9.62) took.",
        measured="Scenes of two digits, 3 seeds, both right by a reader of real ones after 1,000 steps "
        "of words: 89.5 % from weights of stage 1, 34.5 % from scratch. After 1,500: dense captions "
        "99.3 %, sparse ones 3.5 %, a modulation in each block 99.8 % with 19 % more weights.",
    )
    needs_unlabelled: ClassVar[bool] = False

    words: NameOrFolder = Field(
        "table", description="encoder of captions: a T5, or table: random vectors"
    )
    latents: NameOrFolder = Field(
        "identity", description="autoencoder of pictures, or identity: pictures as they are"
    )
    tokens: int | None = Field(
        None, ge=1, description="of a caption; 120 when not set, fewer of short ones in a table"
    )
    clean: bool = Field(True, description="captions are cleaned before they are encoded")
    features: Path | None = Field(
        None, description="folder of the features; in the run's own when not set"
    )
    feature_dtype: Dtype = Field("float32", description="what features are kept as")
    base: int | None = Field(
        None, ge=1, description="side in stages 1 and 2; half of the last one and 256 at most"
    )
    finer: tuple[int, ...] | None = Field(
        None, description="sides in stage 3, one after the other; that of the data when not set"
    )
    aspects: bool | None = Field(
        None, description="several aspect ratios in stage 3; when the pictures have them if not set"
    )
    interpolation: float | None = Field(
        None, gt=0, description="s of positions in stage 3; 2 from 1024 px on, 1 below if not set"
    )
    shares: tuple[float, float, float] | None = Field(
        None, description="of the budget, of the stages; 0 leaves the first or the last one out"
    )
    start: Start = Field(
        "reparameterised",
        description="of stage 2; copied leaves the tables random, scratch leaves stage 1 out",
    )
    teacher: Path | None = Field(
        None, description="local folder of a trained DiT, in place of stage 1"
    )
    step: int = Field(500, ge=0, lt=1000, description="t*, the step at which tables are set")
    blockwise: bool = Field(False, description="a modulation in each block: the control")
    drop: float = Field(
        0.1, ge=0, lt=1, description="probability that a caption or class is dropped"
    )
    batch: int | None = Field(None, ge=1, description="pictures per step")
    lr: float | None = Field(None, gt=0, description="highest learning rate")
    accumulate: int = Field(1, ge=1, description="batches whose gradients make one step")
    weight_decay: float = Field(0.03, ge=0, description="of AdamW")
    eps: float = Field(1e-10, gt=0, description="of AdamW")
    checkpointing: bool | None = Field(
        None, description="activations are computed again; in large networks when not set"
    )
    clip: float = Field(0.01, gt=0, description="largest norm of the gradient")
    warm_up: int | None = Field(None, ge=0, description="steps of a rising rate")
    ema: float | None = Field(None, ge=0, lt=1, description="decay of the averaged weights")

    def fit(
        self, data: Data[Described], trainer: PictureTrainer
    ) -> Fitted[TextToPicture, Described]:
        run = self._begun(data, trainer)
        teacher = self._pixels(run)
        student = self._captions(run, teacher)
        size = run.sizes.base
        if run.shares[2] > 0:
            for size in run.sizes.finer:
                student = self._finer(run, student, size)
        made = self._made(run, student, size)
        return Fitted(made, data.unlabelled.labels, note=" ".join(run.files.notes))

    # -- the stages -------------------------------------------------------------------------------

    def _pixels(self, run: PixArtRun) -> ClassTransformer | None:
        """Stage 1: what pictures look like, by their classes where these are known.

        Raises:
            ConfigError: there is a teacher, and a start from scratch.
        """
        if self.teacher is not None and self.start == "scratch":
            raise ConfigError(
                f"start is scratch, and a teacher is given: {self.teacher}.",
                "one of the two",
                "leave the teacher out, or take start=reparameterised or start=copied.",
            )
        if self.teacher is not None:
            return run.trainer.placed(load_class_transformer(self.teacher))
        if self.start == "scratch" or run.shares[0] == 0:
            return None
        trainer, data, size = run.trainer, run.data, run.sizes.base
        known = data.train.labels.classes >= 0
        batch = self._batch(run, size)
        told = int(known.sum()) >= batch
        if not told:
            known = torch.ones_like(known)
            run.files.notes.append("Stage 1 was told no classes: too few pictures have one.")
        network = trainer.built(
            lambda mean, std: ClassTransformer(
                run.of(size), max(1, len(data.classes)), checkpointing=self._again(run)
            )
        )
        stream = run.files.stream("pixels", known, size, batch, text=False)

        def noise(noisy: Tensor, steps: Tensor, given: CaptionBatch) -> Tensor:
            classes = drop_classes(given.classes, network.null, self.drop, trainer.draws)
            return network(noisy, steps, classes if told else None)

        return self._trained(run, "pixels", run.shares[0], network, stream, noise)

    def _captions(self, run: PixArtRun, teacher: ClassTransformer | None) -> TextTransformer:
        """Stage 2: what words mean, on the captions of all pictures."""
        size = run.sizes.base
        student = self._student(run, run.of(size))
        if teacher is not None and self.start == "reparameterised":
            reparameterise(student, teacher, self.step)
        elif teacher is not None:
            copy_shared(student, teacher)
        known = run.data.train.known
        stream = run.files.stream("words", known, size, self._batch(run, size), text=True)
        return self._trained(
            run, "words", run.shares[1], student, stream, partial(self._told, run, student)
        )

    def _finer(
        self, run: PixArtRun, before: TextTransformer, size: tuple[int, int]
    ) -> TextTransformer:
        """Stage 3: what is good, larger and in its own aspect ratio."""
        chosen = run.data.train.known & run.good
        aspects = run.several(chosen, size) if self.aspects is None else self.aspects
        shape = replace(
            run.of(size),
            sizes=aspects or before.shape.sizes,
            interpolation=interpolation_of(size[0], self.interpolation),
        )
        student = self._student(run, shape)
        hand_over(before, student)
        stream = run.files.stream(
            "good" if not bool(run.good.all()) else "words",
            chosen,
            size,
            self._batch(run, size),
            text=True,
            aspects=run.multiple if aspects else None,
        )
        share = run.shares[2] / len(run.sizes.finer)
        name = f"finer {size[0]}x{size[1]}"
        return self._trained(run, name, share, student, stream, partial(self._told, run, student))

    # -- a stage ----------------------------------------------------------------------------------

    def _trained(
        self,
        run: PixArtRun,
        name: str,
        share: float,
        network: N,
        stream: BucketStream,
        noise: Noise,
    ) -> N:
        """The averaged weights of a network after a ``share`` of the budget."""
        trainer, latents, schedule = run.trainer, run.encoders.latents, run.schedule
        average = EMA(network, run.scale.ema if self.ema is None else self.ema)
        optimizer = self._optimizer(run, network, share, stream.size)
        trainer.register(network=network, average=average, optimizer=optimizer)
        for batch in trainer.steps(share=share, name=name, streams=run.streams(stream)):
            given: CaptionBatch = batch.pictures  # type: ignore[assignment]
            count, shape = len(given.items), given.mean.shape[1:]
            clean = latents.draw(given.mean, given.std, trainer.draws.normal(count, *shape))
            steps = draw_steps(trainer.draws, count, schedule)
            added = trainer.draws.normal(count, *shape)
            noisy = schedule.add_noise(clean, added, steps)
            said = noise(noisy, steps, given)
            loss = ddpm_loss(said, clean, noisy, added, steps, schedule)
            trainer.observe(losses={"noise": loss.noise.mean(), "variance": loss.bound.mean()})
            if trainer.update(loss.total, optimizer):
                average.update(network)
        return average.module

    def _told(
        self,
        run: PixArtRun,
        network: TextTransformer,
        noisy: Tensor,
        steps: Tensor,
        given: CaptionBatch,
    ) -> Tensor:
        """What a network says that is told captions, some of them dropped."""
        assert given.text is not None and given.mask is not None
        text = drop_captions(given.text, network.null, self.drop, run.trainer.draws)
        if not network.shape.sizes:
            return network(noisy, steps, text, given.mask)
        ratio = given.sizes[:, 0] / given.sizes[:, 1]
        return network(noisy, steps, text, given.mask, given.sizes, ratio)

    def _optimizer(self, run: PixArtRun, network: nn.Module, share: float, batch: int) -> Optimizer:
        scale, budget = run.scale, run.trainer.settings.budget.share(share)
        lr = self.lr
        if lr is None:
            images = batch * self.accumulate
            lr = scale.lr * (math.sqrt(images / 256) if scale.scaled else 1.0)
        wanted = scale.warm_up if self.warm_up is None else self.warm_up
        warm_up = (
            0.05 if budget.steps is None else min(0.05, wanted * self.accumulate / budget.steps)
        )
        recipe = Recipe(
            optimizer="adamw",
            lr=lr,
            momentum=0.9,
            weight_decay=self.weight_decay,
            schedule="constant",
            warmup=warm_up,
            clip=self.clip,
            accumulate=self.accumulate,
        )
        optimizer = run.trainer.optimizer(network, recipe)
        for group in optimizer.torch.param_groups:
            group["eps"] = self.eps
        return optimizer

    def _student(self, run: PixArtRun, shape: TransformerShape) -> TextTransformer:
        kind = BlockwiseTextTransformer if self.blockwise else TextTransformer
        return run.trainer.built(lambda mean, std: kind(shape, checkpointing=self._again(run)))

    # -- a run ------------------------------------------------------------------------------------

    def _begun(self, data: Data[Described], trainer: PictureTrainer) -> PixArtRun:
        settings = trainer.settings
        encoders = encoders_of(self.words, self.latents, self.tokens, data, trainer)
        words, latents = encoders.words, encoders.latents
        text = words.tokens, words.width
        options = dict(settings.options)
        final = (int(data.shape[1]), int(data.shape[2]))
        channels, factor = latents.channels, latents.factor
        shape = shape_of(settings.model, options, max(final), channels, factor, text)
        sizes = sizes_of(final, self.base, self.finer, shape.patch * factor)
        scale = scale_of(shape)
        good = data.train.labels.good
        run = PixArtRun(
            data,
            trainer,
            encoders,
            FeatureFiles(data, encoders, trainer, self.features, self.feature_dtype, self.clean),
            shape,
            sizes,
            scale,
            scale.shares if self.shares is None else self.shares,
            good if bool((good & data.train.known).any()) else torch.ones_like(good),
            NoiseSchedule().to(trainer.device),
        )
        trainer.choose_threads(run.trial(self._batch(run, sizes.base)))
        return run

    def _batch(self, run: PixArtRun, size: tuple[int, int]) -> int:
        return batch_of(run.shape, max(size)) if self.batch is None else self.batch

    def _again(self, run: PixArtRun) -> bool:
        return run.scale.checkpointing if self.checkpointing is None else self.checkpointing

    def _made(
        self, run: PixArtRun, student: TextTransformer, size: tuple[int, int]
    ) -> TextToPicture:
        """The model that takes captions."""
        spec = text_to_picture_spec(
            student.shape,
            (run.encoders.latents.colours, *size),
            words=run.encoders.words_name,
            latents=run.encoders.latents_name,
            blockwise=self.blockwise,
        )
        made = TextToPicture(spec, student, words=run.encoders.words, latents=run.encoders.latents)
        made.precision = run.trainer.precision
        return made.eval()
