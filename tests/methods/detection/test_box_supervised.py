"""The supervised baseline on boxes and masks, and the loop it shares with other methods."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.methods.detection.boxes_without_masks import without_masks

from leaven.data import Data
from leaven.labels import BoxLabels, LabelStore
from leaven.methods import Fitted, find_method
from leaven.methods.detection.supervised import Supervised
from leaven.train import BoxTrainer

SMALL = {"batch": 2, "ema": 0.9}


@pytest.mark.parametrize("task", ["detection", "instance"])
def test_it_is_found_by_its_task(task: str) -> None:
    assert find_method("supervised", task).card.task == task


def test_a_resumed_run_ends_bit_identical(
    boxes_data: Data[BoxLabels], assert_resumes: Callable[..., Fitted], tmp_path: Path
) -> None:
    assert_resumes(Supervised(**SMALL), without_masks(boxes_data), 6, tmp_path, breaks=(0.6,))


@pytest.mark.parametrize("masks", [False, True])
def test_labels_are_stored_beside_those_of_people(
    masks: bool,
    boxes_data: Data[BoxLabels],
    box_trainer_for: Callable[..., BoxTrainer],
    tmp_path: Path,
) -> None:
    data = boxes_data if masks else without_masks(boxes_data)
    trainer = box_trainer_for(data, 3, tmp_path)
    fitted = find_method("supervised", "instance" if masks else "detection")(**SMALL).fit(
        trainer.data, trainer
    )
    trainer.save_labels(0, fitted.labels)
    stored = LabelStore(tmp_path / "labels").read_boxes()
    assert stored.names == list(data.train.names)
    known = data.train.known
    given = stored.labels.select(known)
    assert given.boxes.tolist() == data.labelled.labels.boxes.tolist()
    assert (given.masks is not None) == masks
    assert len(stored.labels.select(~known).boxes) == len(fitted.labels.boxes)
    metrics = trainer.measure(fitted.model, data.test)
    assert 0 <= metrics["map50"] <= 1
