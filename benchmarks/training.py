"""A whole FixMatch training step (data, views, forward, backward, update): pictures per second."""

from __future__ import annotations

import argparse
from typing import Any

import torch

from benchmarks.common import save
from leaven.data import Data, ImageSet, MemoryPixels
from leaven.methods.classification.fixmatch import FixMatch
from leaven.train import Budget, Settings, Trainer


def pictures(channels: int, side: int, count: int = 2048) -> Data:
    """Made-up pictures with 40 labels; speed does not depend on what they show."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(
        256, (count, channels, side, side), generator=generator, dtype=torch.uint8
    )
    truth = torch.arange(count) % 10
    labels = torch.where(torch.arange(count) < 40, truth, -1)
    names = [str(i) for i in range(count)]
    train = ImageSet(MemoryPixels(images), labels, truth, names)
    return Data("made-up", tuple("0123456789"), train)


def main(quick: bool = False) -> dict[str, Any]:
    """Measures, prints and keeps pictures per second; weak, strong and labelled ones all count."""
    rows: dict[str, Any] = {}
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:
        for model, batch in (("cnn-small", 8), ("wrn-28-2", 2)):
            for precision in ("fp32", "bf16"):
                steps = (4 if quick else 12) if device == "cpu" else 200
                batch_here = batch if device == "cpu" else 64
                settings = Settings(
                    budget=Budget(steps=steps),
                    model=model,
                    device=device,
                    precision=precision,
                    threads=1,
                )
                trainer = Trainer(pictures(3, 32), None, settings)
                FixMatch(batch=batch_here, ratio=7).fit(trainer.data, trainer)
                # Every unlabelled picture goes through the network twice, weak and strong.
                through = steps * batch_here * 15
                name = f"{device}, {model}, {precision}"
                rows[name] = {
                    "images_per_second": through / trainer.seconds,
                    "milliseconds_per_step": 1000 * trainer.seconds / steps,
                    "batch": batch_here,
                }
                print(f"{name}: {rows[name]['images_per_second']:,.0f} pictures/s")
    save("training", {"cases": rows})
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    torch.set_num_threads(1)
    main(parser.parse_args().quick)
