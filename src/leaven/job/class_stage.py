"""A method that learned a class for each picture, measured and written."""

from __future__ import annotations

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
        return {
            "items": len(labels),
            "accepted": int(labels.accepted.sum()),
            "accepted_share": labels.accepted_share,
            "accuracy": labels.accuracy(truth),
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
