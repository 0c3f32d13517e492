"""A network for labels that something else has made.

Self-training around a scikit-learn estimator, label propagation and their like label items; they
leave no network behind. ``FromLabels`` is what they share: they label in ``label``, and the
network that is handed out is trained on the labels of people and on these.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from leaven.data import Data, ImageSet, Stream, feature_rows
from leaven.labels import ClassLabels
from leaven.learn.losses import cross_entropy
from leaven.learn.mislabelling import noisy_logits
from leaven.methods.base import Fitted, Labeller
from leaven.methods.classification.few_labels import OnlineFewLabels
from leaven.models.classifier import Classifier
from leaven.quality.accuracy import HeldOut
from leaven.train import EMA, Recipe, Trainer

MOST_ASKED = 2000
"""Held-out items that a labeller is asked for: the standard error of its accuracy is a point at most."""

Say = Callable[[Tensor], Tensor]
"""(m, D) rows of features -> (m, K) what a labeller says of them."""


class FromLabels(OnlineFewLabels):
    """Labels first, then a network on them.

    ``label`` says what the unlabelled items are; those labels are the result, as they are. The
    model is a network that learns from them and from the labels of people (``train_on``), so that
    it takes pictures and can be saved, exported and used as any other. It is not the labeller:
    its accuracy on new pictures is its own, the labels are the labeller's. So the labeller is asked
    for the held-out items as well, and its labels are judged by that.

    A resumed run does not label again.
    """

    labels_weight: float = Field(
        1.0, ge=0, description="weight of the labels that were made, in the loss of the network"
    )

    learns_its_labels: ClassVar[bool] = True
    """See ``Labeller.learnt``."""

    @abstractmethod
    def label(self, data: Data, trainer: Trainer) -> tuple[ClassLabels, Say]:
        """What ``data.unlabelled`` is, in its order, weight 0 where nothing is to be learnt; and
        what says the like of other items.

        ``probs`` has to be there. Random numbers come from ``trainer.draws.generator``.
        """

    def mislabelling(self, labels: ClassLabels) -> Tensor | None:
        """(K, K) how the labels are wrong, for the loss of the network; by default they are right."""
        return None

    def fit(self, data: Data, trainer: Trainer) -> Fitted:
        # Of a resumed run the checkpoint knows the labels.
        labels, matrix = ClassLabels.from_person(data.unlabelled.labels), None
        held, said = _some(data.held_out), None
        if not trainer.replaying:
            labels, say = self.label(data, trainer)
            said = None if held is None else say(feature_rows(held))
            matrix = self.mislabelling(labels)
            trainer.save_labels(0, labels)
        kept = trainer.keep(
            "labels",
            classes=labels.classes,
            confidence=labels.confidence,
            weight=labels.weight,
            source=labels.source,
            probs=labels.probs,
            held_out=said,
        )
        model = train_on(
            labels,
            data,
            trainer,
            batch=self.batch,
            ratio=self.ratio,
            recipe=self.recipe,
            ema=self.ema,
            labels_weight=self.labels_weight,
            matrix=matrix,
        )
        labels = ClassLabels(kept.classes, kept.confidence, kept.weight, kept.source, kept.probs)
        if held is None:
            return Fitted(model, labels)
        asked = HeldOut(kept.held_out.cpu(), held.labels.cpu())
        return Fitted(model, labels, labeller=Labeller(asked, self.learns_its_labels))


def _some(held_out: ImageSet | None) -> ImageSet | None:
    """``MOST_ASKED`` of the held-out items at most, evenly spaced."""
    if held_out is None or len(held_out) <= MOST_ASKED:
        return held_out
    return held_out.subset(torch.arange(MOST_ASKED) * len(held_out) // MOST_ASKED)


def train_on(
    labels: ClassLabels,
    data: Data,
    trainer: Trainer,
    *,
    batch: int = 64,
    ratio: int = 7,
    recipe: Recipe | None = None,
    ema: float = 0.999,
    labels_weight: float = 1.0,
    soft: bool = False,
    matrix: Tensor | None = None,
    share: float = 1.0,
    name: str = "network",
) -> Classifier:
    """A fresh network that learns from the labels of people and from ``labels``, fixed ones.

    ``loss = mean_l CE(f(weak(x)), y) + labels_weight * mean_u w CE(f(weak(u)), yhat)``. The first
    mean is over a batch of the labelled items, the second over a batch of the unlabelled items
    with ``w > 0``, which are drawn alike. So with weights 1 both halves weigh the same, however
    many labels there are in each: 1/l and 1/s per item. Averaged weights predict.

    In a resumed run the labels (classes or distributions, and weights) come from the checkpoint;
    what is given then need only have the right number of rows.

    Args:
        labels: of ``data.unlabelled``, in its order. None accepted: people's alone count.
        data: what is learnt from.
        trainer: of the run; this is one loop of it.
        batch: labelled pictures per step, and ``batch * ratio`` of the others.
        recipe: how weights are moved; the default ``Recipe`` when None.
        ema: decay of the averaged weights.
        soft: learn the distributions ``labels.probs`` in place of the classes.
        matrix: (K, K) how ``labels`` are wrong (``leaven.learn.mislabelling_matrix``): the loss
            to them is corrected for it.
        share: of the run's budget.
        name: of the loop.

    Returns:
        The averaged network in eval mode.
    """
    student = trainer.model()
    teacher = EMA(student, ema)
    optimizer = trainer.optimizer(student, recipe or Recipe())
    kept = trainer.keep(
        f"{name}-labels",
        weight=labels.weight.to(trainer.device),
        classes=labels.classes.to(trainer.device),
        confidence=labels.confidence.to(trainer.device),
        matrix=None if matrix is None else matrix.to(trainer.device),
    )
    trainer.register(student=student, teacher=teacher, optimizer=optimizer)
    weak, _ = data.views()

    streams = _streams(labels, data, batch, ratio, soft)
    for step in trainer.steps(share=share, name=name, watch=teacher.module, streams=streams):
        losses: dict[str, Tensor] = {}
        if "labelled" in step.streams:
            logits = student(weak(step.labelled.images, trainer.draws))
            losses["supervised"] = cross_entropy(logits, step.labelled.targets)
        if "unlabelled" in step.streams:
            items, weight = step.unlabelled.items, kept.weight[step.unlabelled.items]
            logits = student(weak(step.unlabelled.images, trainer.draws))
            said = logits if kept.matrix is None else noisy_logits(logits, kept.matrix)
            losses["labels"] = labels_weight * cross_entropy(said, step.unlabelled.targets, weight)
            trainer.observe(
                weight=weight,
                proposed=kept.classes[items],
                confidence=kept.confidence[items],
                student=logits.argmax(1),
                items=items,
            )
        trainer.observe(losses={key: loss.detach() for key, loss in losses.items()})
        if trainer.update(torch.stack(list(losses.values())).sum(), optimizer):
            teacher.update(student)

    return teacher.module.eval()


def _streams(
    labels: ClassLabels, data: Data, batch: int, ratio: int, soft: bool
) -> dict[str, Stream]:
    """The labelled items, and the unlabelled ones with an accepted label, where there are any."""
    streams = {"labelled": data.labelled.batches(batch)} if len(data.labelled) else {}
    if len(data.unlabelled):
        soft = soft and labels.probs is not None
        # Items without a label have weight 0; any class will do.
        targets = labels.probs if soft else labels.classes.clamp_min(0)
        accepted = labels.accepted.nonzero().squeeze(1)
        streams["unlabelled"] = Stream(
            data.unlabelled,
            batch * ratio,
            targets=targets,
            index=accepted if len(accepted) else None,
        )
    return streams
