"""The settings that methods are compared on: small real data, one net, one budget each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from claims.sources import cifar10, cifar10_of_people, digits, photo_digits
from leaven.data import Data, long_tail

MANY_SEEDS = tuple(range(9))

FOREIGN = 0.3
"""Share of the unlabelled pictures that are of no known class."""


@dataclass(frozen=True)
class Setting:
    """One column of the comparison.

    Attributes:
        text: data and evidence, in words.
        data: seed -> the data.
        steps: of the budget.
        metric: what is compared.
        batch: labelled pictures per step; four unlabelled ones for each where there are any.
        seeds: more where three say little beside the spread between them.
        note: what to know about the result.
    """

    text: str
    data: Callable[[int], Data]
    steps: int
    metric: str = "accuracy"
    batch: int = 16
    seeds: tuple[int, ...] = (0, 1, 2)
    note: str = ""

    @property
    def group(self) -> str:
        return self.text.partition(",")[0]


def with_foreign(make: Callable[[int], Data], known: Sequence[int]) -> Callable[[int], Data]:
    """Data of the ``known`` classes, with pictures of the others among the unlabelled ones.

    Foreign pictures have no truth; so many are kept that they are 30 % of the unlabelled ones.
    """

    def foreign(seed: int) -> Data:
        data = make(seed)
        train, test = data.train, data.test
        assert test is not None
        position = torch.full((len(data.classes),), -1)
        position[list(known)] = torch.arange(len(known))
        ours = position[train.truth] >= 0
        hidden = int((ours & (train.labels < 0)).sum())
        others = (~ours).nonzero().squeeze(1)
        order = torch.randperm(len(others), generator=torch.Generator().manual_seed(seed))
        kept = ours.clone()
        kept[others[order[: round(hidden * FOREIGN / (1 - FOREIGN))]]] = True
        train = replace(
            train,
            labels=torch.where(train.labels >= 0, position[train.labels], -1),
            truth=position[train.truth],
        ).subset(kept)
        test = test.subset(position[test.labels] >= 0)
        moved = replace(test, labels=position[test.labels], truth=position[test.labels])
        names = tuple(data.classes[number] for number in known)
        return replace(data, classes=names, train=train, test=moved)

    return foreign


def with_long_tail(
    make: Callable[[int], Data], head: int, imbalance: float, unlabelled_head: int
) -> Callable[[int], Data]:
    """Labels and unlabelled items whose classes thin out alike."""

    def tailed(seed: int) -> Data:
        data = make(seed)
        whole = replace(data.train, labels=data.train.truth)
        return data.with_train(
            long_tail(
                whole,
                data.classes,
                head,
                imbalance,
                seed,
                unlabelled_head=unlabelled_head,
                unlabelled_imbalance=imbalance,
            )
        )

    return tailed


def _cifar(labels: int) -> Callable[[int], Data]:
    return cifar10(labels, items=8000, side=16)


DIGITS, PHOTOS = 600, 1000
"""Steps."""
ANIMALS = (2, 3, 4, 5, 6, 7)

SETTINGS: dict[str, Setting] = {
    "digits_1": Setting("digits, 1 label per class", digits(1), DIGITS),
    "digits_4": Setting("digits, 4 labels per class", digits(4), DIGITS),
    "digits_25": Setting("digits, 25 labels per class", digits(25), DIGITS),
    "digits_100": Setting(
        "digits, 100 labels per class",
        digits(100),
        DIGITS,
        seeds=MANY_SEEDS,
        note="Six seeds were added, and fixed in their number, after three had shown differences smaller than "
        "the spread (`auto`, which took FixMatch then, 0.6 points below the labels alone). That few unlabelled "
        "items leave the time to the labels was chosen after that, on the seeds 10 to 17.",
    ),
    "digits_tail": Setting(
        "digits, long tail (labels 40 to 2 per class, unlabelled 80 to 4)",
        with_long_tail(digits(1), 40, 20, 80),
        DIGITS,
        "balanced_accuracy",
    ),
    "digits_foreign": Setting(
        "digits, 0 to 5 with 4 labels per class, 30 % of the unlabelled ones are 6 to 9",
        with_foreign(digits(4), range(6)),
        DIGITS,
    ),
    "photos_4": Setting(
        "digits on photos, 4 labels per class",
        photo_digits(4, items=6000),
        PHOTOS,
        note="Data and setting were made after the rules of `auto` had been, which were not changed since.",
    ),
    "cifar_1": Setting(
        "CIFAR-10, 1 label per class",
        _cifar(1),
        PHOTOS,
        seeds=(*MANY_SEEDS, *range(20, 29)),
        note="Six seeds were added, and fixed in their number, after three had shown `auto` 1.9 points below "
        "ReMixMatch at a spread of 7 points between seeds. After nine it was 1.4 points below, with a standard "
        "error of 1.0; on the seeds 10 to 17, measured on unlabelled pictures that were kept out, the two were "
        "level (18.4 and 18.6 %), so that nine more were run, fixed in their number. All eighteen said 1.0 points, with a "
        "standard error of 0.6. Since then `auto` takes ReMixMatch here (see its docstring: that was looked for "
        "on four and six of the classes), so that it is the best by these eighteen. On nine more seeds, 30 to "
        "38, run after that, ReMixMatch had 16.5 and FixMatch with allocation 16.7 % (standard error of the "
        "difference 1.0): on all ten classes the two are level.",
    ),
    "cifar_4": Setting("CIFAR-10, 4 labels per class", _cifar(4), PHOTOS),
    "cifar_25": Setting("CIFAR-10, 25 labels per class", _cifar(25), PHOTOS),
    "cifar_400": Setting("CIFAR-10, 400 labels per class", _cifar(400), PHOTOS),
    "cifar_tail": Setting(
        "CIFAR-10, long tail (labels 100 to 5 per class, unlabelled 600 to 30)",
        with_long_tail(_cifar(1), 100, 20, 600),
        PHOTOS,
        "balanced_accuracy",
    ),
    "cifar_foreign": Setting(
        "CIFAR-10, six animals with 25 labels each, 30 % of the unlabelled ones are vehicles",
        with_foreign(_cifar(25), ANIMALS),
        PHOTOS,
    ),
    "cifar_noise_20": Setting(
        "CIFAR-10, 8000 labels of one person each, about 17 % wrong",
        cifar10_of_people("human_random1", items=8000, side=16),
        PHOTOS,
        batch=64,
    ),
    "cifar_noise_40": Setting(
        "CIFAR-10, 8000 labels of the worst of three people, about 40 % wrong",
        cifar10_of_people("human_worse", items=8000, side=16),
        PHOTOS,
        batch=64,
    ),
}
