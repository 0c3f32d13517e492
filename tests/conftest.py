"""What all tests share: one thread, no network, small data."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

from leaven.data import Data, open_data

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits_data() -> Data:
    """The digits with 4 labels per class."""
    return open_data("digits", labels_per_class=4, seed=0)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """A test that chose another number of threads leaves no trace."""
    torch.set_num_threads(1)
