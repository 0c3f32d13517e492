"""UniMatch's step and the methods that change it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leaven.data import Data
from leaven.data.pixel_maps import PixelMaps
from leaven.data.transforms import StrongColour
from leaven.learn import drop_channels, one_rectangle
from leaven.methods import Fitted, find_method
from leaven.methods.loop import Run
from leaven.methods.segmentation.corrmatch import CorrMatch
from leaven.methods.segmentation.csl import CSL
from leaven.methods.segmentation.dssn import DSSN, STRONG
from leaven.methods.segmentation.few_maps import FewMaps, PixelRun
from leaven.methods.segmentation.fixmatch import FixMatch
from leaven.methods.segmentation.mean_teacher import MeanTeacher
from leaven.methods.segmentation.unimatch import UniMatch
from leaven.methods.segmentation.weak_strong import Believed, Step, WeakStrong
from leaven.select import MovingThreshold, fixed_threshold
from leaven.train import Recipe
from leaven.train.batch import Batch
from leaven.train.pixel_trainer import PixelTrainer

THRESHOLD = 0.4
"""What an untrained net of three classes reaches in some pixels."""

Trainers = Callable[..., PixelTrainer]
Maps = Data[PixelMaps]


def begun(method: FewMaps, trainer: PixelTrainer) -> PixelRun:
    """The run of ``method`` in front of its first step."""
    student = method.student(trainer)
    average = method.average(student)
    parts = nn.ModuleDict(method.parts(trainer, student))
    optimizer = trainer.optimizer(nn.ModuleList([student, *parts.values()]), method.recipe)
    run: Any = Run(trainer, student, average, parts, optimizer, Batch(0, 0.0, {}))
    steps = trainer.steps(streams=method.streams(trainer.data))
    run.batch = next(iter(steps))
    return run


SEEN: list[tuple[Step, dict[str, Tensor]]] = []


def seen(method: WeakStrong, run: PixelRun) -> tuple[Tensor, Step, dict[str, Tensor]]:
    """The loss of the step, what was known in it, and the terms of the loss."""
    kind = type(method)

    class Watched(kind):  # type: ignore[valid-type,misc]
        def observe(self, step: Step, losses: dict[str, Tensor]) -> None:
            SEEN.append((step, losses))
            super().observe(step, losses)

    loss = Watched(**method.model_dump()).loss(run)
    return loss, *SEEN.pop()


def gradients(model: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def assert_same_step(one: FewMaps, other: FewMaps, data: Maps, trainers: Trainers) -> None:
    """Both have the same loss and the same gradients of the student."""
    losses, found = [], []
    for method in (one, other):
        torch.manual_seed(0)
        run = begun(method, trainers(data, 2))
        run.average.updates = 1
        loss = method.loss(run)
        loss.backward()
        losses.append(loss.detach())
        found.append(gradients(run.student))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-6, atol=0)
    assert len(found[0]) == len(found[1]) > 0
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-7)


# -- UniMatch --------------------------------------------------------------------------------------


def by_hand(method: UniMatch, run: PixelRun) -> Tensor:
    """UniMatch's loss as its authors write it, with the draws in the order of the step."""
    student, draws, strong = run.student, run.draws, StrongColour()
    x, y = method.labelled(run)
    w, m = (method.weak(run, s.images) for s in (run.batch.unlabelled, run.batch.partners))
    valid, valid_m = (view.geometry.valid() for view in (w, m))
    student.eval()
    with torch.no_grad():
        conf_m, mask_m = student(m.images).softmax(1).max(1)
    student.train()
    features = student.encode(torch.cat([x, w.images]))
    count = len(x)
    dropped = [drop_channels(maps[count:], draws, 0.5) for maps in features]
    joined = [torch.cat(pair) for pair in zip(features, dropped, strict=True)]
    size = x.shape[-2:]
    logits = student.resize(student.classify(student.decode(joined)), size)
    pred_x, pred_w, pred_fp = logits.split([count, len(w.images), len(w.images)])
    conf_w, mask_w = pred_w.detach().softmax(1).max(1)
    views, targets = [], []
    for _ in range(2):
        own, other = strong(w.images, draws), strong(m.images, draws)
        box = one_rectangle(len(own), size, draws, 0.5)
        view = own.clone()
        view[box[:, None].expand_as(view)] = other[box[:, None].expand_as(view)]
        confidence, classes, shown = conf_w.clone(), mask_w.clone(), valid.clone()
        confidence[box], classes[box], shown[box] = conf_m[box], mask_m[box], valid_m[box]
        views.append(view)
        targets.append((confidence, classes, shown))
    preds = student(torch.cat(views)).chunk(2)
    total = F.cross_entropy(pred_x, y, ignore_index=-1)
    for pred, (confidence, classes, shown) in zip(preds, targets, strict=True):
        loss = F.cross_entropy(pred, classes, reduction="none")
        loss = loss * ((confidence >= method.threshold) & shown)
        total = total + 0.25 * loss.sum() / shown.sum()
    loss = F.cross_entropy(pred_fp, mask_w, reduction="none")
    loss = loss * ((conf_w >= method.threshold) & valid)
    return (total + 0.5 * loss.sum() / valid.sum()) / 2


