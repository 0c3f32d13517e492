"""CPS against the labels alone, and against one network that labels itself."""

import copy

import torch
from torch import nn

from claims.curves import with_curves
from claims.harness import Claim, Gain, Level
from claims.sources import camvid
from leaven.methods.segmentation.cps import CPS, CPSCutMix
from leaven.methods.segmentation.supervised import Supervised
from leaven.models.segmentation import Segmenter
from leaven.train import Budget, Settings
from leaven.train.pixel_trainer import PixelTrainer


class OneNetwork(CPSCutMix):
    """Two equal networks remain equal: each is one that learns its own classes."""

    def parts(self, trainer: PixelTrainer, student: Segmenter) -> dict[str, nn.Module]:
        return {"peer": copy.deepcopy(student)}


DATA = camvid(20, size=(96, 128))
SETTINGS = Settings(
    budget=Budget(steps=500),
    model="unet",
    options={"widths": [12, 24, 48]},
    precision="bf16",
    threads=torch.get_num_threads(),
    evaluations=1,
)

CLAIM = Claim(
    method="cps-cutmix",
    statement="Two networks that label each other gain over the labels alone, and over one network "
    "that labels itself.",
    setting="CamVid at 96x128, 20 of 367 photos labelled, U-Net 12-24-48 from random weights, bf16, "
    "500 steps of 4 labelled and 4 unlabelled photos (CutMix: two times 4), last weights, not averaged",
    variants={
        "supervised": with_curves(Supervised(ema=0.0), DATA, SETTINGS, ()),
        "self-labelling": with_curves(OneNetwork(), DATA, SETTINGS, ()),
        "cps": with_curves(CPS(), DATA, SETTINGS, ("agreement",)),
        "cps-cutmix": with_curves(CPSCutMix(), DATA, SETTINGS, ("agreement",)),
    },
    expect=(
        Gain("cps-cutmix", "supervised", 2.0, "miou"),
        Gain("cps-cutmix", "self-labelling", 0.5, "miou"),
        Level("cps-cutmix", 0.0, "agreement_rise"),
        Level("cps-cutmix", 99.9, "agreement_last", at_most=True),
    ),
    budget=SETTINGS.budget,
    model=SETTINGS.model,
    options=SETTINGS.options,
    precision=SETTINGS.precision,
    metric="miou",
)
