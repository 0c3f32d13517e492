"""SemiReward: a second network learns which pseudo-labels are good, and only those are used."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from leaven.methods.base import Card
from leaven.methods.classification.weak_strong import Plugin, Step
from leaven.models import Headed
from leaven.select import ClassRows, RewardModel, above_mean
from leaven.train import Trainer


class SemiReward(Plugin):
    """SemiReward (Li et al., ICLR 2024), put on a base that makes pseudo-labels.

    A rewarder ``R(z, y)`` in (0, 1) learns how near a label is to the truth from the (detached)
    features ``z`` of the network, and a generator ``G`` makes the labels that it learns from; see
    ``select.RewardModel`` for their losses. They start on labelled items, one update per step,
    while the base trains as it does alone. From the share ``start`` of the run on::

        weight_u = base's weight_u * 1[ R(z_u, yhat_u) >= mean over the batch ],
        yhat_u = argmax p_u,  z_u of the weak view

    but not before R has had ``least`` updates. R and G go on learning from labelled items in every
    step, which holds the rewards to the truth, and in one of ``every`` of these updates from the
    unlabelled batch with the best mean reward since the last time too, its pseudo-labels in the
    place of the truth. A step is one that moves the weights: of the batches whose gradients are
    gathered for it (``recipe.accumulate``), the last one counts.
    Where the network changes fast, as in short runs, rewards may keep up with ``every=1``.

    Where the released code does not do what the paper says, this does what the paper says. There,
    rounding leaves G without a gradient (here a class is drawn with straight-through Gumbel
    noise), both losses move R (here each network has its own), the average of R is kept but not
    used (here it scores, where there is one; all released settings have none), the best batch is compared with a maximum that it has just raised and so
    never kept, and the attention of R mixes the items of a batch (``across_batch``). Its repeated
    scoring of a batch keeps the last result alone, so once is enough. The code starts at step
    10,000 or 20,000 of 204,800. Two things are added: the logits that G draws classes by have a
    fixed spread, so that it goes on making all of them (else R soon meets a single class per item);
    and the labelled items after the start. Without these R, in a short run, learns from its own
    pseudo-labels alone and comes to prefer wrong ones.
    """

    card: ClassVar[Card] = Card(
        name="semireward",
        title="SemiReward: A General Reward Model for Semi-supervised Learning",
        summary="A learnt reward filters the pseudo-labels of another method.",
        task="classification",
        evidence="few labels",
        year=2024,
        venue="ICLR",
        paper="https://arxiv.org/abs/2310.03013",
        code="https://github.com/Westlake-AI/SemiReward",
        number=79,
        parts=("select.RewardModel", "select.above_mean", "models.Rewarder"),
        claim="Gains over each of its bases on 13 data sets, and convergence 1.5 to 4 times as "
        "fast; most for Pseudo-Label and FlexMatch with few labels.",
        measured="Digits, 4 labels per class, 3 seeds: tells right labels from wrong ones (AUC "
        "0.82), those it keeps are 3.8 points better; accuracy of Pseudo-Label 0.5 "
        "points lower with it, of FixMatch 0.1 higher. Widths of digits: helps a network that drifts on its own "
        "numbers, which stays worse than the labels alone, not one that learns those of its average.",
    )

    start: float = Field(
        0.1, ge=0, le=1, description="share of the run at which rewards begin to filter"
    )
    least: int = Field(
        500, ge=0, description="updates of the rewarder before it filters, however late that is"
    )
    every: int = Field(
        10, ge=1, description="updates of the rewarder for each one on pseudo-labels"
    )
    reward_lr: float = Field(5e-4, gt=0, description="rate of the reward's two Adam optimisers")
    reward_momentum: float = Field(
        0.0, ge=0, lt=1, description="of the average of the rewarder that filters; 0 for itself"
    )
    across_batch: bool = Field(
        False, description="attention over all items of a batch, as in the released code"
    )

    def attach(self, network: Headed, trainer: Trainer) -> dict[str, nn.Module]:
        classifier, seed = network.classifier, trainer.settings.seed
        # The base's own randomness (dropout) stays as it would be alone.
        with torch.random.fork_rng(devices=[]):
            reward = RewardModel(
                classifier.num_features,
                ClassRows(classifier.num_classes),
                self.batch * self.ratio,
                seed,
                lr=self.reward_lr,
                momentum=self.reward_momentum,
                across_batch=self.across_batch,
                gather=trainer.gather,
            )
        return super().attach(network, trainer) | {"reward": reward}

    def select(self, step: Step, probs: Tensor) -> Tensor:
        weight = super().select(step, probs)
        reward = step.part("reward", RewardModel)
        if not self._filters(step, reward):
            return weight
        rewards = reward.reward(step.seen["weak"].features.detach(), probs.argmax(1))
        step.trainer.observe(reward=rewards.mean())
        return weight * above_mean(rewards, step.trainer.mean)

    def after(self, step: Step) -> None:
        super().after(step)
        reward, features = step.part("reward", RewardModel), step.seen["labelled"].features
        filters = self._filters(step, reward)
        if filters:
            reward.offer(step.seen["weak"].features, step.probs.argmax(1))
        if filters and reward.updates % self.every == 0:
            reward.learn_best(features, step.targets)
        else:
            reward.learn(features, step.targets)

    def _filters(self, step: Step, reward: RewardModel) -> bool:
        return step.batch.progress >= self.start and reward.updates >= self.least
