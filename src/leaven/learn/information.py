"""Outputs that are sure one by one and different all together."""

from __future__ import annotations

import torch
from torch import Tensor


def information_loss(logits: Tensor) -> Tensor:
    """Minus the information that the outputs carry about the pictures: ``mean_i H(p_i) - H(pbar)``.

    ``p = softmax(logits)``, ``pbar = 1 / B sum_i p_i`` and ``H`` the entropy in nats. Its descent
    makes each output sure (the first term) and keeps all classes in use over the batch (the
    second), so that sureness is not bought by saying one class of everything.

    Args:
        logits: (B, K) of any floating dtype; computed in float32 or wider.

    Returns:
        0-d in [-log K, 0]: -log K where every output is sure and all classes are said equally
        often, 0 where all outputs are the same. 0 of an empty batch.

    Source: Krause et al., Regularized information maximization, NeurIPS 2010; Liang et al., SHOT,
    ICML 2020. Used by: SHOT, 023.
    """
    probs = logits.softmax(1, dtype=torch.promote_types(logits.dtype, torch.float32))
    if len(probs) == 0:
        return probs.sum()
    each = torch.special.entr(probs).sum(1).mean()
    return each - torch.special.entr(probs.mean(0)).sum()
