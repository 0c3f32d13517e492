"""ABC: a second classifier that sees all classes equally often, on features that learn from all."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from leaven.data import Data
from leaven.draws import Draws
from leaven.learn import cross_entropy
from leaven.methods.base import Card
from leaven.methods.classification.weak_strong import Plugin, Step
from leaven.models import Headed, perceptron, with_head
from leaven.models.classifier import Classifier
from leaven.select import fixed_threshold, keep_mask, keep_probability
from leaven.train.batch import Batch


class ABC(Plugin):
    """ABC (Lee et al., NeurIPS 2021): a plug-in with a head and losses of its own.

    A second linear head ``a`` on the features of the base learns from items that are kept with
    the probability of their class, so that it sees all classes about equally often; the base goes
    on learning from all of them. With ``n_k`` labels of class k, ``q = softmax(a(weak(u)))``,
    ``c = argmax q``, ``r_k = min_j n_j / n_k`` and the progress t of the run in [0, 1)::

        labelled = mean_x B(r_y) CE(a(x), y)
        strong_j = mean_u 1[max q >= balanced_threshold] B(1 - t (1 - r_c)) CE(a(strong_j(u)), q)
        loss     = base's loss + balanced_weight * (labelled + strong_1 + strong_2)

    with Bernoulli draws ``B``, one per item for both strong views. The labels ``q`` are soft; at
    the start all of them are kept, which teaches the features, and at the end as few as are
    balanced. Gradients of the second head go on into the features. It alone predicts at the end.

    The released code trains the base on both strong views as well; here the base keeps to its own,
    the first of them. The progress is that of the run in place of 500 epochs.
    """

    card: ClassVar[Card] = Card(
        name="abc",
        title="ABC: Auxiliary Balanced Classifier for Class-imbalanced Semi-supervised Learning",
        summary="A second head learns from masked, balanced batches and predicts.",
        task="classification",
        evidence="few labels, unequally spread",
        year=2021,
        venue="NeurIPS",
        paper="https://arxiv.org/abs/2110.10368",
        code="https://github.com/LeeHyuck/ABC",
        parts=(
            "select.keep_probability",
            "select.keep_mask",
            "select.fixed_threshold",
            "learn.cross_entropy",
            "train.EMA",
        ),
        claim="CIFAR-10 with a head of 1,000 labels, 4,000 unlabelled and imbalance 100: "
        "about 81 % on FixMatch against about 72 % of FixMatch.",
        measured="Digits as a long tail (40 to 2 labels), 600 steps, 3 seeds, balanced accuracy "
        "against FixMatch: unlabelled tail like the labelled one 0.0 points, reversed +9.9.",
    )

    needs_strong: ClassVar[bool] = True

    balanced_threshold: float = Field(
        0.95, ge=0, le=1, description="confidence that a label of the second head must reach"
    )
    balanced_weight: float = Field(1.0, ge=0, description="weight of the losses of the second head")

    def heads(self, classifier: Classifier, generator: torch.Generator) -> dict[str, nn.Module]:
        head = perceptron(classifier.num_features, classifier.num_classes, generator=generator)[0]
        return {**super().heads(classifier, generator), "balanced": head}

    def views(self, batch: Batch, data: Data, draws: Draws) -> dict[str, Tensor]:
        _, strong = data.views()
        views = super().views(batch, data, draws)
        return {**views, "strong again": strong(batch.unlabelled.images, draws)}

    def learn(self, step: Step) -> dict[str, Tensor]:
        head, prior, seen = step.network.heads["balanced"], step.trainer.prior, step.seen
        kept = keep_mask(step.targets, keep_probability(prior), step.draws)
        labelled = cross_entropy(head(seen["labelled"].features), step.targets, kept)

        with torch.no_grad():
            target = head(seen["weak"].features).softmax(1)
        confidence, classes = target.max(1)
        chance = keep_probability(prior, step.batch.progress)
        weight = fixed_threshold(confidence, self.balanced_threshold)
        weight = weight * keep_mask(classes, chance, step.draws)
        consistency = cross_entropy(head(seen["strong"].features), target, weight)
        again = cross_entropy(head(seen["strong again"].features), target, weight)
        return {
            **super().learn(step),
            "balanced": self.balanced_weight * labelled,
            "balanced_unlabelled": self.balanced_weight * (consistency + again),
        }

    def final(self, network: Headed) -> Classifier:
        head = network.heads["balanced"]
        assert isinstance(head, nn.Linear)
        return with_head(network.classifier, head)
