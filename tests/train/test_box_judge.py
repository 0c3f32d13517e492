"""What a detector with masks is measured by."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from leaven.data import Data, ImageSet, MemoryPixels
from leaven.labels import BoxLabels, Masks
from leaven.train import Budget, Settings
from leaven.train.box_trainer import BoxTrainer


@pytest.fixture
def data() -> Data[BoxLabels]:
    """Two pictures with two squares each."""
    boxes = torch.tensor([[2.0, 2, 10, 10], [12, 12, 20, 20]])
    masks = torch.zeros(2, 24, 24, dtype=torch.bool)
    masks[0, 2:10, 2:10] = masks[1, 12:20, 12:20] = True
    labels = BoxLabels.from_person(
        [boxes, boxes], [torch.tensor([0, 1])] * 2, masks=Masks.from_dense(masks.repeat(2, 1, 1))
    )
    pixels = MemoryPixels(torch.zeros(2, 3, 24, 24, dtype=torch.uint8))
    return Data("squares", ("a", "b"), ImageSet(pixels, labels, labels, ["one", "two"]))


def trainer_of(data: Data[BoxLabels], found: BoxLabels) -> BoxTrainer:
    """Whose models find just that."""
    trainer = BoxTrainer(data, None, Settings(budget=Budget(steps=1), threads=1, device="cpu"))
    trainer.predict = lambda model, images: found  # type: ignore[method-assign, assignment]
    return trainer


def test_masks_are_also_a_map_of_things(data: Data[BoxLabels]) -> None:
    truth = data.train.labels
    model = torch.nn.Identity()
    whole = trainer_of(data, truth).measure(model, data.train)  # type: ignore[arg-type]
    assert {name: whole[name] for name in ("map", "pq", "aji", "dice")} == pytest.approx(
        {"map": 1, "pq": 1, "aji": 1, "dice": 1}
    )
    # Unsure masks are in COCO's figures and not in the map.
    unsure = replace(truth, confidence=torch.tensor([0.9, 0.3, 0.9, 0.3]))
    judged = trainer_of(data, unsure).judge(model, data.train)  # type: ignore[arg-type]
    assert judged is not None
    found = judged.metrics()
    assert found["map"] == pytest.approx(1)
    assert found["aji"] == pytest.approx(0.5) and found["pq"] == pytest.approx(0.5)
    assert judged.per_class()["pq"].tolist() == [1, 0] and judged.per_class()["ap"].tolist() == [
        1,
        1,
    ]


def test_boxes_alone_have_no_map(data: Data[BoxLabels]) -> None:
    bare = replace(data.train.labels, masks=None)
    boxes = Data("squares", ("a", "b"), replace(data.train, labels=bare, truth=bare))
    found = trainer_of(boxes, bare).measure(torch.nn.Identity(), boxes.train)  # type: ignore[arg-type]
    assert found["map"] == pytest.approx(1) and "pq" not in found
