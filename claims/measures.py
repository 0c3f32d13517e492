"""What is measured of a trained method, by what it learned."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from leaven.data import ImageSet
from leaven.labels import BoxLabels, PixelLabels
from leaven.methods import Fitted
from leaven.models.detection import Detector, evaluating
from leaven.quality import confusion
from leaven.quality.detection import match_boxes
from leaven.quality.segmentation import SegmentationMeter
from leaven.train import BoxTrainer, Engine, PixelTrainer, Trainer

PIXELS = ("miou", "border_miou", "pixel_accuracy", "mean_accuracy", "dice")
BOXES = ("map", "map50", "map75", "ar100", "aji", "pq", "dice")
BATCH = 16
SOUGHT = 0.35
"""Score above which masks are asked for their quality."""


def measured(trainer: Engine[Any], fitted: Fitted[Any, Any]) -> dict[str, float]:
    """Test metrics and the quality of the labels, by name, each in [0, 1]."""
    if isinstance(trainer, PixelTrainer):
        return _pixels(trainer, fitted)
    if isinstance(trainer, BoxTrainer):
        return _boxes(trainer, fitted)
    assert isinstance(trainer, Trainer)
    return _classes(trainer, fitted)


def _pixels(trainer: PixelTrainer, fitted: Fitted[Any, PixelLabels]) -> dict[str, float]:
    """The metrics of the test pictures, IoU and Dice of every class as ``iou_NAME`` and
    ``dice_NAME``, and of the labels the share that is accepted and right, and ``labels_miou`` of
    all, trusted or not."""
    test, unlabelled = trainer.data.test, trainer.data.unlabelled
    assert test is not None
    meter = trainer.judge(fitted.model, test)
    values = {name: value for name, value in meter.metrics().items() if name in PIXELS}
    for figure in ("iou", "dice"):
        each = dict(zip(trainer.data.classes, meter.per_class()[figure].tolist(), strict=True))
        values |= {f"{figure}_{name}": value for name, value in each.items() if value == value}
    labels, right, count = fitted.labels, 0, 0
    said = SegmentationMeter(len(trainer.data.classes), border=0)
    for first in range(0, len(labels), BATCH):
        rows = slice(first, first + BATCH)
        index = torch.arange(first, min(first + BATCH, len(labels)))
        truth = unlabelled.truth[index].cpu()
        classes = labels.classes[rows].long()
        said.add(classes, truth)
        judged = labels.accepted[rows] & (truth >= 0)
        right += int((classes == truth)[judged].sum())
        count += int(judged.sum())
    values["accepted_share"] = labels.accepted_share
    if count:
        values["label_accuracy"] = right / count
    if int(said.counts.sum()):
        values["labels_miou"] = said.metrics()["miou"]
    return values


def _boxes(trainer: BoxTrainer, fitted: Fitted[Any, BoxLabels]) -> dict[str, float]:
    """COCO's figures of the test pictures (and of masks AJI, PQ and object Dice), the AP50 of every
    class as ``ap50_NAME``, and precision, recall and mean IoU of the accepted labels at an IoU of
    0.5."""
    data = trainer.data
    scores = trainer.judge(fitted.model, data.test)
    assert scores is not None
    values = {name: value for name, value in scores.metrics().items() if name in BOXES}
    each = dict(zip(data.classes, scores.per_class()["ap50"].tolist(), strict=True))
    values |= {f"ap50_{name}": value for name, value in each.items() if value == value}
    labels, truth = fitted.labels.cpu(), data.unlabelled.truth.cpu()
    accepted = labels.keep(labels.accepted)
    matches = match_boxes(accepted, truth, len(data.classes), masks=trainer.masks)
    values["accepted_share"] = labels.accepted_share
    values |= {f"label_{name}": v for name, v in matches.metrics().items() if v == v}
    return values | (trust(fitted.model, data.unlabelled) if trainer.masks else {})


@torch.no_grad()
def trust(model: Detector, images: ImageSet[BoxLabels]) -> dict[str, float]:
    """How well the class score and the predicted IoU of masks go with their true IoU.

    Of what is found with a score above 0.35: ``score_correlation`` and ``quality_correlation``, with
    the best IoU of the mask with any true one (Pearson's; 0 where it is not defined), and
    ``quality_lead``, by how much the second is larger. Nothing of a model that says no quality.
    """
    truth = images.truth.cpu()
    columns: list[Tensor] = []
    for first in range(0, len(images), BATCH):
        index = torch.arange(first, min(first + BATCH, len(images)))
        with evaluating(model):
            pixels = images.pixels.batch(index).to(model.mean.device)
            found = model.detections(pixels, score=SOUGHT)
        if found.quality is None or found.masks is None:
            return {}
        there = truth.select(index)
        overlap = best_overlap(found.masks.cpu(), found.pictures.cpu(), there)
        columns.append(torch.stack([found.scores.cpu(), found.quality.cpu(), overlap]))
    together = torch.cat(columns, 1)
    # Of fewer than two masks there is no correlation.
    between = torch.corrcoef(together) if together.shape[1] > 1 else torch.zeros(3, 3)
    between = between.nan_to_num(0.0)
    score, quality = float(between[0, 2]), float(between[1, 2])
    return {
        "score_correlation": score,
        "quality_correlation": quality,
        "quality_lead": quality - score,
    }


def best_overlap(masks: Tensor, pictures: Tensor, truth: BoxLabels) -> Tensor:
    """(m,) the best IoU of each mask (m, H, W) with a true one of its picture; 0 without any."""
    best = torch.zeros(len(masks))
    for number in range(len(truth)):
        rows = pictures == number
        things = truth.select(torch.tensor([number])).masks
        if things is None or not len(things) or not bool(rows.any()):
            continue
        said, true = masks[rows].flatten(1).float(), things.dense().flatten(1).float()
        shared = said @ true.T
        union = said.sum(1)[:, None] + true.sum(1) - shared
        best[rows] = (shared / union.clamp_min(1)).amax(1)
    return best


def _classes(trainer: Trainer, fitted: Fitted) -> dict[str, float]:
    data = trainer.data
    found = trainer.measure(fitted.model, data.test)
    values = {name: found[name] for name in ("accuracy", "balanced_accuracy")}
    if fitted.given is not None:
        believed, given = fitted.given.cpu(), data.labelled
        values["corrected_share"] = float(believed.corrected(given.labels).float().mean())
        if (accuracy := believed.accuracy(given.truth)) is not None:
            values["corrected_accuracy"] = accuracy
    truth, labels = data.unlabelled.truth, fitted.labels.cpu()
    values["accepted_share"] = labels.accepted_share
    if (accuracy := labels.accuracy(truth)) is not None:
        values["label_accuracy"] = accuracy
    known = truth >= 0
    if bool(known.any()):
        right = labels.classes == truth
        values["all_labels_accuracy"] = float(right[known].float().mean())
        wrong = known & ~right
        if bool(wrong.any()):
            values["confidence_when_wrong"] = float(labels.confidence[wrong].mean())
        values |= recall_rarest(labels.classes, truth, data.labelled.labels, len(data.classes))
    return values


def recall_rarest(
    classes: Tensor, truth: Tensor, given: Tensor, num_classes: int
) -> dict[str, float]:
    """The mean recall of all labels, trusted or not, of the 3 classes with the fewest given labels;
    nothing where classes have equally many."""
    counts = torch.bincount(given, minlength=num_classes)
    if bool((counts == counts[0]).all()):
        return {}
    found = confusion(classes, truth, num_classes)
    recall = (found.diagonal() / found.sum(1))[counts.argsort(stable=True)[:3]]
    return {"label_recall_rarest": float(recall.nanmean())}
