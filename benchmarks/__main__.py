"""``python -m benchmarks [NAME ...] [--quick]``: all benchmarks, or some, one after the other."""

from __future__ import annotations

import argparse
import importlib

import torch

NAMES = (
    "views",
    "views_dense",
    "places",
    "engine",
    "training",
    "memory",
    "footprint",
    "graph",
    "diffusion_training",
)


def run() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], help="which; all when none")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.names or NAMES:
        print(f"\n{name}")
        importlib.import_module(f"benchmarks.{name}").main(quick=arguments.quick)


if __name__ == "__main__":
    run()
