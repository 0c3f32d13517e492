"""Weak and strong views per second on one core: leaven against torchvision and Pillow.

A pair is a weak view (mirror, crop after reflection padding of an eighth of the side) and a strong
view (the same, two RandAugment operations, cutout up to half the side) of one picture. All three
start from decoded uint8 pictures in memory and end with uint8 pictures; converting to float and
normalising are left out for all.

    python -m benchmarks.views [--quick]
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from PIL import __version__ as pillow_version
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torchvision.transforms import v2

from benchmarks.common import Measurement, compare, save
from leaven.data.transforms import Strong, Weak
from leaven.draws import Draws

Picture = Image.Image


def leaven_pairs(images: Tensor) -> Callable[[], int]:
    padding, draws = images.shape[-1] // 8, Draws(0)
    weak, strong = Weak(padding=padding), Strong(padding=padding, magnitude=None)

    def case() -> int:
        weak(images, draws)
        strong(images, draws)
        return len(images)

    return case


def torchvision_pairs(images: Tensor) -> Callable[[], int]:
    side = images.shape[-1]
    geometry = [
        v2.RandomCrop(side, padding=side // 8, padding_mode="reflect"),
        v2.RandomHorizontalFlip(),
    ]
    weak = v2.Compose(geometry)
    strong = v2.Compose(
        [
            *geometry,
            v2.RandAugment(2, 10),
            v2.RandomErasing(p=1, scale=(1e-4, 0.25), ratio=(1, 1), value=127),
        ]
    )

    def case() -> int:
        torch.stack([weak(image) for image in images])
        torch.stack([strong(image) for image in images])
        return len(images)

    return case


def moved(picture: Picture, *matrix: float) -> Picture:
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix)


PILLOW_OPERATIONS: list[tuple[Callable[[Picture, float], Picture], float, float]] = [
    (lambda p, _: ImageOps.autocontrast(p), 0, 1),
    (lambda p, v: ImageEnhance.Brightness(p).enhance(v), 0.05, 0.95),
    (lambda p, v: ImageEnhance.Color(p).enhance(v), 0.05, 0.95),
    (lambda p, v: ImageEnhance.Contrast(p).enhance(v), 0.05, 0.95),
    (lambda p, _: ImageOps.equalize(p), 0, 1),
    (lambda p, _: p, 0, 1),
    (lambda p, v: ImageOps.posterize(p, int(v)), 4, 8),
    (lambda p, v: p.rotate(v), -30, 30),
    (lambda p, v: ImageEnhance.Sharpness(p).enhance(v), 0.05, 0.95),
    (lambda p, v: moved(p, 1, v, 0, 0, 1, 0), -0.3, 0.3),
    (lambda p, v: moved(p, 1, 0, 0, v, 1, 0), -0.3, 0.3),
    (lambda p, v: ImageOps.solarize(p, int(v)), 0, 256),
    (lambda p, v: moved(p, 1, 0, v * p.width, 0, 1, 0), -0.3, 0.3),
    (lambda p, v: moved(p, 1, 0, 0, 0, 1, v * p.height), -0.3, 0.3),
]


def pillow_weak(array: np.ndarray, padding: int) -> Picture:
    height, width = array.shape[:2]
    padded = np.pad(array, ((padding, padding), (padding, padding), (0, 0)), mode="reflect")
    top, left = random.randint(0, 2 * padding), random.randint(0, 2 * padding)
    picture = Image.fromarray(padded[top : top + height, left : left + width])
    return ImageOps.mirror(picture) if random.random() < 0.5 else picture


def pillow_strong(array: np.ndarray, padding: int) -> Picture:
    picture = pillow_weak(array, padding)
    for operation, low, high in random.choices(PILLOW_OPERATIONS, k=2):
        picture = operation(picture, random.uniform(low, high))
    side = random.uniform(0, 0.5) * picture.width
    left = random.uniform(0, picture.width) - side / 2
    top = random.uniform(0, picture.height) - side / 2
    picture = picture.copy()
    ImageDraw.Draw(picture).rectangle((left, top, left + side, top + side), (127, 127, 127))
    return picture


def pillow_pairs(images: Tensor) -> Callable[[], int]:
    arrays = list(images.permute(0, 2, 3, 1).contiguous().numpy())
    padding = images.shape[-1] // 8

    def case() -> int:
        np.stack([np.asarray(pillow_weak(array, padding)) for array in arrays])
        np.stack([np.asarray(pillow_strong(array, padding)) for array in arrays])
        return len(arrays)

    return case


def measure(side: int, batch: int, peer_batch: int, seconds: float) -> dict[str, Measurement]:
    """Pairs per second; the peers take pictures one by one, so a smaller batch is as good."""
    images = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8)
    return compare(
        {
            "leaven": leaven_pairs(images),
            "torchvision": torchvision_pairs(images[:peer_batch]),
            "pillow": pillow_pairs(images[:peer_batch]),
        },
        seconds,
    )


def main(quick: bool = False) -> dict[str, Any]:
    """Measures both sizes of pictures, prints a table and saves the results."""
    seconds = 1.0 if quick else 10.0
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)

    table = Table(title="Pairs of weak and strong views per second, one thread")
    for column in ("pictures", "batch", "case", "pairs/s", "middle half", "leaven / case"):
        table.add_column(column, justify="left" if column in ("pictures", "case") else "right")
    results: dict[str, Any] = {}
    for side, batch, peer_batch in ((32, 448, 64), (224, 64, 4)):
        measured = measure(side, batch, peer_batch, seconds)
        ours = measured["leaven"]
        for name, one in measured.items():
            low, high = one.quartiles
            ratio = "" if one is ours else f"{ours.times(one):.1f} times"
            middle = f"{low:,.0f} to {high:,.0f}"
            table.add_row(f"3x{side}x{side}", str(batch), name, f"{one.median:,.0f}", middle, ratio)
        table.add_section()
        results[f"3x{side}x{side}"] = {
            "batch": batch,
            "pairs_per_second": {name: one.as_dict() for name, one in measured.items()},
            "times_faster_than": {
                name: ours.times(one) for name, one in measured.items() if one is not ours
            },
        }
    Console().print(table)
    versions = {"torchvision": torchvision.__version__, "pillow": pillow_version}
    print(save("views", {"unit": "pairs per second", "peers": versions, "results": results}))
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the time")
    main(parser.parse_args().quick)
