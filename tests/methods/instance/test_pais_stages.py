"""PAIS with two stages: what weighs masks and negatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.methods.detection.boxes_without_masks import begun, moved_away
from tests.methods.instance.made_up_steps import NARROW, SMALL, gradients, nothing, taught_truth
from torch import Tensor

from leaven.data import Data
from leaven.data import transforms as T
from leaven.labels import BoxLabels
from leaven.methods.detection.few_boxes import total
from leaven.methods.detection.two_stage_teacher import background
from leaven.methods.instance.pais import PAIS
from leaven.models.detection import (
    Regions,
    TwoStage,
    mask_loss,
)
from leaven.train import BoxTrainer

Make = Callable[..., BoxTrainer]


@pytest.fixture
def stages(boxes_data: Data[BoxLabels], box_trainer_for: Make) -> BoxTrainer:
    return box_trainer_for(boxes_data, 10, options={**NARROW, "hidden": 16})


def test_two_stages_weigh_masks_and_negatives(
    stages: BoxTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = PAIS(**SMALL)
    run = begun(method, stages)
    student = run.student
    assert isinstance(student, TwoStage)
    step = taught_truth(method.look(run), quality=0.9)
    unsure = step.aim.scores.clone()
    unsure[0] = 0.65
    step.aim = replace(step.aim, labels=replace(step.aim.labels, confidence=unsure))
    seen: dict[str, Any] = {}
    plain_class, plain_sample = student.roi_class_loss, student.sample

    def class_loss(outputs: Any, labels: Tensor, weight: Tensor) -> Tensor:
        seen["class"] = labels, weight
        return plain_class(outputs, labels, weight)

    def sampled(*values: Any) -> Any:
        seen["chosen"] = plain_sample(*values)
        return seen["chosen"]

    def masked(logits: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
        seen["mask"] = logits, wanted, weight
        return mask_loss(logits, wanted, weight)

    monkeypatch.setattr(student, "roi_class_loss", class_loss)
    monkeypatch.setattr(student, "sample", sampled)
    monkeypatch.setattr("leaven.methods.instance.pais.mask_loss", masked)
    terms = method.learn(step)
    assert set(terms) == {"rpn_objectness", "rpn_box", "roi_class", "roi_box", "mask"}

    sure = method.taught(step)
    assert len(sure) == len(step.aim) - 1 and sure["rows"][0] == 1
    chosen = seen["chosen"]
    labels, weight = seen["class"]
    assert (weight[labels < 2] == 1).all() and (labels == 2).any()
    expected = background(step, chosen.regions)
    assert torch.equal(weight[labels == 2], expected[labels == 2])
    assert ((expected > 0) & (expected < 1)).all()
    logits, wanted, by_mask = seen["mask"]
    target = chosen.target[chosen.target >= 0]
    assert torch.allclose(by_mask, 5 * sure["quality"][target] ** 4 / 2)
    each = [
        torch.nn.functional.binary_cross_entropy_with_logits(one, true)
        for one, true in zip(logits, wanted, strict=True)
    ]
    assert torch.allclose(terms["mask"], (torch.stack(each) * by_mask).sum() / len(each))


def test_background_is_read_at_the_same_place(stages: BoxTrainer) -> None:
    method = PAIS(**SMALL)
    run = begun(method, stages)
    moved_away(run.student, 2)
    method.after(run)
    step = method.look(run)
    assert isinstance(run.teacher, TwoStage) and step.maps is not None
    weak = torch.tensor([[10.0, 12, 30, 40], [20, 8, 50, 30]])
    pictures = torch.tensor([0, 1])
    away = T.shifted(torch.tensor([7.0, -9.0]), torch.tensor([3.0, 0.0]), (64, 64))
    step.strong = replace(step.strong, geometry=step.weak.geometry.then(away))
    strong, _ = away.boxes(weak, pictures)
    expected = run.teacher.roi_scores(step.maps, Regions(weak, pictures))[0][:, -1]
    assert torch.allclose(background(step, Regions(strong, pictures)), expected, atol=1e-5)


def test_two_stages_without_a_proposal(stages: BoxTrainer) -> None:
    method = PAIS(**SMALL)
    step = nothing(method.look(begun(method, stages)))
    terms = method.learn(step)
    assert terms["mask"] == 0 and terms["roi_box"] == 0 and terms["roi_class"] > 0
    found = gradients(total(terms), step.run.student)
    assert all(grad is None or grad.isfinite().all() for grad in found.values())
    quality = [grad for name, grad in found.items() if ".quality." in name]
    assert len(quality) == 4 and all(grad is None or not grad.any() for grad in quality)
    given = gradients(total(method.supervised(step.run)), step.run.student)
    assert all(given[name].any() for name in given if ".quality." in name)  # type: ignore[union-attr]
