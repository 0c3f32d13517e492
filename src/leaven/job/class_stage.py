"""A method that learned a class for each picture, measured and written."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from leaven.atomic import replacing
from leaven.data import Data, ImageSet
from leaven.job.label_accuracy import LabelAccuracy, label_accuracy
from leaven.job.promises import Asked, Promised, promised_classes
from leaven.job.stage import Stage
from leaven.labels import ClassLabels
from leaven.methods import Fitted
from leaven.methods.classification.second_opinion import SecondOpinion
from leaven.propose import predict_features
from leaven.quality import HeldOut, classification_metrics
from leaven.report import write_gallery

GUESSING = 1.64
"""Standard errors above chance that one model in twenty has which names classes by lot."""


class ClassStage(Stage[Tensor]):
    """See ``Stage``."""

    names: ClassVar[tuple[str, ...]] = (
        "accuracy", "balanced_accuracy", "macro_f1", "nll", "brier", "ece", "confidence",
    )  # fmt: skip
    judged: HeldOut | None = None

    def measure(self, fitted: Fitted, held_out: ImageSet) -> dict[str, float | None]:
        trainer = self.trainer
        probs = trainer.predict(fitted.model, held_out)
        metrics = classification_metrics(probs, held_out.labels)
        trainer.health.calibration(metrics, trainer.step)
        self.findings += _no_better_than_guessing(metrics["balanced_accuracy"], held_out.labels)
        if trainer.is_main:
            _write_test(self.folder / "test.parquet", held_out, probs)
        val = trainer.data.val
        if val is None or val is held_out:
            self.judged = HeldOut(probs, held_out.labels.cpu())
        else:
            self.judged = HeldOut(trainer.predict(fitted.model, val), val.labels.cpu())
        return dict(metrics)

    def promised(
        self, labels: ClassLabels, held: ClassLabels, items: ImageSet, data: Data, asked: Asked
    ) -> tuple[ClassLabels, Promised]:
        truth = data.unlabelled.truth.cpu()
        return promised_classes(labels, held, items, truth, data.classes, asked)

    def write_labels(self, fitted: Fitted) -> dict[str, Any]:
        trainer, labels, truth = self.trainer, fitted.labels.cpu(), self.data.unlabelled.truth
        trainer.save_labels(trainer.last_round + 1, labels, fitted.given)
        estimate = self.estimate(fitted, labels)
        self.findings += estimate.findings
        known = {finding.code for finding in trainer.health.findings() if not finding.recovered}
        if self.config.promise is None and "nothing-accepted" not in known:
            self.findings += _nothing_accepted(labels)
        return {
            "items": len(labels),
            "accepted": int(labels.accepted.sum()),
            "accepted_share": labels.accepted_share,
            "accuracy": labels.accuracy(truth),
            "judged": int((labels.accepted & (truth.cpu() >= 0)).sum()),
            **estimate.as_dict(),
            **_doubts(fitted, self.data.labelled),
        }

    def estimate(self, fitted: Fitted, labels: ClassLabels) -> LabelAccuracy:
        """See ``label_accuracy``; the evidence are the val items, or the test items without val.

        Labels that were accepted because an adapted copy shares them are not judged by one again.
        """
        trainer, by = self.trainer, self.config.estimate_by
        settings = replace(trainer.settings, threads=trainer.threads)
        if isinstance(self.method, SecondOpinion):
            by = "held-out"
        return label_accuracy(
            fitted.model, labels, self.data, settings, self.judged, by, fitted.labeller
        )

    def write_gallery(self, fitted: Fitted) -> None:
        labelled, unlabelled = self.trainer.data.labelled, self.trainer.data.unlabelled
        _, features = predict_features(fitted.model, unlabelled.pixels)
        _, covered = predict_features(fitted.model, labelled.pixels)
        write_gallery(
            self.folder / "gallery.parquet",
            unlabelled.shown.batch,
            unlabelled.names,
            self.data.classes,
            fitted.labels.cpu(),
            unlabelled.truth,
            features=features,
            covered=covered,
        )


def _no_better_than_guessing(recall: float | None, truth: Tensor) -> list[dict[str, str]]:
    """A finding where the mean recall of the K classes among the held-out items is what naming
    classes by lot may give: ``1 / K`` and ``GUESSING`` standard errors of that."""
    counts = truth.bincount()
    counts = counts[counts > 0].double()
    chance = 1 / max(1, len(counts))
    error = math.sqrt(chance * (1 - chance) * float((1 / counts).sum())) * chance
    if recall is None or len(counts) < 2 or recall > chance + GUESSING * error:
        return []
    text = (
        f"On the {int(counts.sum())} held-out items the model is no better than guessing: of the items of "
        f"a class it is right on {recall:.1%} in the mean, where naming any of {len(counts)} classes is "
        f"right on {chance:.1%}. Train longer, label more, or look whether labels and pictures fit."
    )
    return [{"level": "warning", "code": "guessing", "text": text}]


def _nothing_accepted(labels: ClassLabels) -> list[dict[str, str]]:
    """A finding where no item has an accepted label at the end."""
    if len(labels) == 0 or bool(labels.accepted.any()):
        return []
    none = "The one label is not" if len(labels) == 1 else f"None of the {len(labels)} labels is"
    text = (
        f"{none} accepted: the surest has a confidence of "
        f"{float(labels.confidence.max()):.2f}. Train longer, label more, or lower the threshold."
    )
    return [{"level": "warning", "code": "nothing-accepted", "text": text}]


def _doubts(fitted: Fitted, labelled: ImageSet) -> dict[str, Any]:
    """How many given labels are corrected, and how many of all given ones are right before and
    after; None where the truth is not known apart from the labels. Empty where nothing is doubted.
    """
    if fitted.given is None:
        return {}
    believed, given, truth = fitted.given.cpu(), labelled.labels, labelled.truth
    apart = bool((given != truth)[truth >= 0].any())
    return {
        "corrected": int(believed.corrected(given).sum()),
        "given_accuracy": ClassLabels.from_person(given).accuracy(truth) if apart else None,
        "corrected_accuracy": believed.accuracy(truth) if apart else None,
    }


def _write_test(path: Path, held_out: ImageSet, probs: Tensor) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    flat = pa.array(probs.flatten().numpy(), type=pa.float32())
    table = pa.table(
        {
            "item": pa.array(list(held_out.names), type=pa.string()),
            "truth": pa.array(held_out.labels.numpy(), type=pa.int32()),
            "probs": pa.FixedSizeListArray.from_arrays(flat, probs.shape[1]),
        }
    )
    with replacing(path) as beside:
        pq.write_table(table, beside)
