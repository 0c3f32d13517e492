"""The precision that networks are computed in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def autocast(tensor: Tensor, precision: torch.dtype | None) -> AbstractContextManager[Any]:
    """Autocast to ``precision`` on the device of a tensor; nothing without one."""
    if precision is None:
        return nullcontext()
    return torch.autocast(tensor.device.type, precision)