def test_unimatch_is_the_step_of_its_authors(maps_data: Maps, pixel_trainer_for: Trainers) -> None:
    method = UniMatch(batch=2, ratio=2, threshold=THRESHOLD, scale=(0.5, 0.9))
    expected = by_hand(method, begun(method, pixel_trainer_for(maps_data, 2)))
    found, step, losses = seen(method, begun(method, pixel_trainer_for(maps_data, 2)))
    torch.testing.assert_close(found, expected)
    assert list(losses) == ["supervised", "strong-1", "strong-2", "features-1"]
    assert all(loss > 0 for loss in losses.values())
    # Padding is weighed with nothing, and some pixels pass while others do not.
    weight = step.believed.weight
    assert (~step.valid).any() and not weight[~step.valid].any()
    assert 0 < weight[step.valid].mean() < 1
    assert any(view.pasted.any() for view in step.strong)


def test_proposals_are_pasted_where_the_pictures_are(
    maps_data: Maps, pixel_trainer_for: Trainers
) -> None:
    method = UniMatch(batch=4, threshold=THRESHOLD, cutmix=1.0, scale=(1.0, 1.0))
    _, step, _ = seen(method, begun(method, pixel_trainer_for(maps_data, 2)))
    first, second = step.strong
    assert not torch.equal(first.pasted, second.pasted)
    assert not torch.equal(first.images, second.images)
    for view in step.strong:
        other = view.pasted
        assert other.flatten(1).any(1).all() and not other.all()
        for name in ("classes", "weight", "valid"):
            mine, theirs = getattr(step.proposed, name), getattr(step.partners, name)
            found = getattr(view.aim, name)
            assert torch.equal(found[other], theirs[other])
            assert torch.equal(found[~other], mine[~other])


