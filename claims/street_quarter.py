"""Street photos with a quarter of the maps: what unlabelled photos add where labels are not rare."""

from claims.harness import Claim, Gain
from claims.sources import camvid
from claims.street_photos import BUDGET, PLAIN, SAME, SIZE, STEPS
from leaven.methods.segmentation.cps import CPSCutMix
from leaven.methods.segmentation.csl import CSL
from leaven.methods.segmentation.fixmatch import FixMatch
from leaven.methods.segmentation.mean_teacher import MeanTeacher

CLAIM = Claim(
    method="csl",
    statement="Photos without maps help where a quarter of the photos has one, too.",
    setting=f"CamVid at {SIZE[0]}x{SIZE[1]}, 92 of 367 photos labelled, deeplab-small from random weights, "
    f"bf16, {STEPS} steps of 4 labelled and 4 unlabelled photos; CPS two times 4 unlabelled ones",
    variants={
        **PLAIN,
        "mean-teacher": MeanTeacher(),
        "fixmatch": FixMatch(),
        "csl": CSL(),
        "cps-cutmix": CPSCutMix(),
    },
    expect=tuple(
        Gain(name, "supervised", 0.5, "miou")
        for name in ("unimatch", "mean-teacher", "fixmatch", "csl", "cps-cutmix")
    ),
    data=camvid(92, size=SIZE),
    budget=BUDGET,
    **SAME,
)
