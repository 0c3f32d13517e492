"""Methods by name."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from leaven.errors import ConfigError, nearest
from leaven.methods.base import Card, Fitted, Method

__all__ = ["Card", "Fitted", "Method", "all_methods", "find_method"]


@cache
def all_methods() -> dict[str, type[Method]]:
    """Every method of this package, by the name on its card."""
    for module in pkgutil.walk_packages(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    found: dict[str, type[Method]] = {}
    waiting = Method.__subclasses__()
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if "card" in vars(kind):
            found[kind.card.name] = kind
    return dict(sorted(found.items()))


def find_method(name: str) -> type[Method]:
    """The method that is called ``name``; a class defined elsewhere counts once it is imported.

    Raises:
        ConfigError: there is none; the nearest names are suggested.
    """
    methods = all_methods()
    if name.lower() in methods:
        return methods[name.lower()]
    raise ConfigError(
        f"There is no method {name!r}.", nearest(name, methods), "run `leaven methods` to see all"
    )