def test_the_confidence_that_is_told_is_of_the_same_pixels(
    maps_data: Maps, pixel_trainer_for: Trainers, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = UniMatch(batch=4, threshold=THRESHOLD, cutmix=1.0, scale=(1.0, 1.0))
    run, told = begun(method, pixel_trainer_for(maps_data, 2)), {}
    monkeypatch.setattr(run.trainer, "observe", told.update)
    _, step, _ = seen(method, run)
    other, found = step.strong[0].pasted, told["confidence"]
    assert torch.equal(found[other], step.partners.confidence[other])
    assert torch.equal(found[~other], step.proposed.confidence[~other])


def test_no_gradient_reaches_the_proposals(maps_data: Maps, pixel_trainer_for: Trainers) -> None:
    method = UniMatch(batch=2, threshold=THRESHOLD)
    run = begun(method, pixel_trainer_for(maps_data, 2))
    _, step, _ = seen(method, run)
    assert run.student.training and not run.teacher.training
    for believed in (step.believed, step.partners):
        assert not believed.probs.requires_grad and not believed.weight.requires_grad


def test_fixmatch_is_unimatch_with_one_view(maps_data: Maps, pixel_trainer_for: Trainers) -> None:
    same = {"batch": 2, "threshold": THRESHOLD}
    one = UniMatch(**same, views=1, feature_views=0, strong_weight=1.0)
    assert_same_step(FixMatch(**same), one, maps_data, pixel_trainer_for)


def test_nothing_shown_or_trusted_has_no_loss(maps_data: Maps, pixel_trainer_for: Trainers) -> None:
    method = UniMatch(batch=2, threshold=1.0)
    _, _, losses = seen(method, begun(method, pixel_trainer_for(maps_data, 2)))
    assert losses["supervised"] > 0
    assert all(losses[name] == 0 for name in losses if name != "supervised")


# -- mean teacher ----------------------------------------------------------------------------------


@pytest.mark.parametrize("targets", ["soft", "hard"])
def test_mean_teacher_compares_with_the_average(
    targets: str, maps_data: Maps, pixel_trainer_for: Trainers
) -> None:
    method = MeanTeacher(batch=2, targets=targets, rampup=0.0, unlabelled_weight=3.0)
    run = begun(method, pixel_trainer_for(maps_data, 2))
    with torch.no_grad():
        for parameter in run.teacher.parameters():
            parameter.mul_(1.5)
    found = method.loss(run)

    run = begun(method, pixel_trainer_for(maps_data, 2))
    with torch.no_grad():
        for parameter in run.teacher.parameters():
            parameter.mul_(1.5)
    x, y = method.labelled(run)
    w = method.weak(run, run.batch.unlabelled.images)
    probs = run.teacher(w.images).softmax(1)
    valid = w.geometry.valid()
    logits = run.student(torch.cat([x, StrongColour()(w.images, run.draws)]))
    if targets == "soft":
        loss = ((logits[2:].softmax(1) - probs) ** 2).mean(1)[valid].mean()
    else:
        loss = F.cross_entropy(logits[2:], probs.argmax(1), reduction="none")[valid].mean()
    expected = F.cross_entropy(logits[:2], y, ignore_index=-1) + 3 * loss
    torch.testing.assert_close(found, expected)


# -- CSL -------------------------------------------------------------------------------------------


class CSLByThreshold(CSL):
    def select(self, run: PixelRun, probs: Tensor, valid: Tensor) -> Tensor:
        return fixed_threshold(probs.amax(1), THRESHOLD)


class CSLOfAll(CSL):
    def select(self, run: PixelRun, probs: Tensor, valid: Tensor) -> Tensor:
        return torch.ones_like(probs[:, 0])


def test_csl_without_its_parts_is_unimatch(maps_data: Maps, pixel_trainer_for: Trainers) -> None:
    for csl, threshold in ((CSLByThreshold, THRESHOLD), (CSLOfAll, 0.0)):
        method = csl(batch=2, cover=0.0)
        assert_same_step(
            method, UniMatch(batch=2, threshold=threshold), maps_data, pixel_trainer_for
        )


def test_csl_hides_trusted_pixels_and_asks_for_all(
    maps_data: Maps, pixel_trainer_for: Trainers
) -> None:
    method = CSL(batch=4, ratio=2, cover=1.0, block=8)
    run = begun(method, pixel_trainer_for(maps_data, 2))
    _, step, losses = seen(method, run)
    mixed, covered = step.strong
    mean = (run.student.mean * 255).round().to(torch.uint8)
    hidden = (covered.images == mean).all(1)
    trusted = step.proposed.weight == 1
    share = [float(own[where].float().mean()) for own, where in zip(hidden, trusted, strict=True)]
    # Everything trusted is hidden in some pictures, and hardly anything in the others.
    assert any(value == 1 for value in share) and any(value < 0.2 for value in share)
    assert all(value == 1 or value < 0.2 for value in share)
    assert 0 < trusted.float().mean() < 1
    assert not (hidden & ~trusted)[[value == 1 for value in share]].float().mean() > 0.2
    assert torch.equal(covered.aim.weight, step.proposed.weight)
    assert torch.equal(covered.aim.classes, step.proposed.classes)
    assert not covered.pasted.any() and mixed.pasted.any()
    loss = F.cross_entropy(step.said[1].logits, covered.aim.classes, reduction="none")
    expected = 0.125 * (loss * covered.aim.weight).sum() / step.valid.sum()
    torch.testing.assert_close(losses["strong-2"], expected)


# -- DSSN ------------------------------------------------------------------------------------------


class DSSNByThreshold(DSSN):
    def select(self, run: PixelRun, probs: Tensor, valid: Tensor) -> Tensor:
        return fixed_threshold(probs.amax(1), THRESHOLD)


class UniMatchWithTeacher(UniMatch):
    """UniMatch whose strong views learn from the average, under the strong view of DSSN."""

    def strong(self, run: PixelRun, images: Tensor) -> Tensor:
        return STRONG(images, run.draws)

    def foresee(self, run: PixelRun, images: Tensor) -> Tensor:
        with torch.no_grad():
            return run.teacher(images).softmax(1)

    def propose(self, step: Step) -> Believed:
        return self.believe(step.run, self.foresee(step.run, step.weak.images), step.valid)


def test_dssn_without_its_parts_is_unimatch_with_a_teacher(
    maps_data: Maps, pixel_trainer_for: Trainers
) -> None:
    dssn = DSSNByThreshold(batch=2, pair_weight=0.0, feature_views=1, feature_weight=0.5)
    unimatch = UniMatchWithTeacher(batch=2, threshold=THRESHOLD)
    assert_same_step(dssn, unimatch, maps_data, pixel_trainer_for)


def test_dssn_selects_on_the_pasted_outputs(maps_data: Maps, pixel_trainer_for: Trainers) -> None:
    method = DSSN(batch=4, least=0.3, share=0.9, cutmix=1.0, scale=(1.0, 1.0))
    run = begun(method, pixel_trainer_for(maps_data, 2))
    _, step, _ = seen(method, run)
    differs = False
    for view in step.strong:
        mask = view.pasted[:, None]
        pasted = torch.where(mask, step.partners.probs, step.proposed.probs)
        expected = method.select(run, pasted, view.aim.valid)
        assert torch.equal(view.aim.weight, expected) and expected.any()
        apart = torch.where(view.pasted, step.partners.weight, step.proposed.weight)
        differs |= not torch.equal(apart, expected)
    assert differs


def test_dssn_copies_the_student_for_a_share_of_the_run(
    maps_data: Maps, pixel_trainer_for: Trainers
) -> None:
    method = DSSN(batch=2, copied=0.5)
    run = begun(method, pixel_trainer_for(maps_data, 4))
    run.batch.progress = 0.49
    for _ in range(2):
        assert not any("strong" in name for name in seen(method, run)[2])
        method.step(run)
        method.after(run)
        for own, other in zip(run.teacher.parameters(), run.student.parameters(), strict=True):
            assert torch.equal(own, other)
    run.batch.progress = 0.5
    assert "strong-1" in seen(method, run)[2]
    method.step(run)
    method.after(run)
    pairs = zip(run.teacher.parameters(), run.student.parameters(), strict=True)
    assert not all(torch.equal(own, other) for own, other in pairs)


def test_dssn_has_two_pairs_and_a_first_step_without_the_teacher(
    maps_data: Maps, pixel_trainer_for: Trainers
) -> None:
    method = DSSN(batch=2)
    run = begun(method, pixel_trainer_for(maps_data, 2))
    loss, step, losses = seen(method, run)
    names = ["supervised", "features-1", "features-2", "pair-pictures", "pair-features"]
    assert list(losses) == names
    assert not torch.equal(step.dropped[0], step.dropped[1])
    for name, (one, other) in {
        "pair-pictures": [said.logits for said in step.said],
        "pair-features": step.dropped,
    }.items():
        # In so narrow a net all channels may be dropped, and the logits of a pixel be all alike.
        scaled = [
            (z - z.mean(1, keepdim=True)) / (z.var(1, keepdim=True) + 1e-8).sqrt()
            for z in (one, other)
        ]
        expected = 0.01 * F.mse_loss(*scaled) / 2
        torch.testing.assert_close(losses[name], expected, rtol=1e-3, atol=1e-6)
    loss.backward()
    assert all(p.grad is None for p in run.teacher.parameters())
    with torch.no_grad():
        for parameter in run.student.parameters():
            parameter.add_(0.1)
    method.after(run)
    for name, value in run.student.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(run.teacher.state_dict()[name], value)
    before = {name: value.clone() for name, value in run.teacher.state_dict().items()}
    with torch.no_grad():
        for tensor in (*run.student.parameters(), *run.student.buffers()):
            if tensor.is_floating_point():
                tensor.add_(1)
    method.after(run)
    for name, value in run.teacher.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, before[name] + 0.004, rtol=1e-5, atol=1e-5)
    assert "strong-1" in seen(method, run)[2]


