"""Dual pseudo training on features that were learnt without labels: its authors' other route."""

from __future__ import annotations

import tempfile
from functools import cache, partial
from pathlib import Path

import torch

from claims.dual_pseudo_training import GENERATOR_STEPS, METHOD, compared
from claims.harness import Claim, Gain
from claims.sources import digits
from leaven.data import Data
from leaven.draws import Draws
from leaven.learn import instance_contrast
from leaven.models import build_model, perceptron, save_model

SELF_STEPS, BATCH, RATE = 200, 128, 1e-3
ROUTE = METHOD.model_copy(update={"stage": "linear-probe", "stage_set": {}})


def self_taught(data: Data, seed: int, folder: Path) -> Path:
    """The weights of a ``cnn-small`` that tells pictures from one another, and knows no class.

    Two strong views of a picture are alike, those of others are not (``learn.instance_contrast``).
    """
    pixels, strong = data.train.pixels, data.views()[1]
    whole = pixels.batch(torch.arange(len(data.train))).float() / 255
    torch.manual_seed(seed)
    net = build_model(
        "cnn-small",
        data.classes,
        data.shape,
        mean=whole.mean((0, 2, 3)).tolist(),
        std=whole.std((0, 2, 3)).tolist(),
        options={"width": 16},
    )
    generator = torch.Generator().manual_seed(seed)
    head = perceptron(net.num_features, 64, 64, generator=generator)
    optimizer = torch.optim.AdamW([*net.encoder.parameters(), *head.parameters()], RATE)
    draws = Draws(seed)
    for _ in range(SELF_STEPS):
        images = pixels.batch(torch.randint(len(data.train), (BATCH,), generator=generator))
        views = torch.cat([strong(images, draws), strong(images, draws)])
        loss = instance_contrast(*head(net.features(views)).chunk(2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return save_model(net.eval(), folder) / "model.safetensors"


@cache
def experiment(seed: int) -> dict[str, dict[str, float]]:
    data = digits(2)(seed)
    with tempfile.TemporaryDirectory() as folder:
        weights = self_taught(data, seed, Path(folder) / "net")
        return compared(ROUTE, data, GENERATOR_STEPS, seed, weights)


def _variant(name: str, seed: int) -> dict[str, float]:
    return experiment(seed)[name]


NAMES = (
    "linear-probe",
    "dual pseudo training",
    "real pictures with pseudo-labels",
    "all true labels",
)

CLAIM = Claim(
    method="dual-pseudo-training",
    statement="Pictures of a diffusion model that learnt from pseudo-labels help the logistic regression "
    "that gave them, and show their class more surely than the labels were right.",
    setting="scikit-learn digits, 2 labels per class; cnn-small of width 16 that learnt without labels to "
    "tell the training pictures from one another (200 steps of 128), frozen; a U-Net of 0.2 M weights, "
    "5000 steps of 64 (AdamW, rate 2e-3, cosine, decay 0.01; by default 2e-4, constant, 0.03), averaged with "
    "0.999 (0.9999), 100 pictures per class in 50 steps with guidance "
    "0.4; 5 seeds",
    variants={name: partial(_variant, name) for name in NAMES},
    expect=(
        Gain("dual pseudo training", "linear-probe", 1.0),
        Gain("dual pseudo training", "real pictures with pseudo-labels", -1.0),
        Gain("dual pseudo training", "linear-probe", -5.0, metric="label_agreement"),
    ),
    seeds=(0, 1, 2, 3, 4),
    note="Agreement is of the labels that made pictures were conditioned on with a classifier that "
    "learnt all true labels; in the row of linear-probe, of the labels that the generator learnt with "
    "the truth. The gain by seed: +3.0, +5.4, +0.7, +4.4, +3.5. The setting was chosen on the seed 10, where 3000 steps were enough: 82.4 % before, 85.6 after, with real "
    "pictures 83.7; made without guidance 83.0, with a guidance of 2 87.0.",
)
