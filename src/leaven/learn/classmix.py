"""ClassMix: the regions of some classes of one picture in another."""

from __future__ import annotations

import torch
from torch import Tensor

from leaven.draws import Draws
from leaven.errors import ConfigError


def classmix_mask(classes: Tensor, draws: Draws, num_classes: int, share: float = 0.5) -> Tensor:
    """The pixels of a random share of the classes that each map shows.

    Of the ``n`` classes present in a map ``ceil(share n)`` are drawn without replacement; the mask
    holds all of their pixels. Pixels without a class are never in it. Then
    ``mix(mask, target, source)`` pastes them, with their labels, onto another picture.

    Args:
        classes: (B, H, W) int64 in 0..K-1, or -1 where there is no class: labels or an argmax.
        draws: a draw per sample and class.
        num_classes: K.
        share: of the present classes, in [0, 1].

    Returns:
        (B, H, W) bool on the device of ``classes``.

    Raises:
        ConfigError: a share out of its bounds.

    Sources: Olsson et al., ClassMix, WACV 2021; the number rounded up as in Tranheden et al., DACS,
    WACV 2021. Used by: 036, 054, 093.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"share is {share:g}.", "a share in [0, 1]", "Set share=0.5.")
    count = len(classes)
    # Pixels without a class count for a class K that is never drawn.
    index = torch.where(classes < 0, num_classes, classes)
    present = torch.zeros(count, num_classes + 1, dtype=torch.bool, device=classes.device)
    present = present.scatter(1, index.flatten(1), True)
    present[:, num_classes] = False
    score = draws.uniform(count, num_classes + 1).to(classes.device) + 1
    rank = (score * present).argsort(1, descending=True).argsort(1)
    # Half of 3 is 1.5 exactly; a share such as 0.1 is not, and must not round 10 classes up to 2.
    wanted = (present.sum(1, keepdim=True) * share - 1e-6).ceil()
    chosen = present & (rank < wanted)
    return chosen.gather(1, index.flatten(1)).view_as(classes)
