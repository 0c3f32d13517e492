"""The engine's services, on a method as small as can be."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from leaven.data import Data
from leaven.errors import ConfigError, RunError
from leaven.labels import ClassLabels, LabelStore, Source
from leaven.models.classifier import Classifier
from leaven.train import Budget, Optimizer, Recipe, Settings, Trainer

TINY = {"width": 4}


def trainer_of(data: Data, folder: Path | None = None, **options: object) -> Trainer:
    settings = {"budget": Budget(steps=12), "threads": 1, "options": TINY, **options}
    return Trainer(data, folder, Settings(**settings))  # type: ignore[arg-type]


def parts(trainer: Trainer, **recipe: object) -> tuple[Classifier, Optimizer]:
    model = trainer.model()
    optimizer = trainer.optimizer(model, Recipe(**recipe))  # type: ignore[arg-type]
    trainer.register(model=model, optimizer=optimizer)
    return model, optimizer


def test_a_loop_takes_its_share_of_the_steps(digits_data: Data) -> None:
    trainer = trainer_of(digits_data)
    labelled = digits_data.labelled
    first = [batch.step for batch in trainer.steps(share=0.25, x=labelled.batches(5))]
    second = [batch.progress for batch in trainer.steps(share=0.5, x=labelled.batches(5))]
    assert first == [0, 1, 2]
    assert second == pytest.approx([i / 6 for i in range(6)])
    assert trainer.step == 9 and trainer.images_seen == 45


def test_a_time_budget_ends_a_loop(digits_data: Data) -> None:
    trainer = trainer_of(digits_data, budget=Budget(seconds=0.2))
    batches = list(trainer.steps(x=digits_data.labelled.batches(5)))
    assert len(batches) > 1
    assert 0.2 <= trainer.seconds < 2.0
    assert all(0 <= batch.progress < 1 for batch in batches)


def test_models_are_fresh_and_the_seed_decides(digits_data: Data) -> None:
    first, second = trainer_of(digits_data), trainer_of(digits_data)
    a, b, c = first.model(), first.model(), second.model()
    weights = [torch.cat([p.flatten() for p in m.parameters()]) for m in (a, b, c)]
    assert torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[1])


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_what_is_not_finite_never_reaches_the_weights(
    digits_data: Data, tmp_path: Path, where: str
) -> None:
    trainer = trainer_of(digits_data, tmp_path)
    model, optimizer = parts(trainer)
    before, taken = None, []
    for batch in trainer.steps(x=digits_data.labelled.batches(8)):
        bad = batch.step == 5
        images = batch.x.images.float() / 255
        if bad and where == "loss":
            images = images * math.nan
        if bad:
            before = {key: value.clone() for key, value in model.state_dict().items()}
        loss = nn.functional.cross_entropy(model(images), batch.x.targets)
        if bad and where == "gradient":
            # Zero in value, infinite in slope.
            loss = loss + (model.head.weight.sum() * 0).abs().sqrt()
        trainer.observe(losses={"supervised": loss})
        taken.append(trainer.update(loss, optimizer))
        if bad:
            assert before is not None
            after = model.state_dict()
            for key in before:
                if before[key].is_floating_point():
                    assert torch.equal(after[key], before[key]), key
    assert taken == [True] * 5 + [False] + [True] * 6
    assert all(bool(torch.isfinite(value).all()) for value in model.state_dict().values())
    codes = [finding.code for finding in trainer.health.findings()]
    assert "non-finite-loss" in codes
    if where == "loss":
        assert any("supervised" in finding.text for finding in trainer.health.findings())


def test_accumulated_batches_make_the_step_of_one_large_batch(digits_data: Data) -> None:
    norm = {"norm": "group", **TINY}
    images, targets = digits_data.labelled.pixels.batch(torch.arange(8)), torch.arange(8)
    after = []
    for accumulate in (1, 2):
        trainer = trainer_of(digits_data, options=norm)
        model, optimizer = parts(trainer, accumulate=accumulate, schedule="constant")
        moved = []
        for batch in trainer.steps(count=accumulate, x=digits_data.labelled.batches(1)):
            part = slice(0, 8) if accumulate == 1 else slice(4 * batch.step, 4 * batch.step + 4)
            loss = nn.functional.cross_entropy(model(images[part]), targets[part])
            moved.append(trainer.update(loss, optimizer))
        assert moved == [False] * (accumulate - 1) + [True]
        after.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(after[0], after[1])


def test_the_gradient_is_clipped_to_its_norm(digits_data: Data) -> None:
    trainer = trainer_of(digits_data)
    model, optimizer = parts(
        trainer,
        clip=1e-3,
        lr=1.0,
        momentum=0.0,
        nesterov=False,
        weight_decay=0.0,
        schedule="constant",
    )
    before = torch.cat([p.detach().flatten() for p in model.parameters()])
    for batch in trainer.steps(count=1, x=digits_data.labelled.batches(8)):
        loss = 100 * nn.functional.cross_entropy(model(batch.x.images), batch.x.targets)
        trainer.update(loss, optimizer)
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert float((after - before).norm()) == pytest.approx(1e-3, rel=1e-2)


def test_kept_values_and_rounds_come_back(digits_data: Data, tmp_path: Path) -> None:
    def work(stop: tuple[int, int] | None, resume: bool) -> tuple[list[tuple[int, int]], float]:
        settings = Settings(budget=Budget(steps=12), threads=1, options=TINY, checkpoint_steps=1)
        trainer = Trainer(digits_data, tmp_path, settings, resume=resume)
        kept = trainer.keep("sum", total=0.0, history=[])
        seen = []
        for number in trainer.rounds(3):
            for batch in trainer.steps(share=1 / 3, x=digits_data.labelled.batches(4)):
                if (number, batch.step) == stop:
                    raise InterruptedError
                seen.append((number, batch.step))
                kept.total += float(batch.x.images.float().mean() * trainer.draws.uniform(1))
                kept.history = [*kept.history, (number, batch.step)]
        assert kept.history == [(r, s) for r in range(3) for s in range(4)]
        return seen, kept.total

    expected, total = work(None, False)
    for path in (tmp_path / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(InterruptedError):
        work((1, 2), False)
    seen, resumed = work(None, True)
    assert seen == expected[6:]
    assert resumed == total


def test_labels_that_a_model_gave_before_stay_its_own(digits_data: Data, tmp_path: Path) -> None:
    train = digits_data.train
    by_model = torch.arange(len(train)) % 2 == 0
    confidence = torch.where(by_model, 0.75, torch.nan)
    data = digits_data.with_train(replace(train, model_confidence=confidence))
    trainer = Trainer(data, tmp_path, Settings(budget=Budget(steps=4), threads=1))
    trainer.save_labels(0, ClassLabels.from_probs(torch.full((len(data.unlabelled), 10), 0.1)))
    _, labels, _, _ = LabelStore(tmp_path / "labels").read()
    assert torch.equal(labels.source == int(Source.PERSON), train.known & ~by_model)
    assert torch.equal(labels.source == int(Source.MODEL), ~train.known | by_model)
    assert bool((labels.confidence[train.known & by_model] == 0.75).all())
    assert bool((labels.confidence[train.known & ~by_model] == 1).all())


def test_nothing_is_written_while_a_run_is_replayed(digits_data: Data, tmp_path: Path) -> None:
    def work(resume: bool, stop: bool) -> None:
        settings = Settings(budget=Budget(steps=4), threads=1, checkpoint_steps=1)
        trainer = Trainer(digits_data, tmp_path, settings, resume=resume)
        probs = torch.full((len(digits_data.unlabelled), 10), 0.1 if not resume else 0.2)
        for _ in trainer.steps(name="first", count=2, x=digits_data.labelled.batches(2)):
            pass
        trainer.log(mark=1.0)
        trainer.save_labels(0, ClassLabels.from_probs(probs))
        for batch in trainer.steps(name="second", count=4, x=digits_data.labelled.batches(2)):
            if stop and batch.step == 2:
                raise InterruptedError
        trainer.log(mark=2.0)

    with pytest.raises(InterruptedError):
        work(resume=False, stop=True)
    labels = (tmp_path / "labels" / "round-000.parquet").read_bytes()
    work(resume=True, stop=False)
    assert (tmp_path / "labels" / "round-000.parquet").read_bytes() == labels
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["mark"] for row in rows if "mark" in row] == [1.0, 2.0]


def test_a_checkpoint_of_another_method_is_refused(digits_data: Data, tmp_path: Path) -> None:
    settings = Settings(budget=Budget(steps=3), threads=1, checkpoint_steps=1)
    trainer = Trainer(digits_data, tmp_path, settings)
    trainer.keep("mine", value=1)
    list(trainer.steps(x=digits_data.labelled.batches(2)))
    other = Trainer(digits_data, tmp_path, settings, resume=True)
    other.keep("yours", value=1)
    with pytest.raises(RunError, match="mine.*yours"):
        list(other.steps(x=digits_data.labelled.batches(2)))


def test_label_accuracy_is_measured_with_the_hidden_truth(
    digits_data: Data, tmp_path: Path
) -> None:
    trainer = trainer_of(digits_data, tmp_path, budget=Budget(steps=4))
    truth = digits_data.unlabelled.truth
    for batch in trainer.steps(unlabelled=digits_data.unlabelled.batches(10)):
        items = batch.unlabelled.items
        assert bool((batch.unlabelled.targets == -1).all())
        proposed = truth[items].clone()
        proposed[:5] = (proposed[:5] + 1) % 10
        weight = torch.ones(10)
        weight[:2] = 0
        trainer.observe(weight=weight, proposed=proposed, items=items)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["accepted_share"] == pytest.approx(0.8)
    assert rows[0]["label_accuracy"] == pytest.approx(5 / 8)


def test_bad_settings_are_refused(digits_data: Data) -> None:
    with pytest.raises(ConfigError, match="precision"):
        trainer_of(digits_data, precision="fp7")
    with pytest.raises(ConfigError, match="device"):
        trainer_of(digits_data, device="abacus")


def test_bf16_computes_in_bf16_and_keeps_float32_weights(digits_data: Data) -> None:
    trainer = trainer_of(digits_data, precision="bf16")
    model, _ = parts(trainer)
    seen: list[torch.dtype] = []
    model.encoder.register_forward_hook(lambda *args: seen.append(args[2].dtype))
    logits = model(digits_data.labelled.pixels.batch(torch.arange(4)))
    assert seen == [torch.bfloat16]
    assert logits.dtype == torch.float32
    assert next(model.parameters()).dtype == torch.float32
