"""The small change of a picture that changes the output most, found without a label."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from leaven.draws import Draws
from leaven.learn.consistency import divergence


def adversarial_change(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    targets: Tensor,
    draws: Draws,
    radius: float | Tensor,
    probe: float = 0.01,
    iterations: int = 1,
) -> Tensor:
    """The virtual adversarial change of each picture, by power iteration.

    ``r = argmax KL(t, softmax(model(x + r)))`` over all ``r`` of root mean square ``radius``, along
    the ``adversarial_direction`` from a random start of its own for each picture.

    Args:
        model, images, targets: as for ``adversarial_direction``.
        draws: where the first directions come from.
        radius: >= 0, for all pictures or (B,) for each.
        probe, iterations: as for ``adversarial_direction``.

    Returns:
        (B, ...) as ``images``, without gradient; zero where the model does not react at all.

    Raises:
        ValueError: a value out of its range.

    Source: Miyato et al., Virtual adversarial training, TPAMI 2018. Used by: VAT.
    """
    lengths = torch.as_tensor(radius)
    if bool((lengths < 0).any()):
        raise ValueError(f"a radius is 0 or more, not {float(lengths.min())}")
    start = draws.normal(len(images), *images.shape[1:]).to(images)
    direction = adversarial_direction(model, images, targets, start, probe, iterations)
    return _scaled(direction, lengths)


def adversarial_direction(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    targets: Tensor,
    start: Tensor,
    probe: float = 0.01,
    iterations: int = 1,
) -> Tensor:
    """The direction in which a small change of each picture changes the output most.

    The divergence ``KL(t, softmax(model(x + r)))`` is least at ``r = 0``, so its gradient vanishes
    there and the ``r`` of a small length that changes most lies along the eigenvector ``d`` of its
    second derivative ``H`` with the largest eigenvalue. From ``start``, each iteration is
    ``d <- unit(H d)``, with ``H d`` up to a factor the gradient of the divergence at ``probe * d``.
    Lengths are root mean squares over the values of a picture (the Euclidean length over
    ``sqrt(C H W)``), so that they mean the same for pictures of any size.

    The divergence is even to second order: the sign of ``d`` is that of chance. See
    ``stronger_sign``.

    The targets have to be what ``model`` says of ``images`` in the same state: with batch norm,
    from a pass of their own over the same batch.

    Args:
        model: pictures -> logits (B, K); nothing is added to the gradients of its parameters.
        images: (B, ...) floating.
        targets: (B, K) rows that sum to 1; taken as constant.
        start: (B, ...) or (1, ...), where the search begins; not zero.
        probe: > 0, the length of the step that the gradient is taken at. It has to stay above the
            resolution of the numbers that the model computes in.
        iterations: >= 1.

    Returns:
        (B, ...) of root mean square 1, without gradient; zero where the model does not react.

    Raises:
        ValueError: a value out of its range.

    Source: Miyato et al., Virtual adversarial training, TPAMI 2018. Used by: VAT, 023.
    """
    if probe <= 0 or iterations < 1:
        raise ValueError(f"probe > 0 and iterations >= 1 are needed, not {probe} and {iterations}")
    images = images.detach()
    direction = _unit(start.to(images)).expand_as(images)
    for _ in range(iterations):
        change = (probe * direction).requires_grad_()
        with torch.enable_grad():
            loss = divergence(model(images + change), targets)
        direction = _unit(torch.autograd.grad(loss, change)[0])
    return direction


@torch.no_grad()
def stronger_sign(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    direction: Tensor,
    targets: Tensor,
    radius: float | Tensor,
) -> tuple[Tensor, Tensor]:
    """Of the changes ``r = radius * d`` and ``-r`` the one that changes the output more.

    ``argmax over {r, -r} of KL(t, softmax(model(x + r)))``; ``r`` where both change it alike.

    Args:
        model: pictures -> logits (B, K).
        images: (B, ...) floating.
        direction: (B, ...), ``d``.
        targets: (B, K) rows that sum to 1.
        radius: for all pictures or (B,) for each.

    Returns:
        the change (B, ...), and the logits (B, K) of the changed pictures.

    Used by: 023.
    """
    change = _scaled(direction, torch.as_tensor(radius))
    forth, back = model(images + change), model(images - change)
    other = _rows(back, targets) > _rows(forth, targets)
    sign = torch.where(other, -1.0, 1.0)
    return _scaled(change, sign), torch.where(other[:, None], back, forth)


def _scaled(direction: Tensor, lengths: Tensor) -> Tensor:
    """(B, ...) times a number, or times (B,) of them."""
    lengths = lengths.to(direction)
    return direction * (
        lengths if lengths.ndim == 0 else lengths.view(-1, *[1] * (direction.ndim - 1))
    )


def _rows(logits: Tensor, targets: Tensor) -> Tensor:
    """(B,) the divergence of each row from its target, up to the entropy of the target."""
    log_probs = logits.log_softmax(1)
    return -(targets.to(log_probs.dtype) * log_probs).sum(1)


def _unit(direction: Tensor) -> Tensor:
    """Scaled to root mean square 1 per row; by the largest value first, so that no square vanishes."""
    least = torch.finfo(direction.dtype).tiny
    rows = direction.flatten(1)
    rows = rows / rows.abs().amax(1, keepdim=True).clamp_min(least)
    rows = rows / rows.square().mean(1, keepdim=True).sqrt().clamp_min(least)
    return rows.view_as(direction)
