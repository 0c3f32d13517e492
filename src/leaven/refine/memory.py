"""A memory of labelled items: one embedding each, found by item number."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from leaven.undo import RowBuffers


class LabelledMemory(RowBuffers):
    """Keeps one unit embedding per labelled item and says how similar others are to each.

    ``q_ij = softmax_j( cos(z_i, Z_j) / temperature )``, and after the loss of a step
    ``Z_j <- normalise(momentum * Z_j + (1 - momentum) * z_j)`` for the items of the batch.
    ``momentum = 0`` overwrites (embeddings of an EMA teacher); 0.7 averages a student over time.

    The memory starts with random directions, so what it says means nothing before each item has
    been seen once.

    State: ``bank`` (n, D), ``classes`` (n,). No gradient reaches the bank.

    Args:
        classes: (n,) int64, the class of each labelled item; fixes n.
        dim: D.
        momentum: in [0, 1).
        generator: where the first directions come from, on the CPU; the same on every process.

    Raises:
        ValueError: no item, or a momentum outside [0, 1).

    Source: Zheng et al., SimMatch, CVPR 2022. Used by: 077.
    """

    by_rows: ClassVar[tuple[str, ...]] = ("bank",)

    bank: Tensor
    classes: Tensor

    def __init__(
        self, classes: Tensor, dim: int, momentum: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        if classes.ndim != 1 or len(classes) == 0:
            raise ValueError(f"classes is (n,) with n >= 1, not {tuple(classes.shape)}")
        if not 0 <= momentum < 1:
            raise ValueError(f"a momentum is in [0, 1), not {momentum}")
        self.momentum = momentum
        bank = F.normalize(torch.randn(len(classes), dim, generator=generator), dim=1)
        self.register_buffer("bank", bank.to(classes.device))
        self.register_buffer("classes", classes.clone())

    def logits(self, embeddings: Tensor, temperature: float) -> Tensor:
        """Cosine similarities over the temperature.

        Args:
            embeddings: (B, D), of any length; gradients flow to them.
            temperature: > 0.

        Returns:
            (B, n) in [-1 / temperature, 1 / temperature], float32 or wider.
        """
        embeddings = embeddings.to(torch.promote_types(embeddings.dtype, self.bank.dtype))
        bank = self.bank.to(embeddings.dtype)
        return F.normalize(embeddings, dim=1) @ bank.t() / temperature

    def similarity(self, embeddings: Tensor, temperature: float) -> Tensor:
        """The softmax of ``logits``: (B, n), rows that sum to 1."""
        return self.logits(embeddings, temperature).softmax(1)

    @torch.no_grad()
    def update(self, items: Tensor, embeddings: Tensor) -> None:
        """Moves the embeddings of ``items`` (B,) towards ``embeddings`` (B, D).

        To be called after the backward pass: the loss uses the bank as it was before, and autograd
        refuses a bank that was changed since. An item that is in the batch more than once moves
        once, towards the direction of the sum of its unit embeddings, so the order within the batch
        does not matter. Rows of other items are not touched, nor are those of which the new
        embedding is zero or not finite. With several processes every one needs the items of all.
        """
        if len(items) == 0:
            return
        repeats = items.unsqueeze(1) == items
        units = F.normalize(embeddings.detach().to(self.bank.dtype), dim=1)
        valid = units.isfinite().all(1)
        sums = repeats.to(units.dtype) @ torch.where(valid.unsqueeze(1), units, 0)
        # All copies of an item take the sum of the first: equal to the last bit on any device.
        means = F.normalize(sums[repeats.int().argmax(1)], dim=1)
        old = self.bank[items]
        new = F.normalize(torch.lerp(means, old, self.momentum), dim=1)
        self.write("bank", items, torch.where(means.any(1, keepdim=True), new, old))
