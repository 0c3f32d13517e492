"""PixArt-alpha in stages against its controls, on scenes of two digits side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from claims.harness import RESULTS, Claim, Gain
from leaven.draws import Draws
from leaven.models.generation import (
    SHAPES,
    BlockwiseTextTransformer,
    ClassTransformer,
    TableWords,
    TextTransformer,
    copy_shared,
    reparameterise,
    sample_latents,
)
from leaven.report.grid import Samples, write_grid
from leaven.synthesize import (
    NoiseSchedule,
    ddpm_loss,
    draw_steps,
    drop_captions,
    drop_classes,
    to_uint8,
)
from leaven.synthesize.held_out import denoising_error
from leaven.train import EMA

SHAPE = type(SHAPES["digits"])(
    **{**SHAPES["digits"].to_json(), "channels": 1, "side": 8, "learned_variance": False}
)
STEPS, MEASURED, BATCH, PROMPTS, GUIDANCE = 1500, (500, 1000, 1500), 64, 200, 3.0
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

Noise = Callable[[Tensor, Tensor, Any], Tensor]


@cache
def _digits() -> tuple[Tensor, Tensor]:
    """The digits of scikit-learn in [-1, 1], and what they are."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pictures = torch.from_numpy(bunch.images / 8 - 1).float()[:, None]
    return pictures, torch.from_numpy(bunch.target).long()


@cache
def _reader() -> Any:
    """A support vector machine that has learned half of the real digits."""
    from sklearn.svm import SVC

    pictures, classes = _digits()
    return SVC(gamma=0.001, C=10).fit(_rows(pictures)[::2], classes.numpy()[::2])


def _rows(pictures: Tensor) -> np.ndarray:
    return ((pictures.clamp(-1, 1) + 1) * 8).flatten(1).numpy()


def _singles(draws: Draws) -> tuple[Tensor, Tensor]:
    """64 digits, each anywhere on a canvas of 8x16."""
    pictures, classes = _digits()
    items = draws.integers(BATCH, high=len(pictures))
    canvas = torch.full((BATCH, 1, 8, 16), -1.0)
    for row, (item, left) in enumerate(
        zip(items.tolist(), draws.integers(BATCH, high=9).tolist(), strict=True)
    ):
        canvas[row, :, :, left : left + 8] = pictures[item]
    return canvas, classes[items]


def _pairs(draws: Draws, count: int) -> tuple[Tensor, Tensor]:
    """Scenes (count, 1, 8, 16) of two digits, and which (count, 2)."""
    pictures, classes = _digits()
    items = draws.integers(count, 2, high=len(pictures))
    return torch.cat([pictures[items[:, 0]], pictures[items[:, 1]]], 3), classes[items]


def _dense(pair: list[int], draws: Draws) -> str:
    return f"{NAMES[pair[0]]} left and {NAMES[pair[1]]} right"


def _sparse(pair: list[int], draws: Draws) -> str:
    if bool(draws.flags(1)):
        return f"{NAMES[pair[0]]} left"
    return f"{NAMES[pair[1]]} right"


def _loop(
    network: nn.Module,
    seed: int,
    batches: Iterator[tuple[Tensor, Any]],
    noise: Noise,
    after: Callable[[int, nn.Module], None] = lambda step, averaged: None,
) -> nn.Module:
    """1500 steps of AdamW at 1e-3; the weights averaged at 0.995, of which ``after`` is told."""
    schedule, draws = NoiseSchedule(), Draws(seed)
    average = EMA(network, 0.995)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.03, eps=1e-10)
    for step in range(1, STEPS + 1):
        clean, given = next(batches)
        steps = draw_steps(draws, BATCH, schedule)
        added = draws.normal(*clean.shape)
        noisy = schedule.add_noise(clean, added, steps)
        loss = ddpm_loss(noise(noisy, steps, given), clean, noisy, added, steps, schedule)
        optimizer.zero_grad()
        loss.total.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 0.01)
        optimizer.step()
        average.update(network)
        after(step, average.module)
    return average.module


@cache
def _teacher(seed: int) -> ClassTransformer:
    """Stage 1: a transformer that is told the class of a single digit."""
    torch.manual_seed(seed)
    network, draws = ClassTransformer(SHAPE, 10), Draws(seed + 100)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield _singles(draws)

    def noise(noisy: Tensor, steps: Tensor, classes: Tensor) -> Tensor:
        return network(noisy, steps, drop_classes(classes, network.null, 0.1, draws))

    averaged = _loop(network, seed + 200, batches(), noise)
    assert isinstance(averaged, ClassTransformer)
    return averaged


