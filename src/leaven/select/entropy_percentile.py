"""Trust by entropy: the pixels that a network is least undecided about, a share of them."""

from __future__ import annotations

import torch
from torch import Tensor

from leaven.errors import ConfigError


def keep_certain(entropy: Tensor, valid: Tensor, share: float) -> Tensor:
    """The valid pixels whose entropy is below a percentile of that of all valid pixels.

    ``keep_i = valid_i and H_i < percentile(H over valid pixels of the batch, 100 share)``, where the
    percentile between two values is interpolated linearly. The pixels at the percentile itself are
    left out: where all entropies are equal, none is kept, and with a share of 1 all but the highest.

    Args:
        entropy: (B, H, W), any shape in fact, finite where valid.
        valid: the same shape, bool.
        share: in [0, 1].

    Returns:
        the same shape, bool; all false where nothing is valid.

    Raises:
        ConfigError: a share out of its bounds.

    Source: Wang et al., U2PL, CVPR 2022 (its code). Used by: 054, 093, 117.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"share is {share:g}.", "a share in [0, 1]", "Set share=0.8.")
    if entropy.numel() == 0:
        return valid.clone()
    # In float64 a place among more than 2^24 pixels is still exact, but for MPS, which has none.
    ordered = torch.where(valid, entropy.float(), torch.inf).flatten().sort().values
    last = (valid.sum() - 1).clamp_min(0)
    place = last.to(torch.float32 if entropy.device.type == "mps" else torch.float64) * share
    low = place.floor().long()
    below, above = ordered[low], ordered[torch.minimum(low + 1, last)]
    between = (place - low).to(ordered.dtype)
    # Infinite where nothing is valid, and then infinity less infinity is not a number.
    return valid & (entropy.float() < torch.where(below < above, below.lerp(above, between), below))
