"""Label, Verify, Correct on blood cells: two kinds of cells with five boxes each."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from claims.harness import Claim, Gain, Level, Measure
from claims.sources import folder
from leaven.data import Data
from leaven.data.open_annotated import open_boxes
from leaven.labels import BoxLabels
from leaven.methods.detection.label_verify_correct import LabelVerifyCorrect, Sources
from leaven.models.detection import Regions, TwoStage, best_overlap
from leaven.train import BoxTrainer, Budget, Recipe, Settings

NOVEL, SHOTS = ("WBC", "Platelets"), 5
NEAR = 0.3
"""IoU from which a new box is of a true cell, however sloppy it is."""
SMALL: dict[str, Any] = {
    "widths": [16, 32, 64, 96],
    "channels": 32,
    "hidden": 64,
    "box": {"dropout": 0.2},
}
FINE = Recipe(optimizer="adamw", lr=1e-3, weight_decay=1e-4, schedule="poly", clip=10)
# Lengths are steps here: the budget of a run is their sum. The score is that from which, on the
# training photos of a seed that is not used, boxes of new classes were many and nearly all right.
METHOD: dict[str, Any] = {
    "novel": NOVEL,
    "base_length": 1000,
    "novel_length": 100,
    "shots_length": 1000,
    "descriptor_length": 200,
    "correct_length": 400,
    "correct_shots_length": 200,
    "final_length": 1000,
    "score": 0.3,
    "mosaic": 0.2,
    "fine_recipe": FINE,
}
FULL = LabelVerifyCorrect(**METHOD)
NAIVE = LabelVerifyCorrect(**METHOD, verify=False, correct=False, ignore=False)


def cells(seed: int) -> Data[BoxLabels]:
    """All photos with the boxes of red cells, and five boxes of each other kind."""
    data = open_boxes(folder("bccd"), image_size=(120, 160), seed=seed)
    labels = data.train.labels
    kept = torch.ones(len(labels.boxes), dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    for name in NOVEL:
        rows = (labels.classes == data.classes.index(name)).nonzero().squeeze(1)
        kept[rows] = False
        kept[rows[torch.randperm(len(rows), generator=generator)[:SHOTS]]] = True
    return replace(data.with_train(replace(data.train, labels=labels.keep(kept))), val=None)


def trainer_for(method: LabelVerifyCorrect, seed: int) -> BoxTrainer:
    """On the data of ``seed``, with a step for each unit of length."""
    settings = Settings(
        budget=Budget(steps=round(method.length)),
        seed=seed,
        options=SMALL,
        threads=torch.get_num_threads(),
        evaluations=1,
    )
    return BoxTrainer(cells(seed), None, settings)


@cache
def runs(seed: int) -> dict[str, dict[str, float]]:
    """The values of all variants: they share the few-shot detector that they begin with."""
    trainer = trainer_for(FULL, seed)
    detector = FULL.detector(trainer.data, trainer)
    sources = FULL.sources(trainer.data, trainer, detector)
    model = FULL.end_to_end(trainer.data, trainer, detector, sources)
    other = trainer_for(NAIVE, seed)
    naive = NAIVE.sources(other.data, other, detector)
    plain = NAIVE.end_to_end(other.data, other, detector, naive)
    return {
        "few-shot": tested(trainer, detector),
        "naive": tested(other, plain) | new_boxes(other.data, naive),
        "label-verify-correct": tested(trainer, model) | new_boxes(trainer.data, sources),
    }


def tested(trainer: BoxTrainer, model: TwoStage) -> dict[str, float]:
    """AP50 on the test photos, of the new cells (``novel_ap50``) and the others (``base_ap50``)."""
    scores = trainer.judge(model, trainer.data.test)
    assert scores is not None
    each = dict(zip(trainer.data.classes, scores.per_class()["ap50"].tolist(), strict=True))
    novel = [each[name] for name in NOVEL]
    base = [value for name, value in each.items() if name not in NOVEL]
    values = {f"ap50_{name}": value for name, value in each.items()}
    return values | {
        "map50": scores.metrics()["map50"],
        "novel_ap50": sum(novel) / len(novel),
        "base_ap50": sum(base) / len(base),
    }


def new_boxes(data: Data[BoxLabels], sources: Sources) -> dict[str, float]:
    """Of the new boxes the share whose class is right (``candidate_precision`` before and
    ``class_precision`` after the vote), their gain, and the mean IoU of the right ones before and
    after they were moved."""
    truth = data.train.truth.cpu()
    first, verified = (same_class(some, truth) for some in (sources.candidates, sources.verified))
    moved = same_class(sources.corrected, truth)
    right = verified >= NEAR
    values = {
        "candidates": float(len(first)),
        "kept": float(len(verified)),
        "candidate_precision": _mean((first >= NEAR).float()),
        "class_precision": _mean(right.float()),
        "verified_iou": _mean(verified[right]),
        "corrected_iou": _mean(moved[right]),
    }
    values["precision_gain"] = values["class_precision"] - values["candidate_precision"]
    values["iou_gain"] = values["corrected_iou"] - values["verified_iou"]
    return values


def same_class(labels: BoxLabels, truth: BoxLabels) -> Tensor:
    """(m,) the best IoU of each box with a true one of its class."""
    best = torch.zeros(len(labels.boxes))
    for number in labels.classes.unique().tolist():
        rows = labels.classes == number
        regions = Regions(labels.boxes[rows], labels.pictures[rows])
        best[rows] = best_overlap(regions, truth.keep(truth.classes == number))
    return best


def _mean(values: Tensor) -> float:
    return float(values.mean()) if len(values) else 0.0


def variant(name: str) -> Measure:
    """The values of one variant."""
    return lambda seed: dict(runs(seed)[name])


CLAIM = Claim(
    method="label-verify-correct",
    statement="Neighbours weed out boxes of wrong classes, the corrector tightens the others, and "
    "the detector that learns from them finds the new cells better and the old ones no worse.",
    setting="BCCD blood cells at 120x160, 205 photos with all boxes of red cells and 5 of white "
    "cells and of platelets each, rcnn-small of widths 16-32-64-96 with 32 channels and a dropout of "
    "0.2, no trained weights, mosaics with probability 0.2. Steps of 4 photos: 1000 on red cells, 100 "
    "for the outputs of the new cells, 1000 on shots, 400 and 200 for the corrector, 1000 at the end; "
    "a descriptor learns 200 steps on crops. AdamW of 2e-3, of 1e-3 for the outputs of the new cells and "
    "for shots; the last steps are at 2e-3 too, where the paper has the rate of the shots. "
    "Boxes with a score of 0.3 or more are candidates: after so few steps hardly one has 0.8. naive: "
    "all of them.",
    variants={name: variant(name) for name in ("few-shot", "naive", "label-verify-correct")},
    expect=(
        Level("label-verify-correct", 10.0, metric="precision_gain"),
        Level("label-verify-correct", 5.0, metric="iou_gain"),
        Gain("label-verify-correct", "naive", 2.0, metric="novel_ap50"),
        Gain("label-verify-correct", "few-shot", 5.0, metric="novel_ap50"),
        Gain("label-verify-correct", "few-shot", -1.0, metric="base_ap50"),
    ),
    note="Candidates are right in 89 of 100 cases here, so that neighbours have little to weed out. With "
    "0.8 as the score there were 14 candidates in 205 photos, and the last training forgot the new "
    "cells (9.5 %, the few-shot detector 46.1 %; measured before, by the same seeds). An earlier version learnt every "
    "labelled photo in the last step, ignored unsure boxes in every photo and moved boxes about their centres as "
    "noise: naive 53.8, label-verify-correct 65.6 %. The authors' code, which is followed now, learns photos "
    "with kept boxes or shots alone.",
    metric="novel_ap50",
)
