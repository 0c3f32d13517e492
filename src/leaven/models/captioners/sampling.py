"""Tokens drawn with random numbers that belong to the item, whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class OwnDraws:
    """A logits processor of transformers that draws the next token itself, for greedy decoding.

    Row b draws from ``p = softmax(scores_b / temperature)`` by the inverse of the cumulative sum:
    the first token k with ``p_1 + ... + p_k > u_bt``, where ``u_b1, u_b2, ...`` is the sequence of
    the row's own seed. That token's score becomes 0 and all others minus infinity. With temperature
    0 the scores stay as they are, and the best token is taken.

    transformers' own sampling draws one row after the other from one source, so that a caption
    would change with the batch it is written in. Here it depends on picture, prompt and seed alone,
    up to the rounding of logits, which differs between batches of other widths.

    Args:
        seeds: one per row.
        temperature: 0 or more.
        steps: the most tokens that are drawn.

    Attributes:
        step: how many tokens were drawn.

    Used by: 001.
    """

    def __init__(self, seeds: Sequence[int], temperature: float, steps: int) -> None:
        self.temperature, self.step = temperature, 0
        self._uniform = torch.stack(
            [
                torch.rand(steps, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
                for seed in seeds
            ]
        )

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(B, V) scores of which one per row is 0 and the others minus infinity."""
        step, self.step = self.step, self.step + 1
        if self.temperature == 0:
            return scores
        probs = (scores.float() / self.temperature).softmax(1).cpu()
        cumulative = probs.double().cumsum(1)
        wanted = self._uniform[:, step, None] * cumulative[:, -1:]
        token = (cumulative <= wanted).sum(1, keepdim=True).to(scores.device)
        return torch.full_like(scores, -torch.inf).scatter_(1, token, 0.0)
