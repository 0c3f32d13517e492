"""Each thing with a weight of its own in the losses of a grid of cells."""

from __future__ import annotations

import pytest
import torch
from tests.models.detect_scenes import HEIGHT, WIDTH, discs
from torch import Tensor

from leaven.draws import Draws
from leaven.labels.boxes import BoxLabels
from leaven.models.detection import (
    BACKGROUND,
    CellOutputs,
    ConvInstance,
    InstanceWeights,
    Targets,
    build_detector,
)

CPU = torch.device("cpu")
FIELDS = ("logits", "boxes", "kernels", "quality", "features")


@pytest.fixture(scope="module")
def scene() -> tuple[ConvInstance, CellOutputs, BoxLabels, Tensor]:
    """A network, leaves of what it says of two pictures, what is in them, and the row of a cell."""
    torch.manual_seed(0)
    model = build_detector(
        "conv-instance-small",
        ["red", "green", "blue"],
        (3, HEIGHT, WIDTH),
        mean=(0.1,),
        std=(0.2,),
        options={"widths": (8, 8, 16, 16), "channels": 16},
    )
    assert isinstance(model, ConvInstance)
    pictures, labels = discs(2)
    found = model.train().outputs(pictures)
    leaves = {name: getattr(found, name).detach().requires_grad_() for name in FIELDS}
    outputs = CellOutputs(**leaves, points=found.points, size=found.size)
    blocks = Targets.of(labels, CPU)
    places = model.assign(outputs, blocks)
    rows = torch.where(places >= 0, blocks.rows.gather(1, places.clamp_min(0)), places)
    return model, outputs, labels, rows


def gradients(
    scene: tuple[ConvInstance, CellOutputs, BoxLabels, Tensor],
    weights: InstanceWeights | None,
    term: str,
) -> dict[str, Tensor]:
    """Of one term, by output."""
    model, outputs, labels, _ = scene
    loss = model.losses_of(outputs, labels, Draws(0), weights=weights)[term]
    values = torch.autograd.grad(
        loss, [getattr(outputs, name) for name in FIELDS], allow_unused=True
    )
    pairs = zip(FIELDS, values, strict=True)
    return {
        name: torch.zeros_like(getattr(outputs, name)) if value is None else value
        for name, value in pairs
    }


def test_equal_weights_are_none(
    scene: tuple[ConvInstance, CellOutputs, BoxLabels, Tensor],
) -> None:
    model, outputs, labels, _ = scene
    plain = model.losses_of(outputs, labels, Draws(0))
    equal = InstanceWeights.equal(len(labels.boxes), CPU)
    weighed = model.losses_of(outputs, labels, Draws(0), weights=equal)
    assert all(torch.equal(plain[name], weighed[name]) for name in plain)


@pytest.mark.parametrize(
    "term, output, kind",
    [("class", "logits", "classes"), ("box", "boxes", "masks"), ("mask", "kernels", "masks")],
)
def test_a_thing_counts_by_its_own_weight_and_no_other(
    scene: tuple[ConvInstance, CellOutputs, BoxLabels, Tensor], term: str, output: str, kind: str
) -> None:
    _, _, labels, rows = scene
    count = len(labels.boxes)
    own = torch.ones(count)
    own[1] = 3.0
    both = {"classes": torch.ones(count), "masks": torch.ones(count), kind: own}
    plain = gradients(scene, None, term)[output]
    weighed = gradients(scene, InstanceWeights(**both), term)[output]
    of_one = rows == 1
    assert of_one.any() and (plain[of_one] != 0).any()
    assert torch.allclose(weighed[of_one], 3 * plain[of_one], atol=1e-7)
    assert torch.equal(weighed[~of_one], plain[~of_one])


def test_the_background_has_a_weight_of_its_own(
    scene: tuple[ConvInstance, CellOutputs, BoxLabels, Tensor],
) -> None:
    _, _, labels, rows = scene
    ones = torch.ones(len(labels.boxes))
    plain = gradients(scene, None, "class")["logits"]
    weighed = gradients(scene, InstanceWeights(ones, ones, 0.25), "class")["logits"]
    below = rows == BACKGROUND
    assert torch.allclose(weighed[below], plain[below] / 4, atol=1e-9)
    assert torch.equal(weighed[~below], plain[~below])


def test_the_quality_tells_the_mask_nothing(
    scene: tuple[ConvInstance, CellOutputs, BoxLabels, Tensor],
) -> None:
    of_quality = gradients(scene, None, "quality")
    assert (of_quality.pop("quality") != 0).any()
    assert all((value == 0).all() for value in of_quality.values())


def test_other_places_than_its_own(
    scene: tuple[ConvInstance, CellOutputs, BoxLabels, Tensor],
) -> None:
    model, outputs, labels, _ = scene
    places = torch.full(outputs.logits.shape[:2], BACKGROUND)
    places[1, 7] = 0
    losses = model.losses_of(outputs, labels, Draws(0), places=places)
    (of_mask,) = torch.autograd.grad(losses["mask"], outputs.kernels)
    touched = (of_mask != 0).any(2).nonzero()
    assert touched.tolist() == [[1, 7]]
