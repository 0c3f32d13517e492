"""SPARSE: pictures are translated to other classes, and the translations are labelled data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from leaven.data import Data
from leaven.errors import DataError
from leaven.learn import (
    critic_loss,
    cross_entropy,
    deception_loss,
    entropy,
    gradient_penalty,
    judging,
    mixed_cross_entropy,
    mixup,
    mutual_loss,
    prototype_loss,
)
from leaven.methods.base import Card, Fitted
from leaven.methods.classification.few_labels import FewLabels
from leaven.models import PatchCritic, Translator, build_model, mixture
from leaven.models.classifier import Classifier
from leaven.propose import ItemAverage, certain_vote, label_pass
from leaven.train import BestWeights, Optimizer, Recipe, Trainer
from leaven.train.batch import Batch


@dataclass(frozen=True)
class Nets:
    """The three networks, their optimizers, and what was said of every unlabelled item."""

    classifier: Classifier
    critic: PatchCritic
    translator: Translator
    memory: ItemAverage
    classifier_optimizer: Optimizer
    critic_optimizer: Optimizer
    translator_optimizer: Optimizer


class Sparse(FewLabels):
    """SPARSE (Computerized Medical Imaging and Graphics, 2026). Three networks classify: C, the
    critic D, which also scores how real a picture is, and the encoder of the translator G(x, z),
    which turns picture x into one of class z.

    **Labelled pictures**, an epoch at a time. Each network m minimises

        L_proto + mutual (sum CE(p_m, y) + divergence sum KL(p_m || mean of the other two))
        + entropy H(p_m) + mix CE(mixup)

    **Unlabelled pictures**, an epoch after every ``every`` epochs of the labelled ones. C and D vote,
    each by its certainty, ``p_m = softmax(l_m / temperature)``; the vote is joined with the running
    mean of the item itself; the items from the ``quantile`` of the confidence in the batch on
    (of equal ones as many as belong there) are selected, with ``y^ = argmax p``. With a random class z for each picture:

        D: mean D(G(x, z)) - mean D(x) + critic_class CE(D(x), y^) + penalty (||grad D|| - 1)^2
        G: -mean D(G(x, z)) + CE(D(G(x, z)), z) + CE(encoder(G(x, z)), z)
           + cycle |G(G(x, z), y^) - x|_1
        C: CE(C(G(x, z)), z), for all items of the batch

    D learns classes from labelled and selected real pictures, never from translations. The mean of the
    probabilities of C and D predicts, or C alone. Where there are validation items the best weights
    on them are kept, else the last.

    The published code differs from the paper: its running mean is made anew for every batch, its
    selection is not used, its mutual loss has no gradient and its class loss is a summed binary
    cross entropy. Here are the equations of the paper. In place of mirrors alone, pictures are seen
    through the weak view of the data, and the vote is without dropout. One weight decay holds for
    all three networks. Validation items are asked some 20 times in a run, not after every epoch. The paper's C is ``timm:efficientnet_b3`` with published weights.
    """

    card: ClassVar[Card] = Card(
        name="sparse",
        title="SPARSE Data, Rich Results: Few-Shot Semi-Supervised Learning via Class-Conditioned "
        "Image Translation",
        summary="A GAN translates unlabelled pictures to chosen classes, which a classifier learns.",
        task="classification",
        evidence="few labels",
        year=2026,
        venue="Computerized Medical Imaging and Graphics",
        paper="https://arxiv.org/abs/2508.06429",
        code="https://github.com/GuidoManni/SPARSE",
        number=50,
        parts=(
            "models.Translator",
            "models.PatchCritic",
            "models.mixture",
            "propose.certain_vote",
            "propose.ItemAverage",
            "learn.prototype_loss",
            "learn.mutual_loss",
            "learn.entropy",
            "learn.mixup",
            "learn.critic_loss",
            "learn.gradient_penalty",
        ),
        claim="Mean of 11 MedMNIST sets with 5, 10, 20 and 50 labels per class: C alone 63.2, 68.5, "
        "73.4 and 77.2 %; C and D 66.2, 71.0, 75.7 and 78.3 %.",
        measured="Digits, 5 labels per class, 240 epochs, 3 splits: pictures made as a class are "
        "of it in 79 %; the ensemble has 87.8 %, its classifier alone 88.3, the supervised phase "
        "alone 88.6 at equal steps and 88.5 in as many epochs, with FixMatch 92.3: not shown.",
    )

    batch: int = Field(24, ge=4, description="pictures per step")
    recipe: Recipe = Field(
        default_factory=lambda: Recipe(
            optimizer="adamw", lr=2e-4, momentum=0.5, weight_decay=1e-4, schedule="constant"
        ),
        description="how the weights of each network are moved",
    )
    every: int = Field(
        10,
        ge=0,
        description="epochs of labelled pictures per one of unlabelled ones; 0: none of these",
    )
    temperature: float = Field(2.0, gt=0, description="of the votes")
    present: float = Field(0.6, ge=0, le=1, description="share of this vote; the rest is history")
    momentum: float = Field(0.99, ge=0, le=1, description="of an item's running mean")
    quantile: float = Field(
        0.75, ge=0, lt=1, description="confidence quantile of the selected items"
    )
    prototype_temperature: float = Field(0.1, gt=0, description="of outputs near their prototypes")
    mutual_weight: float = Field(0.1, ge=0, description="weight of the mutual loss")
    divergence_weight: float = Field(0.5, ge=0, description="weight of the divergences in it")
    entropy_weight: float = Field(0.01, ge=0, description="weight of the entropy")
    mix_weight: float = Field(0.5, ge=0, description="weight of the loss on mixtures")
    mix_alpha: float = Field(0.2, ge=0, description="of Beta(alpha, alpha), the share in a mixture")
    cycle_weight: float = Field(10.0, ge=0, description="weight of the way back to the picture")
    critic_class_weight: float = Field(1.0, ge=0, description="weight of the critic's class loss")
    penalty_weight: float = Field(10.0, ge=0, description="weight of the critic's gradient penalty")
    widths: tuple[int, ...] = Field(
        (64, 128, 256, 512), min_length=2, description="channels of the translator per resolution"
    )
    critic_width: int = Field(64, ge=1, description="channels of the critic's first convolution")
    critic_depth: int = Field(6, ge=1, description="convolutions of the critic, at most")
    dropout: float = Field(0.3, ge=0, lt=1, description="in front of the classifier's head")
    predict_with: Literal["classifier", "ensemble"] = Field(
        "ensemble", description="what predicts: C, or the mean of C and D"
    )
    evaluations: int = Field(
        20, ge=1, description="how often the run is measured on the validation items"
    )

    @model_validator(mode="after")
    def _selects_two(self) -> Self:
        if self.selected(self.batch) < 2:
            raise ValueError("batch and quantile have to leave two selected items per step")
        return self

    def selected(self, count: int) -> int:
        """How many of ``count`` different confidences are at or above their quantile."""
        return count - math.ceil(self.quantile * (count - 1))

    def fit(self, data: Data, trainer: Trainer) -> Fitted:
        if not data.has_views:
            raise DataError(
                f"{self.card.name} translates pictures, and {data.name} has feature rows.",
                "pictures",
                "run it on the pictures themselves",
            )
        if len(data.unlabelled) < 2:
            raise DataError(
                f"{self.card.name} translates unlabelled pictures, and {data.name} has "
                f"{len(data.unlabelled)}.",
                "two or more",
                "hide some labels, or choose a method that learns from labels alone",
            )
        nets = self.networks(data, trainer)
        predictor = nets.classifier
        if self.predict_with == "ensemble":
            predictor = mixture([nets.classifier, nets.critic.classifier])
        best = BestWeights(predictor)
        trainer.register(**vars(nets), best=best)

        labelled = data.labelled.batches(self.batch)
        unlabelled = data.unlabelled.batches(
            min(self.batch, len(data.unlabelled)), whole_epochs=True
        )
        for batch in trainer.steps(labelled=labelled, unlabelled=unlabelled, watch=predictor):
            if data.val and best.offers < int(batch.progress * self.evaluations):
                best.offer(predictor, trainer.measure(predictor, data.val)["accuracy"])
            # The stream that is not used gives the same batch again: an epoch is all of the items.
            if self.translates(batch.step, data):
                labelled.position -= 1
                self.learn_unlabelled(batch, nets, data, trainer)
            else:
                unlabelled.position -= 1
                self.learn_labelled(batch, nets, data, trainer)

        best.offer(predictor, trainer.measure(predictor, data.val).get("accuracy", math.inf))
        return self.fitted(trainer, best.module)

    def networks(self, data: Data, trainer: Trainer) -> Nets:
        """New networks on the device of the run."""
        classifier = trainer.model(dropout=self.dropout)
        spec, device = classifier.spec, trainer.device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(trainer.settings.seed)
            options = {"width": self.critic_width, "depth": self.critic_depth}
            judge = build_model(
                "patch-critic",
                spec.classes,
                spec.shape,
                mean=spec.mean,
                std=spec.std,
                options=options,
            )
            critic = PatchCritic(judge).to(device)
            translator = Translator(spec.shape[0], len(spec.classes), self.widths).to(device)
        memory = ItemAverage(
            len(data.unlabelled), len(data.classes), self.present, self.momentum, trainer.gather
        )
        return Nets(
            classifier,
            critic,
            translator,
            memory.to(device),
            *(trainer.optimizer(net, self.recipe) for net in (classifier, critic, translator)),
        )

    def translates(self, step: int, data: Data) -> bool:
        """Whether ``step`` belongs to an epoch of the unlabelled pictures, which follows the first of
        ``every`` epochs of the labelled ones."""
        if self.every == 0:
            return False
        once = math.ceil(len(data.labelled) / self.batch)
        pool = max(1, len(data.unlabelled) // self.batch)
        return once <= step % (self.every * once + pool) < once + pool

    # -- labelled pictures ------------------------------------------------------------------------

    def learn_labelled(self, batch: Batch, nets: Nets, data: Data, trainer: Trainer) -> None:
        """Each network learns the labels and agrees with the others."""
        weak, _ = data.views()
        images, targets = _unit(weak(batch.labelled.images, trainer.draws)), batch.labelled.targets
        opinions: dict[str, Callable[[Tensor], Tensor]] = {
            "classifier": nets.classifier,
            "critic": lambda pictures: nets.critic(pictures)[1],
            "translator": nets.translator.classify,
        }
        optimizers = (
            nets.classifier_optimizer,
            nets.critic_optimizer,
            nets.translator_optimizer,
        )
        logits = [opinion(images) for opinion in opinions.values()]
        losses = {}
        for number, (name, opinion) in enumerate(opinions.items()):
            pictures, permutation, lam = mixup(images, trainer.draws, self.mix_alpha)
            mixture_loss = mixed_cross_entropy(opinion(pictures), targets, permutation, lam)
            losses[name] = self.supervised(logits, number, targets) + self.mix_weight * mixture_loss
        trainer.observe(losses={name: loss.detach() for name, loss in losses.items()})
        for loss, optimizer in zip(losses.values(), optimizers, strict=True):
            trainer.update(loss, optimizer)

    def supervised(self, logits: list[Tensor], number: int, targets: Tensor) -> Tensor:
        """The loss of network ``number`` on the logits (B, K) of all, without that on mixtures; no
        gradient reaches the others."""
        own = logits[number]
        all_three = [one if one is own else one.detach() for one in logits]
        return (
            prototype_loss(own, targets, self.prototype_temperature)
            + self.mutual_weight
            * mutual_loss(torch.stack(all_three), targets, self.divergence_weight)
            + self.entropy_weight * entropy(own)
        )

    # -- unlabelled pictures ----------------------------------------------------------------------

    def learn_unlabelled(self, batch: Batch, nets: Nets, data: Data, trainer: Trainer) -> None:
        """Critic and translator learn from selected items, the classifier from translations."""
        weak, _ = data.views()
        items, count = batch.unlabelled.items, len(batch.unlabelled)
        images = _unit(weak(batch.unlabelled.images, trainer.draws))
        probs = nets.memory(items, self.vote(nets, images))
        confidence, proposed = probs.max(1)
        # Batch statistics need two, which fewer pictures than a batch may not leave.
        chosen = confidence.topk(max(2, self.selected(count))).indices
        wanted = trainer.draws.integers(count, high=len(data.classes))
        share = trainer.draws.uniform(len(chosen))

        real, classes, others = images[chosen], proposed[chosen], wanted[chosen]
        losses = {"critic": self.critic_step(nets, real, classes, others, share)}
        trainer.update(losses["critic"], nets.critic_optimizer)
        losses["translator"] = self.translator_step(nets, real, classes, others)
        trainer.update(losses["translator"], nets.translator_optimizer)
        losses["translations"] = self.classifier_step(nets, images, wanted)
        trainer.update(losses["translations"], nets.classifier_optimizer)
        trainer.observe(
            losses={name: loss.detach() for name, loss in losses.items()},
            weight=torch.zeros_like(confidence).index_fill(0, chosen, 1),
            proposed=proposed,
            confidence=confidence,
            items=items,
        )

    @torch.no_grad()
    def vote(self, nets: Nets, images: Tensor) -> Tensor:
        """(B, K) what C and D say of pictures, each by its certainty."""
        probs = torch.stack(
            [label_pass(net, images) for net in (nets.classifier, nets.critic.classifier)]
        )
        # softmax(l / T) from softmax(l).
        logits = probs.clamp_min(torch.finfo(probs.dtype).tiny).log()
        return certain_vote((logits / self.temperature).softmax(2))

    def critic_step(
        self, nets: Nets, real: Tensor, classes: Tensor, others: Tensor, share: Tensor
    ) -> Tensor:
        """The loss of D on selected pictures with their proposed classes; G is not moved by it."""
        with torch.no_grad():
            made = nets.translator(real, others)
        scores, logits = nets.critic(real)
        return (
            critic_loss(scores, nets.critic(made)[0])
            + self.critic_class_weight * cross_entropy(logits, classes)
            + self.penalty_weight
            * gradient_penalty(lambda between: nets.critic(between)[0], real, made, share)
        )

    def translator_step(self, nets: Nets, real: Tensor, classes: Tensor, others: Tensor) -> Tensor:
        """The loss of G on selected pictures; D is not moved by it."""
        made = nets.translator(real, others)
        with judging(nets.critic):
            scores, logits = nets.critic(made)
        back = nets.translator(made, classes)
        return (
            deception_loss(scores)
            + cross_entropy(logits, others)
            + cross_entropy(nets.translator.classify(made), others)
            + self.cycle_weight * (back - real).abs().mean()
        )

    def classifier_step(self, nets: Nets, images: Tensor, wanted: Tensor) -> Tensor:
        """The loss of C on translations, which are data here; G is not moved by it."""
        with torch.no_grad():
            made = nets.translator(images, wanted)
        return cross_entropy(nets.classifier(made), wanted)


def _unit(images: Tensor) -> Tensor:
    """uint8 pictures to float in [0, 1]."""
    return images.to(torch.get_default_dtype()) / 255
