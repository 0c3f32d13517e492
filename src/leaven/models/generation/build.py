"""Models that make pictures, by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from leaven.errors import ModelError, nearest
from leaven.models.classifier import ModelSpec
from leaven.models.generation.maker import PictureMaker

_BUILDERS: dict[str, str] = {
    "unet-translator": "leaven.models.generation.translator:UNetTranslator",
    "text-transformer": "leaven.models.generation.text_to_picture:text_to_picture",
}
"""By ``spec.name``, the module and the function of it that takes the spec."""


def maker_of(spec: ModelSpec) -> PictureMaker:
    """A model of the spec, with random start values.

    Raises:
        ModelError: there is no model of that name.
    """
    if spec.name not in _BUILDERS:
        raise ModelError(
            f"There is no model {spec.name!r} that makes pictures.",
            nearest(spec.name, _BUILDERS),
            "Give the folder of a model that this version of leaven has written.",
        )
    module, _, name = _BUILDERS[spec.name].partition(":")
    build: Callable[[ModelSpec], PictureMaker] = getattr(import_module(module), name)
    return build(spec)
