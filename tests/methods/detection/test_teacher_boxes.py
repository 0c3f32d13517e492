"""The step that mean-teacher detectors share, and the two plain ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.methods.detection.boxes_without_masks import TINY, begun, moved_away, without_masks

from leaven.data import Data
from leaven.data import transforms as T
from leaven.data.transforms import Geometry
from leaven.errors import ModelError
from leaven.labels import BoxLabels
from leaven.methods import Fitted, find_method
from leaven.methods.detection.certainty_aware import CertaintyAware
from leaven.methods.detection.few_boxes import BoxRun
from leaven.methods.detection.mean_teacher import MeanTeacher
from leaven.methods.detection.soft_teacher import SoftTeacher
from leaven.methods.detection.teacher import PseudoBoxes, TeacherBoxes, true_classes
from leaven.methods.detection.two_stage_teacher import TwoStageTeacher
from leaven.methods.detection.unbiased_teacher import UnbiasedTeacher
from leaven.train import BoxTrainer

Make = Callable[..., BoxTrainer]
SMALL: dict[str, Any] = {"batch": 2, "ratio": 1, "threshold": 0.1, "burn_in": 0.0}


@pytest.fixture
def trainer(boxes_data: Data[BoxLabels], box_trainer_for: Make) -> BoxTrainer:
    return box_trainer_for(without_masks(boxes_data), 10, options=TINY)


def pseudo(boxes: torch.Tensor, counts: list[int]) -> PseudoBoxes:
    count = len(boxes)
    labels = BoxLabels.from_model(
        boxes, torch.arange(count) % 2, torch.linspace(0.9, 0.1, count), torch.tensor(counts)
    )
    return PseudoBoxes(labels, {"rows": torch.arange(count), "quality": boxes[:, 0] / 100})


BOXES = torch.tensor(
    [[10.0, 12, 30, 40], [50, 5, 62, 20], [1, 1, 9, 8], [20, 20, 40, 60], [2, 30, 20, 62]]
)


# -- from view to view ----------------------------------------------------------------------------


def test_boxes_come_back_through_mirrors_and_scales() -> None:
    size = (64, 64)
    first = T.scaled(torch.tensor([0.9, 0.7]), size, size).then(
        T.mirrored(torch.tensor([True, False]), size)
    )
    second = T.mirrored(torch.tensor([True, True]), size)
    there = T.between(first, second)
    found = pseudo(BOXES * 0.6 + 7, [2, 3])
    back = found.moved(there).moved(there.inverse())
    assert torch.allclose(back.labels.boxes, found.labels.boxes, atol=1e-4)
    assert torch.equal(back["rows"], found["rows"])


def test_a_turned_box_is_held_by_its_hull() -> None:
    size = (128, 128)
    turned = T.turned(torch.tensor([20.0]), size)
    boxes = torch.tensor([[50.0, 55, 80, 70]])
    moved = pseudo(boxes, [1]).moved(turned).labels.boxes
    back = pseudo(moved, [1]).moved(turned.inverse()).labels.boxes
    assert (back[:, :2] < boxes[:, :2]).all() and (back[:, 2:] > boxes[:, 2:]).all()


def test_columns_stay_with_their_rows() -> None:
    away = T.shifted(torch.tensor([-45.0, 0.0]), torch.tensor([0.0, -12.0]), (64, 64))
    found = pseudo(BOXES, [2, 3])
    moved = found.moved(away)
    # The first box leaves to the left, the third upwards.
    assert moved["rows"].tolist() == [1, 3, 4]
    assert moved.labels.counts.tolist() == [1, 2]
    kept = found.keep(torch.tensor([False, True, False, True, True]))
    assert torch.equal(moved.scores, kept.scores)
    assert torch.equal(moved["quality"], kept["quality"])
    assert torch.equal(moved.labels.classes, kept.labels.classes)


def test_the_same_view_twice_moves_nothing(trainer: BoxTrainer) -> None:
    method = UnbiasedTeacher(**SMALL)
    step = method.look(begun(method, trainer))
    identity = torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    assert torch.allclose(step.to_strong.matrix, identity, atol=1e-9)
    assert torch.allclose(step.aim.labels.boxes, step.kept.labels.boxes, atol=1e-4)
    assert not torch.equal(step.strong.images, step.weak.images)


# -- the teacher ----------------------------------------------------------------------------------


def test_the_teacher_follows_and_the_first_update_copies(trainer: BoxTrainer) -> None:
    method = SoftTeacher(**SMALL)
    run = begun(method, trainer)
    moved_away(run.student)
    method.after(run)
    first = [weights.clone() for weights in run.student.parameters()]
    assert all(map(torch.equal, run.teacher.parameters(), first))
    moved_away(run.student, 1)
    method.after(run)
    for own, one, two in zip(
        run.teacher.parameters(), first, run.student.parameters(), strict=True
    ):
        assert torch.allclose(own, (one + two) / 2)


def test_burn_in_learns_from_labels_and_copies(trainer: BoxTrainer) -> None:
    method = UnbiasedTeacher(**{**SMALL, "burn_in": 0.5}, ema=0.75)
    run = begun(method, trainer)
    state = trainer.draws.state_dict()
    loss = method.loss(run)
    trainer.draws.load_state_dict(state)
    supervised = torch.stack(list(method.supervised(run).values())).sum()
    assert torch.equal(loss, supervised)
    moved_away(run.student)
    method.after(run)
    copied = [weights.clone() for weights in run.student.parameters()]
    assert all(map(torch.equal, run.teacher.parameters(), copied))
    run.batch.progress = 0.5
    assert not torch.equal(method.loss(run), supervised)
    moved_away(run.student, 1)
    method.after(run)
    for own, before, now in zip(
        run.teacher.parameters(), copied, run.student.parameters(), strict=True
    ):
        assert torch.allclose(own, 0.75 * before + 0.25 * now)


@pytest.mark.parametrize("method", [MeanTeacher(), UnbiasedTeacher(), UnbiasedTeacher(burn_in=0.2)])
def test_random_weights_learn_from_labels_for_half_of_the_run(
    method: TeacherBoxes, trainer: BoxTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun(method, trainer)

    def share() -> float:
        for percent in range(101):
            run.batch.progress = percent / 100
            if not method.is_burning_in(run):
                return run.batch.progress
        return 1.0

    assert share() == (method.burn_in or 0.5)
    monkeypatch.setattr(trainer, "started", True)
    expected = method.published_burn_in if method.burn_in is None else method.burn_in
    assert share() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("threshold", [0.1, 1.0])
def test_gradients_reach_the_student_alone(trainer: BoxTrainer, threshold: float) -> None:
    """With boxes, and without any."""
    method = MeanTeacher(batch=2, threshold=threshold, burn_in=0)
    run = begun(method, trainer)
    step = method.look(run)
    assert (len(step.aim) > 0) == (threshold < 1)
    assert not any(t.requires_grad for t in (step.kept.scores, step.kept.labels.boxes))
    loss = method.loss(run)
    loss.backward()
    assert bool(loss.isfinite())
    gradients = [weights.grad for weights in run.student.parameters()]
    assert all(g is not None and bool(g.isfinite().all()) for g in gradients)
    assert all(weights.grad is None for weights in run.teacher.parameters())


def test_what_is_observed(trainer: BoxTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    method = MeanTeacher(batch=2, threshold=0.34, burn_in=0)
    run = begun(method, trainer)
    seen: dict[str, Any] = {}
    monkeypatch.setattr(trainer, "observe", lambda **values: seen.update(values))
    method.loss(run)
    assert seen["boxes"].shape == seen["detections"].shape == (2,)
    assert 0 < int(seen["weight"].sum()) == int(seen["boxes"].sum())
    assert len(seen["weight"]) == len(seen["confidence"]) == int(seen["detections"].sum())
    assert (seen["confidence"][seen["weight"] > 0] > 0.34).all()
    assert set(seen["truth"].tolist()) <= {0, 1, 2}
    assert set(seen["losses"]) == {
        "supervised", "rpn_objectness", "rpn_box", "roi_class", "roi_box",
    }  # fmt: skip


def test_true_classes_are_those_of_the_overlapped(trainer: BoxTrainer) -> None:
    method = MeanTeacher(**SMALL)
    run: BoxRun = begun(method, trainer)
    step = method.look(run)
    truth = trainer.truth(run.batch.unlabelled.items)
    seen = step.weak.geometry.labels(truth)
    nowhere = torch.tensor([[0.0, 0, 2, 2]])
    for number in range(2):
        own = seen.boxes[seen.pictures == number]
        boxes, counts = torch.cat([own, nowhere]), [0, 0]
        counts[number] = len(boxes)
        step.found = pseudo(boxes, counts)
        expected = [*seen.classes[seen.pictures == number].tolist(), 2]
        assert true_classes(step).tolist() == expected


def test_geometry_of_strong_views_is_another(trainer: BoxTrainer) -> None:
    method = SoftTeacher(**SMALL)
    step = method.look(begun(method, trainer))
    assert isinstance(step.to_strong, Geometry)
    assert not torch.allclose(step.weak.geometry.matrix, step.strong.geometry.matrix)


# -- unbiased teacher -----------------------------------------------------------------------------


def test_unlabelled_pictures_teach_no_places(trainer: BoxTrainer) -> None:
    method = UnbiasedTeacher(**SMALL)
    run = begun(method, trainer)
    assert set(method.learn(method.look(run))) == {"rpn_objectness", "roi_class"}
    assert set(method.supervised(run)) == {"rpn_objectness", "rpn_box", "roi_class", "roi_box"}


def test_labelled_pictures_come_strong_and_weak(trainer: BoxTrainer) -> None:
    method = UnbiasedTeacher(**SMALL)
    images, things = method.labelled(begun(method, trainer))
    assert len(images) == len(things) == 4
    assert torch.equal(
        things.boxes[: len(things.boxes) // 2], things.boxes[len(things.boxes) // 2 :]
    )
    assert not torch.equal(images[:2], images[2:])


# -- runs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [SoftTeacher(), CertaintyAware()])
@pytest.mark.parametrize("model", ["retina-small", "maskrcnn-small"])
def test_detectors_of_another_kind_are_refused(
    model: str, method: TwoStageTeacher, boxes_data: Data[BoxLabels], box_trainer_for: Make
) -> None:
    trainer = box_trainer_for(without_masks(boxes_data), 2, model=model)
    with pytest.raises(ModelError, match="stages"):
        method.fit(trainer.data, trainer)


def test_any_detector_does_for_the_mean_teacher(
    boxes_data: Data[BoxLabels], box_trainer_for: Make
) -> None:
    trainer = box_trainer_for(without_masks(boxes_data), 2, model="retina-small")
    fitted = MeanTeacher(batch=1, threshold=0.0, burn_in=0).fit(trainer.data, trainer)
    assert len(fitted.labels) == len(trainer.data.unlabelled)


@pytest.mark.parametrize("name", ["mean-teacher", "unbiased-teacher"])
def test_a_resumed_run_ends_bit_identical(
    name: str,
    boxes_data: Data[BoxLabels],
    assert_resumes: Callable[..., Fitted],
    tmp_path: Path,
) -> None:
    method = find_method(name, "detection")(batch=1, threshold=0.1, burn_in=0.4, ema=0.9)
    assert_resumes(method, without_masks(boxes_data), 5, tmp_path, breaks=(0.7,))
