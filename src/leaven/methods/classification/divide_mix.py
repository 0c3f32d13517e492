"""DivideMix: doubtful labels are taken away, and two networks guess them anew."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from leaven.data import Data, Sample, Stream
from leaven.learn import (
    cross_entropy,
    entropy,
    linear_ramp,
    mean_prior,
    mean_squared_consistency,
    mixed,
    mixup,
)
from leaven.methods.base import Card, Fitted
from leaven.methods.classification.noisy_labels import NoisyLabels, item_losses
from leaven.models import ensemble
from leaven.models.classifier import Classifier
from leaven.refine import mix_given, sharpen
from leaven.select import clean_probability
from leaven.train import EMA, Recipe, Trainer


class DivideMix(NoisyLabels):
    """DivideMix (Li et al., ICLR 2020).

    Two networks warm up on all labels. Then, epoch after epoch: the losses of each network on all
    labels are split by a mixture of two Gaussians, ``w_i`` the probability of the lower one. Each
    network in its turn, the other one fixed, takes the division by *the other* (co-divide): labels
    with ``w > clean_threshold`` are kept (x), the rest are hidden (u, with the items that never had
    a label), and for as many batches as the kept ones make, with two weak views of each picture::

        refined   yhat = sharpen(w onehot(y) + (1 - w) mean_2 views p(x), T)
        guessed   qhat = sharpen(mean over 2 views and both networks of p(u), T)
        mixup of all views and targets together, lam = max(l, 1 - l), l ~ Beta(alpha, alpha)
        loss = CE(mixed x) + unlabelled_weight * ramp * mean (p(mixed u) - q)^2 + R_A,

    ``R_A = KL(uniform, mean output)``. Both networks predict together, by the mean of their logits,
    in averaged weights (the paper sums the logits of the networks as they are; ``ema=0`` gives
    that). With ``confidence_penalty`` the warm-up subtracts the entropy of the outputs, as the
    paper does for labels that are wrong in one direction, lest all losses be small; for these
    ``unlabelled_weight`` is 0, and where few labels are wrong (its appendix B): hidden items teach
    through the mixes all the same.

    A step of the budget moves one network. The paper's epochs (warm-up 10 and ramp 16 of 300) are
    shares of the budget; a warm-up of 3 % would leave a short run with untrained networks, so it
    is a fifth here. In a step all views go through the moving network in one pass, with its batch
    statistics in common; the paper's code makes four passes. A side of the division that would be
    empty gets the item that is nearest to it.

    What is believed of a given label at the end is the refined label without sharpening, by the
    joint prediction.
    """

    card: ClassVar[Card] = Card(
        name="divide-mix",
        title="DivideMix: Learning with Noisy Labels as Semi-supervised Learning",
        summary="A mixture of losses tells wrong labels from right ones; two networks guess them anew.",
        task="classification",
        evidence="noisy labels",
        year=2020,
        venue="ICLR",
        paper="https://arxiv.org/abs/2002.07394",
        code="https://github.com/LiJunnan1992/DivideMix",
        parts=(
            "select.clean_probability",
            "refine.mix_given",
            "refine.sharpen",
            "learn.mixup",
            "learn.mean_squared_consistency",
            "learn.mean_prior",
            "models.ensemble",
        ),
        claim="CIFAR-10, PreAct ResNet-18, last epochs: symmetric noise 50 % 94.4 %, 80 % 92.9 %; "
        "asymmetric 40 % 92.1 %; against 57.9 %, 26.1 % and 72.3 % of plain training.",
        measured="Digits, half of the labels wrong at random, 3 seeds: 95.7 % against 81.5 % of cross "
        "entropy. CIFAR-10 at 16x16, labels of the worst people, lambda_u = 0, 3 seeds: 49.0 % against "
        "47.6 % of cross entropy with 2,000 pictures in 26 passes, 46.0 against 46.6 with 4,000 in "
        "10; 53.2 against 54.4 where 9 % are wrong. Shown in none of these: such a network cannot "
        "tell which labels to doubt. With lambda_u = 25 they were 4 to 6 points lower.",
    )

    recipe: Recipe = Field(
        default_factory=lambda: Recipe(
            lr=0.02, nesterov=False, schedule="step", milestones=(140 / 290,)
        ),
        description="how weights are moved; the warm-up keeps the highest rate",
    )
    warmup: float = Field(0.2, gt=0, lt=1, description="share of the budget that learns all labels")
    confidence_penalty: float = Field(
        0.0, ge=0, description="of the warm-up; 1 where wrong labels go in one direction"
    )
    clean_threshold: float = Field(
        0.5, ge=0, lt=1, description="probability from which a label is kept"
    )
    history: int = Field(
        1, ge=1, description="epochs whose losses are averaged; 5 where 90 % are wrong"
    )
    temperature: float = Field(0.5, gt=0, description="T, of the sharpening")
    alpha: float = Field(4.0, gt=0, description="of Beta(alpha, alpha), the share in a mix")
    unlabelled_weight: float = Field(
        25.0,
        ge=0,
        description="lambda_u; 0 where few labels are wrong, or all in the same direction, up to 150 "
        "where most are",
    )
    ramp: float = Field(
        16 / 290, ge=0, le=1, description="share of the rest in which that weight is reached"
    )

    def fit(self, data: Data, trainer: Trainer) -> Fitted:
        networks = [trainer.model(), trainer.model()]
        averages = [EMA(network, self.ema) for network in networks]
        trainer.register(
            **{f"network{i}": network for i, network in enumerate(networks)},
            **{f"average{i}": average for i, average in enumerate(averages)},
        )

        self.warm_up(data, trainer, networks, averages)

        optimizers = [trainer.optimizer(network, self.recipe) for network in networks]
        division = Division(data, self.clean_threshold, self.history)
        trainer.register(
            **{f"optimizer{i}": optimizer for i, optimizer in enumerate(optimizers)},
            division=division,
        )
        labelled = Stream(data.labelled, self.batch)
        unlabelled = Stream(data.train, self.batch)
        if not trainer.replaying:
            division.divide(trainer, networks)
            division.hand_out(labelled, unlabelled)

        for batch in trainer.steps(
            share=1 - self.warmup,
            name="divide",
            watch=averages[0].module,
            labelled=labelled,
            unlabelled=unlabelled,
        ):
            turn = division.turn
            clean = division.of(batch.labelled.items)
            terms = self.step(
                networks[turn], networks[1 - turn], batch.labelled, batch.unlabelled, clean, trainer
            )
            losses = {"labelled": terms.labelled, "prior": terms.prior}
            if self.unlabelled_weight:
                weight = self.unlabelled_weight * linear_ramp(batch.progress, self.ramp)
                losses["unlabelled"] = weight * terms.unlabelled
            confidence, proposed = terms.guessed.max(1)
            trainer.observe(
                losses={name: loss.detach() for name, loss in losses.items()},
                weight=torch.ones_like(confidence),
                proposed=proposed,
                confidence=confidence,
                items=batch.unlabelled.items,
            )
            trainer.observe(kept_share=division.kept_share)
            if trainer.update(torch.stack(list(losses.values())).sum(), optimizers[turn]):
                averages[turn].update(networks[turn])
            if division.next(labelled):
                if division.turn == 0:
                    division.divide(trainer, networks)
                division.hand_out(labelled, unlabelled)

        model = ensemble([average.module for average in averages])
        return self.doubting(trainer, model, clean_probability)

    def warm_up(
        self,
        data: Data,
        trainer: Trainer,
        networks: list[Classifier],
        averages: list[EMA[Classifier]],
    ) -> None:
        """Both networks on all labels, one after the other, each on batches of its own."""
        recipe = self.recipe.model_copy(update={"schedule": "constant"})
        optimizers = [trainer.optimizer(network, recipe) for network in networks]
        trainer.register(**{f"optimizer{i}": each for i, each in enumerate(optimizers)})
        weak, _ = data.views()
        for batch in trainer.steps(
            share=self.warmup,
            name="warm-up",
            watch=averages[0].module,
            labelled=Stream(data.labelled, 2 * self.batch),
        ):
            turn, labelled = batch.step % 2, batch.labelled
            logits = networks[turn](weak(labelled.images, trainer.draws))
            losses = {"supervised": cross_entropy(logits, labelled.targets)}
            if self.confidence_penalty:
                losses["confidence"] = -self.confidence_penalty * entropy(logits)
            trainer.observe(losses={name: loss.detach() for name, loss in losses.items()})
            if trainer.update(torch.stack(list(losses.values())).sum(), optimizers[turn]):
                averages[turn].update(networks[turn])

    def step(
        self,
        network: Classifier,
        peer: Classifier,
        labelled: Sample,
        unlabelled: Sample,
        clean: Tensor,
        trainer: Trainer,
    ) -> Terms:
        """The losses of ``network`` while ``peer`` is fixed; ``clean`` (b,) is ``w`` of the labels."""
        weak, _ = trainer.data.views()
        pictures = [labelled.images] * 2 + [unlabelled.images] * 2
        views = torch.cat([weak(images, trainer.draws) for images in pictures])
        kept, hidden = len(labelled), len(unlabelled)
        with torch.no_grad():
            refined, guessed = self.targets(network, peer, views, labelled.targets, clean)

        images, order, lam = mixup(views, trainer.draws, self.alpha, dominant=True)
        targets = mixed(torch.cat([refined, refined, guessed, guessed]), order, lam)
        logits = network(images)
        x, u = logits.split([2 * kept, 2 * hidden])
        of_x, of_u = targets.split([2 * kept, 2 * hidden])
        return Terms(
            cross_entropy(x, of_x), mean_squared_consistency(u, of_u), mean_prior(logits), guessed
        )

    def targets(
        self, network: Classifier, peer: Classifier, views: Tensor, labels: Tensor, clean: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Refined targets of the kept items (b, K), and guessed ones of the hidden items (B, K).

        Args:
            network, peer: of this turn.
            views: (2b + 2B, ...): two of every kept item, then two of every hidden one.
            labels, clean: (b,) of the kept items.
        """
        kept = len(labels)
        said = network(views).softmax(1)
        peer.eval()
        hidden = peer(views[2 * kept :]).softmax(1)
        peer.train()
        seen = (said[:kept] + said[kept : 2 * kept]) / 2
        guessed = (said[2 * kept :] + hidden).unflatten(0, (2, -1)).sum(0) / 4
        refined = mix_given(labels, seen, clean)
        return sharpen(refined, self.temperature), sharpen(guessed, self.temperature)


