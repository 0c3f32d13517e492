"""Curriculum Labeling with 3 labels per class: the fewer labels, the more the rounds gain."""

from dataclasses import replace

from claims import curriculum_labeling
from claims.sources import digits, light

CLAIM = replace(
    curriculum_labeling.CLAIM,
    setting="as curriculum-labeling, with 3 labels per class",
    data=lambda seed: light(digits(3)(seed)),
)
