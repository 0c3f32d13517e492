"""FixMatch's step on CIFAR-10, from decoded pictures to updated weights, beside the USB toolbox.

The peer is the ``semilearn`` package as it is: its data classes and transforms, its loader, its
FixMatch, its update and EMA hooks, its WRN-28-2. Both sides: batch 64 + 7 x 64, the same pictures,
the same number of threads, no loader processes. Every labelled, weak and strong picture counts.

``semilearn`` has to be importable, for example from a folder that ``PYTHONPATH`` names. Packages
that it imports for sound, text and web logs alone are replaced by empty ones where they are not
installed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.machinery import ModuleSpec
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch
import torchvision
from claims.sources import folder

from benchmarks.common import save, timed
from leaven.data import Data, hide_labels, open_data
from leaven.methods.classification.fixmatch import FixMatch
from leaven.train import Budget, Settings, Trainer

BATCH, RATIO = 64, 7
THROUGH = BATCH * (1 + 2 * RATIO)
"""Pictures through the network in a step."""
UNRELATED = ("transformers", "torchaudio", "wandb", "aim")


class Usb:
    """The toolbox's FixMatch on ``data``, a step at a time."""

    def __init__(self, data: Data, device: str) -> None:
        for name in UNRELATED:
            try:
                __import__(name)
            except ImportError:
                package = MagicMock(name=name)
                package.__path__, package.__spec__ = [], ModuleSpec(name, None)
                sys.modules[name] = package
        pictures = data.train.pixels.batch(torch.arange(len(data.train)))
        targets = data.train.truth.tolist()

        class Cifar10:
            """In place of torchvision's reader, which looks for other files."""

            def __init__(self, *_: Any, **__: Any) -> None:
                self.data = pictures.permute(0, 2, 3, 1).numpy()
                self.targets = np.asarray(targets)

        torchvision.datasets.CIFAR10 = Cifar10  # type: ignore[misc,assignment]
        if device == "cpu":
            torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
        from semilearn import get_algorithm, get_config, get_net_builder

        config = {
            "algorithm": "fixmatch",
            "net": "wrn_28_2",
            "net_from_name": False,
            "dataset": "cifar10",
            "data_dir": tempfile.mkdtemp(),
            "num_classes": 10,
            "num_labels": 40,
            "batch_size": BATCH,
            "uratio": RATIO,
            "num_train_iter": 1000,
            "epoch": 1,
            "use_cat": True,
            "hard_label": True,
            "p_cutoff": 0.95,
            "crop_ratio": 0.875,
            "img_size": 32,
            "num_workers": 0,
            "gpu": 0 if device != "cpu" else None,
            "distributed": False,
            "rank": 0,
            "world_size": 1,
        }
        args = get_config(config)
        self.algorithm = get_algorithm(args, get_net_builder("wrn_28_2", False), None, None)
        self.algorithm.model.to(device).train()
        self.algorithm.ema_model.to(device)
        self.hooks = [
            hook
            for hook in self.algorithm._hooks
            if type(hook).__name__ in ("ParamUpdateHook", "EMAHook")
        ]
        for hook in self.hooks:
            hook.before_run(self.algorithm)
        self.batches = zip(
            iter(self.algorithm.loader_dict["train_lb"]),
            iter(self.algorithm.loader_dict["train_ulb"]),
        )

    def seconds(self, steps: int) -> float:
        """The time of so many steps."""
        began = time.perf_counter()
        for _ in range(steps):
            labelled, unlabelled = next(self.batches)
            values = self.algorithm.process_batch(**labelled, **unlabelled)
            self.algorithm.out_dict, self.algorithm.log_dict = self.algorithm.train_step(**values)
            for hook in self.hooks:
                hook.after_train_step(self.algorithm)
            self.algorithm.it += 1
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - began


def ours(data: Data, device: str, precision: Any, joint: bool, steps: int) -> float:
    """The time of so many of our steps, after one that is not counted."""
    settings = Settings(
        budget=Budget(steps=steps + 1),
        model="wrn-28-2",
        device=device,
        precision=precision,
        threads=torch.get_num_threads(),
    )
    trainer = timed(Trainer)(data, None, settings)
    FixMatch(batch=BATCH, ratio=RATIO, joint=joint).fit(trainer.data, trainer)
    return trainer.ends[-1] - trainer.ends[0]


CASES: dict[str, tuple[str, bool] | None] = {
    "usb": None,
    **{
        f"leaven, {precision}, {'joint pass' if joint else 'weak views apart'}": (precision, joint)
        for precision in ("fp32", "bf16")
        for joint in (True, False)
    },
}


def one(case: str, steps: int) -> dict[str, float]:
    """The time of so many steps of a case, in this process."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    began = time.perf_counter()
    whole = open_data(folder("cifar10"), test_share=0.0)
    reading = time.perf_counter() - began
    generator = torch.Generator().manual_seed(0)
    some = whole.train.subset(torch.randperm(len(whole.train), generator=generator)[:2_000])
    data = whole.with_train(hide_labels(some, whole.classes, 4, 0))
    chosen = CASES[case]
    if chosen is None:
        usb = Usb(data, device)
        usb.seconds(1)
        return {"seconds": usb.seconds(steps), "reading": reading}
    # The labelled steps of one fit need no test pass at the end.
    data = Data(data.name, data.classes, data.train)
    return {"seconds": ours(data, device, *chosen, steps), "reading": reading}


def main(rounds: int = 3, steps: int = 3) -> dict[str, Any]:
    """Measures in turns, prints and keeps pictures per second and the ratio to the peer.

    Each measurement is a process of its own: how memory is handled is a matter of the process.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in CASES}
    for _ in range(rounds):
        for name in CASES:
            call = [sys.executable, "-m", "benchmarks.usb", "--case", name, "--steps", str(steps)]
            printed = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True).stdout
            found[name].append(json.loads(printed.splitlines()[-1]))
    seconds = {name: [run["seconds"] for run in runs] for name, runs in found.items()}
    rows = {
        name: {
            "images_per_second": THROUGH * steps / statistics.median(times),
            "times_usb": statistics.median(a / b for a, b in zip(seconds["usb"], times)),
        }
        for name, times in seconds.items()
    }
    for name, row in rows.items():
        print(f"{name}: {row['images_per_second']:.0f} pictures/s, {row['times_usb']:.2f} x USB")
    save(
        "usb",
        {
            "device": "cuda" if torch.cuda.is_available() else "cpu",
            "rounds": rounds,
            "cases": rows,
            "seconds_to_decode_60000": statistics.median(
                run["reading"] for runs in found.values() for run in runs
            ),
        },
    )
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.case:
        print(json.dumps(one(options.case, options.steps)))
    else:
        main(options.rounds, options.steps)
