"""Items whose labels would move the network far, and each in another direction."""

from __future__ import annotations

import torch
from torch import Tensor

from leaven.draws import Draws


def gradient_seeding(
    probs: Tensor, features: Tensor, count: int, draws: Draws
) -> tuple[Tensor, Tensor]:
    """k-means++ seeding on the gradients that the last layer would get.

    If the label of item i were the class that the model believes, the gradient of its cross entropy
    with respect to the weights of the last layer would be ``g_i = (p_i - e_argmax) h_i^T`` (K x D):
    long where the model is unsure. The first pick is the item of the longest gradient; each further
    one is drawn with a chance in proportion to its squared distance from the nearest pick,
    ``D_i^2 = min_c ||g_i - g_c||^2``. The gradients are never made: with ``a_i = p_i - e_argmax``,
    ``<g_i, g_j> = <a_i, a_j> <h_i, h_j>``.

    Where every item is as one that was picked, the others are drawn evenly.

    Args:
        probs: (n, K) probabilities.
        features: (n, D), what the last layer takes.
        count: how many are wanted.
        draws: one number for each pick after the first.

    Returns:
        ``index`` (m,) int64 in the order of the picks and their distance ``D_i`` (m,) when they were
        picked, of the first the length of its gradient; with ``m = min(count, n)``.

    Source: Ash et al., "Deep batch active learning by diverse, uncertain gradient lower bounds"
    (BADGE), ICLR 2020, with the first pick of its code; Arthur and Vassilvitskii, "k-means++",
    SODA 2007.
    """
    count = max(0, min(count, len(probs)))
    if count == 0:
        return torch.zeros(0, dtype=torch.long, device=probs.device), probs.new_zeros(0)
    features = features.float()
    residual = probs.float().clone()
    residual.scatter_add_(1, probs.argmax(1, keepdim=True), -torch.ones_like(residual[:, :1]))
    length = residual.square().sum(1) * features.square().sum(1)
    chance = draws.host().uniform(count).to(probs.device)
    place = length.argmax()
    picks, distances = [place], [length[place]]
    free = torch.ones_like(length, dtype=torch.bool).index_fill(0, place, False)
    nearest = _apart(residual, features, length, place)
    while len(picks) < count:
        mass = torch.where(free, nearest, 0.0).double()
        mass = torch.where(mass.sum() > 0, mass, free.double())
        total = mass.cumsum(0)
        place = torch.searchsorted(total, chance[len(picks)] * total[-1], right=True)
        # Rounding may put the last draw behind the last item that has a chance.
        place = torch.minimum(place, mass.nonzero().amax())
        picks.append(place)
        distances.append(nearest[place])
        free = free.index_fill(0, place, False)
        nearest = torch.minimum(nearest, _apart(residual, features, length, place))
    return torch.stack(picks), torch.stack(distances).clamp_min(0).sqrt()


def _apart(residual: Tensor, features: Tensor, length: Tensor, place: Tensor) -> Tensor:
    """(n,) the squared distance of each gradient from that of one item."""
    inner = (residual @ residual[place]) * (features @ features[place])
    apart = (length + length[place] - 2 * inner).clamp_min(0)
    return apart.index_fill(0, place, 0.0)
