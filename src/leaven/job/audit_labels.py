"""Given labels judged by models that have not learnt from them, in each task."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from leaven.data import Data, ImageSet
from leaven.data.open_annotated import classes_present
from leaven.data.placement import factors
from leaven.job.audit_data import Audited
from leaven.job.audit_models import (
    Judge,
    backbone_rows,
    class_probs,
    feature_probs,
    folds_of,
    judges,
)
from leaven.job.config import RunConfig
from leaven.labels.boxes import BoxLabels
from leaven.plain import counted
from leaven.propose.boxes import predict_boxes
from leaven.propose.dense import predict_maps
from leaven.quality.audit import AuditFinding, box_errors, label_errors, pixel_errors
from leaven.quality.audit.findings import Box
from leaven.quality.detection import detection_scores
from leaven.quality.segmentation import SegmentationMeter

log = logging.getLogger(__name__)

WEAK = 0.5
"""Models that agree with fewer of the given labels are named as weak."""

_BATCH = 16


@dataclass
class LabelAudit:
    """What was found of the labels, and how.

    Attributes:
        findings: wrong labels.
        about: for ``audit.json``.
        notes: what people should know.
        judges: the models.
        rows: (n, D) features of the readable pictures, where they were asked for.
    """

    findings: list[AuditFinding] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    judges: list[Judge] = field(default_factory=list)
    rows: Tensor | None = None

    def weak(self, how: str, more: str = "--budget") -> None:
        """Says that the models hardly agree with what is given."""
        self.notes.append(
            f"The models {how}: either many are wrong, or the models are weak and accuse right "
            f"labels. A larger {more} helps."
        )


def audit_labels(
    whole: Audited, config: RunConfig, groups: Tensor, folds: int, *, show: bool
) -> LabelAudit:
    """The labels that are probably wrong.

    Labels that a run has not seen are judged by its model, all others by folds.

    Args:
        whole: the data.
        config: the options.
        groups: (n,) of all pictures, equal for copies.
        folds: at least 2.
        show: draw progress bars.
    """
    found, images = LabelAudit(), whole.images
    if images is None or not bool(images.known.any()):
        found.notes.append("Nothing is labelled: there are no labels to look at.")
        found.about = {"judged": 0, "by_run": 0, "by_folds": 0}
        return found
    if config.task == "classification" and len(whole.classes) < 2:
        found.notes.append("There is one class: its labels cannot be told from others.")
        found.about = {"judged": 0, "by_run": 0, "by_folds": 0}
        return found
    seen = whole.seen[whole.rows]
    asked = whole.model is not None and config.features is None
    by_run = images.known & ~seen & asked
    by_folds = images.known & ~by_run
    fold = folds_of(_strata(whole), groups[whole.rows], by_folds, folds, config.seed)
    if bool(by_folds.any()) and int(fold.max()) < 0:
        found.notes.append(
            f"Too few for {folds} folds: {counted(int(by_folds.sum()), 'label')}. None was looked at."
        )
    if config.features is None and int(fold.max()) >= 0:
        data = Data(whole.name, whole.classes, images, flip=whole.flip)
        found.judges = judges(images, data, config, fold, show=show)
    if config.features is not None:
        found.rows = backbone_rows(images, config)
    elif bool(by_run.any()):
        items = by_run.nonzero().squeeze(1)
        found.judges.append(Judge(items, whole.model, torch.zeros(0, dtype=torch.int64)))
    found.about = {
        "judged": 0,
        "by_run": int(by_run.sum()),
        "by_folds": int((fold >= 0).sum()),
        "folds": folds,
    }
    if config.task == "classification":
        _classes(whole, images, fold, found)
    elif config.task == "segmentation":
        _pixels(whole, images, found)
    else:
        _boxes(whole, images, found)
    return found


def _strata(whole: Audited) -> Tensor:
    """(r,) int64: the class of each readable picture, or the rarest class in it."""
    assert whole.images is not None
    labels = whole.images.labels
    if isinstance(labels, Tensor):
        return labels
    present = classes_present(whole.images, torch.arange(len(labels)), len(whole.classes))
    rare = torch.where(present, present.sum(0), len(labels) + 1)
    return torch.where(present.any(1), rare.argmin(1), len(whole.classes))


def _classes(
    whole: Audited,
    images: ImageSet[Tensor],
    fold: Tensor,
    found: LabelAudit,
) -> None:
    count = len(whole.classes)
    if found.rows is None:
        probs = class_probs(images, found.judges, count)
    else:
        probs = feature_probs(found.rows, images.labels, fold, count)
    judged = images.known & probs.isfinite().all(1)
    found.about["judged"] = int(judged.sum())
    left_out = int(images.known.sum() - judged.sum())
    if left_out:
        found.notes.append(
            f"{counted(left_out, 'label')} {'was' if left_out == 1 else 'were'} not judged: too few others "
            "of the same class to learn from."
        )
    if not bool(judged.any()):
        return
    errors = label_errors(images.labels, probs)
    agreed = float((errors.suggested[judged] == images.labels[judged]).float().mean())
    found.about |= {"agreement": round(agreed, 4), "wrong_share": round(errors.share, 4)}
    if agreed < WEAK:
        found.weak(f"agree with {100 * agreed:.0f} % of the given labels", "--budget or --features")
    for item in errors.items.tolist():
        given, suggested = int(images.labels[item]), int(errors.suggested[item])
        row, right = int(whole.rows[item]), float(errors.quality[item])
        likely = float(probs[item, suggested])
        found.findings.append(
            AuditFinding(
                "label",
                whole.names[row],
                whole.splits[row],
                1 - right,
                f"given {whole.classes[given]} ({100 * right:.1f} %), "
                f"looks like {whole.classes[suggested]} ({100 * likely:.0f} %)",
                fault="class",
                given=whole.classes[given],
                suggested=whole.classes[suggested],
            )
        )


def _boxes(whole: Audited, images: ImageSet[BoxLabels], found: LabelAudit) -> None:
    parts, items = [], []
    for judge in found.judges:
        parts.append(
            replace(predict_boxes(judge.model, images.subset(judge.items).pixels), masks=None)
        )
        items.append(judge.items)
    if not items:
        return
    order = torch.cat(items)
    found.about["judged"] = len(order)
    labels, seen = images.labels.select(order).cpu(), BoxLabels.joined(parts).cpu()
    if bool((~labels.crowd).any()):
        agreed = detection_scores(seen, labels, len(whole.classes)).metrics()["map50"]
        found.about["agreement_map50"] = round(agreed, 4)
        if agreed < WEAK:
            found.weak(f"find the given boxes with an AP50 of {100 * agreed:.0f} %")
    faults = box_errors(labels, seen, len(whole.classes))
    sentence = {
        "class": "a box of {given} looks like {suggested}",
        "place": "a box of {given} lies elsewhere",
        "missing": "{suggested} without a box",
    }
    for fault in faults:
        item = int(order[fault.picture])
        given = None if fault.given < 0 else whole.classes[fault.given]
        suggested = whole.classes[fault.suggested]
        found.findings.append(
            _placed(
                whole,
                item,
                fault.box,
                score=fault.score,
                text=sentence[fault.kind].format(given=given, suggested=suggested),
                fault=fault.kind,
                given=given,
                suggested=suggested,
            )
        )


def _pixels(whole: Audited, images: ImageSet[Any], found: LabelAudit) -> None:
    order = torch.cat([judge.items for judge in found.judges]) if found.judges else None
    if order is None:
        return
    found.about["judged"] = len(order)
    meter = SegmentationMeter(len(whole.classes), border=0)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for judge in found.judges:
            start = 0
            for probs in predict_maps(judge.model, images.subset(judge.items).pixels, _BATCH):
                index = judge.items[start : start + len(probs)]
                given = images.labels[index].cpu()
                meter.add(probs.argmax(1).cpu(), given)
                yield given, probs.cpu()
                start += len(probs)

    for fault in pixel_errors(batches, len(whole.classes)):
        given, suggested = whole.classes[fault.given], whole.classes[fault.suggested]
        found.findings.append(
            _placed(
                whole,
                int(order[fault.picture]),
                fault.box,
                score=fault.score,
                text=f"{100 * fault.share:.1f} % of the picture, given {given}, looks like {suggested}",
                fault="pixels",
                given=given,
                suggested=suggested,
            )
        )
    if not int(meter.counts.sum()):
        return
    # The batches went by several times, each time alike: shares are those of one time.
    agreed = meter.metrics()["miou"]
    found.about["agreement_miou"] = round(agreed, 4)
    if agreed < WEAK:
        found.weak(
            f"agree with the given classes of pixels with a mean IoU of {100 * agreed:.0f} %"
        )


def _placed(whole: Audited, item: int, box: Box, **said: Any) -> AuditFinding:
    """A finding at a box of the readable picture ``item``, told in the picture as it was found."""
    assert whole.images is not None and whole.images.sizes is not None
    size = whole.images.sizes[item][None]
    _, height, width = whole.images.pixels.shape
    scale = factors(size, (height, width))[0].repeat(2)
    limit = size[0].flip(0).repeat(2).double()
    place = (torch.tensor(box, dtype=torch.float64) / scale).clamp_min(0).minimum(limit)
    row = int(whole.rows[item])
    corners = tuple(round(value, 1) for value in place.tolist())
    return AuditFinding("label", whole.names[row], whole.splits[row], box=corners, **said)