# -- CorrMatch -------------------------------------------------------------------------------------


class OneViewMovingThreshold(WeakStrong):
    """UniMatch with one strong view and a moving threshold."""

    def parts(self, trainer: PixelTrainer, student: Any) -> dict[str, nn.Module]:
        return {"select": MovingThreshold(student.num_classes, THRESHOLD)}

    def look(self, run: PixelRun) -> Step:
        step = super().look(run)
        confidence, classes = step.own.logits.detach().softmax(1).max(1)
        run.parts["select"].update(confidence, classes, step.valid)  # type: ignore[operator]
        return step

    def select(self, run: PixelRun, probs: Tensor, valid: Tensor) -> Tensor:
        weight: Tensor = run.parts["select"](probs.amax(1))
        return weight


def test_corrmatch_without_correlation_is_unimatch_with_a_moving_threshold(
    maps_data: Maps, pixel_trainer_for: Trainers
) -> None:
    corrmatch = CorrMatch(
        batch=2,
        start=THRESHOLD,
        regions=0,
        width=8,
        correlation_share=0.0,
        correlation_weight=0.0,
        divergence_weight=0.0,
    )
    plain = OneViewMovingThreshold(batch=2, views=1, feature_weight=0.25)
    assert_same_step(corrmatch, plain, maps_data, pixel_trainer_for)


