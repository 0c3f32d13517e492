"""RDCR against plain training and the mean teacher, on photos, where an upright picture is known from a
turned one; on digits (``rdcr_digits``) a 0 or an 8 is not."""

from collections.abc import Callable

from claims.harness import Claim, Gain, Level
from claims.rdcr_digits import FEW, SHARED, Trained
from claims.sources import cifar10
from leaven.data import Data, flip_labels
from leaven.methods.classification.rdcr import RDCR
from leaven.methods.classification.supervised import Supervised

STEPS, ITEMS, RATE = 1200, 4000, 0.7


def wrong_photos(rate: float) -> Callable[[int], Data]:
    """A function seed -> CIFAR-10, a share ``rate`` of the labels wrong, by any other class alike."""
    make = cifar10(ITEMS // 10, items=ITEMS, side=16)

    def wrong(seed: int) -> Data:
        data = make(seed)
        return data.with_train(flip_labels(data.train, data.classes, rate, seed))

    return wrong


NOISY, LITTLE = wrong_photos(RATE), cifar10(25, items=ITEMS, side=16)

CLAIM = Claim(
    method="rdcr",
    statement="Rotation, learnt beside them, makes up for wrong and for few labels of photos.",
    setting=f"CIFAR-10 at 16x16, {ITEMS:,} pictures, {100 * RATE:.0f} % of the labels symmetrically wrong (never the true "
    f"class), cnn-small of width 16, {STEPS:,} steps of 32; and 25 clean labels per class, {STEPS:,} steps of 16 "
    "labelled and 48 unlabelled. Mean teacher is the same code without the rotation task, with the same blend "
    "(0.9). Last weights, averaged, no clean validation",
    variants={
        "plain, 70 % wrong": Trained(Supervised(**SHARED), NOISY, STEPS),
        "mean teacher, 70 % wrong": Trained(
            RDCR(blend=0.9, rotation_weight=0, **SHARED), NOISY, STEPS
        ),
        "rdcr, 70 % wrong": Trained(RDCR(blend=0.9, **SHARED), NOISY, STEPS),
        "mean teacher, few": Trained(RDCR(rotation_weight=0, **FEW), LITTLE, STEPS),
        "rdcr, few": Trained(RDCR(**FEW), LITTLE, STEPS),
    },
    expect=(
        Gain("rdcr, 70 % wrong", "mean teacher, 70 % wrong", 1.5),
        Gain("rdcr, 70 % wrong", "plain, 70 % wrong", 8.0),
        Gain("rdcr, few", "mean teacher, few", 2.0),
        Level("rdcr, 70 % wrong", 70.0, metric="rotation_accuracy"),
        Level("rdcr, few", 70.0, metric="rotation_accuracy"),
    ),
    note="Nothing was chosen for this claim: method and steps have the settings of the claims rdcr_digits and "
    "noisy_cifar.",
)
