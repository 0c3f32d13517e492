"""Adsh: every class has the same share of its labels trusted as the most frequent class."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from leaven.data import Data
from leaven.methods.base import Card
from leaven.methods.classification.weak_strong import Plugin, Step
from leaven.select import EqualShare, fixed_threshold
from leaven.train import Trainer


class Adsh(Plugin):
    """Adsh (Guo and Li, ICML 2022): a plug-in that replaces ``select`` and ``aim``.

    A threshold ``theta_k`` per class, all ``threshold`` at first. From step ``2 * every`` on, every
    ``every`` steps (an epoch), the network labels all unlabelled items: ``theta_h`` of the class h
    with the most labels stays ``threshold``, which trusts a share rho of what is given class h; each
    other threshold comes down to where the share rho is trusted of its class as well. Then, with the
    proposals ``p`` of the base::

        target = argmax_k p_k / theta_k,   weight = 1[max_k p_k / theta_k >= 1]

    This is the closed form of ``min over theta`` of the risk with a reward for each label, class by
    class (``s_k = -log theta_k`` in the paper).

    The released code lets the network look at weak views; here it looks at the pictures as they
    are. Its epochs have 512 steps; here an epoch is a pass over the unlabelled items, so that short
    runs have epochs too. Where nothing at all is trusted of class h, the released code takes rho = 1;
    here it is 0, as the formula has it, which leaves each class its most confident item.
    """

    card: ClassVar[Card] = Card(
        name="adsh",
        title="Class-Imbalanced Semi-Supervised Learning with Adaptive Thresholding",
        summary="Thresholds per class trust the same share of each class.",
        task="classification",
        evidence="few labels, unequally spread",
        year=2022,
        venue="ICML",
        paper="https://proceedings.mlr.press/v162/guo22e.html",
        parts=(
            "select.EqualShare",
            "select.fixed_threshold",
            "learn.cross_entropy",
            "train.EMA",
        ),
        claim="Higher balanced accuracy than FixMatch on more than twenty imbalance ratios of "
        "CIFAR-10, CIFAR-100 and STL-10.",
        measured="CIFAR-10 at 16x16 as a long tail, 3 seeds, balanced accuracy against FixMatch: "
        "unlabelled tail like the labelled one +0.9 points, reversed +1.8.",
    )

    every: int | None = Field(
        None,
        ge=1,
        description="steps between two looks at all unlabelled items; a pass over them when not set",
    )

    def parts(self, data: Data, trainer: Trainer) -> dict[str, nn.Module]:
        shares = EqualShare(trainer.prior.cpu(), self.host.threshold)
        return {**super().parts(data, trainer), "shares": shares}

    def select(self, step: Step, probs: Tensor) -> Tensor:
        shares, number = step.part("shares", EqualShare), step.batch.step
        every = self.every or step.per_pass
        if number % every == 0 and number >= 2 * every:
            shares.update(step.trainer.predict(step.network.classifier, step.data.unlabelled))
        return fixed_threshold(shares.over(probs).max(1).values, 1.0)

    def aim(self, step: Step, probs: Tensor) -> Tensor:
        return step.part("shares", EqualShare).over(probs).argmax(1)

    def notes(self, step: Step) -> dict[str, Any]:
        return {"lowest_threshold": step.part("shares", EqualShare).thresholds.min()}
