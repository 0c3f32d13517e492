import torch
from claims.long_tail_photo_digits import LastLabels
from claims.shrinkmatch_photos import turned_photo_digits
from claims.sources import long_tailed_photo_digits, photo_digits

from claims import sources
from leaven.data import Data
from leaven.methods.classification.fixmatch import FixMatch
from leaven.train import Budget, Settings


def small(seed: int) -> Data:
    return photo_digits(2, items=60, test=40, count=2000)(seed)


def test_photo_digits_are_as_many_as_wanted_of_every_class() -> None:
    data = small(0)
    assert data.test is not None and data.shape == (1, 16, 16)
    assert torch.bincount(data.train.truth).tolist() == [6] * 10
    assert torch.bincount(data.test.truth).tolist() == [4] * 10
    assert torch.bincount(data.labelled.labels).tolist() == [2] * 10
    pictures = data.train.pixels.batch(torch.arange(60)).float()
    assert pictures.flatten(1).std(1).min() > 10  # something is to be seen on each


def test_no_written_digit_is_in_train_and_test() -> None:
    train, test = sources._photo_digits_of(3, 2000, 16)
    written = sources._photo_digits(2000, 16)[2]
    digits = [
        {int(written[int(name.removeprefix("digit-"))]) for name in part.names}
        for part in (train, test)
    ]
    assert len(train) + len(test) == 2000 and not digits[0] & digits[1]
    assert 0.25 < len(test) / 2000 < 0.35


def test_photo_digits_differ_by_seed_and_come_again() -> None:
    names = [list(small(seed).train.names) for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2]


def test_a_long_tail_of_photo_digits() -> None:
    data = long_tailed_photo_digits(10, 5, unlabelled_head=40, reverse=True, test=40, count=2000)(0)
    labelled = torch.bincount(data.labelled.labels)
    hidden = torch.bincount(data.unlabelled.truth)
    assert labelled[0] == 10 and labelled[9] == 2 and hidden[0] == 8 and hidden[9] == 40


def test_turned_photo_digits_are_in_all_turns() -> None:
    data = turned_photo_digits(0)
    assert data.test is not None
    assert torch.bincount(data.train.truth).tolist() == [250] * 24
    assert torch.bincount(data.labelled.labels).tolist() == [4] * 24 and len(data.test) == 2400


def test_the_last_label_of_each_picture_is_kept() -> None:
    settings = Settings(budget=Budget(steps=3), seed=0, options={"width": 4}, threads=1)
    trainer = LastLabels(small(0), None, settings)
    FixMatch(batch=4, ratio=2).fit(trainer.data, trainer)
    assert len(trainer.last) == 40 and 0 < int((trainer.last >= 0).sum()) <= 24
    assert trainer.last.max() <= 9
