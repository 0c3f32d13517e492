"""FST from day to dusk in the form that its sheet asks for: its net, its size, its length."""

from __future__ import annotations

import torch

from claims.curves import with_curves
from claims.fst import AHEAD
from claims.harness import Claim, Gain, Work
from claims.sources import camvid_dusk
from claims.street_unet import NET
from leaven.methods.segmentation.dacs import DACS
from leaven.methods.segmentation.few_maps import FewMaps
from leaven.methods.segmentation.fst import FSTDeep
from leaven.methods.segmentation.supervised import Supervised
from leaven.train import Budget, Settings

STEPS = 1200
DATA = camvid_dusk(size=(120, 160))
LONG = "dacs, 4 times the steps"


def on_the_way(method: FewMaps, steps: int = STEPS) -> Work:
    """The method with the accuracy of the pseudo-labels that its real steps learn from."""
    names = () if isinstance(method, Supervised) else ("label_accuracy",)
    settings = Settings(
        budget=Budget(steps=steps), threads=torch.get_num_threads(), evaluations=1, **NET
    )
    return with_curves(method, DATA, settings, names)


CLAIM = Claim(
    method="fst",
    statement="With the net, the size and the length that its sheet asks for, a teacher that sees the future "
    "of its student labels better, and the student gains.",
    setting="CamVid at 120x160, 305 day photos (0016E5, 0006R0) labelled, 62 of dusk (0001TP) without "
    "labels, tested on 62 others of dusk; U-Net 16-32-64-96 from random weights, bf16, DACS as the host, "
    "1,200 real steps of 4 and 4 photos: 4,800 gradients of FST and of the long baseline",
    variants={
        "source only": on_the_way(Supervised()),
        "dacs": on_the_way(DACS()),
        "fst": on_the_way(FSTDeep(**AHEAD, closing=False)),
        LONG: on_the_way(DACS(), 4 * STEPS),
    },
    expect=(
        Gain("dacs", "source only", 2.0, "miou"),
        Gain("fst", "dacs", 0.5, "miou"),
        Gain("fst", LONG, -0.3, "miou"),
        Gain("fst", "dacs", 0.0, "label_accuracy_last"),
    ),
    budget={
        **dict.fromkeys(("source only", "dacs", "fst"), Budget(steps=STEPS)),
        LONG: Budget(steps=4 * STEPS),
    },
    metric="miou",
    **NET,
)
