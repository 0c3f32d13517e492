"""Networks compiled for the machine they run on."""

from __future__ import annotations

import os
import shutil

from torch import nn

from leaven.errors import ConfigError
from leaven.models.classifier import Classifier
from leaven.models.segmentation import Segmenter


def compile_network(model: nn.Module) -> None:
    """Compiles, where they stand, the parts of a model that its time goes into (``torch.compile``).

    These are the encoder of a classifier, the blocks of a segmentation network, the backbone of a
    detector, else the whole. Names and values of weights stay as they are; a copy of the model is not
    compiled. The first pictures of each size, with and without gradient, take seconds to a minute.

    Raises:
        ConfigError: there is no C++ compiler, which torch compiles with.
    """
    compiler = os.environ.get("CXX")
    if not any(map(shutil.which, [compiler] if compiler else ["g++", "clang++"])):
        raise ConfigError(
            "The networks are to be compiled, and there is no C++ compiler.",
            "g++ or clang++, or another one that CXX names",
            "install one, or leave compile out",
        )
    for part in _heavy(model):
        part.compile()


def _heavy(model: nn.Module) -> list[nn.Module]:
    if isinstance(model, Classifier):
        return [model.encoder]
    if isinstance(model, Segmenter):  # Its network is called part by part.
        return list(model.net.children())
    backbone = getattr(model, "backbone", None)
    return [backbone] if isinstance(backbone, nn.Module) else [model]
