from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from leaven.data import Data, open_data
from leaven.errors import ConfigError
from leaven.methods import Fitted, find_method
from leaven.methods.classification import doubly_robust
from leaven.methods.classification.doubly_robust import DoublyRobust
from leaven.models import save_model
from leaven.train import Trainer

MakeTrainer = Callable[..., Trainer]
QUICK: dict[str, Any] = {"batch": 32, "augment": "weak"}


def test_a_run_resumes(
    digits_data: Data, assert_resumes: Callable[..., Fitted], tmp_path: Path
) -> None:
    method = DoublyRobust(**QUICK)
    # The first break is in the teacher's training, the second in the student's.
    fitted = assert_resumes(method, digits_data, 16, tmp_path, breaks=(0.2, 0.6))
    assert len(fitted.labels) == len(digits_data.unlabelled)


def test_the_modes_are_their_losses() -> None:
    pseudo, true = torch.tensor([4.0, 1.0, 7.0]), torch.tensor([2.0, 9.0, 9.0])
    labelled = torch.tensor([True, False, False])
    losses = {
        "pseudo-only": 12 / 3,
        "labelled+pseudo": 10 / 3,
        "doubly-robust": 12 / 3 + 0.5 * (2 - 4),
    }
    for mode, expected in losses.items():
        loss = DoublyRobust(mode=mode).loss(pseudo, true, labelled, 0.5)
        assert float(loss) == pytest.approx(expected)
    early = DoublyRobust(ramp=0.25).loss(pseudo, true, labelled, 0.5)
    assert float(early) == pytest.approx(12 / 3 + 2 - 4)
    bound = DoublyRobust(bound=3.0).loss(pseudo, true, labelled, 0.5)
    assert float(bound) == pytest.approx(12 / 3 + 0.5 * (2 - 3))


def test_all_items_carry_the_frozen_teachers_labels_labelled_ones_too(
    digits_data: Data, trainer_for: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    teachers: list[Any] = []
    taught = DoublyRobust.taught
    monkeypatch.setattr(
        DoublyRobust, "taught", lambda *given: teachers.append(taught(*given)) or teachers[-1]
    )
    seen: list[Tensor] = []
    stream = doubly_robust.Stream

    def noted(images: Any, size: int, *, targets: Tensor) -> Any:
        seen.append(targets)
        return stream(images, size, targets=targets)

    monkeypatch.setattr(doubly_robust, "Stream", noted)
    calls: list[tuple[Tensor, Tensor, Tensor]] = []
    loss = doubly_robust.doubly_robust_loss
    monkeypatch.setattr(
        doubly_robust,
        "doubly_robust_loss",
        lambda *given, **named: calls.append(given[:3]) or loss(*given, **named),
    )
    trainer = trainer_for(digits_data, 12)
    DoublyRobust(**QUICK).fit(trainer.data, trainer)

    said = trainer.predict(teachers[0], digits_data.train).argmax(1)
    known = digits_data.train.labels >= 0
    assert torch.equal(seen[0], said)
    assert bool((said[known] != digits_data.train.labels[known]).any())
    sizes = {int(labelled.sum()) for _, _, labelled in calls}
    assert len(calls) == 9 and len(sizes) > 1
    for pseudo, true, labelled in calls:
        assert pseudo.shape == true.shape == labelled.shape == (32,)


def test_a_given_teacher_takes_the_whole_budget_for_the_student(
    digits_data: Data, trainer_for: MakeTrainer, tmp_path: Path
) -> None:
    trainer = trainer_for(digits_data, 6)
    teacher = trainer.model()
    save_model(teacher, tmp_path / "teacher")
    proposed: list[Tensor] = []
    predict = trainer.predict
    trainer.predict = lambda model, images: proposed.append(predict(model, images)) or proposed[-1]  # type: ignore[method-assign]
    DoublyRobust(**QUICK, teacher=tmp_path / "teacher").fit(trainer.data, trainer)
    assert trainer.step == 6
    expected = predict(teacher, digits_data.train)
    assert torch.allclose(proposed[0], expected, atol=1e-6)


def test_a_teacher_of_other_classes_is_refused(
    digits_data: Data, trainer_for: MakeTrainer, tmp_path: Path
) -> None:
    other = open_data("digits", labels_per_class=4, image_size=16)
    save_model(trainer_for(other, 1).model(), tmp_path / "teacher")
    trainer = trainer_for(digits_data, 1)
    with pytest.raises(ConfigError, match="10 classes"):
        DoublyRobust(teacher=tmp_path / "teacher").fit(trainer.data, trainer)


def test_rows_of_features_have_no_strong_view(
    feature_data: Data, trainer_for: Callable[..., Trainer]
) -> None:
    trainer = trainer_for(feature_data, 4)
    with pytest.raises(ConfigError, match="feature rows") as error:
        DoublyRobust().fit(trainer.data, trainer)
    assert error.value.do == "set augment=weak" and trainer.step == 0
    fitted = DoublyRobust(augment="weak").fit(trainer.data, trainer)
    assert len(fitted.labels) == len(trainer.data.unlabelled)


def test_it_is_found_by_name() -> None:
    method = find_method("doubly-robust").configured({"mode": "labelled+pseudo"})
    assert isinstance(method, DoublyRobust)
    with pytest.raises(ConfigError, match="mode"):
        DoublyRobust.configured({"mode": "naive"})
