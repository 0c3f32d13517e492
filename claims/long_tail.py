"""Methods for unequal classes against FixMatch, on a long tail of CIFAR-10; U is like L."""

from typing import Any

from claims.harness import Claim, Gain
from claims.sources import long_tailed_cifar10
from leaven.methods import Method
from leaven.methods.classification.auxiliary_balanced import ABC
from leaven.methods.classification.cossl import CoSSL
from leaven.methods.classification.daso import DASO
from leaven.methods.classification.debiaspl import DebiasPL
from leaven.methods.classification.fixmatch import FixMatch
from leaven.methods.classification.supervised import Supervised
from leaven.train import Budget

SAME: dict[str, Any] = {"batch": 16, "ratio": 4, "ema": 0.99}


def variants(frequency_temperature: float) -> dict[str, Method]:
    """The methods with their defaults, ratio and schedule of FixMatch; one of DASO depends on the data."""
    return {
        "supervised": Supervised(batch=16, ema=0.99),
        "fixmatch": FixMatch(**SAME),
        "daso": DASO(frequency_temperature=frequency_temperature, **SAME),
        "abc": ABC(**SAME),
        "cossl": CoSSL(**SAME),
        "debiaspl": DebiasPL(**SAME),
    }


def expected(points_of_daso: float) -> tuple[Gain, ...]:
    others = ("abc", "cossl", "debiaspl")
    return (
        Gain("daso", "fixmatch", points_of_daso, metric="balanced_accuracy"),
        Gain("daso", "fixmatch", 5.0, metric="label_recall_rarest"),
        *(Gain(name, "fixmatch", 1.0, metric="balanced_accuracy") for name in others),
    )


SETTING = (
    "CIFAR-10 at 16x16, in place of Fashion-MNIST, as a long tail: 100 to 5 labels and 800 "
    "to 40 unlabelled pictures per class, equally many of each class to test; cnn-small of width "
    "16, 1,200 steps of 16 labelled and 64 unlabelled pictures; label recall is that of the labels "
    "of the final network for all unlabelled pictures of the 3 classes with the fewest labels"
)
COSSL = (
    "beside these steps CoSSL makes 5,000 of Adam with its balanced classifier alone, each on 64 frozen "
    "features"
)

CLAIM = Claim(
    method="daso",
    statement="Methods for unequal classes gain over FixMatch where both sets are a long tail.",
    setting=f"{SETTING}; {COSSL}",
    data=long_tailed_cifar10(100, 20, unlabelled_head=800, side=16),
    variants=variants(1.5),
    expect=expected(1.0),
    budget=Budget(steps=1200),
    model="cnn-small",
    options={"width": 16},
)
