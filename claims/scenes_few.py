"""Segmentation where maps are what is missing and the budget is long: 60 scenes of 2,000 labelled."""

from claims.harness import Claim, Gain, On
from claims.sources import digit_scenes, with_all_labels
from leaven.methods.segmentation.corrmatch import CorrMatch
from leaven.methods.segmentation.cps import CPSCutMix
from leaven.methods.segmentation.csl import CSL
from leaven.methods.segmentation.cw_bass import CWBass
from leaven.methods.segmentation.fixmatch import FixMatch
from leaven.methods.segmentation.mean_teacher import MeanTeacher
from leaven.methods.segmentation.supervised import Supervised
from leaven.methods.segmentation.unimatch import UniMatch
from leaven.train import Budget

SAME = {"batch": 8, "scale": (0.8, 1.25)}

CLAIM = Claim(
    method="fixmatch",
    statement="Pictures without maps help where a few maps are less than the budget could learn from.",
    setting="2,000 scenes of 64x64 pixels with one or two of the handwritten digits 0 to 3 on photos, 60 "
    "with a map; U-Net 16-32-64, 4,000 steps of 8 labelled and 8 unlabelled scenes, bf16; of all labels: "
    "8 scenes of all",
    variants={
        "supervised": Supervised(**SAME),
        "mean-teacher": MeanTeacher(**SAME),
        "fixmatch": FixMatch(**SAME),
        "unimatch": UniMatch(**SAME),
        "cps-cutmix": CPSCutMix(**SAME),
        "cw-bass": CWBass(**SAME),
        "corrmatch": CorrMatch(**SAME, regions=32),
        "csl": CSL(**SAME, block=8),
        "all labels": On(Supervised(**SAME), with_all_labels),
    },
    expect=(
        Gain("all labels", "supervised", 5.0, "miou"),
        Gain("fixmatch", "supervised", 2.0, "miou"),
        Gain("fixmatch", "mean-teacher", 2.0, "miou"),
        Gain("unimatch", "supervised", 2.0, "miou"),
        Gain("cps-cutmix", "supervised", 2.0, "miou"),
        Gain("cw-bass", "supervised", 1.5, "miou"),
        *(Gain(name, "supervised", 2.0, "miou") for name in ("corrmatch", "csl")),
        *(Gain(name, "unimatch", 0.5, "miou") for name in ("corrmatch", "csl")),
    ),
    data=digit_scenes(60, digits=4, size=64, train=2000, test=300),
    budget=Budget(steps=4000),
    model="unet",
    options={"widths": [16, 32, 64]},
    precision="bf16",
    metric="miou",
    note="Number of maps and steps were looked for on the seeds 10 and 11, whose scenes no seed of the claim "
    "has. 20 maps, seed 10: after 1,600 steps labels alone had 30.8 %, mean teacher 31.0, FixMatch 31.9, UniMatch "
    "29.6, all labels 47.1; after 6,400 labels alone 32.9 and FixMatch 40.2 (but on seed 0 32.0 and 32.0: 20 "
    "maps hold some seven digits of each kind, and what is taken for another one is learnt as such). 60 maps, "
    "4,000 steps: labels alone 53.0 and 48.2, FixMatch 54.4 and 67.0. What unlabelled pictures teach comes late. "
    "All methods but FixMatch were added once its result was known, with their defaults; "
    "CPS with CutMix takes 16 unlabelled scenes per step and predicts with its last weights, CorrMatch has "
    "32 regions per scene, CSL blocks of 8 pixels. Against UniMatch CorrMatch has -5.9, +18.1 and -1.5 points by "
    "seed, CSL -12.5, +25.0 and +3.0. CW-BASS "
    "trusts pixels from a confidence of a third on, from the first step; its health says of two of three seeds that "
    "digits vanish from the pseudo-labels. Its authors begin with a trained encoder.",
)