def test_the_correlation_does_not_train_the_classifier(
    maps_data: Maps, pixel_trainer_for: Trainers
) -> None:
    method = CorrMatch(
        batch=2,
        start=THRESHOLD,
        width=8,
        regions=4,
        correlation_share=1.0,
        strong_weight=0.0,
        feature_weight=0.0,
        divergence_weight=0.0,
    )
    run = begun(method, pixel_trainer_for(maps_data, 2))
    method.loss(run).backward()
    student, head = run.student, run.parts["correlation"]
    for parameter in student.decoder_parameters():
        assert parameter.grad is None or not parameter.grad.any()
    assert all(g.any() for g in gradients(head.first) + gradients(head.second))  # type: ignore[arg-type]
    assert any(p.grad is not None and p.grad.any() for p in student.encoder_parameters())


def test_regions_leave_the_rectangle_and_the_padding(
    maps_data: Maps, pixel_trainer_for: Trainers
) -> None:
    method = CorrMatch(batch=4, ratio=2, start=0.35, width=8, regions=32, cutmix=1.0)
    run = begun(method, pixel_trainer_for(maps_data, 2))
    _, step, losses = seen(method, run)
    view, certain = step.strong[0], step.further["certain"]
    plain = torch.where(view.pasted, step.partners.classes, step.proposed.classes)
    grown = view.aim.weight > certain
    changed = view.aim.classes != plain
    assert grown.any()
    outside = view.pasted | ~view.aim.valid
    assert not (grown & outside).any() and not (changed & outside).any()
    assert (view.aim.weight >= certain).all() and not (changed & (view.aim.weight == 0)).any()
    assert 0.349 <= float(run.parts["select"].level) <= 0.351  # type: ignore[arg-type]
    assert set(losses) == {"supervised", "strong-1", "features-1", "divergence", "correlation"}
    impossible = CorrMatch(**{**method.model_dump(), "start": 1.0, "recipe": method.recipe})
    run = begun(impossible, pixel_trainer_for(maps_data, 2))
    _, step, _ = seen(impossible, run)
    assert torch.equal(step.strong[0].aim.weight, step.further["certain"])


