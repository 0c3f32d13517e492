"""How right pseudo-boxes are: of each class, in their places, and as the background they leave."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from scipy.stats import spearmanr
from torch import Tensor

from claims.measures import measured
from leaven.data import Data, Sample
from leaven.data.transforms import Geometry
from leaven.labels import BoxLabels
from leaven.methods.detection.certainty_aware import CertaintyAware, mass_of
from leaven.methods.detection.few_boxes import BoxRun
from leaven.methods.detection.soft_teacher import SoftTeacher
from leaven.methods.detection.teacher import Step, TeacherBoxes
from leaven.methods.detection.two_stage_teacher import two_stage
from leaven.models.detection import Regions, best_overlap
from leaven.quality.detection import match_boxes
from leaven.train import BoxTrainer, Budget, Settings
from leaven.train.batch import Batch

Figures = Callable[[Any, BoxRun], dict[str, float]]
"""(method, finished run) -> values by name."""

RARE = ("WBC", "Platelets")
"""The classes of the blood cells that are a tenth as frequent as the third."""


@dataclass(frozen=True)
class Trained:
    """An experiment: a method is trained as the harness would, and looked at with its teacher.

    Attributes:
        method, figures: what is trained, and what is measured of it besides the usual values.
        data: seed -> the data.
        budget, model, precision, options: of the run.
    """

    method: TeacherBoxes
    figures: Figures
    data: Callable[[int], Data[BoxLabels]]
    budget: Budget
    model: str = "rcnn-small"
    precision: str = "fp32"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, seed: int) -> dict[str, float]:
        settings = Settings(
            budget=self.budget,
            seed=seed,
            model=self.model,
            options=dict(self.options),
            threads=torch.get_num_threads(),
            evaluations=1,
            precision=self.precision,
        )
        trainer = BoxTrainer(self.data(seed), None, settings)
        run = self.method.train(trainer)
        fitted = self.method.fitted(trainer, self.method.final(run))
        return measured(trainer, fitted) | self.figures(self.method, run)


def looks(method: TeacherBoxes, run: BoxRun, size: int = 8) -> Iterator[tuple[Step, BoxLabels]]:
    """Steps on all unlabelled pictures in turn, none of which is taken, and the truth of each."""
    unlabelled = run.trainer.data.unlabelled
    for first in range(0, len(unlabelled), size):
        items = torch.arange(first, min(first + size, len(unlabelled)))
        images = unlabelled.pixels.batch(items).to(run.trainer.device)
        truth = unlabelled.truth[items].to(run.trainer.device)
        sample = Sample(images, truth, items.to(run.trainer.device))
        run.batch = Batch(run.batch.step, 1.0, {"unlabelled": sample})
        yield method.look(run), truth


@torch.no_grad()
def background(method: SoftTeacher, run: BoxRun) -> dict[str, float]:
    """Of the regions that teach background, the share that truly shows a cell.

    ``false_background`` counts each by its weight, ``false_background_plain`` by one: both of the
    same regions; ``false_background_fall`` is by how much of the latter the former is less.
    """
    student, sums = two_stage(run.student), torch.zeros(4, dtype=torch.float64)
    for step, truth in looks(method, run):
        features = student.features(step.strong.images)
        regions = student.propose(student.rpn(features))
        chosen = student.sample(regions, method.taught(step).labels, run.draws)
        weight = method.region_weight(step, chosen)
        cells = step.strong.geometry.labels(truth)
        missed = (best_overlap(chosen.regions, cells) >= 0.5) & ~chosen.positive
        weighed, counted = weight * ~chosen.positive, (~chosen.positive).float()
        parts = (weighed * missed, weighed, missed.float(), counted)
        sums += torch.stack([part.sum() for part in parts]).double().cpu()
    soft, plain = float(sums[0] / sums[1]), float(sums[2] / sums[3])
    fall = 1 - soft / plain if plain else 0.0
    return {
        "false_background": soft,
        "false_background_plain": plain,
        "false_background_fall": fall,
    }


@torch.no_grad()
def places(method: SoftTeacher, run: BoxRun) -> dict[str, float]:
    """The IoU with the truth of the boxes of small spread, and of as many of the highest score.

    Where no box is kept by its spread there is nothing to compare, and the gain is 0.
    """
    columns: list[tuple[Tensor, Tensor, Tensor]] = []
    for step, truth in looks(method, run):
        overlap = _overlap(step.kept.labels, step.weak.geometry, truth)
        columns.append((step.kept["spread"], step.kept.scores, overlap))
    spread, scores, overlap = (torch.cat(column) for column in zip(*columns, strict=True))
    tight = spread < method.spread
    values = {"tight_share": float(tight.float().mean()) if len(tight) else 0.0, "tight_gain": 0.0}
    if bool(tight.any()):
        surest = scores.argsort(descending=True)[: int(tight.sum())]
        values["tight_iou"] = float(overlap[tight].mean())
        values["surest_iou"] = float(overlap[surest].mean())
        values["tight_gain"] = values["tight_iou"] - values["surest_iou"]
    return values


def background_and_places(method: SoftTeacher, run: BoxRun) -> dict[str, float]:
    """Both."""
    return background(method, run) | places(method, run)


@torch.no_grad()
def certainties(method: CertaintyAware, run: BoxRun) -> dict[str, float]:
    """Rank correlations of both certainties with the IoU of the teacher's boxes, and precision and
    recall of the pseudo-boxes of the rare classes."""
    columns: list[tuple[Tensor, Tensor, Tensor]] = []
    kept, truths = [], []
    noted = mass_of(run).noted.clone()
    for step, truth in looks(method, run):
        found = step.found
        quality = found.columns.get("quality", torch.ones_like(found.scores))
        columns.append((quality, found.scores, _overlap(found.labels, step.weak.geometry, truth)))
        kept.append(step.kept.labels.cpu())
        truths.append(step.weak.geometry.labels(truth).cpu())
    mass_of(run).noted.copy_(noted)
    quality, scores, overlap = (torch.cat(column).cpu() for column in zip(*columns, strict=True))
    values = {"rank_score": _rank(scores, overlap)}
    if method.box_head == "bucket":
        values["rank_place"] = _rank(quality, overlap)
        values["rank_gain"] = values["rank_place"] - values["rank_score"]
    return values | _rare(BoxLabels.joined(kept), BoxLabels.joined(truths), run)


def _rare(kept: BoxLabels, truth: BoxLabels, run: BoxRun) -> dict[str, float]:
    classes = run.trainer.data.classes
    rare = torch.tensor([name in RARE for name in classes])
    some = kept.keep(rare[kept.classes])
    matches = match_boxes(some, truth.keep(rare[truth.classes]), len(classes))
    values = {f"rare_{name}": value for name, value in matches.metrics().items()}
    return {name: value if value == value else 0.0 for name, value in values.items()}


def _overlap(labels: BoxLabels, geometry: Geometry, truth: BoxLabels) -> Tensor:
    """(m,) the IoU of boxes of a view with the best of the things in it."""
    return best_overlap(Regions(labels.boxes, labels.pictures), geometry.labels(truth))


def _rank(first: Tensor, second: Tensor) -> float:
    """Spearman's correlation; 0 where one of both is constant."""
    if len(first) < 2 or not bool((first != first[0]).any() & (second != second[0]).any()):
        return 0.0
    return float(cast("Any", spearmanr(first.numpy(), second.numpy())).statistic)
