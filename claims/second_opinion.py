"""The second opinion of an adapted copy on 28x28 digits, corrupted, inverted and as edges."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor

from claims.corruptions import corrupted
from claims.harness import Claim, Gain, Level
from leaven.data import Data, ImageSet, MemoryPixels, open_data
from leaven.draws import Draws
from leaven.learn import stronger_sign
from leaven.methods.classification.second_opinion import Opinions, SecondOpinion
from leaven.models import Classifier, build_model, save_model
from leaven.propose import predict
from leaven.quality.accuracy import average_confidence
from leaven.train import Budget, Settings, Trainer

SIDE, ITEMS, STEPS, WIDTH = 28, 2000, 400, 18
KINDS = ("heavy noise", "heavy blur", "impulse", "contrast")
STRENGTHS = (1, 3, 5)
TARGETS = (
    *((kind, strength) for kind in KINDS for strength in STRENGTHS), ("inverted", 1), ("edges", 1),
)  # fmt: skip
METHOD = SecondOpinion(epochs=3)

Row = dict[str, float]
"""Of one target: the true accuracy, and every estimate."""


def moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Digits (n, 1, 28, 28) turned by up to 11 degrees, scaled by up to a tenth and shifted by up to
    a pixel and a half."""
    drawn = torch.rand(4, len(images), generator=generator) * 2 - 1
    angle, scale = 0.2 * drawn[0], 1 + 0.1 * drawn[1]
    across, along = angle.cos() / scale, angle.sin() / scale
    moves = torch.stack([across, -along, 0.1 * drawn[2], along, across, 0.1 * drawn[3]], 1)
    grid = F.affine_grid(moves.view(-1, 2, 3), list(images.shape), align_corners=False)
    seen = F.grid_sample(images.float(), grid, align_corners=False)
    return seen.round().clamp(0, 255).to(torch.uint8)


def enlarged(images: ImageSet[Tensor]) -> Tensor:
    """The pictures at 28x28."""
    pixels = images.pixels.batch(torch.arange(len(images))).float()
    return F.interpolate(pixels, size=SIDE, mode="bilinear").round().to(torch.uint8)


