"""Pixels and boxes: the engine's step beside the same step by hand, scenes, pooling, and evaluation.

The steps take turns inside one training, as in ``benchmarks.engine``. The evaluation is COCO's, of
made-up detections, beside pycocotools on the same ones; the figures of both must be equal.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchvision.ops import MultiScaleRoIAlign

from benchmarks.common import compare, save, turn_taking
from leaven.data import Data
from leaven.data.open_annotated import open_boxes, open_maps
from leaven.data.scenes import scenes
from leaven.data.transforms import ScaleCropFlip, StrongColour
from leaven.draws import Draws
from leaven.labels import BoxLabels
from leaven.learn import mix, one_rectangle
from leaven.methods import Method, find_method
from leaven.models.detection import Pyramid, RegionPool, Regions
from leaven.quality.detection import detection_scores
from leaven.train import EMA, Budget, Settings, trainer_of

BLOCK = 3


def pixels_by_hand(data: Data[Any], method: Any, net: Any) -> Callable[[], None]:
    """FixMatch for pixels as one would write it in a script."""
    labelled, unlabelled = data.labelled, data.unlabelled
    x = labelled.pixels.batch(torch.arange(len(labelled)))
    y = labelled.labels[torch.arange(len(labelled))]
    u = unlabelled.pixels.batch(torch.arange(len(unlabelled)))
    weak, strong = ScaleCropFlip(scale=method.scale, flip=data.flip), StrongColour()
    draws, teacher = Draws(0), EMA(net, method.ema)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-4)

    def trusted(probs: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        confidence, classes = probs.max(1)
        return classes, ((confidence >= method.threshold) & valid).float()

    def one() -> None:
        chosen = torch.randint(len(x), (method.batch,))
        first = weak(x[chosen], draws)
        seen = weak(u[torch.randint(len(u), (method.batch * method.ratio,))], draws)
        other = weak(u[torch.randint(len(u), (method.batch * method.ratio,))], draws)
        net.eval()
        with torch.no_grad():
            ahead = net(other.images).softmax(1)
        net.train()
        logits = net(torch.cat([first.images, seen.images]))
        on_labelled, on_weak = logits.split([method.batch, len(seen.images)])
        valid, partner = seen.geometry.valid(), other.geometry.valid()
        own = trusted(on_weak.detach().softmax(1), valid)
        pasted = trusted(ahead, partner)
        mask = one_rectangle(len(valid), seen.geometry.view, draws, method.cutmix)
        view = mix(mask, strong(seen.images, draws), strong(other.images, draws))
        classes, weight = mix(mask, own[0], pasted[0]), mix(mask, own[1], pasted[1])
        shown = mix(mask, valid, partner).sum()
        targets = first.geometry.maps(y[chosen])
        loss = cross_entropy(on_labelled, targets, ignore_index=-1) / 2
        each = cross_entropy(net(view), classes, reduction="none")
        loss = loss + method.strong_weight / 2 * (each * weight).sum() / shown
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        teacher.update(net)

    return one


def boxes_by_hand(data: Data[Any], method: Any, net: Any) -> Callable[[], None]:
    """Supervised detection as one would write it in a script."""
    labelled = data.labelled
    x = labelled.pixels.batch(torch.arange(len(labelled)))
    weak = ScaleCropFlip(scale=method.scale, flip=data.flip, fill=114)
    draws, teacher = Draws(0), EMA(net, method.ema)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-4)

    def one() -> None:
        chosen = torch.randint(len(x), (method.batch,))
        seen = weak(x[chosen], draws)
        things = seen.geometry.labels(labelled.labels[chosen])
        loss = torch.stack(list(net.losses(seen.images, things, draws).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        teacher.update(net)

    return one


def steps(quick: bool) -> dict[str, Any]:
    """The ratio engine / by hand of the time per step."""
    rows: dict[str, Any] = {}
    cases: tuple[tuple[str, str, Data[Any], Any, str], ...] = (
        ("pixels, fixmatch, unet", "segmentation", open_maps(None), pixels_by_hand, "fixmatch"),
        (
            "boxes, supervised, rcnn-small",
            "detection",
            open_boxes(None),
            boxes_by_hand,
            "supervised",
        ),
    )
    for name, task, data, by_hand, method_name in cases:
        method: Method = find_method(method_name, task)(batch=2)
        total = 24 if quick else 90
        settings = Settings(budget=Budget(steps=total), device="cpu", threads=1, evaluations=1)
        with tempfile.TemporaryDirectory() as folder:
            trainer = turn_taking(trainer_of(task), BLOCK)(data, Path(folder), settings)
            trainer.other = by_hand(trainer.data, method, trainer.model())
            trainer.looked_at = 1
            method.fit(trainer.data, trainer)
        ratios = [a / b for a, b in zip(trainer.mine[2:], trainer.theirs[2:], strict=True)]
        low, high = statistics.quantiles(ratios, n=4)[::2]
        rows[name] = {
            "engine_ms": 1000 * statistics.median(trainer.mine) / BLOCK,
            "by_hand_ms": 1000 * statistics.median(trainer.theirs) / BLOCK,
            "ratio": statistics.median(ratios),
            "ratio_quartiles": [low, high],
            "blocks": len(ratios),
        }
        print(f"{name}: engine / by hand = {rows[name]['ratio']:.3f} ({low:.3f} to {high:.3f})")
    return rows


def scene_rate(quick: bool) -> dict[str, float]:
    """Scenes of 96x96 per second, with their maps and boxes, on one thread."""
    count, rates = 200 if quick else 1000, []
    for seed in range(3 if quick else 7):
        began = time.perf_counter()
        made = scenes(count, seed=seed)
        made.boxes(masks=False)
        rates.append(count / (time.perf_counter() - began))
    print(f"scenes: {statistics.median(rates):,.0f} per second")
    return {"scenes_per_second": statistics.median(rates), "lowest": min(rates)}


def pooling(quick: bool) -> dict[str, Any]:
    """RoIAlign of a pyramid, there and back, beside torchvision's on the same maps and regions."""
    rows = {}
    for pictures, channels, size, count in (
        (4, 32, (128, 160), 128),
        (2, 256, (512, 640), 512),
    ):
        name = (
            f"{pictures} pictures of {size[0]}x{size[1]}, {channels} channels, {count} regions each"
        )
        rows[name] = _pooling(pictures, channels, size, count, seconds=2 if quick else 12)
        print(f"pooling, {name}: {rows[name]['times_torchvision']:.1f} times torchvision's")
    return rows


