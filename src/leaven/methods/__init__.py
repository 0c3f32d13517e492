"""Methods by name."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from leaven.errors import ConfigError, nearest
from leaven.methods.base import Card, Fitted, Labeller, Method

__all__ = ["TASKS", "Card", "Fitted", "Labeller", "Method", "all_methods", "find_method"]

TASKS = (
    "classification", "segmentation", "detection", "instance", "translation", "text-to-image",
)  # fmt: skip
"""What methods learn: a class for each picture, or for each pixel, boxes, or boxes with masks; or to
turn pictures into others, or to make them of words."""


def all_methods(task: str = "classification") -> dict[str, type[Method]]:
    """Every method of this package for ``task``, by the name on its card."""
    return {kind.card.name: kind for kind in _every_method() if kind.card.task == task}


@cache
def _every_method() -> list[type[Method]]:
    for module in pkgutil.walk_packages(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    found: list[type[Method]] = []
    waiting = Method.__subclasses__()
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if "card" in vars(kind) and kind not in found:
            found.append(kind)
    return sorted(found, key=lambda kind: kind.card.name)


def find_method(name: str, task: str = "classification") -> type[Method]:
    """The method for ``task`` that is called ``name``; a class defined elsewhere counts once it is
    imported.

    Raises:
        ConfigError: there is none; the nearest names are suggested.
    """
    methods = all_methods(task)
    if name.lower() in methods:
        return methods[name.lower()]
    elsewhere = [other for other in TASKS if name.lower() in all_methods(other)]
    if elsewhere:
        raise ConfigError(
            f"{name!r} is a method for {elsewhere[0]}, and the task is {task}.",
            f"a method for {task}: {', '.join(methods)}",
            f"choose one of these, or run with --task {elsewhere[0]}",
        )
    raise ConfigError(
        f"There is no method {name!r} for {task}.",
        nearest(name, methods),
        f"run `leaven methods --task {task}` to see all",
    )
