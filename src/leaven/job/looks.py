"""What the model of a run makes of pictures: features of each, and its pixels in a few sums."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from leaven.data.pixels import Pixels
from leaven.errors import ModelError
from leaven.models import Classifier, Segmenter, capture
from leaven.models.detection import Detector
from leaven.propose.predict import device_of, modes_kept
from leaven.quality.acquisition import UNCERTAINTY, narrowed, pixel_mean

Progress = Callable[[int, int], None]

BINS = 64
"""Of the confidence of pixels."""

CLASSES_AT_ONCE, PLACES_AT_ONCE = 256, 16
"""Pictures that are looked at together."""


@dataclass(frozen=True)
class Looks:
    """What a model makes of n pictures, on the CPU.

    Attributes:
        features: (n, D) float32, D at most 256: of a classifier those in front of its head; else
            the mean over the last map of the encoder. Wider ones are projected, see ``narrowed``.
        probs: (n, K) of the classes of the pictures; of pixels the mean over them; None of boxes.
        unsure: (n, 3) of pixels the mean of each of ``UNCERTAINTY``; else None.
        confidence: (n, BINS) of pixels the share in each bin of confidence; else None.
    """

    features: Tensor
    probs: Tensor | None = None
    unsure: Tensor | None = None
    confidence: Tensor | None = None

    @property
    def centres(self) -> Tensor:
        """(BINS,) the confidences that the bins stand for."""
        return (torch.arange(BINS) + 0.5) / BINS

    def rows(self, index: Tensor) -> Looks:
        """Those of the pictures ``index``."""
        kept: dict[str, Any] = {
            field.name: None if (value := getattr(self, field.name)) is None else value[index]
            for field in fields(self)
        }
        return Looks(**kept)


def look(model: nn.Module, pixels: Pixels, progress: Progress | None = None) -> Looks:
    """Looks at every picture once, in eval mode; what is kept of one takes about a kilobyte.

    Args:
        model: of any task, as ``load_model`` gives it.
        pixels: n pictures in the shape that the model takes; a batch at a time is decoded.
        progress: called with the pictures done and all.
    """
    size = CLASSES_AT_ONCE if isinstance(model, Classifier) else PLACES_AT_ONCE
    if len(pixels) == 0 and isinstance(model, Detector):
        return Looks(torch.zeros(0, 0))
    # No picture is one empty batch: the model says how wide the empty result is.
    parts: list[Looks] = []
    for done, part in _looks(model, pixels, size):
        parts.append(part)
        if progress is not None:
            progress(done, len(pixels))
    joined: dict[str, Any] = {
        field.name: _joined([getattr(part, field.name) for part in parts])
        for field in fields(Looks)
    }
    return Looks(**joined)


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.cat(there) if there else None


def _looks(model: nn.Module, pixels: Pixels, size: int) -> Iterator[tuple[int, Looks]]:
    device = device_of(model)
    see = _eyes(model)
    with modes_kept(model), torch.no_grad():
        model.eval()
        for start in range(0, max(1, len(pixels)), size):
            index = torch.arange(start, min(start + size, len(pixels)))
            images = pixels.batch(index).to(device, non_blocking=True)
            yield start + len(index), see(images)


def _eyes(model: nn.Module) -> Callable[[Tensor], Looks]:
    if isinstance(model, Classifier):
        return lambda images: _of_classifier(model, images)
    if isinstance(model, Segmenter):
        return lambda images: _of_segmenter(model, images)
    assert isinstance(model, Detector)
    names = _backbone_names(model)
    return lambda images: _of_detector(model, images, names)


def _of_classifier(model: Classifier, images: Tensor) -> Looks:
    features = model.features(images)
    probs = model.classify(features).softmax(1, dtype=torch.float32)
    return Looks(narrowed(features).cpu(), probs.cpu())


def _of_segmenter(model: Segmenter, images: Tensor) -> Looks:
    maps = model.encode(images)
    logits = model.classify(model.decode(maps))
    probs = model.resize(logits, images.shape[-2:]).softmax(1, dtype=torch.float32)
    unsure = torch.stack([pixel_mean(kind(probs)) for kind in UNCERTAINTY.values()], 1)
    place = (probs.amax(1) * BINS).long().clamp_max(BINS - 1).flatten(1)
    shares = torch.zeros(len(images), BINS, device=probs.device)
    shares.scatter_add_(1, place, torch.ones_like(place, dtype=torch.float32))
    return Looks(
        narrowed(maps[-1].mean((2, 3))).cpu(),
        probs.mean((2, 3)).cpu(),
        unsure.cpu(),
        (shares / place.shape[1]).cpu(),
    )


def _of_detector(model: Detector, images: Tensor, names: list[str]) -> Looks:
    with capture(model, names) as outputs:
        model.detect(images)
    maps = next(list(_maps(outputs[name])) for name in names if name in outputs)
    return Looks(narrowed(maps[-1].float().mean((2, 3))).cpu())


def _maps(output: object) -> Iterator[Tensor]:
    """The feature maps (B, C, h, w) in whatever a backbone gives, in their order."""
    if isinstance(output, Tensor):
        if output.ndim == 4:
            yield output
    elif isinstance(output, dict):
        for value in output.values():
            yield from _maps(value)
    elif isinstance(output, list | tuple):
        for value in output:
            yield from _maps(value)


def _backbone_names(model: nn.Module) -> list[str]:
    """The outermost submodule that is called backbone, and its last convolution, for networks that
    call its parts one by one."""
    parts = dict(model.named_modules())
    names = [name for name in parts if name.split(".")[-1] == "backbone"]
    if not names:
        raise ModelError(
            f"The detector {type(model).__name__} has no part named 'backbone'.",
            "a backbone whose feature maps can be compared",
            "use a strategy that compares no features: margin, entropy or least-confidence",
        )
    backbone = min(names, key=len)
    inside = (name for name in parts if name.startswith(f"{backbone}."))
    layers = [name for name in inside if isinstance(parts[name], nn.Conv2d)]
    return [backbone, *layers[-1:]]