def _pooling(
    pictures: int, channels: int, size: tuple[int, int], count: int, seconds: float
) -> dict[str, Any]:
    (height, width), draw = size, torch.Generator().manual_seed(0)
    maps = [
        torch.randn(pictures, channels, height >> level, width >> level, generator=draw)
        for level in range(2, 6)
    ]
    low = torch.rand(pictures * count, 2, generator=draw) * torch.tensor([width, height]) * 0.8
    sides = torch.rand(pictures * count, 2, generator=draw).square() * height
    high = (low + 4 + sides).minimum(torch.tensor([width, height]))
    regions = Regions(torch.cat([low, high], 1), torch.arange(pictures).repeat_interleave(count))
    pyramid, own = Pyramid(tuple(maps), size, size), RegionPool(7, len(maps))
    named = {str(number): level for number, level in enumerate(maps)}
    peer = MultiScaleRoIAlign(list(named), 7, 2)
    weights = torch.randn(pictures * count, channels, 7, 7, generator=draw)

    def ours() -> Tensor:
        return own(pyramid, regions)

    def theirs() -> Tensor:
        return peer(named, list(regions.boxes.split(count)), [size] * pictures)

    def there_and_back(pooled: Callable[[], Tensor]) -> int:
        torch.autograd.grad((pooled() * weights).sum(), maps)
        return len(weights)

    difference = float((ours() - theirs()).abs().max())
    for level in maps:
        level.requires_grad_()
    found = compare(
        {"leaven": lambda: there_and_back(ours), "torchvision": lambda: there_and_back(theirs)},
        seconds,
    )
    return {
        "regions_per_second": {who: rate.as_dict() for who, rate in found.items()},
        "times_torchvision": found["leaven"].times(found["torchvision"]),
        "largest_difference": difference,
    }


