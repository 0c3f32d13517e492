"""Consistent-Teacher: its thresholds, its weights, and a run that resumes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.methods.detection.boxes_without_masks import recolours
from torch import Tensor, nn

from leaven.data import Data
from leaven.data.transforms import unmoved
from leaven.data.transforms.placed import Seen
from leaven.errors import ConfigError
from leaven.labels import BoxLabels
from leaven.methods import Fitted, find_method
from leaven.methods.detection import consistent_teacher
from leaven.methods.detection.consistent_teacher import ConsistentTeacher
from leaven.methods.detection.teacher import PseudoBoxes, Step
from leaven.methods.loop import Run
from leaven.models.detection import FCOS, AlignedRetina, Detections, OneStage
from leaven.train import BoxTrainer
from leaven.train.batch import Batch

SMALL: dict[str, Any] = {"batch": 2, "ratio": 1, "ema": 0.9, "burn_in": 0.25}
NET: dict[str, Any] = {"widths": (8, 16, 16, 16), "channels": 16}


@pytest.fixture
def data(boxes_data: Data[BoxLabels]) -> Data[BoxLabels]:
    """Boxes alone."""
    train = boxes_data.train
    bare = replace(
        train,
        labels=replace(train.labels, masks=None),
        truth=replace(train.truth, masks=None),
    )
    return replace(boxes_data, train=bare, test=None)


def run_of(method: ConsistentTeacher, trainer: BoxTrainer, progress: float = 0.5) -> Run[Any, Any]:
    """A run before its first step."""
    student = method.student(trainer)
    parts = nn.ModuleDict(method.parts(trainer, student))
    optimizer = trainer.optimizer(nn.ModuleList([student, *parts.values()]), method.recipe)
    batch = Batch(0, progress, {})
    return Run(trainer, student, method.average(student), parts, optimizer, batch)


def boxes_of(counts: list[int], scores: Tensor, classes: Tensor) -> PseudoBoxes:
    corner = torch.arange(len(scores))[:, None].float().expand(-1, 2)
    boxes = torch.cat([corner, corner + 20], 1)
    return PseudoBoxes.of(Detections(boxes, classes, scores, torch.tensor(counts)))


def step_of(run: Run[Any, Any], count: int) -> Step:
    seen = Seen(torch.zeros(count, 3, 64, 64, dtype=torch.uint8), unmoved(count, (64, 64)))
    return Step(run, seen, seen)


def test_a_resumed_run_ends_bit_identical(
    data: Data[BoxLabels], assert_resumes: Callable[..., Fitted], tmp_path: Path
) -> None:
    fitted = assert_resumes(ConsistentTeacher(**SMALL), data, 8, tmp_path, breaks=(0.5,))
    assert isinstance(fitted.model, AlignedRetina)
    assert len(fitted.labels) == len(data.unlabelled)


def test_it_is_found_and_its_card_names_parts_that_exist() -> None:
    assert find_method("consistent-teacher", "detection") is ConsistentTeacher


def test_real_and_pseudo_boxes_are_assigned_by_cost(
    data: Data[BoxLabels],
    box_trainer_for: Callable[..., BoxTrainer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    own = consistent_teacher.assign_by_cost

    def counted(outputs: Any, targets: Any, **named: Any) -> Tensor:
        seen.append(int(targets.true.sum()))
        return own(outputs, targets, **named)

    monkeypatch.setattr(consistent_teacher, "assign_by_cost", counted)
    trainer = box_trainer_for(data, 4, options=NET)
    method = ConsistentTeacher(**{**SMALL, "burn_in": 0.5, "least_score": 0.0})
    run = method.train(trainer)
    # Two steps with labelled pictures alone, and two with both.
    assert len(seen) == 2 + 2 * 2 and seen[0] > 0
    # Scores are remembered from the first step on.
    assert (run.parts["thresholds"].queue > 0).any()


def test_labelled_pictures_change_colours(
    data: Data[BoxLabels], box_trainer_for: Callable[..., BoxTrainer]
) -> None:
    assert recolours(ConsistentTeacher(**SMALL), box_trainer_for(data, 4, options=NET))


def test_scores_are_gathered_before_the_loss_counts(
    data: Data[BoxLabels], box_trainer_for: Callable[..., BoxTrainer]
) -> None:
    method = ConsistentTeacher(**{**SMALL, "burn_in": 1.0, "least_score": 0.0})
    run = method.train(box_trainer_for(data, 2, options=NET))
    assert (run.parts["thresholds"].queue > 0).any()
    assert run.average.updates == 2


def test_boxes_pass_the_count_of_their_picture_and_the_threshold_of_their_class(
    data: Data[BoxLabels], box_trainer_for: Callable[..., BoxTrainer]
) -> None:
    method = ConsistentTeacher(**SMALL)
    run = run_of(method, box_trainer_for(data, 1, options=NET))
    queue = run.parts["thresholds"].queue
    # Class 0 has seen scores about 0.2 and about 0.8, class 1 nothing.
    queue[0, :60] = torch.cat([torch.full((30,), 0.2), torch.linspace(0.78, 0.82, 30)])
    scores = torch.tensor([0.95, 0.9, 0.3, 0.1, 0.3])
    classes = torch.tensor([0, 1, 0, 0, 1])
    step = step_of(run, 2)
    kept = method.select(step, boxes_of([4, 1], scores, classes))
    # Picture 0 promises 2.25 things: three boxes. Of these 0.3 is under the threshold of class 0;
    # class 1 has two scores and none.
    assert kept.scores.tolist() == pytest.approx([0.95, 0.9, 0.3])
    assert kept.labels.counts.tolist() == [2, 1]
    assert queue[0, :2].tolist() == pytest.approx([0.95, 0.3])
    assert queue[1, :3].tolist() == pytest.approx([0.9, 0.3, 0])
    notes = method.notes(step)
    assert 0.75 < float(notes["threshold/red"]) < 0.85 and float(notes["threshold/green"]) == 0


@pytest.mark.parametrize(("counts", "factor"), [([0, 1, 0], 0.01), ([0, 1], 1.0), ([2, 1, 0], 1.0)])
def test_steps_with_few_boxes_hardly_count(
    counts: list[int],
    factor: float,
    data: Data[BoxLabels],
    box_trainer_for: Callable[..., BoxTrainer],
) -> None:
    method = ConsistentTeacher(**SMALL, unlabelled_weight=2.0)
    step = step_of(run_of(method, box_trainer_for(data, 1, options=NET)), len(counts))
    rows = sum(counts)
    step.aim = boxes_of(counts, torch.ones(rows), torch.zeros(rows, dtype=torch.int64))
    assert float(method.weight(step)) == pytest.approx(2 * factor)


def test_the_network_has_one_stage_and_aligns(
    data: Data[BoxLabels], box_trainer_for: Callable[..., BoxTrainer]
) -> None:
    with pytest.raises(ConfigError, match="one-stage"):
        ConsistentTeacher().student(box_trainer_for(data, 1, model="rcnn-small"))
    with pytest.raises(ConfigError, match="align"):
        ConsistentTeacher().student(box_trainer_for(data, 1, model="fcos-small"))
    plain = ConsistentTeacher(align=False)
    for name in ("auto", "fcos-small"):
        model = plain.student(box_trainer_for(data, 1, model=name))
        assert isinstance(model, OneStage) and not isinstance(model, AlignedRetina)


def test_fcos_scores_by_classes_alone_and_all_of_it_learns(
    data: Data[BoxLabels], box_trainer_for: Callable[..., BoxTrainer]
) -> None:
    trainer = box_trainer_for(data, 1, model="fcos-small", options=NET)
    method = ConsistentTeacher(**SMALL, align=False)
    model = method.student(trainer)
    assert isinstance(model, FCOS) and model.spec.options["centreness"] is False
    images = data.train.pixels.batch(torch.arange(2))
    outputs = model.outputs(images)
    assert torch.equal(model.scores(outputs), outputs.logits.sigmoid())
    losses = method.assigned(model, images, data.train.truth.select(torch.arange(2)))
    torch.stack(list(losses.values())).sum().backward()
    assert all(weights.grad is not None for weights in model.parameters())


def test_the_result_is_accepted_by_the_last_thresholds(
    data: Data[BoxLabels], box_trainer_for: Callable[..., BoxTrainer], monkeypatch: Any
) -> None:
    method = ConsistentTeacher(**SMALL)
    trainer = box_trainer_for(data, 1, options=NET)
    run = run_of(method, trainer)
    # Class 0 is split at about 0.3; of class 1 too little is known.
    run.parts["thresholds"].queue[0, :60] = torch.cat(
        [torch.full((30,), 0.1), torch.linspace(0.28, 0.32, 30)]
    )
    scores, classes = torch.tensor([0.4, 0.2, 0.4, 0.8]), torch.tensor([0, 0, 1, 1])
    found = boxes_of([4], scores, classes).labels
    monkeypatch.setattr(ConsistentTeacher, "train", lambda self, trainer: run)
    monkeypatch.setattr(BoxTrainer, "predict", lambda self, model, images: found)
    fitted = method.fit(trainer.data, trainer)
    assert fitted.labels.accepted.tolist() == [True, False, False, True]
    assert fitted.model is run.teacher and not fitted.model.training
