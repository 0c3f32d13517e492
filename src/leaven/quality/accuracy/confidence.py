"""A model that is as often right as it says: its mean confidence is its accuracy."""

from __future__ import annotations

from torch import Tensor

from leaven.quality.calibration import calibrate


def average_confidence(probs: Tensor, temperature: float = 1.0) -> float:
    """``1 / n sum_i max_k softmax(log(p_i) / temperature)_k``.

    As good as the calibration of the model on these very pictures: a temperature of held-out items
    is fair on items of their kind, and too high where the model is surer than right on others.

    Args:
        probs: (n, K) rows that sum to 1, n >= 1.
        temperature: of ``fit_temperature`` on held-out items; 1 takes the confidence as it is.

    Returns:
        The estimate in [1 / K, 1].

    Raises:
        ValueError: no items.

    Source: Hendrycks and Gimpel, ICLR 2017; Guo et al., ICML 2017.
    """
    if len(probs) == 0:
        raise ValueError("there is no accuracy of no items")
    return float(calibrate(probs, temperature).max(1).values.double().mean())