def evaluation(quick: bool) -> dict[str, Any]:
    """COCO's figures by leaven and by pycocotools, of the same detections."""
    pictures, classes = 200 if quick else 1000, 5
    truth, found = _detections(pictures, classes)
    peer_seconds, own_seconds, difference = [], [], 0.0
    for _ in range(3):
        began = time.perf_counter()
        scores = detection_scores(found, truth, classes).metrics()
        own_seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
        stats = _pycocotools(found, truth, classes)
        peer_seconds.append(time.perf_counter() - began)
        difference = max(difference, abs(scores["map"] - stats[0]), abs(scores["map50"] - stats[1]))
    ratio = statistics.median(p / o for p, o in zip(peer_seconds, own_seconds, strict=True))
    print(f"evaluation: {ratio:.1f} times pycocotools, largest difference {difference:.1e}")
    return {
        "pictures": pictures,
        "times_pycocotools": ratio,
        "largest_difference": difference,
        "seconds": statistics.median(own_seconds),
    }


def _detections(pictures: int, classes: int) -> tuple[BoxLabels, BoxLabels]:
    """Seven things in each picture, and ten detections: the things moved a little, and others."""
    generator = torch.Generator().manual_seed(0)

    def boxes(count: int) -> Tensor:
        low = torch.rand(count, 2, generator=generator) * 200
        return torch.cat([low, low + 8 + torch.rand(count, 2, generator=generator) * 80], 1)

    true = boxes(pictures * 7)
    label = torch.randint(0, classes, (len(true),), generator=generator)
    moved = true + torch.randn(true.shape, generator=generator) * 4
    false = boxes(pictures * 3)
    whole = torch.cat([moved.view(pictures, 7, 4), false.view(pictures, 3, 4)], 1).view(-1, 4)
    other = torch.randint(0, classes, (pictures, 3), generator=generator)
    said = torch.cat([label.view(pictures, 7), other], 1).flatten()
    scores = torch.rand(len(whole), generator=generator)
    found = BoxLabels.from_model(whole, said, scores, torch.full((pictures,), 10))
    truth = BoxLabels.from_person(list(true.split(7)), list(label.split(7)))
    return truth, found


def _pycocotools(found: BoxLabels, truth: BoxLabels, classes: int) -> list[float]:
    def rows(labels: BoxLabels) -> list[dict[str, Any]]:
        sides = labels.sides.tolist()
        return [
            {
                "id": number + 1, "image_id": picture + 1, "category_id": label + 1,
                "bbox": [*box[:2], *side], "area": side[0] * side[1], "iscrowd": 0, "score": score,
            }
            for number, (picture, label, box, side, score) in enumerate(
                zip(
                    labels.pictures.tolist(), labels.classes.tolist(), labels.boxes.tolist(),
                    sides, labels.confidence.tolist(), strict=True,
                )
            )
        ]  # fmt: skip

    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = {
            "images": [{"id": number + 1} for number in range(len(truth))],
            "categories": [{"id": number + 1, "name": str(number)} for number in range(classes)],
            "annotations": rows(truth),
        }
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(rows(found)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats]


def main(quick: bool = False) -> dict[str, Any]:
    """Measures, prints and keeps all of it."""
    rows = {
        "steps": steps(quick),
        "scenes": scene_rate(quick),
        "pooling": pooling(quick),
        "evaluation": evaluation(quick),
    }
    save("places", rows)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    torch.set_num_threads(1)
    main(parser.parse_args().quick)
