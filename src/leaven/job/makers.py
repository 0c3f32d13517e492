"""The model that makes pictures, from wherever a person keeps it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from leaven.errors import ModelError, RunError
from leaven.models import load_model
from leaven.models.backbone import model_folder
from leaven.models.generation import PictureMaker, load_published

_OF_PIPELINE = "model_index.json"
_TRANSFORMER = "transformer"


def open_maker(
    path: Path, device: torch.device, precision: torch.dtype | None = None
) -> PictureMaker:
    """The model in ``path``, in evaluation mode on ``device``.

    Args:
        path: the folder of a run, of a model, or of a published model in the layout of diffusers.
        precision: what it computes in; float32 without it. Of a published model, whose frozen
            encoders are large, it is also the type of the weights.

    Raises:
        RunError: there is no model.
        ModelError: it is damaged, or makes no pictures.
        MissingExtraError: without diffusers or transformers.
    """
    folder = model_folder(str(path))
    if folder is not None:
        model = load_model(folder, nn.Module)
    elif is_published(path):
        model = load_published(path, precision or torch.float32)
    else:
        raise RunError(
            f"There is no model in {path}.",
            "the folder of a finished run, a model folder with model.json, or a published model in "
            f"the layout of diffusers with {_OF_PIPELINE}",
            "check the path, or finish the run with `leaven run --resume`.",
        )
    if not isinstance(model, PictureMaker):
        task = getattr(getattr(model, "spec", None), "task", "classification")
        raise ModelError(
            f"The model in {path} is for {task}: it makes no pictures.",
            "a run with --task text-to-image or translation",
            "use `leaven predict` for what it sees in pictures.",
        )
    model.precision = precision
    return model.to(device)


def is_published(path: Path) -> bool:
    """Whether ``path`` is a folder in the layout of diffusers."""
    return (path / _OF_PIPELINE).is_file() or (path / _TRANSFORMER).is_dir()
