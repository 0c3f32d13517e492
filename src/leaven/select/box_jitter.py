"""How sure a detector is of the place of a box: what it makes of the box moved a little."""

from __future__ import annotations

from torch import Tensor

from leaven.draws import Draws


def jittered_boxes(boxes: Tensor, copies: int, scale: float, draws: Draws) -> Tensor:
    """Copies of boxes whose coordinates are moved, each on its own, by a Gaussian.

    ``x1, x2`` by ``scale max(w, 1) n`` and ``y1, y2`` by ``scale max(h, 1) n``, ``n`` standard normal,
    ``w, h`` the sides of the box.

    Args:
        boxes: (m, 4), x1, y1, x2, y2 in pixels.
        copies: N of each.
        scale: standard deviation in sides.
        draws: only a fork of it is drawn from, as m differs between processes.

    Returns:
        (m, N, 4), not cut at any border.

    Source: Xu et al., Soft Teacher, ICCV 2021, https://github.com/microsoft/SoftTeacher. Used by:
    097.
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp_min(1).repeat(1, 2)
    noise = draws.fork().normal(len(boxes), copies, 4).to(boxes)
    return boxes[:, None] + scale * sides[:, None] * noise


def box_spread(refined: Tensor) -> Tensor:
    """``u``, how far the boxes refined from copies of one box differ, in sides of their mean.

    ``u = 1/4 sum_c std_c / s_c``: the sample standard deviation (N - 1) of each coordinate over the
    copies; ``s`` the width of the mean refined box for x1, x2 and its height for y1, y2, at least 1.
    (The paper's text divides by half the sum of both sides, its code so.)

    Args:
        refined: (m, N, 4), x1, y1, x2, y2 in pixels, N >= 2.

    Returns:
        (m,) at least 0; 0 where all copies lead to one box.

    Raises:
        ValueError: fewer than two copies.

    Source: as of ``jittered_boxes``. Used by: 097.
    """
    if refined.shape[1] < 2:
        raise ValueError(f"a spread is of two copies or more, not {refined.shape[1]}")
    mean = refined.mean(1, keepdim=True)
    # torch.std warns of no boxes.
    variance = (refined - mean).square().sum(1) / (refined.shape[1] - 1)
    sides = (mean[:, 0, 2:] - mean[:, 0, :2]).clamp_min(1).repeat(1, 2)
    return (variance.sqrt() / sides).mean(1)
