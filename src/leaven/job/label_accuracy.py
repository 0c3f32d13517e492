"""How many labels of a run are right, as far as can be told without knowing the truth."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from leaven.data import Data, ImageSet
from leaven.labels import ClassLabels
from leaven.methods.classification.second_opinion import Opinions, SecondOpinion
from leaven.models import Classifier
from leaven.quality import Estimate, HeldOut, best_estimate, estimate_accuracy
from leaven.quality.accuracy import Shift, shift_between
from leaven.train import Budget, Settings, Trainer

log = logging.getLogger(__name__)

By = Literal["auto", "held-out", "second-opinion"]
"""What the estimate rests on: held-out items, an adapted copy of the model, or what fits."""

SHIFTED = "unlike-held-out"
"""The code of the finding."""

LEAST_PICTURES = 100
"""Fewer say little: the standard error of a share of half is 5 points. And a copy that adapts to
fewer has nothing to adapt to."""

MOST_PICTURES = 5000
"""So many, evenly spaced, a second opinion is asked on: the standard error is 0.7 points at most."""


@dataclass(frozen=True)
class LabelAccuracy:
    """What is known of the accuracy of labels without their truth.

    Attributes:
        best: the estimate to believe; None where no label is accepted.
        shift: how far the labelled items lie from the held-out ones; None without any of these.
    """

    best: Estimate | None
    shift: Shift | None = None

    @property
    def findings(self) -> list[dict[str, str]]:
        """What people should know, where the items lie apart."""
        if self.shift is None or not self.shift.found:
            return []
        by = "" if self.best is None else f" (here by {self.best.name})"
        text = (
            "What the model says of the unlabelled pictures lies far from what it says of the "
            f"held-out ones (distance {self.shift.distance:.2f} of 1): figures that were measured on "
            "held-out pictures do not hold for the unlabelled ones, and the accuracy of their labels "
            f"is a rough estimate{by}. Label some of the unlabelled pictures."
        )
        return [{"level": "warning", "code": SHIFTED, "text": text}]

    def as_dict(self) -> dict[str, Any]:
        """For the summary of a run."""
        shift = self.shift
        return {
            "estimated_accuracy": None if self.best is None else self.best.accuracy,
            "estimated_by": None if self.best is None else self.best.name,
            "shift": None if shift is None else shift.as_dict(),
        }


def label_accuracy(
    model: nn.Module,
    labels: ClassLabels,
    data: Data[Tensor],
    settings: Settings,
    held_out: HeldOut | None,
    by: By = "auto",
) -> LabelAccuracy:
    """The accuracy of the accepted ``labels`` of ``data.unlabelled``, by the best estimate there is.

    Where held-out items are of the same kind as these, what is measured on them holds here: ATC of
    all labels, and the mean confidence at their temperature of labels that were chosen by their
    confidence (a threshold, which lies below all that is chosen, would say that all are right).
    Where the two lie apart (``quality.accuracy.shift_between``), or nothing is held out, that is far
    too high: a copy of the model is adapted to the unlabelled pictures, and its second opinion counts
    the labels that are right. That takes a short training, of ``MOST_PICTURES`` pictures.

    Args:
        model: that gave the labels.
        settings: of the run.
        held_out: what ``model`` says of labelled items that it has not learnt from.
        by: ``auto`` for that rule; ``held-out`` never trains a copy, ``second-opinion`` always does
            where it can: from pictures, ``LEAST_PICTURES`` or more.
    """
    if labels.probs is None:
        return LabelAccuracy(None)
    probs = labels.probs.cpu()
    shift = None
    if held_out is not None and len(probs):
        shift = shift_between(held_out.probs, probs)
    asked = by == "second-opinion" or (by == "auto" and (shift is None or shift.found))
    found = estimate_accuracy(probs, weight=labels.weight, held_out=held_out)
    able = isinstance(model, Classifier) and len(data.shape) == 3 and len(probs) >= LEAST_PICTURES
    if found and asked and able:
        assert isinstance(model, Classifier)
        rows = torch.arange(len(probs))
        if len(probs) > MOST_PICTURES:
            rows = torch.arange(MOST_PICTURES) * len(probs) // MOST_PICTURES
        some = data.unlabelled.subset(rows)
        log.info("a copy of the model adapts to %d pictures, for a second opinion", len(rows))
        method, said, flip = SecondOpinion(), probs[rows], data.flip
        opinions = second_opinion(method, model, some, said, settings, flip=flip)
        trusted = labels.weight.cpu()[rows]
        found = estimate_accuracy(said, weight=trusted, perturbed=opinions.perturbed) or found
    return LabelAccuracy(best_estimate(found), shift)


def second_opinion(
    method: SecondOpinion,
    model: Classifier,
    images: ImageSet[Tensor],
    probs: Tensor,
    settings: Settings,
    *,
    flip: bool,
) -> Opinions:
    """What a copy of ``model``, adapted to ``images``, says of them; ``model`` stays as it is.

    Args:
        probs: (n, K) what ``model`` says of them.
        settings: of the computing; the epochs of ``method`` say when it ends.
        flip: whether a mirrored picture shows the same.
    """
    nobody = torch.full_like(images.labels, -1)
    hidden = replace(images, labels=nobody, truth=nobody)
    data = Data("second opinion", model.spec.classes, hidden, flip=flip)
    trainer = Trainer(data, None, replace(settings, budget=Budget(steps=10**9)))
    student = trainer.placed(copy.deepcopy(model).requires_grad_(True))
    adapted = method.adapt(student, trainer.data, trainer)
    return method.asked(adapted, trainer.data.unlabelled, probs, trainer.draws.fork())