def source(seed: int, data: Data) -> Classifier:
    """A small network with batch norm that has learnt the training digits."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    images, truth = enlarged(data.train), data.train.truth
    shape = (1, SIDE, SIDE)
    model = build_model(
        "cnn-small", data.classes, shape, mean=(0.3,), std=(0.35,), options={"width": WIDTH}
    )
    optimizer = torch.optim.SGD(
        model.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    model.train()
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / STEPS)
        items = torch.randint(len(images), (64,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(moved(images[items], generator)), truth[items]).backward()
        optimizer.step()
    return model.eval()


class RandomDirection(SecondOpinion):
    """As far, in a random direction."""

    def _perturbed(
        self, adapted: Classifier, images: ImageSet, clean: Tensor, radius: Tensor, start: Tensor
    ) -> Tensor:
        inputs = adapted.normalise(images.pixels.batch(torch.arange(len(images))))
        noise = Draws(0).normal(len(images), *inputs.shape[1:])
        noise /= noise.flatten(1).square().mean(1).sqrt().view(-1, 1, 1, 1)

        def logits(seen: Tensor) -> Tensor:
            return adapted.classify(adapted.encode(seen))

        return stronger_sign(logits, inputs, noise, clean, radius)[1].argmax(1)


@cache
def measured(seed: int) -> tuple[float, list[Row]]:
    """The accuracy on clean pictures, and what is found on every target."""
    data = open_data("digits", seed=seed)
    assert data.test is not None
    model = source(seed, data)
    generator = torch.Generator().manual_seed(seed + 1000)
    copies = -(-ITEMS // len(data.test))
    clean = moved(enlarged(data.test).repeat(copies, 1, 1, 1)[:ITEMS], generator)
    truth = data.test.truth.repeat(copies)[:ITEMS]

    def accuracy(probs: Tensor) -> float:
        return float((probs.argmax(1) == truth).float().mean())

    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = save_model(model, Path(place))
        for kind, strength in TARGETS:
            images = corrupted(clean, kind, strength, seed)
            probs, found, chance = asked(folder, data.classes, images, seed)
            wrong, flagged = probs.argmax(1) != truth, probs.argmax(1) != found.perturbed
            both = float((wrong & flagged).sum())
            rows.append(
                {
                    "true": accuracy(probs),
                    "confidence": average_confidence(probs),
                    "plain": float((probs.argmax(1) == found.adapted).float().mean()),
                    "random direction": chance.accuracy,
                    "second opinion": found.accuracy,
                    "precision": both / max(1.0, float(flagged.sum())),
                    "recall": both / max(1.0, float(wrong.sum())),
                }
            )
    return accuracy(predict(model, MemoryPixels(clean))), rows


def asked(
    folder: Path, classes: tuple[str, ...], images: Tensor, seed: int
) -> tuple[Tensor, Opinions, Opinions]:
    """What the network says, the opinions of its adapted copy, and those on random changes."""
    unknown = torch.full((len(images),), -1)
    names = [str(number) for number in range(len(images))]
    items = ImageSet(MemoryPixels(images), unknown, unknown, names)
    settings = Settings(
        budget=Budget(steps=10**6), seed=seed, model=str(folder),
        threads=torch.get_num_threads(), evaluations=1, precision="fp32",
    )  # fmt: skip
    trainer = Trainer(Data("digits", classes, items, flip=False), None, settings)
    first = trainer.trained()
    adapted = METHOD.adapt(copy.deepcopy(first), trainer.data, trainer)
    probs = predict(first, items.pixels)
    by_chance = RandomDirection(**METHOD.model_dump())
    found, chance = (one.asked(adapted, items, probs, Draws(seed)) for one in (METHOD, by_chance))
    return probs, found, chance


def figures(estimate: str) -> Callable[[int], dict[str, float]]:
    """A function seed -> how near one estimate comes over all targets."""

    def work(seed: int) -> dict[str, float]:
        clean, rows = measured(seed)
        true = torch.tensor([row["true"] for row in rows])
        said = torch.tensor([row[estimate] for row in rows])
        plain = torch.tensor([row["plain"] for row in rows])
        error = (said - true).abs().mean()
        hard = true.argsort()[: round(len(rows) / 3)]
        rank = float(spearmanr(said, true).statistic)
        values = {
            "error": float(error),
            "nearness": 1 - float(error),
            "error_saved": 1 - float(error / (plain - true).abs().mean()),
            "too_high_on_hard_third": float((said - true)[hard].mean()),
            "rank_correlation": rank if rank == rank else 0.0,
            "source_accuracy": clean,
        }
        if estimate == "second opinion":
            values["flag_precision"] = sum(row["precision"] for row in rows) / len(rows)
            values["flag_recall"] = sum(row["recall"] for row in rows) / len(rows)
        return values

    return work


CLAIM = Claim(
    method="second-opinion",
    statement="The adapted copy's opinion on adversarially changed pictures tells the accuracy of a "
    "network without any label, nearer than its plain opinion, with one size of changes.",
    setting="The digits of scikit-learn at 28x28 (the real pictures are 8x8): a network with batch "
    "norm and 92 thousand weights learns 70 % of them, turned, scaled and shifted a little; of the "
    f"others, moved alike, {ITEMS} pictures are made worse by noise, blur, salt and pepper and less "
    "contrast in three strengths, inverted, and turned into edges: 14 targets. Adapted by SHOT in "
    "3 epochs; size 0.1 everywhere, the default, looked at on rotations, bars and "
    "speckle of other seeds. Errors are mean absolute ones in points of accuracy over the targets; nearness "
    "is 1 less the error; error saved is relative to plain agreement",
    variants={
        name: figures(name)
        for name in ("confidence", "plain", "random direction", "second opinion")
    },
    expect=(
        Level("second opinion", 90.0, "source_accuracy"),
        Level("second opinion", 20.0, "error_saved"),
        Gain("second opinion", "confidence", 0.0, "nearness"),
        Gain("second opinion", "random direction", 0.0, "nearness"),
        Level("second opinion", 80.0, "rank_correlation"),
        Level("plain", 0.0, "too_high_on_hard_third"),
    ),
    note="The perturbation changes little because the copy is good: on the seed 10, with rotation, "
    "bars, speckle and coarse pixels, it is right on 86 to 98 % of the pictures in six of "
    "seven targets, and plain agreement is off by 1.7 points; with the perturbation by 1.7, "
    "with a size by disagreement by 2.0 to 3.9. In the seventh (turned by 60 degrees) the "
    "adaptation fails, 20 % are right, and its mistakes lie far from any border.",
    metric="nearness",
)
