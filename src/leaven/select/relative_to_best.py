"""Trust in the pixels that are near the best one of their class in the same picture."""

from __future__ import annotations

from torch import Tensor


def near_best_of_class(
    probs: Tensor, valid: Tensor, least: float = 0.92, share: float = 0.96
) -> Tensor:
    """Trusts the pixels whose probability comes near the largest one of a class in their picture.

    With ``top_k`` the largest ``p_k`` among the valid pixels of a picture, ``limit_k = share top_k``
    where ``top_k > least``, else ``limit_k = top_k``; ``w = 1`` where ``p_k > limit_k`` for some k. A
    class whose best pixel does not pass ``least`` keeps none, any other at least its best one, so
    that a rare class is not starved by one limit for all.

    Args:
        probs: (B, K, H, W).
        valid: (B, H, W) bool, the pixels that show a picture; the others have weight 0.
        least, share: in [0, 1].

    Returns:
        (B, H, W) weights, 0 or 1, in the dtype of ``probs``.

    Raises:
        ValueError: a number outside [0, 1].

    Source: Tian et al., DSSN, ACM Multimedia 2023, https://github.com/kunzhan/DSSN. Used by: 057.
    """
    if not (0 <= least <= 1 and 0 <= share <= 1):
        raise ValueError(f"least {least} and share {share} are in [0, 1]")
    shown = probs * valid[:, None]
    top = shown.amax((2, 3), keepdim=True)
    limit = top * (1 - (1 - share) * (top > least))
    return (shown > limit).any(1).to(probs.dtype)
