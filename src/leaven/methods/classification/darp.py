"""DARP: the labels of all unlabelled items are refined together to a wanted spread of classes."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from leaven.data import Data, ImageSet
from leaven.errors import ConfigError
from leaven.learn import cross_entropy
from leaven.methods.base import Card
from leaven.methods.classification.averaged_weights import moments
from leaven.methods.classification.weak_strong import Plugin, Step
from leaven.models.classifier import Classifier
from leaven.refine import LatestProposals, estimate_counts, keep_confident, refine_to_counts
from leaven.train import Keep, Trainer


class DARP(Plugin):
    """DARP (Kim et al., NeurIPS 2020): a plug-in that changes ``refine``.

    The newest proposals ``p_i`` of all n unlabelled items are kept in a table. From ``start`` of
    the run on, every ``every`` steps, all of them are refined: each class k keeps its
    ``keep * n_k`` best entries (``keep_confident``), then::

        min_x  sum_i KL(x_i || p_i) / H(p_i)   with   sum_k x_ik = 1,  sum_i x_ik = n_k

    is solved in ``turns`` turns of dual coordinate ascent (``refine_to_counts``). ``x_i`` takes the
    place of ``p_i`` until the next time. The wanted numbers ``n_k`` come from

    - ``labelled``: the spread of the labels;
    - ``given``: ``shares``;
    - ``estimated``: a network of its own learns from a part of the labels in ``estimation_share``
      of the run. After each ``1 / estimates`` of that, its outputs for ``held_out`` labelled items
      per class (at most half of a class) give the matrix of its mistakes, which turns its outputs
      for the unlabelled items into their spread. The mean of the estimates that are not negative
      and well conditioned counts. Where there is none, or a class has one label alone, it is the
      spread of the labels.

    The released code estimates in a run of its own before, with SGD at a rate of 0.1; here the
    run's recipe is used and its budget shared.
    """

    card: ClassVar[Card] = Card(
        name="darp",
        title="Distribution Aligning Refinery of Pseudo-label for Imbalanced Semi-supervised "
        "Learning",
        summary="All labels are refined to a class distribution by a convex problem.",
        task="classification",
        evidence="few labels, unequally spread",
        year=2020,
        venue="NeurIPS",
        paper="https://arxiv.org/abs/2007.08844",
        code="https://github.com/bbuing9/DARP",
        parts=(
            "refine.LatestProposals",
            "refine.keep_confident",
            "refine.refine_to_counts",
            "refine.estimate_counts",
            "learn.cross_entropy",
            "train.EMA",
        ),
        claim="Improves MixMatch, ReMixMatch and FixMatch on long-tailed CIFAR-10, CIFAR-100 and "
        "STL-10, most where the unlabelled items are spread otherwise than the labels.",
        measured="CIFAR-10 at 16x16 as a long tail, 3 seeds, balanced accuracy against FixMatch: "
        "unlabelled tail like the labelled one +1.3 points, reversed +0.1, with an estimated spread +1.1.",
    )

    distribution: Literal["labelled", "given", "estimated"] = Field(
        "labelled", description="where the wanted spread of the unlabelled items comes from"
    )
    shares: tuple[float, ...] | None = Field(
        None, description="the wanted share of each class, for a given distribution"
    )
    start: float = Field(0.4, ge=0, lt=1, description="share of the run before labels are refined")
    every: int = Field(10, ge=1, description="steps between two refinements")
    turns: int = Field(10, ge=1, description="turns of the dual ascent in each refinement")
    keep: float = Field(2.0, gt=0, description="entries kept per wanted item of a class")
    estimation_share: float = Field(
        0.14, gt=0, lt=1, description="share of the run that an estimate takes"
    )
    estimates: int = Field(200, ge=1, description="how often the spread is estimated")
    held_out: int = Field(10, ge=1, description="labels per class that the estimate holds out")

    def parts(self, data: Data, trainer: Trainer) -> dict[str, nn.Module]:
        items, classes = len(data.unlabelled), len(data.classes)
        wanted = self._shares(data, trainer).to(torch.float32)
        refined = _Refined(items * wanted / wanted.sum(), items)
        latest = LatestProposals(items, classes, trainer.gather)
        return {**super().parts(data, trainer), "latest": latest, "refined": refined}

    def refine(self, step: Step, probs: Tensor) -> Tensor:
        probs = super().refine(step, probs)
        latest, refined = step.part("latest", LatestProposals), step.part("refined", _Refined)
        latest.update(step.items, probs)
        if step.batch.progress < self.start:
            return probs
        if not refined.ready or step.batch.step % self.every == 0:
            kept = keep_confident(latest.probs, refined.counts, self.keep)
            refined.probs.copy_(refine_to_counts(kept, refined.counts, self.turns))
            refined.ready = True
        return refined.probs[step.items].to(probs.dtype)

    def _shares(self, data: Data, trainer: Trainer) -> Tensor:
        """(K,) the wanted shares of the classes, up to a factor."""
        if self.distribution == "given":
            return self._given(len(data.classes))
        counts = torch.bincount(data.labelled.labels.cpu(), minlength=len(data.classes))
        if self.distribution == "labelled" or bool((counts < 2).any()):
            return counts
        found = trainer.once("spread", lambda: self._estimate(data, trainer))
        trainer.available *= 1 - self.estimation_share
        return found["shares"] if found["accepted"] else counts

    def _given(self, classes: int) -> Tensor:
        shares = torch.tensor(self.shares or ())
        if len(shares) != classes or not bool((shares >= 0).all()) or float(shares.sum()) <= 0:
            raise ConfigError(
                f"The shares of darp are {self.shares}.",
                f"{classes} shares, not negative and not all 0",
                "set shares to one number per class, or distribution=labelled",
            )
        return shares

    def _estimate(self, data: Data, trainer: Trainer) -> dict[str, Any]:
        given = data.labelled
        held = _held_out(given.labels, self.held_out)
        aside, others = given.subset(held), given.subset(~held)
        student = trainer.model()
        optimizer = trainer.optimizer(student, self.recipe)
        kept = trainer.keep("estimates", total=torch.zeros(len(data.classes)), made=0, accepted=0)
        trainer.register(student=student, optimizer=optimizer)
        weak, _ = data.views()
        for batch in trainer.steps(
            share=self.estimation_share, name="spread", labelled=others.batches(self.batch)
        ):
            if kept.made < moments(batch.progress, 0, 1 / self.estimates):
                _take(kept, student, aside, data.unlabelled, trainer)
            images = weak(batch.labelled.images, trainer.draws)
            loss = cross_entropy(student(images), batch.labelled.targets)
            trainer.observe(losses={"spread": loss})
            trainer.update(loss, optimizer)
        _take(kept, student, aside, data.unlabelled, trainer)
        trainer.log(phase="spread", estimates=kept.made, accepted=kept.accepted)
        return {"shares": kept.total, "accepted": kept.accepted}


class _Refined(nn.Module):
    """The refined proposals ``probs`` (n, K) and the wanted ``counts`` (K,)."""

    probs: Tensor
    counts: Tensor

    def __init__(self, counts: Tensor, items: int) -> None:
        super().__init__()
        self.ready = False
        self.register_buffer("counts", counts)
        self.register_buffer("probs", torch.full((items, len(counts)), 1 / len(counts)))

    def get_extra_state(self) -> bool:
        return self.ready

    def set_extra_state(self, state: bool) -> None:
        self.ready = state


def _held_out(labels: Tensor, count: int) -> Tensor:
    """(n,) bool: the first ``count`` items of each class, at most half of them."""
    counts = torch.bincount(labels)
    order = labels.argsort(stable=True)
    place = torch.empty_like(labels)
    first = (counts.cumsum(0) - counts)[labels[order]]
    place[order] = torch.arange(len(labels), device=labels.device) - first
    return place < (counts // 2).clamp_max(count)[labels]


def _take(
    kept: Keep, student: Classifier, aside: ImageSet, unlabelled: ImageSet, trainer: Trainer
) -> None:
    """Adds the estimate of this moment to the sum, where it can be trusted."""
    held_out, probs = trainer.predict(student, aside), trainer.predict(student, unlabelled)
    counts, trusted = estimate_counts(held_out, aside.labels.cpu(), probs)
    kept.made += 1
    if trusted:
        kept.accepted += 1
        kept.total = kept.total + counts.to(kept.total) / max(1, len(probs))
