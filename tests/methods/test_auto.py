"""``auto``: its rules, its pilot, the budget it leaves, and that a resumed run chooses the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from leaven.data import Data, MemoryPixels, open_data
from leaven.methods import Fitted, find_method
from leaven.methods.auto import RULES, Auto, Evidence, _folds, choose
from leaven.train import Budget, Recipe, Settings, Trainer

SMALL = {"batch": 16, "ratio": 2, "ema": 0.9}
PLAIN = Evidence(labels=4, least=4, imbalance=1, unlabelled=30)


def test_every_rule_leads_to_a_method_that_takes_its_values() -> None:
    for rule in RULES:
        assert find_method(rule.method).configured(rule.values).card.name == rule.method
        assert "{" not in rule.reason.format(e=PLAIN)


def test_one_is_one_in_a_reason() -> None:
    one = choose(Evidence(labels=1, least=1, imbalance=1, unlabelled=1)).reason
    assert "there is 1 label per class (about as many in each) and 1 unlabelled item per" in one
    more = choose(Evidence(labels=4, least=2, imbalance=3, unlabelled=30)).reason
    assert "are 4 labels per class (the largest has 3 times as many as the smallest) and 30" in more


def test_the_last_rule_always_holds() -> None:
    assert RULES[-1].when(PLAIN)


def test_no_unlabelled_items_are_the_baseline_and_the_reason_says_so() -> None:
    choice = choose(Evidence(labels=100, least=100, imbalance=1, unlabelled=0))
    assert choice.method == "supervised"
    assert "label" in choice.reason


def test_in_few_passes_nothing_guards_against_wrong_labels() -> None:
    doubtful = Evidence(labels=100, least=100, imbalance=1, unlabelled=0, noise=0.4)
    assert choose(doubtful).method == "rdcr"
    short = choose(replace(doubtful, passes=8))
    assert short.method == "supervised"
    assert "8 passes" in short.reason


def test_a_short_run_on_labels_alone_spends_no_pilot() -> None:
    data = open_data("digits", seed=0)
    settings = Settings(budget=Budget(steps=6), threads=1, options={"width": 8})
    trainer = Trainer(data, None, settings)
    assert Auto(**SMALL).fit(trainer.data, trainer).note.startswith("supervised")
    assert trainer.step == 6 and trainer.available == 1


def test_few_unlabelled_items_teach_nothing_that_shows() -> None:
    few = replace(PLAIN, labels=100, least=100, unlabelled=0.4)
    choice = choose(few)
    assert choice.method == "supervised" and "0.4 per label" in choice.reason
    assert choose(replace(few, unlabelled=1)).method == "fixmatch"
    assert choose(replace(few, labels=5, least=5)).method == "fixmatch"
    assert choose(replace(few, noise=0.1)).method == "rdcr"
    assert choose(replace(few, imbalance=20)).method == "tras"


def test_labels_that_neighbours_share_need_no_pilot() -> None:
    data = open_data("digits", labels_per_class=100, seed=0)
    trainer = Trainer(data, None, Settings(budget=Budget(steps=20), threads=1))
    evidence = Auto(**SMALL).look(trainer.data, trainer)
    assert trainer.step == 0 and trainer.available == 1
    assert evidence.noise == 0 and choose(evidence).method == "supervised"

    labels = data.train.labels
    wrong = (labels + 1) % 10
    tenth = torch.arange(len(labels)) % 10 == 0
    train = replace(data.train, labels=torch.where(tenth & (labels >= 0), wrong, labels))
    trainer = Trainer(data.with_train(train), None, Settings(budget=Budget(steps=20), threads=1))
    Auto(**SMALL).look(trainer.data, trainer)
    assert trainer.step > 0 and trainer.available < 1


def test_unequal_classes_get_a_method_for_them() -> None:
    choice = choose(replace(PLAIN, labels=20, least=2, imbalance=20))
    assert choice.method == "tras" and "20 times" in choice.reason
    assert choose(replace(PLAIN, imbalance=9)).method == "fixmatch"


def test_foreign_pictures_are_not_made_to_fit_the_classes() -> None:
    choice = choose(replace(PLAIN, foreign=0.3))
    assert choice.method == "remixmatch" and "30%" in choice.reason
    assert choose(replace(PLAIN, foreign=0.04)).method == "fixmatch"


@pytest.mark.parametrize("known", [6, 10])
def test_classes_without_a_label_are_told_by_their_looks(known: int) -> None:
    data = open_data("digits", labels_per_class=5, seed=0)
    labels = data.train.labels
    train = replace(data.train, labels=torch.where(labels < known, labels, -1))
    data = replace(data.with_train(train), classes=data.classes[:known])
    trainer = Trainer(data, None, Settings(budget=Budget(steps=20), threads=1))
    evidence = Auto(**SMALL).look(trainer.data, trainer)
    truth = float((train.truth[train.labels < 0] >= known).float().mean())
    assert evidence.foreign <= truth + 0.03
    assert choose(evidence).method == ("remixmatch" if known < 10 else "fixmatch")


def test_one_label_per_class_needs_groups_of_pictures() -> None:
    one = replace(PLAIN, labels=1, least=1, apart=0.8)
    choice = choose(one)
    assert choice.method == "remixmatch" and "(0.80; 0.93 or more" in choice.reason
    assert choose(replace(one, apart=0.95)).method == "fixmatch"
    assert choose(replace(one, labels=4)).method == "fixmatch"


def test_groups_of_pictures_are_looked_for_by_their_looks() -> None:
    data = open_data("digits", labels_per_class=1, seed=0)
    looked = Auto(**SMALL).look
    settings = Settings(budget=Budget(steps=20), threads=1)
    evidence = looked(data, Trainer(data, None, settings))
    assert evidence.apart > 0.94 and choose(evidence).method == "fixmatch"

    images = data.train.pixels.batch(torch.arange(len(data.train)))
    mixed = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]
    blurred = MemoryPixels(((images.float() + mixed + mixed.roll(1, 0)) / 3).to(torch.uint8))
    data = data.with_train(replace(data.train, pixels=blurred))
    evidence = looked(data, Trainer(data, None, settings))
    assert evidence.apart < 0.9 and choose(evidence).method == "remixmatch"

    few = data.with_train(data.train.subset(torch.arange(len(data.train)) < 900))
    assert looked(few, Trainer(few, None, settings)).apart == 1
    data = open_data("digits", labels_per_class=2, seed=0)
    assert looked(data, Trainer(data, None, settings)).apart == 1


def test_rows_of_features_get_a_method_without_views() -> None:
    choice = choose(Evidence(labels=4, least=4, imbalance=1, unlabelled=30, views=False))
    assert not find_method(choice.method).needs_views


@pytest.mark.parametrize("unlabelled", [0.0, 0.3])
def test_rows_with_wrong_labels_get_a_method_without_views(unlabelled: float) -> None:
    noisy = Evidence(
        labels=100, least=90, imbalance=1, unlabelled=unlabelled, noise=0.4, views=False
    )
    assert not find_method(choose(noisy).method).needs_views


def test_quarter_turns_are_left_out_where_pictures_are_not_square() -> None:
    foreign = replace(PLAIN, foreign=0.2)
    for evidence, weight in ((foreign, 0.5), (replace(foreign, square=False), 0.0)):
        method = Auto().method(choose(evidence), evidence)
        assert method.card.name == "remixmatch"
        assert method.model_dump()["rotation_weight"] == weight


def test_a_method_keeps_its_own_recipe_where_none_is_given() -> None:
    noisy = replace(PLAIN, unlabelled=0, noise=0.4)
    choice = replace(choose(noisy), method="rdcr", values={})
    assert Auto().method(choice, noisy).model_dump()["recipe"]["lr"] == 0.05
    given = Auto(recipe=Recipe(lr=0.01))
    assert given.method(choice, noisy).model_dump()["recipe"]["lr"] == 0.01


def test_the_device_and_the_size_say_how_many_pictures_are_in_a_step() -> None:
    few, many = (16, 4), (64, 7)
    assert PLAIN.pictures == few
    assert replace(PLAIN, gpu=True, side=32).pictures == many
    assert replace(PLAIN, gpu=True, side=224).pictures == few
    assert replace(PLAIN, unlabelled=0).pictures == many
    choice = choose(PLAIN)
    method = Auto().method(choice, PLAIN)
    assert (method.batch, method.ratio) == few
    told = Auto(batch=8).method(choice, PLAIN)
    assert (told.batch, told.ratio) == (8, 4)


def test_the_items_of_a_class_take_turns_in_the_folds() -> None:
    labels = torch.tensor([0, 1, 1, 0, 2, 0, 1])
    fold = _folds(labels, 2)
    assert fold.tolist() == [0, 0, 1, 1, 0, 0, 0]


@pytest.fixture
def many_labels() -> Data:
    """25 labels per class and few unlabelled items, so that a pilot looks for wrong labels."""
    data = open_data("digits", labels_per_class=25, seed=0)
    known = data.train.labels >= 0
    few = known | (torch.arange(len(known)) % 20 == 0)
    return data.with_train(data.train.subset(few))


def test_few_labels_are_counted_and_nothing_is_spent(digits_data: Data) -> None:
    trainer = Trainer(digits_data, None, Settings(budget=Budget(steps=20), threads=1))
    evidence = Auto(**SMALL).look(trainer.data, trainer)
    assert evidence.labels == 4 and evidence.least == 4 and evidence.imbalance == 1
    assert trainer.step == 0 and trainer.available == 1


def test_the_pilot_is_part_of_the_budget(many_labels: Data) -> None:
    trainer = Trainer(
        many_labels,
        None,
        Settings(budget=Budget(steps=40), threads=1, options={"width": 8}),
    )
    fitted = Auto(pilot=0.2, **SMALL).fit(trainer.data, trainer)
    assert trainer.step == 40 and trainer.available == pytest.approx(0.8)
    assert fitted.note.split(":")[0] in {rule.method for rule in RULES}


def test_a_resumed_run_ends_bit_identical(
    many_labels: Data, assert_resumes: Callable[..., Fitted], tmp_path: Path
) -> None:
    """Broken off in the first fold, in the second, and in the method that was chosen."""
    assert_resumes(
        Auto(pilot=0.4, **SMALL), many_labels, 30, tmp_path, breaks=(0.15, 0.35, 0.7, 0.95)
    )
