"""U2PL: what is dropped, what is pushed into the queues, and what gets a gradient."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from leaven.data import Data
from leaven.data.pixel_maps import PixelMaps
from leaven.learn import half_rectangle, mix
from leaven.methods import Fitted, find_method
from leaven.methods.segmentation.few_maps import PixelRun
from leaven.methods.segmentation.shown import Shown
from leaven.methods.segmentation.u2pl import U2PL, Seen, headed, shrunk
from leaven.models.segmentation import HeadedSegmenter
from leaven.select import class_ranks, pixel_entropy
from leaven.train import Recipe
from leaven.train.pixel_trainer import PixelTrainer

MakeTrainer = Callable[..., PixelTrainer]

SMALL: dict[str, Any] = {
    "batch": 2,
    "recipe": Recipe(optimizer="adamw", lr=0.02, schedule="poly"),
    "width": 6,
    "queue": 40,
    "first_queue": 60,
    "anchors": 8,
    "negatives": 4,
    "ranks": (1, 3),
    "scale": (1.0, 1.0),
}


def begun(method: U2PL, data: Data[PixelMaps], make: MakeTrainer, steps: int = 3) -> PixelRun:
    """A run after its last step but one share of the budget, whose last batch is at hand."""
    return method.train(make(data, steps))


def test_it_is_found_and_learns_rectangles(
    maps_data: Data[PixelMaps], pixel_trainer_for: MakeTrainer
) -> None:
    assert find_method("u2pl", "segmentation") is U2PL
    trainer = pixel_trainer_for(maps_data, 60)
    fitted = U2PL(**SMALL, ema=0.9).fit(trainer.data, trainer)
    found = trainer.measure(fitted.model, trainer.data.test)
    assert found["miou"] > 0.5, found
    assert not isinstance(fitted.model, HeadedSegmenter)


def test_a_resumed_run_ends_bit_identical(
    maps_data: Data[PixelMaps], assert_resumes: Callable[..., Fitted], tmp_path: Path
) -> None:
    assert_resumes(U2PL(**SMALL, supervised_share=0.2), maps_data, 8, tmp_path)


def test_the_kept_share_shrinks_to_nothing_dropped(
    maps_data: Data[PixelMaps], pixel_trainer_for: MakeTrainer
) -> None:
    method = U2PL(**SMALL, dropped=0.4)
    run = begun(method, maps_data, pixel_trainer_for)
    batch = method.unlabelled_pixels(run)
    entropy = torch.rand(batch.proposed.shape, generator=torch.Generator().manual_seed(0))
    for progress, share in ((0.0, 0.4), (0.5, 0.2), (0.9, 0.04)):
        run.batch.progress = progress
        parted = method.parted(run, entropy, batch)
        count = int(batch.proposed.sum())
        assert abs(int(parted.kept.sum()) - (1 - share) * count) <= 1
        assert abs(int(parted.low.sum()) - share * count) <= 1
        assert torch.equal(parted.high, batch.proposed & ~parted.kept)
        assert entropy[parted.low].max() < entropy[parted.kept & ~parted.low].min()
        assert entropy[parted.kept].max() < entropy[parted.high].min()


def _by_hand(method: U2PL, run: PixelRun) -> Tensor:
    """Entropy-filtered self-training with CutMix, written down from the paper."""
    draws, sample, student, teacher = run.draws, run.batch, run.student, run.teacher
    seen = method.weak(run, sample.labelled.images)
    labels = seen.geometry.maps(sample.labelled.targets)
    images = method.weak(run, sample.unlabelled.images).images
    with torch.no_grad():
        proposed = teacher(images).argmax(1)
    mask = half_rectangle(len(images), (24, 32), draws) & draws.flags(1, 1, 1, probability=0.5)
    mixed = mix(mask, images, images.roll(-1, 0))
    proposed = mix(mask, proposed, proposed.roll(-1, 0))
    both = torch.cat([seen.images, mixed])
    logits = student(both)
    teacher.train()
    with torch.no_grad():
        entropy = pixel_entropy(teacher(both).softmax(1))[len(labels) :]
    teacher.eval()
    limit = entropy.flatten().quantile(1 - method.dropped * (1 - run.progress))
    kept = (entropy < limit) if method.dropped else torch.ones_like(mask)
    losses = F.cross_entropy(logits[len(labels) :], proposed, reduction="none")
    consistency = losses[kept].sum() / kept.sum() * (kept.numel() / kept.sum())
    return F.cross_entropy(logits[: len(labels)], labels, ignore_index=-1) + consistency


@pytest.mark.parametrize("dropped", [0.2, 0.0])
def test_without_contrast_it_is_entropy_filtered_self_training(
    maps_data: Data[PixelMaps], pixel_trainer_for: MakeTrainer, dropped: float
) -> None:
    method = U2PL(**SMALL, contrast_weight=0.0, dropped=dropped)
    run = begun(method, maps_data, pixel_trainer_for)
    run.batch.progress = 0.3
    state, draws = run.teacher.state_dict(), run.draws.state_dict()
    before = {name: value.clone() for name, value in state.items()}
    found = method.loss(run)
    run.teacher.load_state_dict(before)
    run.draws.load_state_dict(draws)
    torch.testing.assert_close(found, _by_hand(method, run))


class _Watched(U2PL):
    """Notes what the contrast works with."""

    def contrast(
        self, run: PixelRun, student: Seen, teacher: Seen, batch: Shown, parted: Any
    ) -> Any:
        queues, notes = run.parts["queues"], {"teacher": teacher, "batch": batch, "parted": parted}
        push = queues.push

        def noted(features: Tensor, member: Tensor) -> None:
            notes["features"], notes["member"] = features, member
            push(features, member)

        queues.push = noted  # type: ignore[method-assign,assignment]
        loss = super().contrast(run, student, teacher, batch, parted)
        queues.push = push  # type: ignore[method-assign]
        run.notes = notes  # type: ignore[attr-defined]
        return loss


@pytest.mark.parametrize("source", ["unreliable", "reliable", "released"])
def test_the_queues_hold_only_what_is_not_of_the_class(
    maps_data: Data[PixelMaps], pixel_trainer_for: MakeTrainer, source: Any
) -> None:
    method = _Watched(**SMALL, dropped=0.5, negatives_from=source, supervised_share=0.0)
    run = begun(method, maps_data, pixel_trainer_for)
    run.batch.progress = 0.0
    method.loss(run)
    notes = run.notes  # type: ignore[attr-defined]
    batch, teacher, parted = notes["batch"], notes["teacher"], notes["parted"]
    size = teacher.small.shape[-2:]
    assert tuple(size) == (6, 8)
    ranks = class_ranks(teacher.small.softmax(1)).permute(0, 2, 3, 1).flatten(0, 2)
    classes = shrunk(batch.classes, size).flatten()
    given, low, high = (
        shrunk(flags, size).flatten() for flags in (batch.given, parted.low, parted.high)
    )
    member = notes["member"]
    pixel, of_class = member.nonzero(as_tuple=True)
    assert len(pixel) or source == "released"
    labelled = given[pixel]
    assert (classes[pixel][labelled] != of_class[labelled]).all()
    assert (ranks[pixel, of_class][labelled] < 1).all()
    assert (ranks[pixel, of_class][~labelled] >= 1).all()
    from_where = low if source == "reliable" else high
    assert from_where[pixel][~labelled].all()
    if source == "released":
        assert not labelled.any()
        assert (classes[pixel] == of_class).all()
    else:
        wanted = (ranks >= 1)[from_where & ~given].sum()
        assert int((~labelled).sum()) == int(wanted) > 0


def test_no_gradient_into_teacher_or_queue(
    maps_data: Data[PixelMaps], pixel_trainer_for: MakeTrainer
) -> None:
    method = U2PL(**SMALL, supervised_share=0.0)
    run = begun(method, maps_data, pixel_trainer_for)
    run.batch.progress = 0.0
    method.loss(run).backward()
    assert all(weight.grad is None for weight in run.teacher.parameters())
    assert not any(buffer.requires_grad for buffer in run.parts.buffers())
    head = headed(run.student).heads["representation"]
    assert all(weight.grad is not None for weight in head.parameters())
    assert not any(module.training for module in run.teacher.modules())


def test_the_teacher_follows_weights_and_has_its_own_statistics(
    maps_data: Data[PixelMaps], pixel_trainer_for: MakeTrainer
) -> None:
    method = U2PL(**SMALL, supervised_share=0.0)
    run = begun(method, maps_data, pixel_trainer_for, steps=1)
    for own, other in zip(run.teacher.parameters(), run.student.parameters(), strict=True):
        assert torch.equal(own, other)  # the first update copies the student
    name, before = next(
        (name, buffer.clone())
        for name, buffer in run.teacher.named_buffers()
        if name.endswith("running_mean")
    )
    run.batch.progress = 0.0
    method.loss(run)
    assert not torch.equal(run.teacher.get_buffer(name), before)


def test_the_first_share_learns_from_labels_and_the_teacher_is_the_student(
    maps_data: Data[PixelMaps], pixel_trainer_for: MakeTrainer
) -> None:
    method = U2PL(**SMALL, supervised_share=0.9)
    run = begun(method, maps_data, pixel_trainer_for)
    assert run.average.updates == 0
    student = run.student.state_dict()
    for name, value in run.teacher.state_dict().items():
        assert torch.equal(value, student[name]), name
    assert not run.parts["queues"].filled.any()


def test_unlabelled_pictures_without_anything_kept_do_no_harm(
    maps_data: Data[PixelMaps], pixel_trainer_for: MakeTrainer
) -> None:
    method = U2PL(**SMALL, supervised_share=0.0)
    run = begun(method, maps_data, pixel_trainer_for)
    run.student.requires_grad_(True)
    with torch.no_grad():
        for model in (run.student, run.teacher):
            for weight in model.head.parameters():
                weight.zero_()  # all entropies equal: nothing below the percentile
    loss = method.loss(run)
    loss.backward()
    assert bool(loss.isfinite())
    grads = [weight.grad for weight in run.student.parameters() if weight.grad is not None]
    assert all(bool(grad.isfinite().all()) for grad in grads)


def test_an_auxiliary_head_learns_given_labels_alone(
    maps_data: Data[PixelMaps], pixel_trainer_for: MakeTrainer
) -> None:
    method = U2PL(**SMALL, auxiliary_weight=0.4)
    run = begun(method, maps_data, pixel_trainer_for)
    network = headed(run.student.eval())
    labelled = method.labelled_pixels(run)
    student = method.look(network, labelled)
    found = method.supervised_loss(run, student, labelled)
    coarse = network.heads["auxiliary"](student.encoded[-2])
    logits = network.resize(coarse, labelled.classes.shape[-2:])
    first, second = (
        F.cross_entropy(each, labelled.classes, ignore_index=-1)
        for each in (student.logits, logits)
    )
    torch.testing.assert_close(found, first + 0.4 * second)
    assert set(headed(U2PL(**SMALL).student(run.trainer)).heads) == {"representation"}


def test_nearest_pixels_of_a_smaller_size() -> None:
    maps = torch.arange(24 * 32).view(1, 24, 32)
    found = shrunk(maps, torch.Size([6, 8]))
    assert torch.equal(found, maps[:, 2::4, 2::4])
    assert torch.equal(shrunk(maps, torch.Size([24, 32])), maps)
    assert shrunk(maps, torch.Size([5, 7])).shape == (1, 5, 7)
