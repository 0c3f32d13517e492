"""DASO: the pseudo-labels of two classifiers with opposite leanings, blended class by class."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from leaven.data import Data
from leaven.learn import adjust_logits, cross_entropy
from leaven.methods.base import Card
from leaven.methods.classification.weak_strong import Plugin, Step
from leaven.models import Headed
from leaven.refine import ClassWindow, PrototypeQueues, class_blend, frequency_share
from leaven.train import Trainer


class DASO(Plugin):
    """DASO (Oh et al., CVPR 2022): a plug-in that changes ``refine`` and adds a loss.

    The linear head leans to the frequent classes, a classifier by similarity to class prototypes to
    the rare ones. Every step the averaged network's features of the labelled items enter queues of
    equal length; ``c_k`` is the mean of queue k. With the base's proposal ``p``, the features ``e``
    of the weak and ``e'`` of the strong view and ``c(u) = argmax p_u``::

        q   = softmax_k(cos(e, c_k) / temperature)
        v_k = (m_k / max_j m_j)^(1 / frequency_temperature)
        p*  = (1 - v_c(u)) p + v_c(u) q
        loss = base's loss with p* + alignment_weight * mean_u CE(cos(e', c) / temperature, q)

    ``m`` counts ``argmax p*`` of all items, trusted or not, over the last whole window of
    ``window`` batches. An item that the head takes for a frequent class leans on ``q``, one that it
    takes for a rare class keeps ``p``. Prototypes and ``q`` are constants; the last term has no
    threshold. The prototypes are not needed after training.

    ``frequency_temperature`` is 1.5 in the paper where labelled and unlabelled items share their
    imbalance on CIFAR-10, and 0.3 elsewhere, also where the spread of the unlabelled items is not
    known. The first ``warm_up`` steps are the base's (the queues and the window fill); a short run
    would spend all its steps there, so that they end at ``latest_start`` of the run at the latest.
    ``adjustment`` adds ``adjustment * log prior`` to the logits of labelled items in training.

    What differs from the released code: it takes 2 unlabelled pictures per labelled one and a
    constant rate of 0.03, where ``ratio`` and ``recipe`` are those of FixMatch here. Its averaged
    network is the plain mean of all students until the decay is reached, normalises features by the
    labelled batch and averages batch statistics; here it uses the student's running ones. Before the
    first window is over it has no histogram; here ``v = 1``, as for equal counts. Bases are the
    methods of the FixMatch family with a strong view; ABC, ReMixMatch, MixMatch and mean teacher are
    not.
    """

    card: ClassVar[Card] = Card(
        name="daso",
        title="DASO: Distribution-Aware Semantics-Oriented Pseudo-label for Imbalanced "
        "Semi-Supervised Learning",
        summary="Labels of the head and of class prototypes, blended by how frequent a class is.",
        task="classification",
        evidence="few labels, unequally spread",
        year=2022,
        venue="CVPR",
        paper="https://arxiv.org/abs/2106.05682",
        code="https://github.com/ytaek-oh/daso",
        number=24,
        parts=(
            "refine.PrototypeQueues",
            "refine.ClassWindow",
            "refine.frequency_share",
            "refine.class_blend",
            "learn.adjust_logits",
            "learn.cross_entropy",
            "train.EMA",
        ),
        claim="CIFAR-10 with a head of 500 labelled and 4,000 unlabelled items and imbalance 100: "
        "about 75 % against 68 to 72 % of FixMatch; more where the unlabelled spread is uniform "
        "or reversed.",
        measured="CIFAR-10 at 16x16 as a long tail (200 to 10 labels), 3,000 steps, 3 seeds, balanced accuracy "
        "against FixMatch: unlabelled tail reversed +3.1 points, like the labelled one -0.3 (with a threshold of "
        "0.7 +0.5): its blends hardly reach 0.95 in short runs. Digits as a long tail (40 to 2 labels), 600 steps, 3 seeds, balanced accuracy "
        "against FixMatch: unlabelled tail like the labelled one -0.4 points, reversed +9.6. Digits on photos (200 to 10 "
        "labels), 3,000 steps, 3 seeds: +0.1, reversed -1.2, where FixMatch alone finds 91 % of the rare classes.",
    )

    needs_strong: ClassVar[bool] = True

    temperature: float = Field(0.05, gt=0, description="of the similarities to the prototypes")
    frequency_temperature: float = Field(
        1.5, gt=0, description="high: lean on prototypes for all classes; low: for frequent ones"
    )
    queue: int = Field(256, ge=1, description="features kept per class")
    window: int = Field(100, ge=1, description="batches over which pseudo-labels are counted")
    warm_up: int = Field(5000, ge=0, description="steps of the base alone at the start")
    latest_start: float = Field(
        0.1, ge=0, le=1, description="share of the run at which the warm-up ends at the latest"
    )
    alignment_weight: float = Field(
        1.0, ge=0, description="weight of the loss on similarities of the strong view"
    )
    adjustment: float = Field(
        0.0, ge=0, description="strength of the logit adjustment of labelled items"
    )
    constant_share: float | None = Field(
        None, ge=0, le=1, description="the same share of prototypes for all classes, an ablation"
    )

    def parts(self, data: Data, trainer: Trainer) -> dict[str, nn.Module]:
        window = ClassWindow(len(data.classes), self.window, trainer.gather)
        return {**super().parts(data, trainer), "window": window}

    def attach(self, network: Headed, trainer: Trainer) -> dict[str, nn.Module]:
        classifier = network.classifier
        queues = PrototypeQueues(classifier.num_classes, classifier.num_features, self.queue)
        return {**super().attach(network, trainer), "queues": queues}

    def refine(self, step: Step, probs: Tensor) -> Tensor:
        probs = super().refine(step, probs)
        queues, window = step.part("queues", PrototypeQueues), step.part("window", ClassWindow)
        with torch.no_grad():
            features = step.teacher.classifier.features(step.images["labelled"])
        queues.update(step.trainer.gather(features), step.trainer.gather(step.targets))
        if self.started(step):
            semantic = queues.logits(step.seen["weak"].features.detach(), self.temperature)
            probs = class_blend(probs, semantic.softmax(1), self.share(window.counts))
        window.update(probs.argmax(1))
        return probs

    def learn(self, step: Step) -> dict[str, Tensor]:
        losses = super().learn(self.adjusted(step) if self.adjustment else step)
        if self.started(step):
            queues = step.part("queues", PrototypeQueues)
            target = queues.logits(step.seen["weak"].features.detach(), self.temperature).softmax(1)
            similarity = queues.logits(step.seen["strong"].features, self.temperature)
            losses["alignment"] = self.alignment_weight * cross_entropy(similarity, target)
        return losses

    def adjusted(self, step: Step) -> Step:
        """The step with the logits of the labelled items shifted by the log prior."""
        seen = step.seen["labelled"]
        logits = adjust_logits(seen.logits, step.trainer.prior, self.adjustment)
        return replace(step, seen=step.seen | {"labelled": seen._replace(logits=logits)})

    def notes(self, step: Step) -> dict[str, Any]:
        shares = self.share(step.part("window", ClassWindow).counts)
        return super().notes(step) | {"prototype_share": shares.mean()}

    def started(self, step: Step) -> bool:
        """Whether the warm-up is over."""
        return step.batch.step >= self.warm_up or step.batch.progress >= self.latest_start

    def share(self, counts: Tensor) -> Tensor:
        """(K,) how much prototypes count for the items that the head takes for each class."""
        if self.constant_share is not None:
            return torch.full_like(counts, self.constant_share)
        return frequency_share(counts, self.frequency_temperature)
