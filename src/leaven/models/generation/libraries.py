"""The optional packages of models that make pictures."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from leaven.errors import MissingExtraError

_EXTRAS = {"diffusers": "diffusion", "transformers": "transformers"}


def library(name: str, purpose: str) -> ModuleType:
    """The package ``name``, imported.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError(name, _EXTRAS[name], purpose) from error
