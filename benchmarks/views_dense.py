"""Views of pictures with their label maps and boxes, and CutMix: batched against one by one.

Weak view: scale 0.5 to 2, crop of the same size, mirror, of a picture and its class map (torchvision:
ScaleJitter, RandomCrop and RandomHorizontalFlip of v2 on an Image and a Mask). Detector view: a turn,
shift and shear of a picture and 20 boxes (torchvision: RandomAffine of v2 on an Image and
BoundingBoxes). Transport: the class map of one view moved to another view (torchvision: its affine
function on one map at a time). CutMix: pictures, class maps and weights with one rectangle each, of
the law of UniMatch (by hand: the paper's loop and a copy of the rectangle, sample by sample). One
thread; decoding, converting to float and normalising are left out for all.

    python -m benchmarks.views_dense [--quick]
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable
from typing import Any

import torch
import torchvision
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from benchmarks.common import Measurement, compare, save
from leaven.data.transforms import ScaleCropFlip, between, sheared, shifted, turned
from leaven.draws import Draws
from leaven.labels import BoxLabels
from leaven.learn import mix, one_rectangle

Case = Callable[[], int]


def weak_views(images: Tensor, classes: Tensor) -> dict[str, Case]:
    size, draws, view = (images.shape[2], images.shape[3]), Draws(0), ScaleCropFlip()
    one_by_one = v2.Compose(
        [
            v2.ScaleJitter(size, (0.5, 2.0), antialias=False),
            v2.RandomCrop(size, pad_if_needed=True, fill={tv_tensors.Mask: -1, "others": 0}),
            v2.RandomHorizontalFlip(),
        ]
    )

    def batched() -> int:
        seen = view(images, draws)
        seen.geometry.maps(classes)
        return len(images)

    def single() -> int:
        pairs = [
            one_by_one(tv_tensors.Image(image), tv_tensors.Mask(one))
            for image, one in zip(images, classes)
        ]
        torch.stack([image for image, _ in pairs])
        torch.stack([one for _, one in pairs])
        return len(images)

    return {"leaven": batched, "torchvision": single}


def detector_views(images: Tensor, labels: BoxLabels) -> dict[str, Case]:
    size, draws, count = (images.shape[2], images.shape[3]), Draws(0), len(images)
    one_by_one = v2.RandomAffine(
        30, (0.1, 0.1), shear=(-30, 30, -30, 30), interpolation=v2.InterpolationMode.BILINEAR
    )
    rows = labels.boxes.split(labels.counts.tolist())

    def batched() -> int:
        amount = draws.uniform(count, 5, low=-1)
        shift = 0.1 * amount[:, :2] * torch.tensor(size[::-1])
        slope = (30 * amount[:, 2:4]).deg2rad().tan()
        geometry = turned(30 * amount[:, 4], size).then(shifted(*shift.unbind(1), size))
        geometry = geometry.then(sheared(*slope.unbind(1), size))
        geometry.images(images)
        geometry.labels(labels)
        return count

    def single() -> int:
        pairs = [
            one_by_one(
                tv_tensors.Image(image),
                tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size),
            )
            for image, boxes in zip(images, rows)
        ]
        torch.stack([image for image, _ in pairs])
        for _, boxes in pairs:
            area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
            boxes[area > 0]
        return count

    return {"leaven": batched, "torchvision": single}


def transports(classes: Tensor) -> dict[str, Case]:
    size, count = (classes.shape[1], classes.shape[2]), len(classes)
    degrees, factor = torch.linspace(-30, 30, count).tolist(), 1.2
    weak = ScaleCropFlip(scale=(factor, factor)).geometry(count, size, Draws(0))
    strong = weak.then(turned(torch.tensor(degrees), size))
    nearest = v2.InterpolationMode.NEAREST

    def batched() -> int:
        between(weak, strong).maps(classes)
        return count

    def single() -> int:
        torch.cat(
            [
                v2.functional.affine(one[None], -angle, [0, 0], 1.0, [0.0, 0.0], nearest, [-1])
                for one, angle in zip(classes, degrees)
            ]
        )
        return count

    return {"leaven": batched, "torchvision": single}


def cut_mixes(images: Tensor, classes: Tensor, weight: Tensor) -> dict[str, Case]:
    size, draws, count = (images.shape[2], images.shape[3]), Draws(0), len(images)
    pairs = [(values, values.roll(-1, 0)) for values in (images, classes, weight)]

    def batched() -> int:
        mask = one_rectangle(count, size, draws, probability=1.0)
        for own, other in pairs:
            mix(mask, own, other)
        return count

    def single() -> int:
        mixed = [(own.clone(), other) for own, other in pairs]
        for sample in range(count):
            top, left, height, width = rectangle(*size)
            part = (sample, ..., slice(top, top + height), slice(left, left + width))
            for made, other in mixed:
                made[part] = other[part]
        return count

    return {"leaven": batched, "by hand": single}


def rectangle(height: int, width: int) -> tuple[int, int, int, int]:
    """The paper's loop: draw until it fits."""
    pixels = random.uniform(0.02, 0.4) * height * width
    while True:
        ratio = random.uniform(0.3, 1 / 0.3)
        wide, high = int(math.sqrt(pixels / ratio)), int(math.sqrt(pixels * ratio))
        left, top = random.randrange(width), random.randrange(height)
        if left + wide <= width and top + high <= height:
            return top, left, high, wide


def measure(size: tuple[int, int], batch: int, seconds: float) -> dict[str, dict[str, Measurement]]:
    """Pictures per second of every case."""
    images = torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8)
    classes, weight = torch.randint(0, 11, (batch, *size)), torch.rand(batch, *size)
    low = torch.rand(batch, 20, 2) * torch.tensor(size[::-1]) * 0.7
    boxes = torch.cat([low, low + 0.25 * torch.tensor(size[::-1])], 2)
    labels = BoxLabels.from_person(
        list(boxes), [torch.zeros(20, dtype=torch.int64) for _ in range(batch)]
    )
    cases = {
        "weak view, picture and map": weak_views(images, classes),
        "detector view, picture and boxes": detector_views(images, labels),
        "map from view to view": transports(classes),
        "CutMix, picture, map and weight": cut_mixes(images, classes, weight),
    }
    return {name: compare(pair, seconds) for name, pair in cases.items()}


def main(quick: bool = False) -> dict[str, Any]:
    """Measures both sizes of pictures, prints a table and saves the results."""
    seconds = 0.5 if quick else 8.0
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)

    table = Table(title="Pictures per second, one thread")
    for column in ("pictures", "work", "case", "pictures/s", "leaven / case"):
        table.add_column(column, justify="right" if "/" in column else "left")
    results: dict[str, Any] = {}
    for size, batch in (((120, 160), 16), ((512, 512), 4)):
        shape = f"{batch}x3x{size[0]}x{size[1]}"
        results[shape] = {}
        for work, measured in measure(size, batch, seconds).items():
            ours = measured["leaven"]
            for name, one in measured.items():
                ratio = "" if one is ours else f"{ours.times(one):.2f} times"
                table.add_row(shape, work, name, f"{one.median:,.0f}", ratio)
            results[shape][work] = {
                "pictures_per_second": {name: one.as_dict() for name, one in measured.items()},
                "times_faster_than": {
                    name: ours.times(one) for name, one in measured.items() if one is not ours
                },
            }
        table.add_section()
    Console().print(table)
    versions = {"torchvision": torchvision.__version__}
    payload = {"unit": "pictures per second", "peers": versions, "results": results}
    print(save("views_dense", payload))
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a sixteenth of the time")
    main(parser.parse_args().quick)
