"""One organ is one piece: of each class the largest connected part stays."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def largest_components(
    classes: Tensor, num_classes: int, background: int = 0, *, connectivity: int | None = None
) -> Tensor:
    """Keeps, of every class in every map or volume, the largest connected component.

    Pixels are connected to their 8 neighbours, voxels to their 26. What does not stay becomes ``background``; of several
    largest components the first in reading order stays. A class that is absent stays absent.

    Components are found on the CPU, whatever the device.

    Args:
        classes: (B, H, W) or (B, H, W, L) int64 in 0..K-1, or -1 where unknown, which stays unknown.
        num_classes: K.
        background: the class that is not looked at.
        connectivity: along how many axes neighbours may differ: of pixels 1 is 4 neighbours, of
            voxels 1 is 6 and 2 is 18. None: all of them.

    Returns:
        int64 of that shape on the device of ``classes``.

    Raises:
        ValueError: a connectivity below 1 or above the number of axes.

    Source: Bai et al., BCP, CVPR 2023. Used by: 072.
    """
    from scipy import ndimage

    axes = classes.ndim - 1
    connectivity = axes if connectivity is None else connectivity
    if not 1 <= connectivity <= axes:
        raise ValueError(f"neighbours differ along 1 to {axes} axes, not {connectivity}")
    if classes.numel() == 0 or num_classes < 2:
        return classes.clone()
    numbers = np.array([k for k in range(num_classes) if k != background])
    masks = classes.cpu().numpy()[:, None] == numbers.reshape(-1, *[1] * axes)
    # Neighbours in one picture alone: neither pictures nor classes touch each other.
    near = np.zeros((3,) * (2 + axes), dtype=bool)
    near[1, 1] = ndimage.generate_binary_structure(axes, connectivity)
    found, _ = ndimage.label(masks, near)
    sizes = np.bincount(found.ravel())
    sizes[0] = 0
    rows = found.reshape(-1, found[0, 0].size)
    largest = rows[np.arange(len(rows)), sizes[rows].argmax(1)]
    kept = (rows == largest[:, None]) & (rows > 0)
    stays = torch.from_numpy(kept.reshape(masks.shape).any(1)).to(classes.device)
    return torch.where(stays | (classes < 0), classes, background)