def _arm(
    name: str,
    seed: int,
    *,
    start: str = "reparameterised",
    blockwise: bool = False,
    caption: Callable[[list[int], Draws], str] = _dense,
) -> dict[str, float]:
    """Stage 2 of one arm: scores after 500, 1000 and 1500 steps, and a grid of samples."""
    teacher = _teacher(seed)
    torch.manual_seed(seed + 1)
    network = (BlockwiseTextTransformer if blockwise else TextTransformer)(SHAPE)
    if start != "scratch":
        (reparameterise if start == "reparameterised" else copy_shared)(network, teacher)
    words, draws = TableWords(SHAPE.tokens, SHAPE.text_width), Draws(seed + 300)

    def batches() -> Iterator[tuple[Tensor, tuple[Tensor, Tensor]]]:
        while True:
            scenes, classes = _pairs(draws, BATCH)
            said = words.encode([caption(pair, draws) for pair in classes.tolist()])
            yield scenes, (drop_captions(said.text, network.null, 0.1, draws), said.mask)

    figures = {
        "weights": float(sum(p.numel() for p in network.parameters())),
        "error_at_start": _error(network, words),
        "difference_at_500": _difference(network, teacher, words),
    }

    def measure(step: int, averaged: nn.Module) -> None:
        if step in MEASURED:
            assert isinstance(averaged, TextTransformer)
            pictures, prompts = _made(averaged, words, seed)
            figures[f"score_{step}"] = _score(pictures, prompts)
            if step == STEPS:
                figures["error_at_end"] = _error(averaged, words)
                _show(name, seed, pictures, prompts)

    _loop(network, seed + 400, batches(), lambda noisy, steps, given: network(noisy, steps, *given),
          measure)  # fmt: skip
    return figures


def _made(network: TextTransformer, words: TableWords, seed: int) -> tuple[Tensor, Tensor]:
    """200 pictures of dense prompts, and what they are to show."""
    prompts = torch.randint(10, (PROMPTS, 2), generator=torch.Generator().manual_seed(seed + 5))
    said = words.encode([_dense(pair, Draws(0)) for pair in prompts.tolist()])
    nothing = network.null.expand_as(said.text)
    made = sample_latents(
        network,
        (said.text, said.mask),
        (nothing, said.mask),
        (1, 8, 16),
        torch.Generator().manual_seed(seed + 6),
        steps=20,
        guidance=GUIDANCE,
    )
    return made, prompts


def _score(pictures: Tensor, prompts: Tensor) -> float:
    """The share of pictures with both digits right."""
    read = [_reader().predict(_rows(half)) for half in pictures.split(8, 3)]
    return float((np.stack(read, 1) == prompts.numpy()).all(1).mean())


@torch.no_grad()
def _error(network: TextTransformer, words: TableWords) -> float:
    """The error of the noise of 256 scenes."""
    scenes, classes = _pairs(Draws(7), 256)
    said = words.encode([_dense(pair, Draws(0)) for pair in classes.tolist()])
    generator = torch.Generator().manual_seed(8)
    return float(
        denoising_error(
            lambda noisy, steps: network(noisy, steps, said.text, said.mask),
            scenes,
            NoiseSchedule(),
            generator,
        ).mean()
    )


@torch.no_grad()
def _difference(network: TextTransformer, teacher: ClassTransformer, words: TableWords) -> float:
    """The largest difference to what the first stage says at t* = 500."""
    noisy = torch.randn(16, 1, 8, 16, generator=torch.Generator().manual_seed(9))
    said = words.encode(["three left and seven right"] * 16)
    steps = torch.full((16,), 500)
    apart = network(noisy, steps, said.text, said.mask) - teacher(noisy, steps)
    return float(apart.abs().max())


def _show(name: str, seed: int, pictures: Tensor, prompts: Tensor) -> None:
    texts = [_dense(pair, Draws(0)) for pair in prompts[:24].tolist()]
    shown = to_uint8(pictures[:24]).repeat_interleave(3, 2).repeat_interleave(3, 3)
    settings = {"arm": name, "seed": seed, "guidance": GUIDANCE, "steps": 20}
    write_grid(RESULTS / "pixart_digits" / f"{name}-{seed}.png", Samples(shown, texts, 6, settings))


CLAIM = Claim(
    method="pixart-alpha",
    statement="Words are learned sooner from the weights of a model of classes, dense captions "
    "teach what sparse ones do not, and one modulation for all blocks does as well as one in each.",
    setting="scikit-learn digits, two side by side on 8x16, pictures as they are; transformer of "
    "width 64, 3 blocks, patches of 2; 1500 steps on single digits with classes, then 1500 steps "
    "on captions of 6 tokens, batches of 64; both digits of 200 prompts read by a support vector "
    "machine",
    variants={
        "staged": partial(_arm, "staged"),
        "random tables": partial(_arm, "random-tables", start="copied"),
        "from scratch": partial(_arm, "from-scratch", start="scratch"),
        "sparse captions": partial(_arm, "sparse-captions", caption=_sparse),
        "block-wise": partial(_arm, "block-wise", blockwise=True),
    },
    expect=(
        Gain("staged", "from scratch", 20.0, "score_1000"),
        Gain("staged", "sparse captions", 80.0, "score_1500"),
        Gain("staged", "block-wise", -5.0, "score_1500"),
    ),
    metric="score_1500",
    note="The grids of samples are in claims/results/pixart_digits. `weights` are those that are "
    "trained; `difference_at_500` is the largest one to the first stage before a step of the "
    "second.",
)
