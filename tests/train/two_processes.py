"""Trains FixMatch on the global batch of all processes; the first one saves the weights.

usage: torchrun --nproc-per-node N two_processes.py FILE
"""

from __future__ import annotations

import sys

import torch

from leaven.data import open_data
from leaven.methods.classification.fixmatch import FixMatch
from leaven.train import Budget, Settings, Trainer


def main() -> None:
    torch.set_num_threads(1)
    data = open_data("digits", labels_per_class=4, seed=0)
    settings = Settings(
        budget=Budget(steps=6),
        device="cpu",
        threads=1,
        model="cnn-small",
        options={"norm": "group", "width": 8},
    )
    trainer = Trainer(data, None, settings)
    method = FixMatch(batch=16, ratio=2, threshold=0.15, align="mean")
    fitted = method.fit(trainer.data, trainer)
    if trainer.is_main:
        torch.save({"model": fitted.model.state_dict(), "world": trainer.world}, sys.argv[1])


if __name__ == "__main__":
    main()