class Terms(NamedTuple):
    """The parts of the loss of a step, not weighted, and the guessed targets (B, K)."""

    labelled: Tensor
    unlabelled: Tensor
    prior: Tensor
    guessed: Tensor


class Division:
    """Which labels each network believes, and whose turn it is.

    Args:
        data: what is learnt from.
        threshold: the probability from which a label is kept.
        history: epochs whose losses are averaged.
    """

    def __init__(self, data: Data, threshold: float, history: int) -> None:
        self.threshold, self.history = threshold, history
        self.labelled = data.labelled
        self.items = (data.train.labels >= 0).nonzero().squeeze(1)
        self.others = (data.train.labels < 0).nonzero().squeeze(1)
        self.losses = torch.empty(0, 2, len(self.labelled))
        self.clean = torch.ones(2, len(self.labelled))
        self.turn = self.done = 0
        self.kept_share = torch.tensor(1.0)

    def divide(self, trainer: Trainer, networks: list[Classifier]) -> None:
        """The clean probabilities anew, by the losses of both networks on all given labels."""
        losses = torch.stack(
            [
                item_losses(trainer.predict(network, self.labelled), self.labelled.labels)
                for network in networks
            ]
        )
        low, high = losses.amin(1, keepdim=True), losses.amax(1, keepdim=True)
        losses = (losses - low) / (high - low).clamp_min(torch.finfo(losses.dtype).tiny)
        self.losses = torch.cat([self.losses, losses[None]])[-self.history :]
        self.clean = torch.stack(
            [clean_probability(each, stretch=False) for each in self.losses.mean(0)]
        )

    def hand_out(self, labelled: Stream, unlabelled: Stream) -> None:
        """Gives the streams the items that the other network keeps and hides."""
        clean = self.clean[1 - self.turn]
        kept = clean > self.threshold
        kept[clean.argmax()] = True
        hidden = self.items[~kept]
        if len(hidden) + len(self.others) == 0:
            hidden = self.items[clean.argmin()[None]]
        labelled.index = kept.nonzero().squeeze(1)
        unlabelled.index = torch.cat([hidden, self.others])
        self.done, self.kept_share = 0, kept.float().mean()

    def of(self, items: Tensor) -> Tensor:
        """(b,) the other network's probability that the labels of ``items`` (b,) are right."""
        return self.clean[1 - self.turn].to(items.device)[items]

    def next(self, labelled: Stream) -> bool:
        """Counts a step; true where the turn has passed to the other network."""
        self.done += 1
        if self.done <= len(labelled.index) // labelled.size:
            return False
        self.turn = 1 - self.turn
        return True

    def state_dict(self) -> dict[str, Tensor | int]:
        return {
            "losses": self.losses,
            "clean": self.clean,
            "turn": self.turn,
            "done": self.done,
            "kept_share": self.kept_share,
        }

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        self.__dict__.update(state)