def test_the_losses_of_corrmatch_are_those_of_its_authors(
    maps_data: Maps, pixel_trainer_for: Trainers
) -> None:
    method = CorrMatch(batch=4, start=0.35, width=8, regions=16, cutmix=1.0)
    run = begun(method, pixel_trainer_for(maps_data, 2))
    head: Any = run.parts["correlation"]
    head.project[3].p = 0.0
    _, step, losses = seen(method, run)
    aim, certain, shown = step.strong[0].aim, step.further["certain"], step.strong[0].aim.valid

    def spread(logits: Tensor, maps: Tensor, correlation: Tensor) -> Tensor:
        small = F.interpolate(logits, maps.shape[-2:], mode="bilinear", align_corners=True)
        spread = torch.einsum("bki,bij->bkj", small.flatten(2), correlation).view_as(small)
        return F.interpolate(spread, logits.shape[-2:], mode="bilinear", align_corners=True)

    both = head(torch.cat([step.labelled.maps, step.own.maps]))
    x = spread(step.labelled.logits, step.labelled.maps, both[:4])
    w = spread(step.own.logits, step.own.maps, both[4:])
    s = spread(step.said[0].logits, step.said[0].maps, head(step.said[0].maps))

    def share(rows: Tensor, weight: Tensor, valid: Tensor) -> Tensor:
        return (rows * weight).sum() / valid.sum()

    own = step.believed
    loss_s = share(F.cross_entropy(s, aim.classes, reduction="none"), aim.weight, shown)
    loss_w = share(F.cross_entropy(w, own.classes, reduction="none"), own.weight, own.valid)
    torch.testing.assert_close(losses["correlation"], 0.25 * 0.5 * (loss_s + loss_w) / 2)
    log_probs = step.said[0].logits.log_softmax(1)
    rows = F.kl_div(log_probs, own.probs, reduction="none").sum(1)
    torch.testing.assert_close(losses["divergence"], 0.25 * share(rows, certain, shown) / 2)
    labelled = [
        F.cross_entropy(z, step.targets, ignore_index=-1) for z in (step.labelled.logits, x)
    ]
    torch.testing.assert_close(losses["supervised"], (labelled[0] + labelled[1]) / 4)


# -- whole runs ------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {"batch": 2, "ema": 0.9, "scale": (1.0, 1.0)}
LEARNS = Recipe(optimizer="adamw", lr=0.01, schedule="constant")
METHODS: dict[str, FewMaps] = {
    "mean-teacher": MeanTeacher(**SMALL, recipe=LEARNS),
    "fixmatch": FixMatch(**SMALL, recipe=LEARNS),
    "unimatch": UniMatch(**SMALL, recipe=LEARNS),
    "csl": CSL(**SMALL, recipe=LEARNS, block=8),
    "dssn": DSSN(**SMALL, recipe=LEARNS),
    "corrmatch": CorrMatch(**SMALL, recipe=LEARNS, width=16, regions=8),
}


@pytest.mark.parametrize("name", METHODS)
def test_it_learns_rectangles(name: str, maps_data: Maps, pixel_trainer_for: Trainers) -> None:
    assert find_method(name, "segmentation") is type(METHODS[name])
    trainer = pixel_trainer_for(maps_data, 80, options={"widths": [8, 12]})
    fitted = METHODS[name].fit(trainer.data, trainer)
    found = trainer.measure(fitted.model, trainer.data.test)
    # All ground is 0.29.
    assert found["miou"] > 0.45, found
    assert fitted.labels.classes.shape == (8, 24, 32)
    assert not [f.code for f in trainer.health.findings() if f.code == "non-finite-loss"]


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run_ends_bit_identical(
    name: str, maps_data: Maps, assert_resumes: Callable[..., Fitted], tmp_path: Path
) -> None:
    whole = METHODS[name].model_copy(update={"scale": (0.7, 1.4)})
    assert_resumes(whole, maps_data, 8, tmp_path)
