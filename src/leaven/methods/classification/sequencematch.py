"""SequenceMatch: FlexMatch with a view between weak and strong, each held to a weaker one."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from leaven.data import Data, View
from leaven.data.transforms import Strong
from leaven.draws import Draws
from leaven.learn import divergence
from leaven.methods.base import Card
from leaven.methods.classification.flexmatch import FlexMatch
from leaven.methods.classification.weak_strong import Step
from leaven.select import fixed_threshold
from leaven.train.batch import Batch

PAIRS = (("weak", "medium"), ("medium", "strong"), ("weak", "strong"))
"""A view and the one that learns from it."""


class SequenceMatch(FlexMatch):
    """SequenceMatch (Nguyen, WACV 2024): FlexMatch, a medium view, and a loss per pair of views.

    ``+ unlabelled_weight * sum over (a, b) of mean_u 1[max softmax(z_a) >= threshold]
    KL(softmax(z_a / temperature) || softmax(z_b))`` for (a, b) = (weak, medium), (medium, strong)
    and (weak, strong): the step from weak to strong is taken in two.

    As in the author's code: the hard labels are chosen by FlexMatch's thresholds, the pairs by the
    fixed one on the view that is learnt from. USB's form divides probabilities by the temperature
    where the author divides logits, and chooses all by FlexMatch's thresholds. The author's strong
    view has three operations of RandAugment; here it is the one of the family, with two, and the
    medium view is the strong one with ``medium_operations``.
    """

    card: ClassVar[Card] = Card(
        name="sequencematch",
        title="SequenceMatch: Revisiting the design of weak-strong augmentations for "
        "Semi-supervised learning",
        summary="FlexMatch with a medium view, and soft consistency between each pair of views.",
        task="classification",
        evidence="few labels",
        year=2024,
        venue="WACV",
        paper="https://arxiv.org/abs/2310.15787",
        code="https://github.com/beandkay/SequenceMatch",
        parts=(
            "select.CurriculumThresholds",
            "select.fixed_threshold",
            "learn.divergence",
            "learn.cross_entropy",
            "train.EMA",
        ),
        claim="ImageNet, ResNet-50: 61.5 % with 100,000 labels, 75.2 % with 10 % of the labels.",
        measured="Digits, 4 labels per class, 600 steps, seeds 0 to 2: 95.8 % against 86.8 % of the "
        "labels alone and 95.2 % of FixMatch.",
    )

    temperature: float = Field(0.5, gt=0, description="of the view that is learnt from")
    medium_operations: int = Field(
        1, ge=0, description="operations of RandAugment in the medium view"
    )

    def views(self, batch: Batch, data: Data, draws: Draws) -> dict[str, Tensor]:
        medium = _milder(data.views()[1], self.medium_operations)
        views = {"medium": medium(batch.unlabelled.images, draws)}
        return super().views(batch, data, draws) | views

    def learn(self, step: Step) -> dict[str, Tensor]:
        losses = super().learn(step)
        for weaker, stronger in PAIRS:
            logits = step.seen[weaker].logits.detach()
            weight = fixed_threshold(logits.softmax(1).max(1).values, self.threshold)
            target = (logits / self.temperature).softmax(1)
            pull = divergence(step.seen[stronger].logits, target, weight)
            losses[f"{weaker}_{stronger}"] = self.strength(step) * pull
        return losses


def _milder(strong: View, operations: int) -> View:
    """``strong`` with another number of operations; a view that has none as it is."""
    if not isinstance(strong, Strong):
        return strong
    weak, augment = strong.weak, strong.augment
    return Strong(weak.flip, weak.padding, operations, augment.magnitude, strong.cutout.size)
