"""Mean teacher for boxes with masks."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from leaven.methods.base import Card
from leaven.methods.detection import mean_teacher
from leaven.methods.detection.teacher import Step


class MeanTeacher(mean_teacher.MeanTeacher):
    """As for boxes, with the masks of the teacher and every weight 1.

    What a network says of the quality of its own boxes and masks is learned from people's labels
    alone.
    """

    card: ClassVar[Card] = replace(
        mean_teacher.MeanTeacher.card,
        title="Mean teacher for masks",
        summary="Masks that the averaged weights are sure of are the truth of a strong view.",
        task="instance",
        evidence="boxes with masks",
        claim="The usual baseline of semi-supervised instance segmentation.",
        measured="Nuclei at 128x128, 10 of 320 pictures, 1500 steps from random weights, 3 seeds, mask "
        "AP50: 29.4 % with a threshold of 0.7, which hardly any mask passes, against 44.6 % of the labels "
        "alone.",
    )

    def learn(self, step: Step) -> dict[str, Tensor]:
        terms = super().learn(step)
        return {name: term for name, term in terms.items() if not name.endswith("quality")}
