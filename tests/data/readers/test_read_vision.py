"""torchvision data sets by name."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch

from leaven.data import open_data
from leaven.errors import DataError


def write_idx(path, values: np.ndarray) -> None:
    head = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    path.write_bytes(head + values.tobytes())


@pytest.fixture
def mnist(tmp_path, noise):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    made = {}
    for prefix, count in (("train", 40), ("t10k", 20)):
        images, labels = noise(count, 28, 28), np.arange(count, dtype=np.uint8) % 10
        write_idx(raw / f"{prefix}-images-idx3-ubyte", images)
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", labels)
        made[prefix] = images
    return tmp_path, made


def test_files_that_are_there_are_read(mnist):
    root, made = mnist
    data = open_data(f"torchvision:MNIST@{root}", labels_per_class=2)
    assert data.name == "MNIST" and data.shape == (1, 28, 28) and not data.flip
    assert len(data.classes) == 10 and len(data.labelled) == 20 and len(data.test) == 20
    images = data.train.pixels.batch(torch.arange(40))[:, 0]
    np.testing.assert_array_equal(images.numpy(), made["train"])
    images = data.test.pixels.batch(torch.arange(20))[:, 0]
    np.testing.assert_array_equal(images.numpy(), made["t10k"])
    assert data.test.labels.tolist() == [row % 10 for row in range(20)]


def test_files_that_are_not_there_are_not_downloaded(tmp_path):
    with pytest.raises(DataError) as caught:
        open_data(f"torchvision:CIFAR10@{tmp_path}")
    assert "download=True" in caught.value.do and str(tmp_path) in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_an_unknown_name_is_met_with_the_nearest():
    with pytest.raises(DataError, match="CIFAR10"):
        open_data("torchvision:CIFAR-10")


def test_every_name_is_one_of_torchvision():
    from torchvision import datasets

    from leaven.data.readers.vision import DATASETS

    assert all(hasattr(datasets, name) for name in DATASETS)
    assert all("train" in splits for splits in DATASETS.values())
