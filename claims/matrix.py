"""All methods on the same settings: one net, one budget, nothing tuned per setting.

A claim per setting, ``matrix_SETTING``: ``auto`` is near the best and not below the labels alone.
The comparison page of the docs is made from these results.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claims.harness import Claim, Gain, NearBest
from claims.settings import SETTINGS, Setting
from leaven.methods import Method, find_method
from leaven.train import Budget

STEP = {"ratio": 4, "ema": 0.99}
"""Of every method that has these fields; else its defaults."""

CHANGES: dict[str, dict[str, Any]] = {
    "fixmatch, mean alignment": {"align": "mean"},
    "fixmatch, allocation": {"align": "allocation", "threshold": 0.8},
    # Their batches hold both kinds of pictures.
    "curriculum-labeling": {"batch": 80},
    "pseudo-label-mixup": {"batch": 80, "min_labelled": 16},
}
"""What is not the default of a method, or not said by the common step."""

LABELS = ("supervised", "auto")
CORE = (
    "fixmatch",
    "fixmatch, mean alignment",
    "fixmatch, allocation",
    "freematch",
    "softmatch",
    "simmatch",
    "remixmatch",
    "curriculum-labeling",
)
FEW = (
    "pseudo-label", "pi-model", "temporal-ensembling", "mean-teacher", "vat", "ict", "mixmatch",
    "uda", "flexmatch", "dash", "adamatch", "comatch", "crmatch", "sequencematch", "refixmatch",
    "defixmatch", "shrinkmatch", "semireward", "dp-ssl", "rdcr", "pseudo-label-mixup",
    "meta-pseudo-labels", "self-meta-pseudo-labels", "label-spreading", "self-training",
    "co-training", "tri-training", "doubly-robust",
)  # fmt: skip
TAIL = ("daso", "abc", "cossl", "debiaspl", "crest", "darp", "saw", "tras", "adsh")
NOISE = ("co-teaching", "divide-mix", "rdcr")

WHICH: dict[str, tuple[str, ...]] = {
    "digits_1": CORE,
    "digits_4": CORE + FEW + TAIL,
    "digits_25": CORE,
    "digits_100": CORE,
    "digits_tail": CORE + TAIL,
    "digits_foreign": CORE,
    "photos_4": CORE,
    "cifar_1": CORE[:-1],
    "cifar_4": CORE[:-1],
    "cifar_25": CORE[:-1],
    "cifar_400": CORE[:-1],
    "cifar_tail": (*CORE[1:4], *TAIL),
    "cifar_foreign": CORE[:-1],
    "cifar_noise_20": NOISE,
    "cifar_noise_40": NOISE,
}


def variants(names: tuple[str, ...], batch: int = 16) -> Mapping[str, Method]:
    """The methods by name, with the common step."""
    made: dict[str, Method] = {}
    for name in names:
        kind = find_method(name.partition(",")[0])
        step = {"batch": batch, **STEP}
        common = {key: value for key, value in step.items() if key in kind.model_fields}
        made[name] = kind.configured(common | CHANGES.get(name, {}))
    return made


def claim(name: str, setting: Setting) -> Claim:
    """``auto`` against all methods of a setting."""
    return Claim(
        method="auto",
        statement="The method that is chosen by the evidence is near the best one.",
        setting=f"{setting.text}; cnn-small of width 16, {setting.steps} steps of {setting.batch} "
        "labelled pictures and four times as many unlabelled ones; CIFAR-10 and digits on photos at 16x16",
        data=setting.data,
        variants=variants(LABELS + WHICH[name], setting.batch),
        expect=(
            NearBest("auto", 1.0, setting.metric),
            Gain("auto", "supervised", 0.0, setting.metric),
        ),
        budget=Budget(steps=setting.steps),
        model="cnn-small",
        options={"width": 16},
        metric=setting.metric,
        seeds=setting.seeds,
        note=setting.note,
        precision="bf16" if setting.group == "CIFAR-10" else "fp32",
    )


CLAIMS = {f"matrix_{name}": claim(name, setting) for name, setting in SETTINGS.items()}
