"""Whether two frozen encoders are the same."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

_SAMPLE = 64
"""Values of each tensor that are looked at."""


def fingerprint(module: nn.Module, *said: object, rounded: torch.dtype = torch.float64) -> str:
    """16 hexadecimal digits of the tensors of a module and of what is ``said`` besides.

    Of each tensor its name, shape and up to 64 values at equal distances count, so that an encoder
    of billions of weights is told from another in a moment.

    Args:
        said: what else changes the features, with a ``repr`` that is the same in every process.
        rounded: values are rounded to it first, so that a module is the same in each precision
            from there on.
    """
    digest = hashlib.sha256(repr(said).encode())
    for name, value in sorted(module.state_dict().items()):
        flat = value.detach().flatten()
        places = torch.linspace(0, max(len(flat) - 1, 0), min(len(flat), _SAMPLE)).long()
        values = flat[places.to(flat.device)].to(rounded).double().cpu().tolist()
        digest.update(repr((name, tuple(value.shape), values)).encode())
    return digest.hexdigest()[:16]
