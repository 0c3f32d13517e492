"""Frozen models of diffusers and transformers, by name or local folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from leaven.errors import ModelError

UNLOADABLE = (OSError, ValueError, RuntimeError, SafetensorError)
"""What diffusers and transformers raise at files that are missing, torn, or of something else."""


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
        ModelError: it cannot be found, is damaged, or lacks weights.
    """
    place = part_of(name, part)
    try:
        model, about = kind.from_pretrained(
            place, use_safetensors=True, torch_dtype=dtype, output_loading_info=True
        )
    except UNLOADABLE as error:
        raise ModelError(
            f"No {kind.__name__} can be loaded from {place!r}: {first_line(error)}",
            "a local folder with config.json and safetensors, or the name of one on the hub",
            "Check the path; where there is no network, copy the model into a folder first.",
        ) from error
    check_whole(place, about)
    return model


def check_whole(name: str, about: Mapping[str, Any]) -> None:
    """Refuses weights that are not all there: the libraries draw the others at random, and only warn.

    Args:
        name: where the weights are from.
        about: what ``from_pretrained`` tells of the loading.

    Raises:
        ModelError: a tensor is missing, or has another shape.
    """
    missing = sorted({*about["missing_keys"], *(str(one) for one in about["mismatched_keys"])})
    if missing:
        raise ModelError(
            f"The weights of {name!r} lack {len(missing)} tensors, the first is {missing[0]}.",
            "all weights of the model",
            "Copy or download it again.",
        )


def first_line(error: Exception) -> str:
    """What an error of a library says first, for a message of ours."""
    return str(error).strip().split("\n")[0][:300]
