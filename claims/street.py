"""The plain methods of segmentation beside each other, with their own defaults."""

from claims.harness import Claim, Gain, On
from claims.sources import with_all_labels
from claims.street_photos import ON_STREET, PLAIN, TEXT
from leaven.methods.segmentation.fixmatch import FixMatch
from leaven.methods.segmentation.mean_teacher import MeanTeacher
from leaven.methods.segmentation.supervised import Supervised

CLAIM = Claim(
    method="unimatch",
    statement="Photos without maps help the plain methods.",
    setting=TEXT,
    variants={
        **PLAIN,
        "mean-teacher": MeanTeacher(),
        "fixmatch": FixMatch(),
        "all labels": On(Supervised(), with_all_labels),
    },
    note="All labels gain 0.9 points over 20 of them: within this budget hardly anything is left to be "
    "gained by more labels, real or made. The claim street_few has a setting where there is.",
    expect=tuple(
        Gain(name, "supervised", 1.0, "miou") for name in ("mean-teacher", "fixmatch", "unimatch")
    ),
    **{**ON_STREET, "like": ""},
)
