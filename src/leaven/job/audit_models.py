"""Models that judge labels they have not learnt from."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from leaven.data import Data, ImageSet
from leaven.data.dataset import T
from leaven.job.config import RunConfig
from leaven.methods import find_method
from leaven.models import load_backbone
from leaven.models.estimators import estimator_votes
from leaven.propose.predict import predict, predict_features
from leaven.quality.audit.folds import fold_numbers
from leaven.quality.audit.foreign import folded_share, neighbour_distance
from leaven.train import Budget, Recipe, trainer_of
from leaven.train.settings import find_processes

log = logging.getLogger(__name__)

BUDGETS = {"classification": 3000, "segmentation": 1200, "detection": 1200}
"""Steps of all nets together, where none are asked for."""

LOGISTIC = 0.1
"""The inverse strength of the regularisation of logistic regression on features of length 1 a
column."""

_BATCH = 256


@dataclass(frozen=True)
class Judge:
    """A net, and the items whose labels it has not learnt from.

    Attributes:
        items: (m,) int64, positions in the readable pictures.
        model: on its device, in eval mode.
        seen: (s,) int64, the items that it has learnt from; empty of the model of a run.
    """

    items: Tensor
    model: Any
    seen: Tensor


def judges(
    images: ImageSet[T],
    data: Data[T],
    config: RunConfig,
    fold: Tensor,
    *,
    show: bool,
) -> list[Judge]:
    """A net for each fold, trained by the supervised baseline on the other folds.

    Args:
        images: n pictures.
        data: of the same kind, for the names of the classes.
        config: task, model, budget (of all nets together), seed and device.
        fold: (n,) int64, the fold of each item; -1 of items that take no part.
        show: draw progress bars.
    """
    task = "detection" if config.task == "instance" else config.task
    count = int(fold.max()) + 1
    budget = Budget.parse(config.budget).share(1 / count)
    settings = replace(
        config.settings(show=show),
        budget=budget,
        evaluations=1,
        threads=config.threads or _threads(),
    )
    found = []
    for number in range(count):
        log.info("fold %d of %d: learning from the others", number + 1, count)
        held = (fold == number).nonzero().squeeze(1)
        rest = ((fold >= 0) & (fold != number)).nonzero().squeeze(1)
        part = replace(data, train=images.subset(rest), val=None, test=None)
        kind: Any = trainer_of(task)
        trainer = kind(part, None, replace(settings, seed=config.seed * 1009 + number))
        fitted = _method(task, budget, len(rest)).fit(trainer.data, trainer)
        found.append(Judge(held, fitted.model.eval(), rest))
    return found


def class_probs(images: ImageSet[Tensor], by: list[Judge], num_classes: int) -> Tensor:
    """(n, K) out-of-sample probabilities; NaN of items that nobody judges, and of items whose class
    their judge has never seen."""
    probs = torch.full((len(images), num_classes), torch.nan)
    for judge in by:
        said = predict(judge.model, images.subset(judge.items).pixels)
        if len(judge.seen):
            said[_unheard(images.labels, judge)] = torch.nan
        probs[judge.items] = said
    return probs


def foreign_by_folds(images: ImageSet[Tensor], by: list[Judge], unlabelled: Tensor) -> Tensor:
    """(u,) float64, the share of the labelled items that lies as far as each of ``unlabelled``.

    Each fold's net compares them with the items it has learnt from, and is gauged by those of its
    fold, which it has not seen either.
    """
    distances, calibrations = [], []
    for judge in by:
        if not len(judge.seen):
            continue
        reference, held, open_rows = (
            predict_features(judge.model, images.subset(rows).pixels)[1]
            for rows in (judge.seen, judge.items, unlabelled)
        )
        calibrations.append(neighbour_distance(held, reference))
        distances.append(neighbour_distance(open_rows, reference))
    return folded_share(distances, calibrations)


def backbone_rows(images: ImageSet[Any], config: RunConfig, progress: Any = None) -> Tensor:
    """(n, D) float32, what a frozen backbone says of each picture.

    Raises:
        ModelError: there is no such backbone.
    """
    assert config.features is not None
    _, device = find_processes(config.device)
    backbone = load_backbone(config.features, images.pixels.shape, weights=config.weights)
    backbone = backbone.to(device)
    parts = []
    for start in range(0, len(images), _BATCH):
        index = torch.arange(start, min(start + _BATCH, len(images)))
        parts.append(backbone(images.pixels.batch(index)).cpu())
        if progress is not None:
            progress(start + len(index), len(images))
    return torch.cat(parts)


def feature_probs(rows: Tensor, labels: Tensor, fold: Tensor, num_classes: int) -> Tensor:
    """(n, K) out-of-sample probabilities of logistic regression on features (n, D); NaN as in
    ``class_probs``. Each column is brought to mean 0 and spread 1 on the folds learnt from."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probs = torch.full((len(rows), num_classes), torch.nan)
    for number in range(int(fold.max()) + 1):
        held = (fold == number).nonzero().squeeze(1)
        rest = ((fold >= 0) & (fold != number)).nonzero().squeeze(1)
        if len(labels[rest].unique()) < 2:
            continue
        estimator = make_pipeline(StandardScaler(), LogisticRegression(C=LOGISTIC, max_iter=1000))
        estimator.fit(rows[rest].numpy(), labels[rest].numpy())
        said = estimator_votes(estimator, rows[held], num_classes).float()
        said[_unheard(labels, Judge(held, None, rest))] = torch.nan
        probs[held] = said
    return probs


def folds_of(strata: Tensor, groups: Tensor, known: Tensor, folds: int, seed: int) -> Tensor:
    """(n,) int64, the fold of each ``known`` item, -1 of the others; all -1 where there are too few."""
    fold = torch.full((len(strata),), -1)
    items = known.nonzero().squeeze(1)
    if len(items) >= 2 * folds:
        fold[items] = fold_numbers(strata[items], groups[items], folds, seed)
    return fold


def _unheard(labels: Tensor, judge: Judge) -> Tensor:
    """(m,) bool, the judge has seen no item of the class that the item was given."""
    heard = labels[judge.seen].unique()
    return ~torch.isin(labels[judge.items], heard)


def _method(task: str, budget: Budget, items: int) -> Any:
    """The supervised baseline, its average no longer than the training."""
    kind: Any = find_method("supervised", task)
    steps = budget.steps or 1000
    decay = max(0.5, 1 - 10 / steps)
    if task != "classification":
        return kind(ema=min(0.99, decay))
    recipe = Recipe(lr=0.05, schedule="cosine")
    return kind(batch=min(64, items), ema=min(0.999, decay), recipe=recipe)


def _threads() -> int:
    """As many as there are: a timing would choose otherwise from run to run, and sum otherwise."""
    return torch.get_num_threads()
