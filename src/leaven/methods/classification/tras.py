"""TRAS: a second head learns the labels of the first, turned from frequent classes to rare ones."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from leaven.learn import (
    adjust_logits,
    cross_entropy,
    smoothed_prior,
    transfer_loss,
    transfer_strength,
)
from leaven.methods.base import Card
from leaven.methods.classification.weak_strong import Plugin, Step
from leaven.models import Headed, perceptron, with_head
from leaven.models.classifier import Classifier
from leaven.refine import debias
from leaven.select import fixed_threshold


class TRAS(Plugin):
    """TRAS (Wei et al., Machine Learning 2022): a plug-in with a target head ``h``.

    ``z`` are the logits of the base, ``prior`` the shares of the labels, ``log prior^power = l``.
    The base learns from proposals without the prior, ``softmax(z(weak) - l)``. From ``start`` of
    the run on, the target head shares its features (both train them) and learns::

        target_labelled = mean_x CE(h(x) + l, y)
        c   = argmax h(weak(u)),   T_k = spread * softmax(-l)_k + base_strength
        q   = softmax((z(strong(u)) - T_c l) / 2)                    transferred, no gradient
        target_unlabelled = mean_u 1[max softmax(h(weak(u))) >= target_threshold]
                            CE(h(strong(u)), q)

    As T is above 1, the labels lean to rare classes: they are balanced rather than accurate. The
    target head alone predicts.

    This is the authors' code; that of USB takes the weak logits of the target head for ``z``. The
    authors train on two strong views, here the base keeps to its own number. Before ``start`` the
    measurements on the way are those of an untrained head. A class without any label counts as
    the rarest one that has some.
    """

    card: ClassVar[Card] = Card(
        name="tras",
        title="Transfer and Share: Semi-Supervised Learning from Long-Tailed Data",
        summary="A head on shared features distils pseudo-labels turned to the rare classes.",
        task="classification",
        evidence="few labels, unequally spread",
        year=2022,
        venue="Machine Learning",
        paper="https://arxiv.org/abs/2205.13358",
        code="https://github.com/Stomach-ache/TRAS",
        parts=(
            "refine.debias",
            "learn.adjust_logits",
            "learn.transfer_loss",
            "learn.transfer_strength",
            "select.fixed_threshold",
            "learn.cross_entropy",
            "train.EMA",
        ),
        claim="Higher accuracy than ABC and FixMatch on long-tailed CIFAR-10, CIFAR-100 and SVHN, "
        "above all in the rare classes.",
        measured="CIFAR-10 at 16x16 as a long tail, 3 seeds, balanced accuracy against FixMatch: "
        "unlabelled tail like the labelled one +3.9 points, reversed +3.5.",
    )

    needs_strong: ClassVar[bool] = True

    start: float = Field(0.022, ge=0, lt=1, description="share of the run before the target head")
    spread: float = Field(2.0, ge=0, description="A: how much stronger rare classes are turned")
    base_strength: float = Field(2.0, ge=0, description="B: how strongly all classes are turned")
    power: float = Field(1.0, ge=0, description="of the prior")
    target_threshold: float = Field(
        0.95, ge=0, le=1, description="confidence that the target head must reach"
    )

    def heads(self, classifier: Classifier, generator: torch.Generator) -> dict[str, nn.Module]:
        head = perceptron(classifier.num_features, classifier.num_classes, generator=generator)[0]
        return {**super().heads(classifier, generator), "target": head}

    def refine(self, step: Step, probs: Tensor) -> Tensor:
        return debias(super().refine(step, probs), smoothed_prior(step.trainer.prior), self.power)

    def learn(self, step: Step) -> dict[str, Tensor]:
        losses = super().learn(step)
        if step.batch.progress < self.start:
            return losses
        head, seen = step.network.heads["target"], step.seen
        prior = smoothed_prior(step.trainer.prior)
        labelled = adjust_logits(head(seen["labelled"].features), prior, self.power)
        with torch.no_grad():
            confidence, classes = head(seen["weak"].features).softmax(1).max(1)
            strength = transfer_strength(prior, self.spread, self.base_strength, self.power)
        transferred = transfer_loss(
            head(seen["strong"].features),
            seen["strong"].logits,
            prior,
            self.power * strength[classes],
            fixed_threshold(confidence, self.target_threshold),
        )
        return {
            **losses,
            "target_labelled": cross_entropy(labelled, step.targets),
            "target_unlabelled": transferred,
        }

    def final(self, network: Headed) -> Classifier:
        head = network.heads["target"]
        assert isinstance(head, nn.Linear)
        return with_head(network.classifier, head)
