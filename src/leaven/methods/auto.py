"""``auto``: looks at the evidence, then chooses the method that did best on such evidence."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from leaven.data import Data
from leaven.learn import cross_entropy
from leaven.methods.base import Card, Fitted, Method
from leaven.plain import counted
from leaven.quality.evidence import LEAST_KNOWN, foreign_share, imbalance, label_noise
from leaven.quality.familiarity import apartness, disagreement, familiarity, looks
from leaven.train import EMA, Recipe, Trainer

log = logging.getLogger(__name__)

FOLDS = 2
ENOUGH = 20
"""Labels per class below which noise cannot be told from difficulty."""


@dataclass(frozen=True)
class Evidence:
    """What the choice is made from.

    Attributes:
        labels: given labels per class, on average.
        least: given labels of the class that has the fewest.
        imbalance: how many times more labels the largest class has than the smallest.
        unlabelled: unlabelled items per labelled one.
        noise: the share of given labels that are told to be wrong, a cautious figure.
        foreign: the share of unlabelled items that look unlike the labelled ones.
        apart: how well pictures fall into as many groups as there are classes, by their looks
            (``quality.familiarity.apartness``); 1 where there are more labels or few pictures, of
            which nobody asks.
        views: whether strong views of the items can be made.
        square: whether the pictures are square, so that quarter turns map them onto themselves.
        passes: how often the budget goes through the labels; infinite where it is a time.
        side: the longer side of the pictures in pixels.
        gpu: whether the training is on a GPU.
    """

    labels: float
    least: int
    imbalance: float
    unlabelled: float
    noise: float = 0.0
    foreign: float = 0.0
    apart: float = 1.0
    views: bool = True
    square: bool = True
    passes: float = math.inf
    side: int = 0
    gpu: bool = False

    @property
    def labels_per_class(self) -> str:
        """In words, with the verb."""
        said = counted(self.labels, "label")
        return f"{'is' if said == '1 label' else 'are'} {said} per class"

    @property
    def balance(self) -> str:
        """How alike the classes are in their labels, in words."""
        if round(self.imbalance) <= 1:
            return "about as many in each"
        return f"the largest has {self.imbalance:.0f} times as many as the smallest"

    @property
    def unlabelled_per_label(self) -> str:
        """In words."""
        return f"{counted(self.unlabelled, 'unlabelled item')} per label"

    @property
    def pictures(self) -> tuple[int, int]:
        """Labelled pictures per step, and unlabelled ones for each of these: many where a GPU takes
        them at once. Else more steps within the time are worth more than more pictures per step."""
        many = self.unlabelled == 0 or (self.gpu and self.side <= SMALL_SIDE)
        return (64, 7) if many else (16, 4)


@dataclass(frozen=True)
class Choice:
    """A method by name, its hyperparameters, and why."""

    method: str
    values: dict[str, Any]
    reason: str


@dataclass(frozen=True)
class Rule:
    """Where ``when`` holds, ``method`` did best (the comparison page has the figures)."""

    when: Callable[[Evidence], bool]
    method: str
    reason: str
    values: dict[str, Any] = field(default_factory=dict)


FEW_UNLABELLED = 0.5
"""Unlabelled items per label; with more, what they teach outweighs wrong labels, with fewer it is hardly
worth its time."""

NOISE = 0.05
"""Share of labels that look wrong, from which on a method has to guard against them."""

UNEQUAL = 10.0
"""Times as many labels as the smallest class has, from which the largest one rules the others."""

FOREIGN = 0.05
"""Share of unlabelled pictures that look like no labelled one, from which they count as foreign: where
there are none it was at most 0.03 in 400 draws of the claims' data."""

FEWEST = 2.0
"""Labels per class below which one odd picture may stand for its whole class."""

APART = 0.93
"""``apartness`` below which pictures do not lie in groups: it is 0.95 to 0.97 of digits and 0.96 to 1 of
patches of street photos and of blood cells, 0.78 to 0.90 of CIFAR-10's photos, of all classes and of
some (three seeds each that the claims do not use)."""

SMALL_SIDE = 64
"""Pixels along a side up to which hundreds of pictures per step fit a GPU."""

MOST_KNOWN, MOST_UNKNOWN = 200, 5000
"""Labelled and unlabelled items that are compared."""

MOST_GROUPED, LEAST_IN_GROUP = 2000, 100
"""Unlabelled pictures that are looked at for groups, and how many per class there have to be: of 500
digits the neighbours lie so far that even these seem to be in no groups (0.91; of 1000 0.96)."""

MOST_JUDGED = 2000
"""Labelled items whose labels are compared with those of their neighbours."""

FEW_PASSES = 20.0
"""In fewer passes over the labels a network has not learned wrong ones by heart, and what guards
against them costs more than it gains."""

