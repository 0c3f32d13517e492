"""CPS against the labels alone, and against one network that labels itself."""

import copy

from torch import nn

from claims.curves import with_curves
from claims.harness import Claim, Gain, Level
from claims.street_photos import DATA, ON_STREET, TEXT, settings
from leaven.methods.segmentation.cps import CPS, CPSCutMix
from leaven.methods.segmentation.supervised import Supervised
from leaven.models.segmentation import Segmenter
from leaven.train.pixel_trainer import PixelTrainer


class OneNetwork(CPSCutMix):
    """Two equal networks remain equal: each is one that learns its own classes."""

    def parts(self, trainer: PixelTrainer, student: Segmenter) -> dict[str, nn.Module]:
        return {"peer": copy.deepcopy(student)}


CLAIM = Claim(
    method="cps-cutmix",
    statement="Two networks that label each other gain over the labels alone, and over one network "
    "that labels itself.",
    setting=f"{TEXT}; with CutMix two times 4 unlabelled ones; last weights, not averaged",
    variants={
        "supervised": Supervised(ema=0.0),
        "self-labelling": OneNetwork(),
        "cps": with_curves(CPS(), DATA, settings(), ("agreement",)),
        "cps-cutmix": with_curves(CPSCutMix(), DATA, settings(), ("agreement",)),
    },
    expect=(
        Gain("cps-cutmix", "supervised", 2.0, "miou"),
        Gain("cps-cutmix", "self-labelling", 0.5, "miou"),
        Level("cps-cutmix", 0.0, "agreement_rise"),
        Level("cps-cutmix", 99.9, "agreement_last", at_most=True),
    ),
    **{**ON_STREET, "like": ""},
)
