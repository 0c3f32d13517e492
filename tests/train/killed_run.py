"""Runs a method in a process of its own, so that a test can kill it.

usage: python killed_run.py METHOD FOLDER STEPS [HYPERPARAMETER=VALUE ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import yaml

from leaven.data import open_data
from leaven.methods import find_method
from leaven.train import Budget, Settings, Trainer


def main() -> None:
    torch.set_num_threads(1)
    name, folder, steps = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    values = {key: yaml.safe_load(text) for key, text in (a.split("=", 1) for a in sys.argv[4:])}
    data = open_data("digits", labels_per_class=4, seed=0)
    settings = Settings(
        budget=Budget(steps=steps), threads=1, checkpoint_steps=3, options={"width": 8}
    )
    trainer = Trainer(data, folder, settings, resume=True)
    fitted = find_method(name).configured(values).fit(trainer.data, trainer)
    torch.save(
        {"model": fitted.model.state_dict(), "probs": fitted.labels.probs, "step": trainer.step},
        folder / "end.pt",
    )


if __name__ == "__main__":
    main()