RULES: tuple[Rule, ...] = (
    Rule(
        lambda e: e.unlabelled == 0 and e.passes < FEW_PASSES,
        "supervised",
        "every item has a label, and in {e.passes:.0f} passes over them a network does not learn "
        "wrong ones by heart",
    ),
    Rule(
        lambda e: e.views and e.unlabelled < FEW_UNLABELLED and e.noise >= NOISE,
        "rdcr",
        "about {e.noise:.0%} or more of the given labels look wrong and few items are unlabelled",
    ),
    Rule(
        lambda e: e.unlabelled < FEW_UNLABELLED and e.noise >= NOISE,
        "divide-mix",
        "about {e.noise:.0%} or more of the given labels look wrong, few items are unlabelled, and rows of "
        "features have no other views",
        {"warmup": 0.25},
    ),
    Rule(
        lambda e: e.unlabelled == 0,
        "supervised",
        "every item has a label and the labels look right",
    ),
    Rule(
        lambda e: not e.views,
        "label-spreading",
        "rows of features have no augmented views, and neighbours carry the labels on",
    ),
    Rule(
        lambda e: e.imbalance >= UNEQUAL,
        "tras",
        "the largest class has {e.imbalance:.0f} times as many labels as the smallest, and rare "
        "classes are to be found as well as frequent ones",
    ),
    Rule(
        lambda e: e.foreign >= FOREIGN,
        "remixmatch",
        "{e.foreign:.0%} or more of the unlabelled pictures look like none of the labelled ones, and "
        "should not be made to fit the classes",
    ),
    Rule(
        lambda e: e.unlabelled < FEW_UNLABELLED and e.labels >= ENOUGH,
        "supervised",
        "there {e.labels_per_class} that look right, and so few items are unlabelled "
        "({e.unlabelled:.1f} per label) that more steps on the labels teach more than they do",
    ),
    Rule(
        lambda e: e.labels < FEWEST and e.apart < APART,
        "remixmatch",
        f"there are fewer than {FEWEST:.0f} labels per class and the pictures do not lie in groups by "
        f"their looks ({{e.apart:.2f}}; {APART:g} or more where they do), so that what looks sure is "
        "often wrong",
    ),
    Rule(
        lambda e: True,
        "fixmatch",
        "there {e.labels_per_class} ({e.balance}) and {e.unlabelled_per_label}",
        {"align": "allocation", "threshold": 0.8},
    ),
)


def choose(evidence: Evidence) -> Choice:
    """The first rule that holds."""
    rule = next(rule for rule in RULES if rule.when(evidence))
    return Choice(rule.method, rule.values, rule.reason.format(e=evidence))


