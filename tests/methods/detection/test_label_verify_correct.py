"""Few-shot detection, and Label, Verify, Correct on top of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from leaven.data import Data, ImageSet
from leaven.draws import Draws
from leaven.errors import ConfigError
from leaven.labels import BoxLabels, LabelStore, Source
from leaven.methods import Fitted, find_method
from leaven.methods.detection.few_shot import (
    FewShot,
    detector_losses,
    outputs_of,
    with_outputs,
)
from leaven.methods.detection.label_verify_correct import LabelVerifyCorrect, Sources
from leaven.models.detection import CosineHead, Regions, TwoStage, best_overlap
from leaven.train import BoxTrainer

NET: dict[str, Any] = {"widths": (8, 16, 16, 16), "channels": 16, "hidden": 32}
SMALL: dict[str, Any] = {
    "batch": 2,
    "base_length": 3,
    "novel_length": 1,
    "shots_length": 2,
    "novel": ("green",),
}
ROUND: dict[str, Any] = {
    **SMALL,
    "descriptor_length": 2,
    "correct_length": 2,
    "correct_shots_length": 1,
    "final_length": 3,
}


@pytest.fixture
def data(boxes_data: Data[BoxLabels]) -> Data[BoxLabels]:
    """12 pictures: 10 are labelled for red things, 3 of them for green ones too."""
    truth = replace(boxes_data.train.truth, masks=None)
    known = torch.arange(12) < 10
    shown = (truth.classes == 0) | (truth.pictures < 3)
    labels = truth.keep(shown).hidden(known)
    train = replace(boxes_data.train, labels=labels, truth=truth)
    return replace(boxes_data, train=train, test=None)


@pytest.fixture
def trainer(data: Data[BoxLabels], box_trainer_for: Callable[..., BoxTrainer]) -> BoxTrainer:
    return box_trainer_for(data, 14, options=NET)


def test_they_are_found() -> None:
    assert find_method("label-verify-correct", "detection") is LabelVerifyCorrect
    assert find_method("few-shot", "detection") is FewShot


def test_a_resumed_round_ends_bit_identical(
    data: Data[BoxLabels], assert_resumes: Callable[..., Fitted], tmp_path: Path
) -> None:
    # A score of 0: an untrained detector has candidates too.
    method = LabelVerifyCorrect(**ROUND, score=0.0)
    fitted = assert_resumes(method, data, 14, tmp_path, breaks=(0.5, 0.9))
    assert len(fitted.labels) == 2 and "new classes" in fitted.note


def test_the_shots_of_the_classes(data: Data[BoxLabels]) -> None:
    shots = FewShot(novel=("green",)).shots(data, 0)
    assert shots.novel.tolist() == [False, True]
    few = shots.images.labels
    drawn = few.keep(~few.crowd)
    assert torch.bincount(drawn.classes).tolist() == [3, 3]
    # What is known and no shot is ignored; green things without a box are not known of.
    assert (few.classes[few.crowd] == 0).all() and (few.counts > 0).all()
    assert len(shots.base) == 10 and (shots.base.labels.classes == 0).all()
    other = FewShot(novel=("green",)).shots(data, 1)
    assert not torch.equal(other.images.labels.boxes, few.boxes)
    by_number = FewShot(most_shots=3).shots(data, 0)
    assert by_number.novel.tolist() == [False, True]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"novel": ("blue",)}, "no class 'blue'"),
        ({"most_shots": 1}, "0 of them are taken as new"),
        ({"most_shots": 30}, "2 of them are taken as new"),
    ],
)
def test_classes_that_cannot_be_told_apart(
    options: dict[str, Any], text: str, data: Data[BoxLabels]
) -> None:
    with pytest.raises(ConfigError, match=text):
        FewShot(**options).shots(data, 0)


def test_a_class_without_a_box_has_no_shots(data: Data[BoxLabels]) -> None:
    bare = replace(data.train, labels=data.train.labels.keep(data.train.labels.classes == 0))
    with pytest.raises(ConfigError, match="boxes"):
        FewShot(novel=("green",)).shots(data.with_train(bare), 0)


def test_a_network_of_one_stage_is_refused(
    data: Data[BoxLabels], box_trainer_for: Callable[..., BoxTrainer]
) -> None:
    with pytest.raises(ConfigError, match="two-stage"):
        FewShot().student(box_trainer_for(data, 1, model="retina-small", options={}))


@pytest.mark.parametrize("method", [FewShot(), LabelVerifyCorrect()])
def test_a_network_with_masks_is_refused(
    method: FewShot, data: Data[BoxLabels], box_trainer_for: Callable[..., BoxTrainer]
) -> None:
    with pytest.raises(ConfigError, match="without masks"):
        method.student(box_trainer_for(data, 1, model="maskrcnn-small", options=NET))


def test_heads_are_put_together(trainer: BoxTrainer) -> None:
    method = FewShot(**SMALL)
    one, other = method.student(trainer), method.student(trainer)
    assert isinstance(one.box, CosineHead)
    mixed = with_outputs(one, other, torch.tensor([False, True]))
    for part, first, second in zip(*map(outputs_of, (mixed, one, other)), strict=True):
        rows = 1 if len(part.weight) == 3 else 4
        assert torch.equal(part.weight[:rows], first.weight[:rows])
        assert torch.equal(part.weight[rows : 2 * rows], second.weight[rows : 2 * rows])
    # The background is that of the first.
    assert torch.equal(mixed.box.class_logits.weight[2], one.box.class_logits.weight[2])
    again = with_outputs(one, other, torch.tensor([True, True]), background=True)
    assert torch.equal(again.box.class_logits.weight, other.box.class_logits.weight)
    assert torch.equal(again.backbone.stem[0].weight, one.backbone.stem[0].weight)


def test_absent_classes_take_no_part(trainer: BoxTrainer, data: Data[BoxLabels]) -> None:
    model = FewShot(**SMALL).student(trainer)
    images = data.train.pixels.batch(torch.arange(3))
    labels = data.train.labels.select(torch.arange(3))
    red = labels.keep(labels.classes == 0)
    losses = detector_losses(model, images, red, Draws(0), absent=torch.tensor([False, True]))
    losses["roi_class"].backward()
    gradient = model.box.class_logits.weight.grad
    assert gradient is not None and gradient[1].abs().max() == 0
    assert gradient[0].abs().max() > 0 and gradient[2].abs().max() > 0


def roi_gradient(model: TwoStage, images: Tensor, labels: BoxLabels) -> float:
    """What the second stage learns of these pictures, with the dropout of one seed."""
    model.zero_grad()
    torch.manual_seed(0)
    losses = detector_losses(model, images, labels, Draws(0), propose_ignored=True)
    (losses["roi_class"] + losses["roi_box"]).backward()
    gradient = model.box.class_logits.weight.grad
    return 0.0 if gradient is None else float(gradient.abs().sum())


def test_what_lies_on_ignore_regions_has_no_loss_in_the_second_stage(
    trainer: BoxTrainer, data: Data[BoxLabels], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = FewShot(**SMALL).student(trainer)
    images = data.train.pixels.batch(torch.arange(1))
    places = torch.tensor([[8.0, 8.0, 30.0, 30.0], [34.0, 20.0, 60.0, 50.0]])
    regions = Regions(places + 1, torch.zeros(2, dtype=torch.int64))
    monkeypatch.setattr(TwoStage, "propose", lambda self, anchors: regions)
    labels = BoxLabels.from_person([places], [torch.tensor([1, 1])])
    ignored = replace(labels, crowd=torch.ones(2, dtype=torch.bool))
    assert roi_gradient(model, images, ignored) == 0
    # Without the flag's row the same proposals are background.
    assert roi_gradient(model, images, labels.keep(labels.crowd)) > 0
    # To the proposal network the regions are things, and without the rule they have no loss.
    of_rpn = [
        detector_losses(model, images, some, Draws(0), propose_ignored=rule)["rpn_objectness"]
        for some, rule in ((ignored, True), (labels, False), (ignored, False))
    ]
    assert of_rpn[0] == of_rpn[1] and of_rpn[0] != of_rpn[2]


def test_a_round(trainer: BoxTrainer, data: Data[BoxLabels]) -> None:
    method = LabelVerifyCorrect(**ROUND, score=0.0)
    detector = method.detector(trainer.data, trainer)
    sources = method.sources(trainer.data, trainer, detector)
    candidates = sources.candidates
    assert len(candidates.boxes) and (candidates.classes == 1).all()
    # None of a picture with a shot of the class, and none on a known base box once verified.
    assert (candidates.pictures >= 3).all()
    base = data.train.labels.keep(data.train.labels.classes == 0)
    verified = sources.verified
    overlap = best_overlap(Regions(verified.boxes, verified.pictures), base)
    assert (overlap <= 0.5).all()
    assert sources.corrected.counts.tolist() == verified.counts.tolist()
    assert torch.equal(sources.corrected.classes, verified.classes)
    # What was not verified is ignored.
    green = sources.ignored.keep(sources.ignored.classes == 1)
    assert len(green.boxes) == len(candidates.boxes) - len(verified.boxes)
    labels = method.training_labels(trainer.data, sources)
    things = labels.keep(~labels.crowd)
    regions = labels.keep(labels.crowd)
    overlap = best_overlap(Regions(regions.boxes, regions.pictures), things)
    assert (overlap < 0.5).all()
    assert (sources.corrected.counts[regions.pictures] > 0).all()
    assert labels.known[:10].all()
    assert torch.equal(labels.known[10:], sources.corrected.counts[10:] > 0)
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    model = method.end_to_end(trainer.data, trainer, detector, sources)
    # All of the network goes on, and the first detector stays.
    assert not torch.equal(
        model.state_dict()["backbone.stem.0.weight"], before["backbone.stem.0.weight"]
    )
    assert all(torch.equal(v, before[name]) for name, v in detector.state_dict().items())


def test_the_last_step_learns_from_new_boxes_and_shots(
    trainer: BoxTrainer, data: Data[BoxLabels], monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows(*pictures: int) -> BoxLabels:
        count = len(pictures)
        corners = torch.tensor([[2.0, 2.0, 12.0, 12.0]]).expand(count, 4)
        counts = torch.bincount(torch.tensor(pictures, dtype=torch.int64), minlength=12)
        return BoxLabels.from_model(corners, torch.ones(count).long(), torch.ones(count), counts)

    seen: list[ImageSet[BoxLabels]] = []
    monkeypatch.setattr(FewShot, "learn", lambda self, trainer, model, images, *_, **__: (
        seen.append(images)
    ))  # fmt: skip
    method = LabelVerifyCorrect(**ROUND)
    new = rows(8, 11)
    far = replace(rows(0, 8, 9, 10, 11), boxes=torch.tensor([[50.0, 50, 60, 60]]).expand(5, 4))
    method.end_to_end(trainer.data, trainer, method.student(trainer), Sources(new, new, new, far))
    shots = method.shots(data, trainer.settings.seed)
    with_shot = set(shots.images.names)
    assert {f"picture-{number}" for number in range(3)} <= with_shot
    assert set(seen[0].names) == with_shot | {"picture-8", "picture-11"}
    # Ignore regions are where new boxes are, and nowhere else.
    labels = seen[0].labels
    ignored = labels.pictures[labels.crowd]
    assert sorted(seen[0].names[row] for row in ignored.tolist()) == ["picture-11", "picture-8"]
    # All that is known of a picture is learned.
    first = list(seen[0].names).index("picture-0")
    assert int(labels.counts[first]) == int(data.train.labels.counts[0]) == 2


def test_the_backbone_is_fixed_while_shots_are_learned(
    trainer: BoxTrainer, data: Data[BoxLabels], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, tuple[set[str], set[str]]] = {}
    own = FewShot.learn

    def watched(
        self: FewShot, trainer: Any, model: Any, images: Any, name: str, *rest: Any, **named: Any
    ) -> None:
        before = {key: value.clone() for key, value in model.state_dict().items()}
        own(self, trainer, model, images, name, *rest, **named)
        moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
        seen[name] = moved, set(before) - moved

    monkeypatch.setattr(FewShot, "learn", watched)
    method = LabelVerifyCorrect(**ROUND, score=0.0)
    method.sources(trainer.data, trainer, method.detector(trainer.data, trainer))
    assert any(name.startswith("backbone") for name in seen["base"][0])
    assert seen["novel"][0] == {
        "box.class_logits.weight", "box.deltas.weight", "box.deltas.bias"
    }  # fmt: skip
    moved = seen["shots"][0]
    assert not any(name.startswith("backbone") for name in moved)
    assert any(name.startswith("proposals") for name in moved)
    assert any(name.startswith("box.hidden") for name in moved)
    assert any(name.startswith("trunk.backbone") for name in seen["correct-base"][0])
    assert all(name.startswith("corrector") for name in seen["correct-shots"][0])


def test_naive_self_training_keeps_every_candidate(trainer: BoxTrainer) -> None:
    method = LabelVerifyCorrect(**ROUND, score=0.0, verify=False, correct=False, ignore=False)
    assert method.length == 9
    sources = method.sources(trainer.data, trainer, method.detector(trainer.data, trainer))
    assert torch.equal(sources.corrected.boxes, sources.candidates.boxes)
    assert not len(sources.ignored.boxes)


def test_new_boxes_are_stored_beside_the_known_ones(
    data: Data[BoxLabels], box_trainer_for: Callable[..., BoxTrainer], tmp_path: Path
) -> None:
    trainer = box_trainer_for(data, 14, tmp_path, options=NET)
    LabelVerifyCorrect(**ROUND, score=0.0, verify=False).fit(trainer.data, trainer)
    stored = LabelStore(tmp_path / "labels").read_boxes(0).labels
    known = data.train.labels
    for picture in range(10):
        one = torch.tensor([picture])
        own, all_rows = known.select(one), stored.select(one)
        assert torch.equal(all_rows.boxes[: len(own.boxes)], own.boxes)
    new = stored.select(torch.arange(10))
    new = new.keep(new.source != int(Source.PERSON))
    # New boxes are of the new class and lie where there is no shot of it.
    assert len(new.boxes) and (new.classes == 1).all() and (new.pictures >= 3).all()


def test_a_detector_that_finds_nothing(trainer: BoxTrainer) -> None:
    fitted = LabelVerifyCorrect(**ROUND, score=1.0).fit(trainer.data, trainer)
    assert fitted.note.startswith("Of 0 boxes") and len(fitted.labels) == 2
