"""Weights from local files, never from code that a file brings along."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from leaven.errors import ModelError

log = logging.getLogger(__name__)

_WRAPPERS = ("state_dict", "model")
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


def is_file_name(weights: str | Path) -> bool:
    """Whether ``weights`` means a local file and not published weights."""
    path = Path(weights)
    return isinstance(weights, Path) or path.suffix in _SUFFIXES or path.exists()


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors by name of a ``.safetensors`` file, or of a torch file of tensors alone.

    A torch file is read with ``weights_only=True``. Dictionaries that hold the tensors under
    ``state_dict`` or ``model`` are opened, and the prefix ``module.`` of parallel training is
    removed.

    Raises:
        ModelError: when the file is missing, damaged, or a pickle of anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(
            f"There is no weights file {path}.",
            "a .safetensors file or a torch file of tensors",
            "Check the path.",
        )
    state = _safetensors(path) if path.suffix == ".safetensors" else _torch_file(path)
    prefix = "module."
    if state and all(name.startswith(prefix) for name in state):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def load_into(module: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Copy ``state`` into ``module``; every name and every shape must fit.

    Raises:
        ModelError: naming the first few tensors that do not fit; ``module`` is unchanged then.
    """
    own = module.state_dict()
    problems = [f"{name} is missing" for name in own if name not in state]
    problems += [f"{name} is not part of the model" for name in state if name not in own]
    problems += [
        f"{name} has the shape {tuple(state[name].shape)} and not {tuple(value.shape)}"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]
    if problems:
        more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ModelError(
            f"The weights in {source} do not fit the model: {'; '.join(problems[:3])}{more}.",
            f"the {len(own)} tensors of this model ({', '.join(list(own)[:3])}, ...)",
            "Use the model these weights were made with, or other weights.",
        )
    module.load_state_dict(dict(state))


def load_head(head: nn.Module, state: list[Tensor], source: str | Path) -> None:
    """Copy [weight, bias] into ``head`` where both shapes fit, or say that it starts anew."""
    own = list(head.parameters())
    shapes = [tuple(value.shape) for value in own]
    if [tuple(value.shape) for value in state] == shapes:
        with torch.no_grad():
            for mine, given in zip(own, state, strict=True):
                mine.copy_(given)
    else:
        given_shape = tuple(state[0].shape) if state else "no head"
        log.info("%s has %s, not a head of %s: it starts anew.", source, given_shape, shapes[0])


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"The weights file {path} is damaged: {error}.",
            "a whole .safetensors file",
            "Copy or download it again.",
        ) from error


def _torch_file(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"The weights file {path} is refused: it is a pickle that holds more than tensors and "
            "could run code when it is opened, or it is damaged.",
            "a .safetensors file, or a torch file that loads with weights_only=True",
            "Convert it where you trust it: safetensors.torch.save_file(model.state_dict(), path).",
        ) from error
    # A damaged file brings errors of any type.
    except Exception as error:
        raise ModelError(
            f"The weights file {path} cannot be read: {str(error)[:300] or type(error).__name__}.",
            "a .safetensors file, or a torch file that loads with weights_only=True",
            "Copy or download it again.",
        ) from error
    for name in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not all(
        isinstance(value, Tensor) for value in content.values()
    ):
        raise ModelError(
            f"The file {path} holds no dictionary of tensors by name.",
            "what model.state_dict() gives",
            "Save the state_dict of the model alone.",
        )
    return dict(content)