class Auto(Method):
    """Chooses method and defaults by the evidence and says why in one sentence.

    The number of labels, their balance, the share of unlabelled items and the passes of the budget
    over the labels are counted. Unlabelled pictures in parts of the graph of looks that no label
    lies in are counted as foreign (``quality.familiarity``, within a second, with 20 labels or
    more), and with fewer than two labels per class that graph says whether pictures lie in groups at
    all. Where few items are unlabelled and there are 20 labels per class or more, labels may be
    wrong. If nearly all of them are those of their neighbours by looks (``quality.familiarity.disagreement``
    below 5 %, as on digits), they are taken as right; else a pilot of two small trainings, each on one half of
    the labels, says what the other half is (``pilot`` of the budget): from that comes the share of
    wrong labels (``quality.label_noise``). The first of ``RULES`` that holds then has the rest of the
    budget.

    The rules are what did best on the unlabelled items of seeds that the claims do not use, but for
    the one on few passes, which follows what the noisy settings of the claims showed, and three more:

    - On unequal classes, which is about all classes alike: on items that were kept out of such seeds
      TRAS had 2.3 points of balanced accuracy more than FixMatch with allocation on digits (5 seeds)
      and 2.2 more on CIFAR-10 (3 seeds); the unlabelled items themselves, unequal as well, FixMatch
      told better (by 1.4 points on digits).
    - On foreign pictures: on test items of such seeds ReMixMatch had 97.1 % on digits, SimMatch
      96.2, FixMatch with allocation 95.6 (5 seeds). They were found in 76 of 80 draws. Vehicles among
      the animals of CIFAR-10 are not told by looks, and FixMatch with allocation did better there
      than SimMatch (38.0 and 36.0; 3 seeds).

    - On one label per class, where the pictures lie in no groups by their looks (``apartness``): on
      unlabelled pictures kept out of such seeds ReMixMatch had 33.3 % where FixMatch with allocation
      had 31.5 on the four vehicles of CIFAR-10, 19.3 and 18.7 on its six animals (6 seeds each), 18.6
      and 18.4 on all ten classes (8 seeds; on nine more, of the test pictures, 16.5 and 16.7). That this
      setting was worth a look the claim's own figures had shown; the eigenvalue, and where it divides,
      came before the vehicles and animals. Digits lie in groups, and FixMatch with allocation tells
      them better. So do crops of three kinds of blood cells, where neither is surely better: FixMatch
      with allocation 68.6 +- 35.4, ReMixMatch 71.8 +- 7.8 (4 seeds).

    Where few items are unlabelled, the labels alone are enough: with 0.4 unlabelled digits per label they
    had 98.4 % in the steps in which FixMatch with allocation had 98.4 (8 seeds that the claims do not
    use), and with 0.33 pictures of CIFAR-10 per label, 300 or 600 labels per class, 49.1 % against 49.8
    in the same steps, but 60.8 against 49.8 in the same time (3 such seeds, items kept out).

    Where labels are wrong and few items are unlabelled: RDCR with its own rate. On digits with 20 and
    50 % of the labels wrong at random it had 97.7 and 94.7 % where the labels alone had 92.6 and 78.5,
    co-teaching 97.5 and 96.2, and DivideMix 98.1 and 95.9 (3 seeds that the claims do not use, 1,200 to
    1,600 steps). Labels of people on CIFAR-10 are wrong in likelier ways: there RDCR gains a little in
    each claim (``noisy_cifar`` and the like), the others lose in some. Of rows, here the pixels of
    digits under a linear model, DivideMix had 91.3 and 92.2 %, co-teaching 94.7 and 87.2, the labels
    alone 90.2 and 77.8 (3 such seeds).

    The device and the size of the pictures say how many are in a step (``batch``, ``ratio``). In 20
    seconds of a CPU core 16 labelled and 64 unlabelled digits per step came to 95.7 %, 64 and 448 to
    92.6 (4 labels per class, 3 seeds that the claims do not use); in 60 seconds, CIFAR-10 with 25
    labels per class, to 38.6 and 35.6 (2 such seeds). On a GPU it is what the field
    uses; that is not measured here.

    The claims ``matrix`` say how near the choice comes to the best method per setting. Digits on photos
    (``matrix_photos_4``) were made and measured after all of these rules: ``auto`` is the best there.
    """

    card: ClassVar[Card] = Card(
        name="auto",
        title="The method that fits the evidence",
        summary="Counts labels and passes, looks for foreign pictures and wrong labels, and chooses.",
        task="classification",
        evidence="any labels",
        year=None,
        venue="",
        paper="this project",
        parts=(
            "quality.label_noise",
            "quality.imbalance",
            "quality.foreign_share",
            "quality.familiarity",
        ),
        claim="Within 1 point of the best method per setting, never below the labels alone.",
        measured="15 settings of digits, CIFAR-10 and digits on photos, 3 seeds each, 9 or 18 where they spread widely: within 1 "
        "point of the best in all, below the labels alone in none.",
    )

    needs_unlabelled: ClassVar[bool] = False

    batch: int | None = Field(
        None,
        ge=1,
        description="labelled pictures per step; None: 64 on a GPU with small pictures or without "
        "unlabelled ones, else 16",
    )
    ratio: int | None = Field(
        None,
        ge=1,
        description="unlabelled pictures per labelled picture in a step; None: 7 on a GPU with small "
        "pictures, else 4",
    )
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights")
    recipe: Recipe = Field(default_factory=Recipe, description="how weights are moved")
    pilot: float = Field(0.1, gt=0, lt=0.5, description="share of the budget to look with")

    def fit(self, data: Data, trainer: Trainer) -> Fitted:
        evidence = self.look(data, trainer)
        choice = choose(evidence)
        log.info("%s, because %s", choice.method, choice.reason)
        fitted = self.method(choice, evidence).fit(data, trainer)
        return replace(fitted, note=f"{choice.method}: {choice.reason}.")

    def method(self, choice: Choice, evidence: Evidence) -> Method:
        """The chosen method with the fields that it shares with this one."""
        from leaven.methods import find_method

        kind = find_method(choice.method)
        batch, ratio = self._pictures(evidence)
        own: dict[str, Any] = {
            "batch": batch,
            "ratio": ratio,
            "ema": self.ema,
            "recipe": self.recipe,
        }
        if self.recipe == Recipe():
            del own["recipe"]  # Some have their own.
        if not evidence.square:
            own["rotation_weight"] = 0.0
        shared = {name: value for name, value in own.items() if name in kind.model_fields}
        return kind.configured(shared | choice.values)

    def _pictures(self, evidence: Evidence) -> tuple[int, int]:
        """Labelled pictures per step, and unlabelled ones for each: as told, else by the evidence."""
        batch, ratio = evidence.pictures
        return self.batch or batch, self.ratio or ratio

    def look(self, data: Data, trainer: Trainer) -> Evidence:
        """The evidence; spends the pilot where it can tell something."""
        labels, count = data.labelled.labels, len(data.classes)
        counts = torch.bincount(labels, minlength=count)
        # Kept, so that a run which is resumed on another device chooses the same.
        found = trainer.once("looks", lambda: self._looks(data, trainer))
        evidence = Evidence(
            labels=len(labels) / count,
            least=int(counts.min()),
            imbalance=imbalance(labels, count),
            unlabelled=len(data.unlabelled) / max(1, len(labels)),
            views=data.has_views,
            square=data.has_views and data.shape[-1] == data.shape[-2],
            side=max(data.shape[1:], default=0),
            **found,
        )
        steps, batch = trainer.settings.budget.steps, self._pictures(evidence)[0]
        if steps is not None:
            evidence = replace(evidence, passes=steps * batch / max(1, len(labels)))
        short = evidence.unlabelled == 0 and evidence.passes < FEW_PASSES
        if short or evidence.labels < ENOUGH or evidence.unlabelled >= FEW_UNLABELLED:
            return evidence
        if data.has_views and self._neighbours_agree(data):
            return evidence
        seen = trainer.once(
            "evidence", lambda: self._pilot(data, trainer, self._pictures(evidence)[0])
        )
        trainer.available = 1 - self.pilot
        return replace(evidence, noise=seen["noise"])

    def _looks(self, data: Data, trainer: Trainer) -> dict[str, Any]:
        """The share of unlabelled pictures that look like no labelled one, whether pictures lie in
        groups, and the device."""
        foreign, apart, groups = 0.0, 1.0, len(data.classes)
        few = len(data.labelled) < FEWEST * groups
        if data.has_views and few:
            index = _some(data.train.labels.cpu() < 0, MOST_GROUPED)
            if len(index) >= LEAST_IN_GROUP * groups:
                apart = apartness(looks(data.train.pixels, index), groups)
        if data.has_views and len(data.unlabelled) and len(data.labelled) >= LEAST_KNOWN:
            labels = data.train.labels.cpu()
            known, unknown = _some(labels >= 0, MOST_KNOWN), _some(labels < 0, MOST_UNKNOWN)
            index = torch.cat([known, unknown])
            scores = familiarity(looks(data.train.pixels, index), labels[index])
            foreign = foreign_share(scores[: len(known)], scores[len(known) :])
        return {"foreign": foreign, "apart": apart, "gpu": trainer.device.type != "cpu"}

    def _neighbours_agree(self, data: Data) -> bool:
        """Whether so few labels differ from those of their neighbours by looks that no pilot has to
        look for wrong ones."""
        labels = data.train.labels.cpu()
        index = _some(labels >= 0, MOST_JUDGED)
        return disagreement(looks(data.train.pixels, index), labels[index]) < NOISE

    def _pilot(self, data: Data, trainer: Trainer, size: int) -> dict[str, float]:
        """The share of labels that a model of the other half of the labels says are wrong."""
        given, count = data.labelled, len(data.classes)
        fold = _folds(given.labels, FOLDS)
        kept = trainer.keep("pilot", probs=torch.zeros(len(given), count))
        weak, _ = data.views()
        for number in range(FOLDS):
            student = trainer.model()
            average = EMA(student, self.ema)
            optimizer = trainer.optimizer(student, self.recipe)
            trainer.register(student=student, average=average, optimizer=optimizer)
            own = given.subset(fold != number)
            for batch in trainer.steps(
                share=self.pilot / FOLDS, name="pilot", labelled=own.batches(size)
            ):
                images = weak(batch.labelled.images, trainer.draws)
                loss = cross_entropy(student(images), batch.labelled.targets)
                trainer.observe(losses={"pilot": loss})
                if trainer.update(loss, optimizer):
                    average.update(student)
            other = fold == number
            kept.probs[other] = trainer.predict(average.module, given.subset(other))
        noise, error = label_noise(kept.probs, given.labels)
        return {"noise": max(0.0, noise - 2 * error)}


def _some(where: Tensor, most: int) -> Tensor:
    """(m,) the places where a flag is set, or so many of them, always the same."""
    places = where.nonzero().squeeze(1)
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(0))
    return places[order[:most]]


def _folds(labels: Tensor, folds: int) -> Tensor:
    """(n,) the fold of each item; the items of a class take turns."""
    order = labels.argsort(stable=True)
    sorted_labels = labels[order]
    first = torch.searchsorted(sorted_labels, sorted_labels)
    fold = torch.empty_like(labels)
    fold[order] = (torch.arange(len(labels)) - first) % folds
    return fold
