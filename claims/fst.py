"""FST from day to dusk: against its host, and against its host with as many gradients."""

from typing import Any

import torch

from claims.curves import with_curves
from claims.harness import Claim, Gain, Work
from claims.sources import camvid_dusk
from leaven.methods.segmentation.dacs import DACS
from leaven.methods.segmentation.few_maps import FewMaps
from leaven.methods.segmentation.fst import FSTDeep, FSTWide
from leaven.methods.segmentation.supervised import Supervised
from leaven.train import Budget, Settings

STEPS = 300
MODEL = "unet"
OPTIONS: dict[str, Any] = {"widths": [12, 24, 48]}
LONG = "dacs, 4 times the steps"
DATA = camvid_dusk(size=(96, 128))
SAME: dict[str, Any] = {"ema": 0.99}
AHEAD: dict[str, Any] = {"base": "dacs", "closing": False, **SAME}


def on_the_way(method: FewMaps, steps: int = STEPS) -> Work:
    """The method with the accuracy of the pseudo-labels that its real steps learn from."""
    settings = Settings(
        budget=Budget(steps=steps),
        model=MODEL,
        options=dict(OPTIONS),
        precision="bf16",
        threads=torch.get_num_threads(),
        evaluations=1,
    )
    names = () if isinstance(method, Supervised) else ("label_accuracy",)
    return with_curves(method, DATA, settings, names)


CLAIM = Claim(
    method="fst",
    statement="A teacher that sees the future of its student labels better, and the student gains.",
    setting="CamVid at 96x128, 305 day photos (0016E5, 0006R0) labelled, 62 of dusk (0001TP) without "
    "labels, tested on 62 others of dusk; U-Net 12-24-48 from random weights, bf16, DACS as the host, "
    "300 real steps of 4 and 4 photos: 1200 gradients of FST and of the long baseline",
    variants={
        "source only": on_the_way(Supervised(**SAME)),
        "dacs": on_the_way(DACS(**SAME)),
        LONG: on_the_way(DACS(**SAME), 4 * STEPS),
        "fst": on_the_way(FSTDeep(**AHEAD)),
        "fst-wide": on_the_way(FSTWide(**AHEAD)),
    },
    expect=(
        Gain("dacs", "source only", 2.0, "miou"),
        Gain("fst", "dacs", 0.5, "miou"),
        Gain("fst", LONG, -0.3, "miou"),
        Gain("fst", "dacs", 0.0, "label_accuracy_last"),
    ),
    budget={
        **dict.fromkeys(("source only", "dacs", "fst", "fst-wide"), Budget(steps=STEPS)),
        LONG: Budget(steps=4 * STEPS),
    },
    model=MODEL,
    options=OPTIONS,
    precision="bf16",
    metric="miou",
)
