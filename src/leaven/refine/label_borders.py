"""Where classes meet in a label map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from leaven.labels.classes import UNKNOWN


def label_borders(classes: Tensor, num_classes: int) -> Tensor:
    """The pixels where Sobel's gradient of some class's mask is not 0.

    ``border = 1[sum_k |(S_x * onehot_k, S_y * onehot_k)| > 0]`` with 0 around the picture. So a
    straight border has one pixel on either side, and the frame of the picture is a border, as is the
    edge of what is unknown. Sobel's filters do not see their middle pixel: a line one pixel wide has
    its border beside it.

    Args:
        classes: (B, H, W) int64 in 0..K-1, or -1 where unknown, which is no class.
        num_classes: K.

    Returns:
        (B, H, W) bool.

    Source: CW-BASS, IJCNN 2025 (arXiv:2502.15152), https://github.com/psychofict/CW-BASS. Used by:
    086.
    """
    numbers = torch.arange(num_classes, device=classes.device)
    masks = (classes[:, None] == numbers[:, None, None]) & (classes != UNKNOWN)[:, None]
    # Whole numbers up to 4: a sum of 8-bit ones is exact, and small.
    around = F.pad(masks.to(torch.int8), (1, 1, 1, 1))
    down = around[..., :-2, :] + 2 * around[..., 1:-1, :] + around[..., 2:, :]
    across = around[..., :-2] + 2 * around[..., 1:-1] + around[..., 2:]
    slope = (down[..., 2:] != down[..., :-2]) | (across[..., 2:, :] != across[..., :-2, :])
    return slope.any(1)
