"""Losses on logits: all are means over the whole batch and safe at extreme logits.

Each takes logits of any floating dtype, computes in float32 or wider and returns a 0-d tensor.
An empty batch has loss 0. Logits have to be finite: where they are not, neither is the loss.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross entropy to hard or soft targets, the mean over all items of the batch.

    ``loss = 1 / Z * sum_i weight_i sum_k class_weight_k s_ik * -log softmax(logits_i)_k`` with
    ``s = (1 - label_smoothing) * t + label_smoothing / K`` and ``t`` the targets as
    distributions. ``Z = B`` without class weights: an item of weight 0 still counts in the mean,
    so that the loss grows with the number of trusted items. With class weights
    ``Z = sum_i sum_k class_weight_k t_ik``, the weighted mean of
    ``torch.nn.functional.cross_entropy``, which a common factor of the class weights leaves as
    it is; ``weight`` does not enter ``Z``.

    Args:
        logits: (B, K).
        targets: (B,) int64 classes in 0 ... K - 1, or (B, K) rows that sum to 1.
        weight: (B,) in [0, 1], how far each target is trusted; 1 for all when None.
        class_weight: (K,), not negative.
        label_smoothing: in [0, 1].

    Returns:
        0-d, >= 0. Gradients flow to the logits, and to soft targets unless they are detached.

    Used by: supervised, FixMatch, 002, 006, 007, 077.
    """
    log_probs = _log_softmax(logits)
    if targets.is_floating_point():
        targets = targets.to(log_probs.dtype)
    pull = -_expected(log_probs, targets, class_weight)
    if label_smoothing:
        flat = log_probs if class_weight is None else log_probs * class_weight
        pull = (1 - label_smoothing) * pull - label_smoothing * flat.mean(1)
    if weight is not None:
        pull = pull * weight
    if class_weight is None:
        return _mean(pull)
    mass = _expected(class_weight.to(log_probs.dtype).expand_as(log_probs), targets, None).sum()
    return pull.sum() / mass.clamp_min(torch.finfo(mass.dtype).tiny)


def entropy(logits: Tensor) -> Tensor:
    """The mean entropy of the outputs; its descent makes every output more confident.

    ``R_H = -1 / B sum_i sum_k p_ik log p_ik``, ``p = softmax(logits)``

    Args:
        logits: (B, K).

    Returns:
        0-d in [0, log K]: 0 at one-hot outputs, log K at uniform ones.

    Source: Grandvalet and Bengio, NeurIPS 2004; Arazo et al., IJCNN 2020. Used by: 007.
    """
    log_probs = _log_softmax(logits)
    return _mean(-(log_probs.exp() * log_probs).sum(1))


def mean_prior(logits: Tensor, prior: Tensor | None = None) -> Tensor:
    """Holds the mean output of a batch to a class prior, against the collapse to few classes.

    ``R_A = -sum_k prior_k log pbar_k``, ``pbar = 1 / B sum_i softmax(logits_i)``. It equals the
    divergence KL(prior, pbar) up to a constant. ``log pbar`` is formed without leaving the
    logarithm, so a class that nobody is given keeps a finite loss and a gradient.

    Args:
        logits: (B, K).
        prior: (K,) that sums to 1; uniform when None.

    Returns:
        0-d; least where ``pbar`` is the prior, for the uniform one ``log K``.

    Source: Tanaka et al., CVPR 2018; Arazo et al., IJCNN 2020. Used by: 007.
    """
    if len(logits) == 0:
        return logits.sum()
    log_mean = _log_softmax(logits).logsumexp(0) - math.log(len(logits))
    return -log_mean.mean() if prior is None else -(prior * log_mean).sum()


def instance_similarity_loss(similarity: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy between two distributions over labelled items.

    ``L_in = 1 / B sum_i sum_j -qhat_ij log softmax(similarity_i)_j``: how the strong view is
    spread over the labelled items is pulled to the calibrated spread of the weak view. No
    threshold; a row of zeros has no target and loss 0.

    Args:
        similarity: (B, n), cosine similarities of the strong view over the temperature.
        targets: (B, n), ``qhat``, rows that sum to 1; taken as constant.

    Source: Zheng et al., SimMatch, CVPR 2022. Used by: 077.
    """
    return cross_entropy(similarity, targets.detach())


def _log_softmax(logits: Tensor) -> Tensor:
    return logits.log_softmax(1, dtype=torch.promote_types(logits.dtype, torch.float32))


def _expected(values: Tensor, targets: Tensor, class_weight: Tensor | None) -> Tensor:
    """``sum_k class_weight_k t_ik values_ik`` (B,), without forming one-hot rows."""
    if class_weight is not None:
        values = values * class_weight.to(values.dtype)
    if targets.is_floating_point():
        return (targets * values).sum(1)
    return values.gather(1, targets.unsqueeze(1)).squeeze(1)


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(1, len(values))
