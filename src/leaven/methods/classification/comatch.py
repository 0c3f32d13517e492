"""CoMatch: pseudo-labels and embeddings that shape each other through a graph."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from leaven.data import Data
from leaven.draws import Draws
from leaven.learn import graph_contrastive_loss, label_graph
from leaven.methods.base import Card
from leaven.methods.classification.weak_strong import Step, WeakStrong
from leaven.models import Classifier, perceptron
from leaven.refine import AlignmentQueue, NeighbourMemory
from leaven.train import Trainer
from leaven.train.batch import Batch


class CoMatch(WeakStrong):
    """CoMatch (Li, Xiong and Hoi, ICCV 2021), in its form for small pictures.

    A head on the features gives embeddings ``z`` (perceptron of one hidden layer, unit length). The
    proposals of the weak views are aligned with uniform classes, then smoothed by a memory of the
    last ``memory_batches`` batches, labelled items with their one-hot labels included:
    ``p = alpha p + (1 - alpha) sum_m softmax_m(z . Z_m / temperature) P_m``. They are the soft
    targets of the first strong view where ``max p >= threshold``. Between the two strong views of
    the batch, embeddings are pulled along the graph ``W_ij = p_i . p_j`` (where that is at least
    ``graph_threshold``; self-loops of weight 1; rows scaled to sum to 1)::

        loss = CE(x, y) + unlabelled_weight * mean_u 1[max p >= threshold] CE(strong_1(u), p)
             + contrast_weight * mean_u CE(softmax_j(z_u . z'_j / temperature), W_u)

    The memory takes the aligned proposals from before the smoothing, and smooths once it is full.
    The released code adds 1e-7 inside the logarithm of the contrastive term; here it is formed in
    the logarithm and needs no such guard. Predictions are those of the averaged weights.
    """

    card: ClassVar[Card] = Card(
        name="comatch",
        title="CoMatch: Semi-supervised Learning with Contrastive Graph Regularization",
        summary="Proposals smoothed by similar items make a graph that embeddings are drawn along.",
        task="classification",
        evidence="few labels",
        year=2021,
        venue="ICCV",
        paper="https://arxiv.org/abs/2011.11183",
        code="https://github.com/salesforce/CoMatch",
        parts=(
            "refine.AlignmentQueue",
            "refine.NeighbourMemory",
            "select.fixed_threshold",
            "learn.cross_entropy",
            "learn.label_graph",
            "learn.graph_contrastive_loss",
            "train.EMA",
        ),
        claim="CIFAR-10, WRN-28-2: 93.1 % with 40 labels, 95.1 % with 250; ImageNet, ResNet-50: "
        "66.0 % with 1 % of the labels, 73.6 % with 10 %.",
        measured="Digits, 4 labels per class, 600 steps, 5 seeds: 95.8 % against 95.4 % of FixMatch "
        "and 88.0 % of the labels alone.",
    )

    alpha: float = Field(
        0.9, ge=0, le=1, description="share of an item's own proposal, against its neighbours'"
    )
    temperature: float = Field(0.2, gt=0, description="of the similarities")
    contrast_weight: float = Field(1.0, ge=0, description="weight of the contrastive loss")
    graph_threshold: float = Field(
        0.8, ge=0, le=1, description="similarity of two proposals that links them"
    )
    embedding: int = Field(64, ge=1, description="width of the embeddings")
    memory_batches: int = Field(5, ge=1, description="batches that the memory holds")
    alignment_batches: int = Field(
        32, ge=1, description="batches of which the mean proposal is aligned with uniform"
    )

    def parts(self, data: Data, trainer: Trainer) -> dict[str, nn.Module]:
        classes, size = len(data.classes), self.memory_batches * self.batch * (1 + self.ratio)
        return {
            "align": AlignmentQueue(classes, self.alignment_batches, reduce=trainer.mean),
            "memory": NeighbourMemory(size, self.embedding, classes, gather=trainer.gather),
        }

    def heads(self, classifier: Classifier, generator: torch.Generator) -> dict[str, nn.Module]:
        width = classifier.num_features
        return {"embed": perceptron(width, width, self.embedding, generator=generator)}

    def views(self, batch: Batch, data: Data, draws: Draws) -> dict[str, Tensor]:
        _, strong = data.views()
        other = {"other": strong(batch.unlabelled.images, draws)}
        return super().views(batch, data, draws) | other

    def refine(self, step: Step, probs: Tensor) -> Tensor:
        """Aligned, and smoothed by the memory, which then takes the batch."""
        aligned = step.parts["align"](probs)
        memory, embed = step.part("memory", NeighbourMemory), step.network.heads["embed"]
        with torch.no_grad():
            embeddings = embed(
                torch.cat([step.seen["weak"].features, step.seen["labelled"].features])
            )
        smoothed = memory.smooth(aligned, embeddings[: len(probs)], self.temperature, self.alpha)
        known = F.one_hot(step.targets, probs.shape[1]).to(aligned.dtype)
        memory.update(embeddings, torch.cat([aligned, known]))
        return smoothed

    def aim(self, step: Step, probs: Tensor) -> Tensor:
        return probs

    def learn(self, step: Step) -> dict[str, Tensor]:
        embed = step.network.heads["embed"]
        contrast = graph_contrastive_loss(
            embed(step.seen["strong"].features),
            embed(step.seen["other"].features),
            label_graph(step.probs, self.graph_threshold),
            self.temperature,
        )
        return super().learn(step) | {"contrast": self.contrast_weight * contrast}
