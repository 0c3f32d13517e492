"""Where in a picture its tags are seen: class activation maps, and the pixels they are sure of."""

from __future__ import annotations

import torch
from torch import Tensor

from leaven.labels.classes import UNKNOWN


def class_activation_maps(scores: Tensor, tags: Tensor) -> Tensor:
    """``(r_c(x) - min r_c) / (max r_c - min r_c)``, ``r = max(0, s)``, of the classes of the tags.

    Args:
        scores: (B, K, h, w), what a classifier of tags says of each place.
        tags: (B, K) bool, the classes that each picture shows.

    Returns:
        (B, K, h, w) in [0, 1]; zeros for other classes, and for one without a positive score.

    Source: Zhou et al., Learning deep features for discriminative localization, CVPR 2016; the range
    as in Ru et al., AFA, CVPR 2022. Used by: 054.
    """
    positive = scores.clamp_min(0)
    lowest, highest = positive.amin((2, 3), keepdim=True), positive.amax((2, 3), keepdim=True)
    spread = (highest - lowest).clamp_min(torch.finfo(scores.dtype).eps)
    return (positive - lowest) / spread * tags[:, :, None, None]


def activated_classes(
    activations: Tensor, tags: Tensor, high: float, low: float, background: int | None = None
) -> Tensor:
    """The class of the pixels that activation maps are sure of.

    Where the highest activation of a pixel reaches ``high``, its class; where it is at most
    ``low``, the background; between them, or without a background, nothing. Nor is anything sure
    background in a picture of which a tag is activated nowhere: it may be there.

    Args:
        activations: (B, K, H, W) in [0, 1]; the background's own is not looked at.
        tags: (B, K) bool, the classes that each picture shows.
        high, low: ``low < high``.
        background: its class, or None where every class has tags.

    Returns:
        (B, H, W) int64, -1 where nothing is said.

    Source: thresholds as in Ru et al., AFA, CVPR 2022. Used by: 054.
    """
    if background is None:
        highest, classes = activations.max(1)
        return torch.where(highest >= high, classes, UNKNOWN)
    own = torch.arange(activations.shape[1], device=activations.device) == background
    activations = activations.masked_fill(own[:, None, None], 0)
    found = (~tags | own | (activations.amax((2, 3)) > 0)).all(1)
    highest, classes = activations.max(1)
    classes = torch.where(highest >= high, classes, UNKNOWN)
    return torch.where((highest <= low) & found[:, None, None], background, classes)
