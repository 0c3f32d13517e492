"""A loss of the tags of whole pictures, from scores that have places."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def tag_loss(scores: Tensor, tags: Tensor, share: float = 0.1) -> Tensor:
    """``-mean over pictures and classes of t log sigma(s) + (1 - t) log(1 - sigma(s))``.

    ``s`` is the mean of the highest scores of the picture. So scores are negative almost everywhere
    in a picture without the class, and positive ones say where it is seen (class activation maps).

    Args:
        scores: (B, K, h, w).
        tags: (B, K) bool, the classes that each picture shows.
        share: of the places whose scores are averaged, in [0, 1], one place at least. The fewer, the
            smaller the part of a thing that is found; with 1 scores have no meaning of their own.

    Returns:
        0-d, at least 0.

    Sources: Zhou et al., Learning deep features for discriminative localization, CVPR 2016; the
    highest places as in Durand et al., WILDCAT, CVPR 2017. Used by: 054.
    """
    places = scores.float().flatten(2)
    pooled = places.topk(max(1, int(share * places.shape[2])), 2).values.mean(2)
    return F.binary_cross_entropy_with_logits(pooled, tags.to(pooled.dtype))
