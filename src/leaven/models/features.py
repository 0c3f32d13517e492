"""The outputs of named parts of any module."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from leaven.errors import ModelError, nearest


@contextmanager
def capture(model: nn.Module, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Keep what the submodules ``names`` give while the block runs.

    Each forward pass replaces the outputs in the dictionary; they are not detached. A submodule
    that has not run is not in it. The hooks are removed when the block ends.

        with capture(model, ["encoder.stages.3"]) as outputs:
            logits = model(images)
        maps = outputs["encoder.stages.3"]

    Raises:
        ModelError: when ``model`` has no submodule of a name.
    """
    modules = dict(model.named_modules())
    wanted = list(names)
    for name in wanted:
        if name not in modules:
            raise ModelError(
                f"The model has no part named {name!r}.",
                "a name among model.named_modules()",
                nearest(name, (known for known in modules if known)),
            )
    outputs: dict[str, Any] = {}

    def keep(name: str) -> Any:
        return lambda module, inputs, output: outputs.__setitem__(name, output)

    handles = [modules[name].register_forward_hook(keep(name)) for name in wanted]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
