"""Accuracy without labels under a real shift and corruptions of five strengths."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import torch
from scipy.stats import spearmanr
from torch import Tensor

from claims.corruptions import corrupted
from claims.harness import Claim, Gain
from claims.sources import _cifar10, folder
from leaven.data import Data, ImageSet, MemoryPixels
from leaven.methods.classification.second_opinion import SecondOpinion
from leaven.models import Classifier, trained_classifier
from leaven.propose import predict
from leaven.quality import HeldOut, estimate_accuracy
from leaven.quality.accuracy import ESTIMATORS
from leaven.train import Budget, Settings, Trainer

DEPTHS = (20, 32, 44, 56)
ADAPTED = 20
"""The network that second opinions are asked of: adapting costs most."""
SECOND = {20: 32, 32: 20, 44: 56, 56: 44}
"""Which other network each one is compared with."""
KINDS = (("noise", "blur"), ("contrast", "brightness"), ("pixelate", "jpeg"))
"""Two of them are met with each seed."""
STRENGTHS = (1, 2, 3, 4, 5)
ITEMS, HELD_OUT, EPOCHS = 500, 1000, 5
JPEG = "jpeg copy"
BY_LABELS = ("calibrated-confidence", "difference", "atc-confidence", "atc-entropy")

Rows = dict[str, list[tuple[str, int, float, float]]]
"""By estimator: the target, the depth of the network, its estimate and the true accuracy."""


@cache
def network(depth: int) -> Classifier:
    """A ResNet of lossless CIFAR-10."""
    classes = _cifar10(None)[2]
    weights = folder("cifar10_resnets") / f"resnet{depth}.safetensors"
    return trained_classifier(f"cifar-resnet-{depth}", classes, (3, 32, 32), weights=str(weights))


def opinions(images: Tensor, seed: int, depth: int) -> tuple[Tensor, Tensor]:
    """(n,) what a copy of the network ``depth`` that was adapted to the pictures says of them, and
    of the pictures changed adversarially."""
    classes = _cifar10(None)[2]
    unknown = torch.full((len(images),), -1)
    names = [str(number) for number in range(len(images))]
    data = Data("cifar10", classes, ImageSet(MemoryPixels(images), unknown, unknown, names))
    settings = Settings(
        budget=Budget(steps=10**6), seed=seed, model=f"cifar-resnet-{depth}",
        weights=str(folder("cifar10_resnets") / f"resnet{depth}.safetensors"),
        threads=torch.get_num_threads(), evaluations=1, precision="fp32",
    )  # fmt: skip
    trainer = Trainer(data, None, settings)
    _, found = SecondOpinion(epochs=EPOCHS).opinions(trainer.data, trainer)
    return found.adapted, found.perturbed


@cache
def measured(seed: int, depths: tuple[int, ...] = DEPTHS, asked: int = ADAPTED) -> Rows:
    """All estimates of networks on the targets of a seed, with second opinions of the one ``asked``."""
    _, test, _ = _cifar10(None)
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    held, chosen = order[:HELD_OUT], order[HELD_OUT : HELD_OUT + ITEMS]
    truth, clean = test.truth[chosen], test.pixels.batch(chosen)
    known = test.pixels.batch(held)
    sources = {
        depth: HeldOut(predict(network(depth), MemoryPixels(known)), test.truth[held])
        for depth in depths
    }
    kinds = KINDS[seed % len(KINDS)]
    targets = [(JPEG, 0), *((kind, strength) for kind in kinds for strength in STRENGTHS)]
    rows: Rows = {name: [] for name in ESTIMATORS}
    for kind, strength in targets:
        images = clean if kind == JPEG else corrupted(clean, kind, strength, seed)
        pixels = MemoryPixels(images)
        said = {
            depth: predict(network(depth), pixels)
            for depth in {*depths, *(SECOND[depth] for depth in depths)}
        }
        for depth in depths:
            probs = said[depth]
            adapted, perturbed = opinions(images, seed, asked) if depth == asked else (None, None)
            found = estimate_accuracy(
                probs,
                held_out=None if kind == JPEG else sources[depth],
                second=said[SECOND[depth]].argmax(1),
                adapted=adapted,
                perturbed=perturbed,
            )
            true = float((probs.argmax(1) == truth).float().mean())
            for name, one in found.items():
                rows[name].append((kind, depth, one.accuracy, true))
    return rows


def figures(estimator: str) -> Callable[[int], dict[str, float]]:
    """A function seed -> how near the estimates of one estimator come."""

    def work(seed: int) -> dict[str, float]:
        rows = copy.copy(measured(seed)[estimator])
        values = {}
        for name, chosen in (
            ("", [row for row in rows if row[0] != JPEG]),
            ("_resnet20", [row for row in rows if row[0] != JPEG and row[1] == ADAPTED]),
            ("_jpeg", [row for row in rows if row[0] == JPEG]),
            ("_jpeg_resnet20", [row for row in rows if row[0] == JPEG and row[1] == ADAPTED]),
        ):
            if not chosen or (name in ("", "_jpeg") and {row[1] for row in chosen} != {*DEPTHS}):
                continue
            said, true = [row[2] for row in chosen], [row[3] for row in chosen]
            error = sum(abs(a - b) for a, b in zip(said, true, strict=True)) / len(said)
            values[f"error{name}"] = error
            values[f"nearness{name}"] = 1 - error
            if len(said) > 4:
                # Nothing of an estimator that always says the same.
                rank = float(spearmanr(said, true).statistic)
                values[f"rank_correlation{name}"] = rank if rank == rank else 0.0
        return values

    return work


CLAIM = Claim(
    method="second-opinion",
    statement="Where pictures are of another kind than the labelled ones, estimates that look at "
    "confidence are too high, and those that ask an adapted copy come nearer.",
    setting="ResNet-20, 32, 44 and 56 of lossless CIFAR-10 (published weights) on "
    f"{ITEMS} test pictures of the JPEG copy, as they are (the real shift; no labelled picture of "
    "the lossless kind is there, so only what needs none is measured) and corrupted in five "
    "strengths: noise and blur (seed 0), contrast and brightness (1), pixelation and JPEG (2). "
    f"Labelled pictures: {HELD_OUT} others of the JPEG copy, not corrupted. Agreement: of 20 with "
    f"32, 44 with 56. Adapted copies (SHOT, {EPOCHS} epochs) of ResNet-20 alone. Errors are mean "
    "absolute ones in points of accuracy; nearness is 1 less the error",
    variants={name: figures(name) for name in ESTIMATORS},
    expect=(
        Gain("second-opinion", "confidence", 5.0, "nearness_resnet20"),
        Gain("second-opinion", "difference", 1.0, "nearness_resnet20"),
        Gain("second-opinion", "atc-entropy", 1.0, "nearness_resnet20"),
        Gain("second-opinion", "adapted", 1.0, "nearness_resnet20"),
        Gain("atc-entropy", "confidence", 5.0, "nearness"),
    ),
    metric="nearness_resnet20",
)
