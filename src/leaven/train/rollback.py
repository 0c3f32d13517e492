"""Steps on trial: the weights go back to where they were."""

from __future__ import annotations

import copy

import torch

from leaven.train.optimizer import Optimizer


class Rollback:
    """The weights of an optimiser as they are now, to be put back any number of times.

    Args:
        optimizer: whose weights are meant.
        everything: put back the buffers of its models (batch statistics, states of parts) and the
            state of the optimiser (moments, counters) too; else these keep what later steps did.

    Source: Du et al., FST, NeurIPS 2022. Used by: 008, 093.
    """

    def __init__(self, optimizer: Optimizer, *, everything: bool = False) -> None:
        self.optimizer = optimizer
        self._weights = [parameter.detach().clone() for parameter in optimizer.parameters]
        self._live = [b for m in optimizer.models for b in m.buffers()] if everything else []
        self._buffers = [buffer.clone() for buffer in self._live]
        self._state = copy.deepcopy(optimizer.torch.state_dict()) if everything else None

    @torch.no_grad()
    def restore(self) -> None:
        """Puts back what was there."""
        torch._foreach_copy_([*self.optimizer.parameters], self._weights)
        for live, kept in zip(self._live, self._buffers, strict=True):
            live.copy_(kept)
        if self._state is not None:
            # What is loaded is used in place, and may be wanted again.
            self.optimizer.torch.load_state_dict(copy.deepcopy(self._state))
