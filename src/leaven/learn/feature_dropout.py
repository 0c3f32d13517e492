"""Channels of feature maps left out: a change of a view that is made inside the network."""

from __future__ import annotations

from torch import Tensor

from leaven.draws import Draws


def drop_channels(maps: Tensor, draws: Draws, probability: float = 0.5) -> Tensor:
    """Sets whole channels to 0 and makes the others larger, so that the mean stays.

    ``maps_bc * keep_bc / (1 - probability)``, ``keep_bc`` true with ``1 - probability``. Unlike
    torch's ``dropout2d`` the draws are those of the run, the same on every device.

    Args:
        maps: (B, C, h, w), floating.
        draws: a draw per sample and channel.
        probability: that a channel is left out, in [0, 1).

    Returns:
        the shape and dtype of ``maps``.

    Raises:
        ValueError: a probability outside [0, 1).

    Sources: Tompson et al., CVPR 2015; as a view, Yang et al., UniMatch, CVPR 2023. Used by: 040,
    057, 087.
    """
    if not 0 <= probability < 1:
        raise ValueError(f"a probability of dropping is in [0, 1), not {probability}")
    kept = draws.flags(*maps.shape[:2], probability=1 - probability)
    scale = kept.to(maps.device, maps.dtype, non_blocking=True) / (1 - probability)
    return maps * scale[..., None, None]
