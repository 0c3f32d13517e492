"""Frozen models of diffusers and transformers, by name or local folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from leaven.errors import ModelError


def part_of(name: str, part: str) -> str:
    """The folder of a part, where ``name`` is the local folder of a whole pipeline; else ``name``."""
    folder = Path(name) / part
    return str(folder) if folder.is_dir() else name


def from_pretrained(kind: Any, name: str, part: str, dtype: torch.dtype = torch.float32) -> Any:
    """A model of the class ``kind`` with the weights of ``name``, from safetensors alone.

    Args:
        kind: a class of diffusers or transformers.
        name: of published weights, a local folder of theirs, or one of a whole pipeline.
        part: the folder of the model in a pipeline.
        dtype: of the weights.

    Raises:
        ModelError: it cannot be found, or is damaged.
    """
    place = part_of(name, part)
    try:
        return kind.from_pretrained(place, use_safetensors=True, torch_dtype=dtype)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"No {kind.__name__} can be loaded from {place!r}: {_first_line(error)}",
            "a local folder with config.json and safetensors, or the name of one on the hub",
            "Check the path; where there is no network, copy the model into a folder first.",
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:300]
