"""The engine's FixMatch step beside the same step written by hand in plain PyTorch.

Both take the same pictures through the same views and the same network; the loop by hand has
nothing but what the algorithm needs (no logs, no health, no guard against bad numbers, no
checkpoints). Blocks of steps take turns inside one training, so that a busy machine meets both.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.common import save, turn_taking
from benchmarks.training import pictures
from leaven.data import Data
from leaven.draws import Draws
from leaven.methods.classification.fixmatch import FixMatch
from leaven.train import EMA, Budget, Settings, Trainer

BLOCK = 5


def by_hand(data: Data, method: FixMatch, total: int, net: nn.Module) -> Callable[[], None]:
    """The FixMatch step as one would write it in a script."""
    labelled, unlabelled = data.labelled, data.unlabelled
    x, y = labelled.pixels.batch(torch.arange(len(labelled))), labelled.labels
    u = unlabelled.pixels.batch(torch.arange(len(unlabelled)))
    weak, strong = data.views()
    draws = Draws(0)
    recipe = method.recipe
    optimizer = torch.optim.SGD(
        net.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=True,
        weight_decay=recipe.weight_decay,
    )
    teacher = EMA(net, method.ema)
    step = 0

    def one() -> None:
        nonlocal step
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * math.cos(7 * math.pi * step / 16 / total)
        chosen = torch.randint(len(x), (method.batch,))
        others = torch.randint(len(u), (method.batch * method.ratio,))
        images = u[others]
        views = torch.cat([weak(x[chosen], draws), weak(images, draws), strong(images, draws)])
        logits, on_weak, on_strong = net(views).split([len(chosen), len(others), len(others)])
        confidence, proposed = on_weak.detach().softmax(1).max(1)
        mask = (confidence >= method.threshold).float()
        loss = nn.functional.cross_entropy(logits, y[chosen])
        loss = (
            loss
            + (nn.functional.cross_entropy(on_strong, proposed, reduction="none") * mask).mean()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        teacher.update(net)
        step += 1

    return one


def main(quick: bool = False) -> dict[str, Any]:
    """Measures, prints and keeps the ratio engine / by hand of the time per step."""
    rows: dict[str, Any] = {}
    for model, batch, steps in (("cnn-small", 4, 200), ("wrn-28-2", 1, 60)):
        steps = max(6 * BLOCK, steps // 4) if quick else steps
        data = pictures(3, 32)
        method = FixMatch(batch=batch, ratio=7)
        settings = Settings(budget=Budget(steps=steps), model=model, device="cpu", threads=1)
        with tempfile.TemporaryDirectory() as folder:
            trainer = turn_taking(Trainer, BLOCK)(data, Path(folder), settings)
            net = trainer.model()
            trainer.other = by_hand(data, method, steps, net)
            method.fit(trainer.data, trainer)
        ratios = [a / b for a, b in zip(trainer.mine[2:], trainer.theirs[2:], strict=True)]
        low, high = statistics.quantiles(ratios, n=4)[::2]
        rows[model] = {
            "engine_ms": 1000 * statistics.median(trainer.mine) / BLOCK,
            "by_hand_ms": 1000 * statistics.median(trainer.theirs) / BLOCK,
            "ratio": statistics.median(ratios),
            "ratio_quartiles": [low, high],
            "blocks": len(ratios),
            "images_per_step": batch * 15,
        }
        print(f"{model}: engine / by hand = {rows[model]['ratio']:.3f} ({low:.3f} to {high:.3f})")
    save("engine", {"cases": rows})
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    torch.set_num_threads(1)
    main(parser.parse_args().quick)
