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
from leaven.methods import Labeller
from leaven.methods.classification.second_opinion import Opinions, SecondOpinion
from leaven.models import Classifier
from leaven.plain import counted
from leaven.quality import ConfidenceBins, HeldOut, best_estimate, estimate_accuracy
from leaven.quality.accuracy import LikelyRange, Shift, shift_between
from leaven.train import Budget, Settings, Trainer

log = logging.getLogger(__name__)

By = Literal["auto", "held-out", "second-opinion"]
"""What the estimate rests on: held-out items, an adapted copy of the model, or what fits."""

SHIFTED, FEW = "unlike-held-out", "few-held-out"
"""The codes of the findings."""

WIDE = 0.1
"""So far below an estimate the accuracy may lie before that is a finding."""

LEAST_PICTURES = 100
"""Fewer say little: the standard error of a share of half is 5 points. And a copy that adapts to
fewer has nothing to adapt to."""

MOST_PICTURES = 5000
"""So many, evenly spaced, a second opinion is asked on: the standard error is 0.7 points at most."""


@dataclass(frozen=True)
class LabelAccuracy:
    """What is known of the accuracy of labels without their truth.

    Attributes:
        accuracy: the estimate to believe; None where no label is accepted.
        by: what it rests on.
        likely: where it lies, as far as the number of held-out pictures tells; None where it rests
            on something else.
        shift: how far the labelled items lie from the held-out ones; None without any of these.
    """

    accuracy: float | None = None
    by: str | None = None
    likely: LikelyRange | None = None
    shift: Shift | None = None

    @property
    def findings(self) -> list[dict[str, str]]:
        """What people should know: the items lie apart, or few tell."""
        found = []
        if self.shift is not None and self.shift.found:
            by = "" if self.by is None else f" (here by {self.by})"
            text = (
                "What the model says of the unlabelled pictures lies far from what it says of the "
                f"held-out ones (distance {self.shift.distance:.2f} of 1): figures that were measured "
                "on held-out pictures do not hold for the unlabelled ones, and the accuracy of their "
                f"labels is a rough estimate{by}. Label some of the unlabelled pictures."
            )
            found.append({"level": "warning", "code": SHIFTED, "text": text})
        if self.accuracy is not None and self.likely is not None:
            low, high = self.likely.low, self.likely.high
            if self.accuracy - low > WIDE:
                pictures = counted(max(1, self.likely.pictures), "held-out picture")
                text = (
                    f"The accuracy of the accepted labels is estimated as {self.accuracy:.0%}, but it "
                    f"may be anything from {low:.0%} to {high:.0%}: the estimate rests on what amounts "
                    f"to {pictures}. Hold out more labelled pictures."
                )
                found.append({"level": "info", "code": FEW, "text": text})
        return found

    def as_dict(self) -> dict[str, Any]:
        """For the summary of a run."""
        likely = self.likely
        return {
            "estimated_accuracy": self.accuracy,
            "estimated_range": None if likely is None else [likely.low, likely.high],
            "estimated_by": self.by,
            "shift": None if self.shift is None else self.shift.as_dict(),
        }


def label_accuracy(
    model: nn.Module,
    labels: ClassLabels,
    data: Data[Tensor],
    settings: Settings,
    held_out: HeldOut | None,
    by: By = "auto",
    labeller: Labeller | None = None,
) -> LabelAccuracy:
    """The accuracy of the accepted ``labels`` of ``data.unlabelled``, by the best estimate there is.

    Where held-out items are of the same kind as these, what is measured on them holds here: ATC of
    all labels, and the mean confidence at their temperature of labels that were chosen by their
    confidence (a threshold, which lies below all that is chosen, would say that all are right).
    Where the two lie apart (``quality.accuracy.shift_between``), or nothing is held out, that is far
    too high: a copy of the model is adapted to the unlabelled pictures, and its second opinion counts
    the labels that are right. That takes a short training, of ``MOST_PICTURES`` pictures.

    Labels that ``model`` did not give are judged by what gave them: what another says of held-out
    items says nothing of these. Where that has learnt from the very labels that it gave, its confidence
    in them is no evidence; then its share of right held-out items is the estimate, for accepted and
    other labels alike, and whether the items are of the same kind is not told.

    Args:
        model: of the run.
        settings: of the run.
        held_out: what ``model`` says of labelled items that it has not learnt from.
        by: ``auto`` for that rule; ``held-out`` never trains a copy, ``second-opinion`` always does
            where it can: from pictures, ``LEAST_PICTURES`` or more.
        labeller: see ``Fitted.labeller``; its held-out items take the place of ``held_out``.
    """
    if labels.probs is None:
        return LabelAccuracy()
    learnt = labeller is not None and labeller.learnt
    if labeller is not None:
        held_out = labeller.held_out
        if labeller.learnt and by != "second-opinion":
            return _as_held_out(labeller.held_out, int(labels.accepted.sum()))
    probs = labels.probs.cpu()
    shift = None
    if held_out is not None and len(probs) and not learnt:
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
    best = best_estimate(found)
    if best is None:
        return LabelAccuracy(shift=shift)
    rests_on_it = held_out is not None and best.name not in ("second-opinion", "adapted")
    bins = sure_and_right(held_out if rests_on_it else None)
    asked_of = bins.histogram(probs.max(1).values[labels.weight.cpu() > 0])
    return told_by(bins, asked_of, int(asked_of.sum()), best.accuracy, best.name, shift)


def _as_held_out(held_out: HeldOut, accepted: int) -> LabelAccuracy:
    """So many labels are as often right as those of the held-out items, however sure they are."""
    if accepted == 0:
        return LabelAccuracy()
    bins, alike = ConfidenceBins(), torch.ones(accepted)
    bins.add(torch.ones(len(held_out.truth)), held_out.right.cpu())
    asked_of = bins.histogram(alike)
    return told_by(bins, asked_of, accepted, held_out.accuracy, "held-out", None)


def sure_and_right(held_out: HeldOut | None) -> ConfidenceBins:
    """How often held-out items are right by the confidence in them; empty without any."""
    bins = ConfidenceBins()
    if held_out is not None:
        bins.add(held_out.probs.max(1).values.cpu(), held_out.right.cpu())
    return bins


def told_by(
    bins: ConfidenceBins,
    asked_of: Tensor,
    pictures: int,
    accuracy: float,
    by: str,
    shift: Shift | None,
) -> LabelAccuracy:
    """With the range that the held-out predictions in ``bins`` leave to it: none where these lie far
    from what is asked of, of which ``asked_of`` (bins,) are in each bin, in so many ``pictures``."""
    likely = None if shift is not None and shift.found else bins.likely(asked_of, pictures)
    if likely is not None:
        likely = likely.around(accuracy)
    return LabelAccuracy(accuracy, by, likely, shift)


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
