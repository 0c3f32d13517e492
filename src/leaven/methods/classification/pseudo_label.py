"""Pseudo-Label: confident predictions are labels of the very view they were made on."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from leaven.data import Data
from leaven.draws import Draws
from leaven.learn import cross_entropy, linear_ramp
from leaven.methods.base import Card
from leaven.methods.classification.weak_strong import Seen, Step, WeakStrong, look
from leaven.train.batch import Batch


class PseudoLabel(WeakStrong):
    """Pseudo-Label (Lee, ICML workshop 2013), in the online form of the toolboxes.

    With ``p_u = softmax(student(weak(u)))``, ``loss = CE(student(weak(x)), y) + unlabelled_weight *
    min(1, progress / ramp) * mean_u 1[max p_u >= threshold] CE(student(weak(u)), argmax p_u)``:
    there is no strong view, and the view that proposes is the one that learns.

    Lee's own form has no threshold and a weight that rises from epoch 100 to 600 up to 3; the
    threshold and the ramp from the start are those of TorchSSL and USB. There the labelled pictures
    pass apart from the others; here all share batch statistics, as in the whole family.
    """

    card: ClassVar[Card] = Card(
        name="pseudo-label",
        title="Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method",
        summary="A confident class on a weak view is the label of that same view.",
        task="classification",
        evidence="few labels",
        year=2013,
        venue="ICML workshop",
        paper="https://www.kaggle.com/blobs/download/forum-message-attachment-files/746/"
        "pseudo_label_final.pdf",
        parts=(
            "select.fixed_threshold",
            "learn.linear_ramp",
            "learn.cross_entropy",
            "train.EMA",
        ),
        claim="MNIST, a net of one hidden layer: 83.9 % with 100 labels, 95.0 % with 600.",
        measured="Digits, 4 labels per class, 600 steps, seeds 0 to 2: 91.1 % against 86.8 % of the "
        "labels alone and 95.2 % of FixMatch.",
    )

    needs_views: ClassVar[bool] = False

    ratio: int = Field(1, ge=1, description="unlabelled pictures per labelled picture in a step")
    ramp: float = Field(
        0.4, ge=0, le=1, description="share of the run in which the unlabelled weight rises from 0"
    )

    def views(self, batch: Batch, data: Data, draws: Draws) -> dict[str, Tensor]:
        weak, _ = data.views()
        return {
            "labelled": weak(batch.labelled.images, draws),
            "weak": weak(batch.unlabelled.images, draws),
        }

    def see(self, step: Step, maps: str | None) -> dict[str, Seen]:
        # ``joint`` or not: the weak views are learnt from and need their gradient.
        return look(step.network, step.images, maps=maps)

    def strength(self, step: Step) -> float:
        return self.unlabelled_weight * linear_ramp(step.batch.progress, self.ramp)

    def learn(self, step: Step) -> dict[str, Tensor]:
        return {
            "supervised": cross_entropy(step.seen["labelled"].logits, step.targets),
            "unlabelled": self.strength(step)
            * cross_entropy(step.seen["weak"].logits, step.target, step.weight),
        }
