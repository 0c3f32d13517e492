"""Data sets of torchvision, by name, from files that are already there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leaven.data.listing import Listing
from leaven.data.sources import Source
from leaven.errors import DataError, nearest

PREFIX = "torchvision:"
"""What the name of a torchvision data set begins with."""

_BY_FLAG = {"train": {"train": True}, "test": {"train": False}}


def _by_name(**splits: str) -> dict[str, dict[str, Any]]:
    return {split: {"split": name} for split, name in splits.items()}


_TRAIN_TEST = _by_name(train="train", test="test")
_TRAIN_VAL_TEST = _by_name(train="train", val="val", test="test")

DATASETS: dict[str, dict[str, dict[str, Any]]] = {
    "CIFAR10": _BY_FLAG,
    "CIFAR100": _BY_FLAG,
    "Country211": _by_name(train="train", val="valid", test="test"),
    "DTD": _TRAIN_VAL_TEST,
    "EuroSAT": {"train": {}},
    "FGVCAircraft": _TRAIN_VAL_TEST,
    "FashionMNIST": _BY_FLAG,
    "Flowers102": _TRAIN_VAL_TEST,
    "Food101": _TRAIN_TEST,
    "GTSRB": _TRAIN_TEST,
    "Imagenette": _by_name(train="train", test="val"),
    "KMNIST": _BY_FLAG,
    "MNIST": _BY_FLAG,
    "OxfordIIITPet": _by_name(train="trainval", test="test"),
    "PCAM": _TRAIN_VAL_TEST,
    "RenderedSST2": _TRAIN_VAL_TEST,
    "STL10": _by_name(train="train+unlabeled", test="test"),
    "SVHN": _TRAIN_TEST,
    "StanfordCars": _TRAIN_TEST,
    "USPS": _BY_FLAG,
}
"""The names, and per split the arguments that torchvision wants."""


class VisionPictures:
    """The pictures of torchvision data sets, one after the other."""

    def __init__(self, parts: list[Any]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def __getitem__(self, index: int, /) -> Source:
        for part in self._parts:
            if index < len(part):
                return part[index][0]
            index -= len(part)
        raise IndexError(index)


def read_vision(source: str) -> Listing:
    """``"torchvision:NAME"`` or ``"torchvision:NAME@ROOT"``; ROOT is ``data`` when not given.

    Nothing is downloaded. The classes are those of the data set, or its class numbers.

    Raises:
        DataError: no data set of that name, or its files are not in the root.
    """
    name, _, root = source.removeprefix(PREFIX).partition("@")
    root = root or "data"
    if name not in DATASETS:
        raise DataError(
            f"There is no torchvision data set {name!r} that leaven reads.",
            f"one of {', '.join(DATASETS)}",
            nearest(name, DATASETS),
        )
    parts = {split: _open(name, root, options) for split, options in DATASETS[name].items()}
    labels = torch.cat([_labels(part) for part in parts.values()])
    classes = getattr(parts["train"], "classes", None) or map(str, range(int(labels.max()) + 1))
    return Listing(
        name,
        VisionPictures(list(parts.values())),
        [f"{split}/{row:06d}" for split, part in parts.items() for row in range(len(part))],
        labels,
        [split for split, part in parts.items() for _ in range(len(part))],
        tuple(str(label) for label in classes),
    )


def _open(name: str, root: str, options: dict[str, Any]) -> Any:
    from torchvision import datasets

    kind = getattr(datasets, name)
    # Some data sets have no argument `download`, and none downloads without being told to.
    try:
        return kind(root, **options)
    except (RuntimeError, OSError, ModuleNotFoundError) as error:
        arguments = "".join(f", {key}={value!r}" for key, value in options.items())
        raise DataError(
            f"The torchvision data set {name} is not in {Path(root).resolve()}: {error}",
            "its files, as torchvision lays them out",
            f'get them with: python -c "from torchvision.datasets import {name}; '
            f'{name}({root!r}{arguments}, download=True)" '
            f"or say where they are with {PREFIX}{name}@ROOT.",
        ) from error


def _labels(part: Any) -> Tensor:
    """(n,) int64; from the list that the data set keeps, or else item by item."""
    for attribute in ("targets", "labels", "_labels"):
        if (kept := getattr(part, attribute, None)) is not None:
            return torch.as_tensor(kept).long()
    return torch.tensor([part[row][1] for row in range(len(part))], dtype=torch.int64)
