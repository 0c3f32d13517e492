"""The strength of strong views: one magnitude for all, as views have it, or drawn, as published."""

from __future__ import annotations

from collections.abc import Callable

import torch

from claims.harness import Claim, Gain
from claims.matrix import variants
from claims.settings import SETTINGS
from claims.sources import drawn_magnitudes
from leaven.train import Budget, Settings, Trainer


def measure(name: str, *, drawn: bool) -> Callable[[int], dict[str, float]]:
    """A function seed -> accuracy of FixMatch on the setting ``name``."""
    setting = SETTINGS[name]
    method = variants(("fixmatch",), setting.batch)["fixmatch"]

    def work(seed: int) -> dict[str, float]:
        data = setting.data(seed)
        if drawn:
            data = drawn_magnitudes(data)
        settings = Settings(
            budget=Budget(steps=setting.steps),
            seed=seed,
            model="cnn-small",
            options={"width": 16},
            threads=torch.get_num_threads(),
            precision="bf16" if setting.group == "CIFAR-10" else "fp32",
            evaluations=1,
        )
        trainer = Trainer(data, None, settings)
        fitted = method.fit(trainer.data, trainer)
        return {"accuracy": trainer.measure(fitted.model, trainer.data.test)["accuracy"]}

    return work


WHERE = {"digits": "digits_4", "digits on photos": "photos_4", "CIFAR-10": "cifar_25"}

CLAIM = Claim(
    method="fixmatch",
    statement="That strong views have one magnitude, 10 of 30, where FixMatch's authors draw each, "
    "costs nothing.",
    setting="FixMatch in three settings of the comparison: digits and digits on photos with 4 labels per class, "
    "CIFAR-10 with 25; RandAugment with magnitude 10 of 30, or drawn for each operation and picture",
    variants={
        f"{place}, {kind}": measure(name, drawn=kind == "drawn")
        for place, name in WHERE.items()
        for kind in ("10 of 30", "drawn")
    },
    expect=tuple(Gain(f"{place}, 10 of 30", f"{place}, drawn", -1.0) for place in WHERE),
)
