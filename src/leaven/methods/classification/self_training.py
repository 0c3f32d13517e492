"""Self-training around any scikit-learn estimator, with every policy of the survey."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from leaven.data import Data
from leaven.errors import ConfigError
from leaven.labels import ClassLabels
from leaven.learn.mislabelling import mislabelling_matrix
from leaven.methods.base import Card
from leaven.methods.classification.from_labels import Say
from leaven.methods.classification.with_estimator import (
    WithEstimator,
    right_share,
    unlabelled_labels,
)
from leaven.models.estimators import estimator_votes
from leaven.propose.self_training import Policy, SelfTrained, self_train
from leaven.quality.c_bound import c_bound
from leaven.select.curriculum import CurriculumThresholds
from leaven.select.policies import (
    entropy_threshold,
    mean_threshold,
    most_confident,
    quantile_curriculum,
    random_subset,
)
from leaven.select.thresholds import fixed_threshold
from leaven.select.transductive import transductive_selection
from leaven.train import Trainer

PolicyName = Literal[
    "auto",
    "fixed",
    "mean",
    "most-confident",
    "random",
    "all",
    "curriculum",
    "class-wise",
    "entropy",
]


class SelfTraining(WithEstimator):
    """Self-training (Amini et al., 2022, with the policy of Feofanov et al., AAAI 2019).

    An estimator learns the labels, labels the unlabelled items, learns from the labels that the
    policy trusts, and so on. With votes ``v(x, k)``, ``B(x) = argmax_k v(x, k)`` and
    ``m(x) = v(x, B(x))`` a policy trusts

    - auto: ``m(x) >= theta_B(x)``, the thresholds of least bounded error (``select.transductive``);
    - fixed: ``m(x) >= threshold``, or a threshold per class;
    - mean: ``m(x) >=`` the mean of m over the pool;
    - most-confident, random: a share or a number (``take``) of the pool;
    - all: the pool, at once;
    - curriculum: ``m(x)`` from a quantile of the pool that falls by ``step`` in every round;
    - class-wise: a threshold per class that follows how many of the pool reach ``threshold`` in it,
      FlexMatch's rule on the pool of the round;
    - entropy: votes of at most this share (``threshold``) of the largest entropy.

    The bound of ``auto`` weighs errors by the votes of the first estimator; the authors' package also
    takes equal or given class probabilities. Its curriculum starts at the quantile 0.6 and drops the
    labels of a round, here at 0.8 and with ``restart`` alone; its rounds have no limit, here
    ``max_rounds``. Their transductive SVM, which is no policy, is not here.

    Labelled items weigh 1/l and pseudo-labelled ones 1/s in a fit. Without ``restart`` an item
    keeps the label it got; with it the labels of a round are dropped in the next one.

    Against wrong labels: ``noise="votes"`` weighs each by its vote; ``noise="correction"`` corrects
    the loss of the network by the matrix of mislabelling that the votes of accepted items imply. The
    log has the C-bound of the last estimator under the matrix that the votes of the first one imply.

    The labels are the votes of the last estimator; those that it learnt from are accepted.
    """

    card: ClassVar[Card] = Card(
        name="self-training",
        title="Self-Training: A Survey",
        summary="Any scikit-learn estimator labels items, trusts some, and learns from them.",
        task="classification",
        evidence="few labels",
        year=2022,
        venue="Neurocomputing",
        paper="https://arxiv.org/abs/2202.12040",
        code="https://github.com/vfeofanov/trans-bounds-maj-vote",
        number=84,
        parts=(
            "propose.self_train",
            "select.transductive_selection",
            "select.mean_threshold",
            "select.quantile_curriculum",
            "learn.mislabelling_matrix",
            "quality.c_bound",
        ),
        claim="Fixed thresholds are usually worse than dynamic ones, and all depends strongly on "
        "which items are labelled.",
        measured="Digits, 3 labels per class, random forest, 4 splits: auto labels 82.0 % of the "
        "others rightly, mean 82.8 %; fixed 0.7 67.3 %, all at once 76.5 %, curriculum 78.3 %, a tenth "
        "per round by lot 80.6 % and the most confident tenth 66.7 %, the forest on the labels alone 76.4 %.",
    )

    policy: PolicyName = Field("auto", description="which labels are trusted in a round")
    threshold: float | tuple[float, ...] = Field(
        0.7, description="of policies fixed (one, or one per class), class-wise and entropy"
    )
    take: float = Field(
        0.1, gt=0, description="share (below 1) or number of items: most-confident, random"
    )
    step: float = Field(0.2, gt=0, le=1, description="of policy curriculum: share more per round")
    grid: int = Field(50, ge=2, description="of policy auto: steps of its searches")
    restart: bool = Field(False, description="drop the labels of a round in the next one")
    equal_halves: bool = Field(True, description="weights 1/l and 1/s; else 1 for every item")
    noise: Literal["none", "votes", "correction"] = Field(
        "none", description="what is done against wrong labels"
    )
    max_rounds: int = Field(10, ge=0, description="rounds at most; 0 is the estimator alone")

    @model_validator(mode="after")
    def _one_threshold(self) -> SelfTraining:
        if self.policy in ("entropy", "class-wise") and isinstance(self.threshold, tuple):
            raise ValueError(f"one threshold for policy {self.policy}")
        return self

    def label(self, data: Data, trainer: Trainer) -> tuple[ClassLabels, Say]:
        trained = self_train(
            self.make(trainer),
            self.rows(data),
            data.train.labels,
            len(data.classes),
            self.chooser(data, trainer.draws.generator),
            restart=self.restart,
            equal_halves=self.equal_halves,
            weigh_by_votes=self.noise == "votes",
            max_rounds=self.max_rounds,
        )
        self.tell(trained, data, trainer)
        say = partial(estimator_votes, trained.estimator, num_classes=len(data.classes))
        return unlabelled_labels(trained.votes, trained.trust, data), say

    def mislabelling(self, labels: ClassLabels) -> Tensor | None:
        if self.noise != "correction" or labels.probs is None:
            return None
        learnt = labels.accepted
        return mislabelling_matrix(labels.probs[learnt], labels.classes[learnt])

    def chooser(self, data: Data, generator: torch.Generator) -> Policy:
        """The policy as a function of votes.

        Raises:
            ConfigError: not as many thresholds as classes.
        """
        by_confidence: dict[str, Any] = {
            "mean": mean_threshold,
            "most-confident": partial(most_confident, take=self.take),
            "random": partial(random_subset, take=self.take, generator=generator),
            "all": torch.ones_like,
        }
        match self.policy:
            case "auto":
                return lambda votes, first, number: transductive_selection(
                    votes, first, grid=self.grid
                )
            case "fixed":
                thresholds = self._per_class(data)
                return lambda votes, first, number: fixed_threshold(
                    votes.amax(1), thresholds[votes.argmax(1)]
                )
            case "curriculum":
                return lambda votes, first, number: quantile_curriculum(
                    votes.amax(1), number, self.step
                )
            case "class-wise" | "entropy" as name:
                one = self.threshold
                assert isinstance(one, float)
                rule = class_wise if name == "class-wise" else entropy_threshold
                return lambda votes, first, number: rule(votes, one)
            case name:
                return lambda votes, first, number: by_confidence[name](votes.amax(1))

    def tell(self, trained: SelfTrained, data: Data, trainer: Trainer) -> None:
        """Writes what each round did into the log."""
        for done in trained.rounds:
            trainer.log(
                phase="self-training",
                round=done.number,
                trusted=len(done.items),
                label_accuracy=right_share(done.classes, done.items, data),
            )
        learnt = (data.train.labels < 0) & (trained.labels >= 0)
        if bool(learnt.any()):
            votes, labels = trained.votes[learnt], trained.labels[learnt]
            matrix = mislabelling_matrix(trained.supervised_votes[learnt], labels)
            trainer.log(phase="self-training", c_bound=c_bound(votes, labels, matrix))

    def _per_class(self, data: Data) -> Tensor:
        count = len(data.classes)
        given = self.threshold if isinstance(self.threshold, tuple) else (self.threshold,) * count
        if len(given) != count:
            raise ConfigError(
                f"There are {len(given)} thresholds and {count} classes.",
                "one threshold, or one per class",
                "give as many thresholds as there are classes",
            )
        return torch.tensor(given, dtype=torch.float64)


def class_wise(votes: Tensor, threshold: float) -> Tensor:
    """(u,) trust in the items of a pool by ``CurriculumThresholds``, which sees them all at once."""
    confidence, classes = votes.max(1)
    rule = CurriculumThresholds(len(votes), votes.shape[1], threshold)
    rule.update(confidence, classes, torch.arange(len(votes)))
    return fixed_threshold(confidence, rule.thresholds()[classes])
