"""Given classes that are probably wrong: confident learning on out-of-sample probabilities."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from leaven.errors import MissingExtraError

Filter = Literal[
    "prune_by_noise_rate",
    "prune_by_class",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_normalized_margin",
    "low_self_confidence",
]


SUREST = 0.1
"""The share of the items, those a model is surest of, by which wrong labels are counted."""

LEAST_SURE = 100
"""Fewer items say too little of a share."""

CONFIDENCE = 0.95
"""Of the bound on the share of wrong labels."""


@dataclass(frozen=True)
class LabelErrors:
    """What is thought of ``n`` given labels.

    Attributes:
        items: (m,) int64, the labels that are probably wrong, the surest first.
        quality: (n,) float64 in [0, 1], the probability that the given label is right; 1 where
            nothing can be said.
        suggested: (n,) int64, the likeliest class; -1 where nothing can be said.
    """

    items: Tensor
    quality: Tensor
    suggested: Tensor

    @property
    def share(self) -> float:
        """The share of the labels that are probably wrong."""
        return len(self.items) / max(1, len(self.quality))


def label_errors(
    labels: Tensor,
    probs: Tensor,
    *,
    filter_by: Filter = "prune_by_noise_rate",
    surest: float = SUREST,
) -> LabelErrors:
    """Which of the given classes are probably wrong, by confident learning (cleanlab).

    cleanlab estimates from probabilities and labels how often each class is taken for each other
    one, and so how many labels are wrong; ``filter_by`` says which these are. A label is never an
    error where the likeliest class is the given one. The order is by the probability of the given
    class. Classes that no label has are left out, and the rest of the probabilities made to sum to
    1.

    cleanlab's estimate takes errors of a weak model for errors of people. So no more labels are
    said to be wrong than ``wrong_at_most`` allows: as large a share as, where the model is surest,
    may differ from the likeliest class. There a model hardly errs, whatever it does elsewhere. The
    labels that are left out by it are the least sure ones.

    Args:
        labels: (n,) int64, the given classes; -1 where nothing is said.
        probs: (n, K), of models that have not learnt from the label of the item itself. Rows with
            NaN say nothing: such items are not judged.
        filter_by: see ``cleanlab.filter.find_label_issues``.
        surest: the share of the items by which that is measured; 0 for cleanlab alone.

    Raises:
        MissingExtraError: without cleanlab.
        ValueError: sizes that do not fit.

    Source: Northcutt et al., Confident learning, JAIR 2021.
    """
    find = cleanlab("cleanlab.filter").find_label_issues
    if probs.ndim != 2 or len(probs) != len(labels):
        raise ValueError(f"probs {tuple(probs.shape)} for {len(labels)} labels")
    quality = torch.ones(len(labels), dtype=torch.float64)
    suggested = torch.full((len(labels),), -1)
    judged = ((labels >= 0) & probs.isfinite().all(1)).nonzero().squeeze(1)
    there, given = labels[judged].unique(return_inverse=True)
    nothing = torch.zeros(0, dtype=torch.int64)
    if len(there) < 2:
        return LabelErrors(nothing, quality, suggested)
    own = probs[judged][:, there].double().clamp_min(1e-12)
    own = own / own.sum(1, keepdim=True)
    quality[judged] = own.gather(1, given[:, None]).squeeze(1)
    suggested[judged] = there[own.argmax(1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # One process: where there is little to do, starting others costs more.
        found = find(given.numpy(), own.numpy(), filter_by=filter_by, n_jobs=1)
    wrong = judged[torch.from_numpy(np.asarray(found, dtype=bool))]
    wrong = wrong[suggested[wrong] != labels[wrong]]
    wrong = wrong[quality[wrong].argsort(stable=True)]
    if surest > 0:
        wrong = wrong[: math.ceil(wrong_at_most(given, own, surest) * len(given))]
    return LabelErrors(wrong, quality, suggested)


def wrong_at_most(labels: Tensor, probs: Tensor, surest: float = SUREST) -> float:
    """How large the share of wrong ``labels`` (n,) may be, by the items a model is surest of.

    Of the items with the highest ``max_k p_ik`` - the ``surest`` share, at least 100 where there are
    so many - the labels that differ from the likeliest class are counted; the value is the upper
    95 % confidence bound (Clopper-Pearson) of their share. They are the wrong labels and the model's
    own errors there. Where wrong labels are rarer among clear pictures than among others it is too
    small.
    """
    from scipy.stats import beta

    count = min(len(labels), max(LEAST_SURE, round(surest * len(labels))))
    if count == 0:
        return 0.0
    confidence, likeliest = probs.max(1)
    rows = confidence.argsort(descending=True, stable=True)[:count]
    other = int((likeliest[rows] != labels[rows]).sum())
    return 1.0 if other == count else float(beta.ppf(CONFIDENCE, other + 1, count - other))


def cleanlab(module: str) -> Any:
    """A module of cleanlab.

    Raises:
        MissingExtraError: it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError("cleanlab", "audit", "finding wrong labels") from error
