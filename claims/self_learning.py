"""Self-learning of a real source model: ResNet-20 of lossless CIFAR-10 on JPEG copies and worse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.functional import (
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    gaussian_blur,
    rotate,
)

from claims.harness import Claim, Gain
from claims.sources import cifar10, folder
from leaven.data import Data, ImageSet, MemoryPixels
from leaven.methods.classification.self_learning import SelfLearning
from leaven.train import Budget, Recipe, Settings, Trainer

ITEMS, EPOCHS, BATCH = 2000, 5, 128
CHOICE_ITEMS, CHOICE_EPOCHS, CHOICE_SEED = 640, 4, 10
RATES = (1e-3, 1e-2, 5e-2)
Change = Callable[[Tensor, torch.Generator], Tensor]
"""Pictures (n, 3, 32, 32) in [0, 1] -> changed pictures, not yet clamped."""


def _noise(images: Tensor, generator: torch.Generator) -> Tensor:
    return images + 0.08 * torch.randn(images.shape, generator=generator)


def _speckle(images: Tensor, generator: torch.Generator) -> Tensor:
    return images * (1 + 0.25 * torch.randn(images.shape, generator=generator))


def _pixelate(images: Tensor, generator: torch.Generator) -> Tensor:
    return F.interpolate(F.interpolate(images, size=20, mode="area"), size=32)


def _box(images: Tensor, generator: torch.Generator) -> Tensor:
    return F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="reflect"), 3, 1)


def _permuted(images: Tensor, generator: torch.Generator) -> Tensor:
    return images.flatten(2)[:, :, torch.randperm(32 * 32, generator=generator)].view_as(images)


TARGETS: tuple[Change, ...] = (
    _noise,
    _box,
    lambda images, generator: adjust_contrast(images, 0.35),
    lambda images, generator: adjust_brightness(images, 1.6),
    _pixelate,
    lambda images, generator: rotate(images, 20),
)
"""Two of them are met with each seed."""
OTHERS: tuple[Change, ...] = (
    _speckle,
    lambda images, generator: gaussian_blur(images, [3, 3], [0.8, 0.8]),
    lambda images, generator: adjust_saturation(images, 2.5),
)
"""What rates are chosen on: pictures and shifts of their own."""


def shifted(seed: int, change: Change | None, items: int = ITEMS) -> Data:
    """Pictures of the training set, all hidden labels known for measuring alone."""
    data = cifar10(1, items=items, test=10)(seed)
    images = data.train.pixels.batch(torch.arange(items))
    if change is not None:
        generator = torch.Generator().manual_seed(seed)
        images = change(images / 255, generator).clamp(0, 1).mul(255).round().to(torch.uint8)
    train = data.train
    hidden = torch.full_like(train.labels, -1)
    return replace(
        data, train=ImageSet(MemoryPixels(images), hidden, train.truth, train.names), test=None
    )


def adapted(seed: int, change: Change | None, method: SelfLearning, items: int = ITEMS) -> float:
    """How many of the pictures the adapted model has right."""
    weights = folder("cifar10_resnets") / "resnet20.safetensors"
    settings = Settings(
        budget=Budget(steps=10**6), seed=seed, model="cifar-resnet-20", weights=str(weights),
        threads=torch.get_num_threads(), evaluations=1, precision="fp32",
    )  # fmt: skip
    trainer = Trainer(shifted(seed, change, items), None, settings)
    labels = method.fit(trainer.data, trainer).labels
    return float((labels.classes == trainer.data.unlabelled.truth).float().mean())


def method(rate: float, **changes: object) -> SelfLearning:
    recipe = Recipe(lr=rate, momentum=0.9, nesterov=False, weight_decay=0.0, schedule="constant")
    return SelfLearning(**{"batch": BATCH, "epochs": EPOCHS, "recipe": recipe, **changes})


@cache
def chosen_rate(loss: str) -> float:
    """The rate with the best mean accuracy on ``OTHERS``, of instant refresh and affine weights."""
    means = {
        rate: sum(
            adapted(
                CHOICE_SEED, change, method(rate, loss=loss, epochs=CHOICE_EPOCHS), CHOICE_ITEMS
            )
            for change in OTHERS
        )
        for rate in RATES
    }
    return max(means, key=means.__getitem__)


def measure(loss: str = "rpl", **changes: object) -> Callable[[int], dict[str, float]]:
    """A function seed -> accuracy on two corruptions, on the JPEG copy, on permuted pixels."""

    def work(seed: int) -> dict[str, float]:
        moves = changes.get("epochs") != 0
        own = method(chosen_rate(loss) if moves else RATES[0], loss=loss, **changes)
        first = 2 * seed % len(TARGETS)
        on = [adapted(seed, change, own) for change in TARGETS[first : first + 2]]
        values = {"accuracy": sum(on) / 2, "jpeg_accuracy": adapted(seed, None, own)}
        if changes.get("refresh", "instant") == "instant" and changes.get("train") != "last":
            values["permuted_accuracy"] = adapted(seed, _permuted, own)
        return values | ({"rate": own.recipe.lr} if moves else {})

    return work


CLAIM = Claim(
    method="self-learning",
    statement="Statistics of the target help a real network on corrupted pictures, and learning "
    "from its own predictions helps further.",
    setting="ResNet-20 trained on lossless CIFAR-10 (published weights) on 2,000 pictures of its JPEG "
    "copy: Gaussian noise and box blur (seed 0), contrast 0.35 and brightness 1.6 (1), pixelation "
    "and rotation by 20 degrees (2); batches of 128, 5 epochs, SGD with momentum 0.9, rate of 1e-3, "
    "1e-2, 5e-2 chosen in 4 epochs on speckle noise, Gaussian blur and saturation of 640 other pictures",
    variants={
        "plain": measure(epochs=0, statistics="source"),
        "batch statistics": measure(epochs=0),
        "entropy": measure("entropy"),
        "rpl": measure(),
        "rpl, teacher of each epoch": measure(refresh="epoch"),
        "rpl, first teacher": measure(refresh="never"),
        "rpl, last layer": measure(train="last"),
    },
    expect=(
        Gain("batch statistics", "plain", 5.0),
        Gain("entropy", "batch statistics", 2.0),
        Gain("rpl", "batch statistics", 2.0),
        Gain("rpl", "rpl, teacher of each epoch", -0.3),
        Gain("rpl, teacher of each epoch", "rpl, first teacher", -0.3),
        Gain("rpl", "rpl, last layer", 0.0),
    ),
    note="RPL misses its two points by 0.02, with the largest rate of the list (the authors' list ends there as well); "
    "entropy has the same rate and nearly five. With 640 pictures and 4 epochs RPL had 1.93 and entropy 4.3. On pictures with permuted pixels (permuted_accuracy) nothing is claimed: no class can be "
    "recognised there, and adaptation confirms what was guessed. The JPEG copy alone "
    "(jpeg_accuracy) is a mild shift, for which the statistics of the source fit.",
)
