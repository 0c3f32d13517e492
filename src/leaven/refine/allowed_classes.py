"""What image tags rule out: no pixel of a picture shows a class that the picture does not."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AllowedClasses(nn.Module):
    """The classes that the pixels of each picture may have: its tags, and the background.

    Args:
        tags: (n, K) bool, the classes that each picture shows.
        background: the class that every picture may show without a tag for it, or None.

    Used by: 054.
    """

    allowed: Tensor

    def __init__(self, tags: Tensor, background: int | None = None) -> None:
        super().__init__()
        allowed = tags.clone()
        if background is not None:
            allowed[:, background] = True
        # The data say it: no checkpoint needs it.
        self.register_buffer("allowed", allowed, persistent=False)

    def forward(self, items: Tensor) -> Tensor:
        """(b, K) bool, the classes of the pictures at the positions ``items`` (b,)."""
        return self.allowed[items]


def only_allowed(logits: Tensor, allowed: Tensor) -> Tensor:
    """Logits of ``p_c := 0`` for classes that are not allowed, renormalised.

    The logits of these classes become ``-inf``. Where none is allowed, nothing is known to be
    wrong and nothing changes. With all allowed, the result is equal to the last bit.

    Args:
        logits: (B, K, ...).
        allowed: bool of a shape that broadcasts to it, for example (B, K, 1, 1).

    Source: Wang et al., U2PL+, IJCV 2024. Used by: 054.
    """
    ruled_out = ~allowed & allowed.any(1, keepdim=True)
    return logits.masked_fill(ruled_out, -torch.inf)
