"""The plain methods of segmentation beside each other, with their own defaults."""

from claims.harness import Claim, Gain
from claims.street_photos import ON_STREET, PLAIN, TEXT
from leaven.methods.segmentation.fixmatch import FixMatch
from leaven.methods.segmentation.mean_teacher import MeanTeacher

CLAIM = Claim(
    method="unimatch",
    statement="Photos without maps help the plain methods.",
    setting=TEXT,
    variants={**PLAIN, "mean-teacher": MeanTeacher(), "fixmatch": FixMatch()},
    expect=tuple(
        Gain(name, "supervised", 1.0, "miou") for name in ("mean-teacher", "fixmatch", "unimatch")
    ),
    **{**ON_STREET, "like": ""},
)
