"""Co-training: two estimators on different features label for each other."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from leaven.data import Data
from leaven.errors import ConfigError
from leaven.labels import ClassLabels
from leaven.methods.base import Card
from leaven.methods.classification.from_labels import Say
from leaven.methods.classification.with_estimator import WithEstimator, unlabelled_labels
from leaven.propose.co_training import co_train
from leaven.select.policies import top_per_class
from leaven.train import Trainer


class CoTraining(WithEstimator):
    """Co-training (Blum and Mitchell, COLT 1998).

    The features are split into two views, with an estimator on each. In each round both learn all
    labels so far; each names the class of the items of a small pool that it is surest of, about
    ``per_class`` of each class in the proportion of the labels (1 positive and 3 negative ones in
    the paper), and these are labels for both from then on. Together they say the normalised
    product of their votes.

    The theory wants views that are each enough and independent given the class. Halves of pixels
    are neither for sure; give ``split`` the columns of the first view where you know better.
    Pool and rounds are those of the paper, which had two classes.
    """

    card: ClassVar[Card] = Card(
        name="co-training",
        title="Combining Labeled and Unlabeled Data with Co-Training",
        summary="Two estimators that see different features label items for each other.",
        task="classification",
        evidence="few labels",
        year=1998,
        venue="COLT",
        paper="https://doi.org/10.1145/279943.279962",
        parts=("propose.co_train", "select.top_per_class"),
        claim="Course pages with 12 labels: an error of 5.0 % against 11.1 % of the labels alone.",
        measured="Digits, 3 labels per class, random forests: labels 75.2 % right against 73.6 % "
        "of one forest.",
    )

    split: Literal["halves", "random"] | tuple[int, ...] = Field(
        "halves",
        description="the first view: half of the columns, or these; the second is the rest",
    )
    per_class: int = Field(1, ge=1, description="labels of the rarest class per view and round")
    pool: int = Field(75, ge=1, description="items that are looked at in a round")
    max_rounds: int = Field(30, ge=0, description="rounds at most")

    def label(self, data: Data, trainer: Trainer) -> tuple[ClassLabels, Say]:
        rows, generator = self.rows(data), trainer.draws.generator
        trained = co_train(
            self.make(trainer),
            rows,
            data.train.labels,
            len(data.classes),
            self.views(rows.shape[1], generator),
            partial(top_per_class, counts=self.counts(data)),
            generator,
            pool=self.pool,
            max_rounds=self.max_rounds,
        )
        for number, items in enumerate(trained.rounds):
            trainer.log(phase="co-training", round=number, trusted=len(items))
        return unlabelled_labels(trained.votes, (trained.labels >= 0).float(), data), trained.say

    def counts(self, data: Data) -> Tensor:
        """(K,) items of each class that a view labels in a round."""
        labels = torch.bincount(data.labelled.labels, minlength=len(data.classes))
        rarest = labels[labels > 0].min()
        return (self.per_class * labels / rarest).round().long()

    def views(self, width: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The columns of each view.

        Raises:
            ConfigError: a view would be empty, or a column does not exist.
        """
        columns = torch.arange(width)
        if self.split == "random":
            columns = torch.randperm(width, generator=generator)
        chosen = self.split if isinstance(self.split, tuple) else columns[: width // 2].tolist()
        first = torch.zeros(width, dtype=torch.bool)
        if all(0 <= column < width for column in chosen):
            first[list(chosen)] = True
        if not bool(first.any()) or bool(first.all()):
            raise ConfigError(
                f"The first view of {width} columns is {self.split}.",
                f"some of the columns 0 to {width - 1}, not all",
                "correct the split",
            )
        return first.nonzero().squeeze(1), (~first).nonzero().squeeze(1)
