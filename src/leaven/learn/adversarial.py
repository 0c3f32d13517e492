"""Losses of a critic and of what it judges: real or made, and in the sense of Wasserstein.

Scores are of any shape with the batch first: one number per picture, or a map of patches. Each cell
is judged for itself, and means are taken over the losses of all cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from leaven.errors import ConfigError

Game = Literal["bce", "least-squares"]
"""How a score is compared with what it should be: 1 for real pictures and 0 for made ones.

``bce`` takes scores as logits, ``-log sigmoid(s)`` or ``-log(1 - sigmoid(s))``; ``least-squares``
takes ``(s - 1)^2`` or ``s^2``.
"""


def discriminator_loss(real: Tensor, made: Tensor, game: Game = "bce") -> Tensor:
    """``(mean L(D(real), 1) + mean L(D(made), 0)) / 2``, the halved loss of who tells them apart.

    Args:
        real, made: scores of any shape, those of pictures without a gradient to what made them.
        game: L, see ``Game``.

    Returns:
        0-d; ``ln 2`` with bce where nothing is told apart.

    Raises:
        ConfigError: an unknown game.

    Source: Goodfellow et al., Generative adversarial nets, NeurIPS 2014; Mao et al., Least squares
    GAN, ICCV 2017; halved as by Isola et al., CVPR 2017. Used by: 044.
    """
    return (_as(real, 1.0, game) + _as(made, 0.0, game)) / 2


def realism_loss(made: Tensor, game: Game = "bce") -> Tensor:
    """``mean L(D(made), 1)``: made pictures are to be taken for real ones.

    The form that does not saturate: its gradient is large where D sees through the picture.

    Args:
        made: scores of any shape.
        game: L, see ``Game``.

    Raises:
        ConfigError: an unknown game.

    Source and use: as ``discriminator_loss``.
    """
    return _as(made, 1.0, game)


def _as(scores: Tensor, wanted: float, game: str) -> Tensor:
    target = torch.full_like(scores, wanted)
    if game == "bce":
        return functional.binary_cross_entropy_with_logits(scores, target)
    if game == "least-squares":
        return functional.mse_loss(scores, target)
    raise ConfigError(f"The game is {game!r}.", "'bce' or 'least-squares'", "Take 'bce'.")


def critic_loss(real: Tensor, made: Tensor) -> Tensor:
    """``mean D(made) - mean D(real)``: real pictures are to score higher.

    Args:
        real, made: scores without bounds.

    Returns:
        0-d, of any sign. Minus it estimates the distance of the two distributions, for a critic
        that ``gradient_penalty`` keeps from steep slopes.

    Source: Arjovsky et al., Wasserstein GAN, ICML 2017. Used by: 050.
    """
    return made.mean() - real.mean()


def deception_loss(made: Tensor) -> Tensor:
    """``-mean D(made)``: made pictures are to score high.

    Source: Arjovsky et al., Wasserstein GAN, ICML 2017. Used by: 050.
    """
    return -made.mean()


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, made: Tensor, share: Tensor
) -> Tensor:
    """``mean_i (||grad_x D(x_i)||_2 - 1)^2`` at ``x_i = share_i real_i + (1 - share_i) made_i``.

    Of a map of scores the gradient of their sum is meant. The result can be differentiated.

    Args:
        critic: pictures (B, C, H, W) -> scores (B, ...). Not one that mixes items, as batch norm does.
        real, made: (B, C, H, W), both taken as constant.
        share: (B,), uniform in [0, 1].

    Returns:
        0-d, >= 0; 0 for a critic of slope 1. An empty batch has penalty 0.

    Source: Gulrajani et al., Improved training of Wasserstein GANs, NeurIPS 2017. Used by: 050.
    """
    between = torch.lerp(made.detach(), real.detach(), share.view(-1, 1, 1, 1)).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    # Not the norm itself: its gradient at 0 is not a number.
    norm = slope.flatten(1).square().sum(1).clamp_min(1e-24).sqrt()
    return (norm - 1).square().sum() / max(1, len(real))


@contextmanager
def judging(*critics: nn.Module) -> Iterator[None]:
    """In this block gradients flow through ``critics`` and do not reach their weights."""
    weights = [weight for critic in critics for weight in critic.parameters()]
    wanted = [weight.requires_grad for weight in weights]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight, want in zip(weights, wanted, strict=True):
            weight.requires_grad_(want)
