"""CR-Match: one class for all views, but features that tell the views apart."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from leaven.data import Data
from leaven.draws import Draws
from leaven.learn import all_turns, cross_entropy, feature_distance_loss
from leaven.methods.base import Card
from leaven.methods.classification.weak_strong import Step, WeakStrong
from leaven.models import Classifier, last_maps, perceptron
from leaven.train.batch import Batch


class CRMatch(WeakStrong):
    """CR-Match (Fan, Kukleva, Dai and Schiele, IJCV 2023): FixMatch with two terms more.

    ``z = A maps + b`` projects the maps in front of the pooling, which still know positions. The
    projections of the weak and the strong view of a trusted item are pushed apart (equivariance)
    while its class is the same (consistency); and a head with one hidden layer tells by which
    quarter turn a weak view was turned::

        loss = CE(x, y) + mean_u w_u ( CE(strong(u), argmax p_u) + max(0, cos(z_weak, z_strong)) )
             + mean_{u, r} CE(turn(weak(u), r), r)        w_u = 1[max p_u >= threshold]

    each with its weight. The distance carries gradients through both views, or through the strong
    one alone with ``joint=False``. The turns are those of the first ``batch`` unlabelled pictures
    of the step, all four of each; the implementation in the USB toolbox draws the same number of
    pictures for them in a stream of their own.

    A network without maps (a transformer) is projected from its features, as in USB. Pictures have
    to be square.
    """

    card: ClassVar[Card] = Card(
        name="crmatch",
        title="Revisiting Consistency Regularization for Semi-Supervised Learning",
        summary="FixMatch whose features keep the views apart, with rotations as a second task.",
        task="classification",
        evidence="few labels",
        year=2023,
        venue="IJCV",
        paper="https://arxiv.org/abs/2112.05825",
        code="https://github.com/microsoft/Semi-supervised-learning",
        parts=(
            "select.fixed_threshold",
            "learn.cross_entropy",
            "learn.feature_distance_loss",
            "learn.all_turns",
            "train.EMA",
        ),
        claim="Improves on FixMatch, most with few labels.",
        measured="Digits, 4 labels per class, 600 steps, 5 seeds: 96.1 % against 95.4 % of FixMatch "
        "and 88.0 % of the labels alone.",
    )

    distance_weight: float = Field(1.0, ge=0, description="weight of the feature distance")
    rotation_weight: float = Field(1.0, ge=0, description="weight of the rotation loss")

    def maps(self, classifier: Classifier) -> str:
        return last_maps(classifier)[0]

    def heads(self, classifier: Classifier, generator: torch.Generator) -> dict[str, nn.Module]:
        width, positions = classifier.num_features, last_maps(classifier)[1]
        return {
            "distance": perceptron(positions, width, generator=generator),
            "rotation": perceptron(width, width, 4, generator=generator),
        }

    def views(self, batch: Batch, data: Data, draws: Draws) -> dict[str, Tensor]:
        images = super().views(batch, data, draws)
        return images | {"turned": all_turns(images["weak"][: len(images["labelled"])])[0]}

    def learn(self, step: Step) -> dict[str, Tensor]:
        heads, seen = step.network.heads, step.seen
        weak, strong = (heads["distance"](_flat(seen[name].maps)) for name in ("weak", "strong"))
        if not self.joint:
            weak = weak.detach()
        distance = feature_distance_loss(weak, strong, step.weight)
        guesses = heads["rotation"](seen["turned"].features)
        turns = torch.arange(4, device=guesses.device).repeat_interleave(len(guesses) // 4)
        return super().learn(step) | {
            "distance": self.distance_weight * distance,
            "rotation": self.rotation_weight * cross_entropy(guesses, turns),
        }


def _flat(maps: Tensor | None) -> Tensor:
    assert maps is not None
    return maps.flatten(1).float()
