"""scikit-learn estimators by name, and what every method asks of them.

An estimator is anything with ``fit(rows, labels)`` that says what it thinks of rows by
``predict_proba`` or ``decision_function`` and has ``classes_`` after ``fit``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leaven.errors import ConfigError, nearest


def _random_forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(n_estimators=200)


def _extra_trees() -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(n_estimators=200)


def _logistic_regression() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000)


def _svm() -> Any:
    from sklearn.svm import SVC

    return SVC()


def _knn() -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier()


def _naive_bayes() -> Any:
    from sklearn.naive_bayes import GaussianNB

    return GaussianNB(var_smoothing=1e-2)


ESTIMATORS: dict[str, Callable[[], Any]] = {
    "random-forest": _random_forest,
    "extra-trees": _extra_trees,
    "logistic-regression": _logistic_regression,
    "svm": _svm,
    "knn": _knn,
    "naive-bayes": _naive_bayes,
}


def build_estimator(kind: Any, seed: int, options: Mapping[str, Any] | None = None) -> Any:
    """A fresh, unfitted estimator.

    Args:
        kind: a name of ``ESTIMATORS``, or an estimator, of which a copy without what it has
            learnt is made.
        seed: for every ``random_state`` that is not set.
        options: parameters of the estimator, as for its ``set_params``.

    Raises:
        ConfigError: an unknown name or parameter, or an object that is no estimator.
    """
    if isinstance(kind, str) and kind not in ESTIMATORS:
        raise ConfigError(
            f"There is no estimator {kind!r}.",
            nearest(kind, ESTIMATORS),
            "choose one of these, or pass a scikit-learn estimator from Python",
        )
    estimator = ESTIMATORS[kind]() if isinstance(kind, str) else _copied(kind)
    try:
        estimator.set_params(**(options or {}))
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{type(estimator).__name__} cannot be set up: {error}",
            ", ".join(sorted(estimator.get_params(deep=False))),
            "correct the options of the estimator",
        ) from None
    unset = {
        name: seed
        for name, value in estimator.get_params().items()
        if name.split("__")[-1] == "random_state" and value is None
    }
    return estimator.set_params(**unset)


def fit_estimator(estimator: Any, rows: Tensor, labels: Tensor, weight: Tensor) -> Any:
    """Fits ``estimator`` to ``rows`` (n, D) with ``labels`` (n,), as far as it can by weight.

    The weights (n,) are divided by their mean: a forest does not notice, a regularised model
    would else be ruled by its regularisation. A pipeline hands them to its last step. Estimators
    without sample weights (nearest neighbours) treat all items alike. Of fewer rows than neighbours,
    all rows are the neighbours.
    """
    from sklearn.pipeline import Pipeline
    from sklearn.utils.validation import has_fit_parameter

    last = estimator.steps[-1] if isinstance(estimator, Pipeline) else ("", estimator)
    extra = {}
    if has_fit_parameter(last[1], "sample_weight"):
        name = f"{last[0]}__sample_weight" if last[0] else "sample_weight"
        extra = {name: (weight / weight.mean()).double().numpy()}
    if getattr(last[1], "n_neighbors", None) is not None:
        last[1].set_params(n_neighbors=min(last[1].n_neighbors, len(rows)))
    return estimator.fit(rows.numpy(), labels.numpy(), **extra)


def estimator_votes(estimator: Any, rows: Tensor, num_classes: int) -> Tensor:
    """(n, K) float64: what a fitted estimator says of ``rows`` (n, D); rows sum to 1.

    ``predict_proba``, or ``softmax`` of ``decision_function`` (the logistic function of a single
    score) where there is none, with a column of 0 for every class that it has not seen.
    """
    votes = torch.zeros(len(rows), num_classes, dtype=torch.float64)
    if len(rows) == 0:
        return votes
    if hasattr(estimator, "predict_proba"):
        said = torch.from_numpy(np.asarray(estimator.predict_proba(rows.numpy()), np.float64))
    else:
        scores = torch.from_numpy(np.asarray(estimator.decision_function(rows.numpy())))
        if scores.ndim == 1:
            scores = torch.stack([torch.zeros_like(scores), scores], 1)
        said = scores.double().softmax(1)
    seen = torch.as_tensor(np.asarray(estimator.classes_), dtype=torch.int64)
    votes[:, seen] = said
    return votes


def _copied(kind: Any) -> Any:
    from sklearn.base import clone

    try:
        return clone(kind)
    except TypeError as error:
        raise ConfigError(
            f"{kind!r} is no estimator: {error}",
            "an object with get_params, set_params and fit, as scikit-learn's",
            f"derive it from sklearn.base.BaseEstimator, or choose one of {sorted(ESTIMATORS)}",
        ) from None
