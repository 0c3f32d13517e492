"""The step of UniMatch and its family, open at its places: foresee, select, aim, learn."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from leaven.data import Data
from leaven.data.dataset import T
from leaven.data.transforms import Seen
from leaven.labels import UNKNOWN
from leaven.learn import drop_channels, mix, one_rectangle, pixel_cross_entropy
from leaven.methods.segmentation.few_maps import FewMaps, PixelRun, shown_pixels
from leaven.models.segmentation import Segmenter


@dataclass(frozen=True)
class Believed:
    """What a network says of weak views, and how far it is trusted; without gradient.

    Attributes:
        probs: (B, K, H, W).
        valid: (B, H, W) bool, the pixels that show a picture.
        weight: (B, H, W) in [0, 1], 0 where nothing is shown.
    """

    probs: Tensor
    valid: Tensor
    weight: Tensor

    @cached_property
    def _best(self) -> tuple[Tensor, Tensor]:
        confidence, classes = self.probs.max(1)
        return confidence, classes

    @property
    def confidence(self) -> Tensor:
        return self._best[0]

    @property
    def classes(self) -> Tensor:
        return self._best[1]


@dataclass(frozen=True)
class Aim:
    """What the student is to say of a view: classes (B, H, W), their weight, and what is shown."""

    classes: Tensor
    weight: Tensor
    valid: Tensor


@dataclass(frozen=True)
class Strong:
    """A strong view (B, C, H, W), its aim, and where it shows the partner (B, H, W) bool."""

    images: Tensor
    aim: Aim
    pasted: Tensor


@dataclass(frozen=True)
class Said:
    """What the student says of a view: logits (B, K, H, W) and the coarsest map of its encoder."""

    logits: Tensor
    maps: Tensor


@dataclass
class Step:
    """What is known in a step; it fills from top to bottom.

    Attributes:
        run: of the method.
        targets: (b, H, W) the classes of the labelled view.
        weak, partner: the weak views of the unlabelled pictures and of those pasted into them.
        labelled, own: what the student says of the labelled view and of the weak one.
        dropped: logits of the weak view with channels of its features left out.
        ahead: (B, K, H, W) the probabilities of the partners, foreseen without gradient.
        believed: of the weak view by the student itself: the aim of ``dropped``.
        proposed, partners: what the strong views are to be, before they are mixed.
        strong, said: the strong views, and what the student says of them.
        further: what a method of the family knows besides, by name.
    """

    run: PixelRun
    targets: Tensor
    weak: Seen
    partner: Seen
    labelled: Said
    own: Said
    dropped: Sequence[Tensor]
    ahead: Tensor
    believed: Believed = field(init=False)
    proposed: Believed = field(init=False)
    partners: Believed = field(init=False)
    strong: Sequence[Strong] = ()
    said: Sequence[Said] = ()
    further: dict[str, Tensor] = field(default_factory=dict)

    @cached_property
    def valid(self) -> Tensor:
        """(B, H, W) bool: the pixels of the weak view that show a picture."""
        return shown_pixels(self.run, self.weak)

    @cached_property
    def partner_valid(self) -> Tensor:
        """(B, H, W) bool: the pixels of the partner's weak view that show a picture."""
        return shown_pixels(self.run, self.partner, "partners")

    def truth(self, view: Strong | None = None) -> Tensor:
        """(B, H, W) what is true of a strong view, or of the weak one; for curves, never to train."""
        own = _truth(self.run, "unlabelled", self.weak)
        return (
            own
            if view is None
            else mix(view.pasted, own, _truth(self.run, "partners", self.partner))
        )


class WeakStrong(FewMaps):
    """The student says what weak views are; strong views and dropped features are to say the same.

    With labelled ``x``, a weak view ``w`` of unlabelled pictures and strong views ``s_i`` of that
    same view, each with a rectangle of a strong view of other pictures ``m`` pasted in (CutMix)::

        p, p_m  = softmax student(w), softmax student(m)         # constants; m in eval mode
        y, v    = argmax p, select(p)                            # the same of p_m, then pasted
        U(z, y, v) = sum_i v_i CE(z_i, y_i) / pixels that show a picture
        loss    = 1/2 [ CE(student(x), y_x) + a sum_i U(student(s_i), y_i, v_i)
                        + b sum_j U(student(w; channels dropped), y, v) ]

    ``x``, ``w`` and all dropped copies of ``w`` go through the decoder together, so that batch norm
    sees them as one batch. A weight is a number in [0, 1]; no method of the family drops a pixel in
    another way.
    """

    views: int = Field(2, ge=0, description="strong views, each with a CutMix of its own")
    feature_views: int = Field(1, ge=0, description="weak views with channels left out")
    strong_weight: float = Field(0.25, ge=0, description="weight of the loss of each strong view")
    feature_weight: float = Field(
        0.5, ge=0, description="weight of the loss of each view with channels left out"
    )
    drop: float = Field(0.5, ge=0, lt=1, description="share of the channels that are left out")
    cutmix: float = Field(0.5, ge=0, le=1, description="probability of a pasted rectangle")

    # -- the places -------------------------------------------------------------------------------

    @abstractmethod
    def select(self, run: PixelRun, probs: Tensor, valid: Tensor) -> Tensor:
        """How far the pixels of ``probs`` (B, K, H, W) are trusted: (B, H, W) in [0, 1]."""

    def foresee(self, run: PixelRun, images: Tensor) -> Tensor:
        """The probabilities of weak views of the partners, without gradient."""
        run.student.eval()
        with torch.no_grad():
            probs = run.student(images).softmax(1)
        run.student.train()
        return probs

    def propose(self, step: Step) -> Believed:
        """What the strong views of ``step.weak`` are to say."""
        return step.believed

    def paste(self, step: Step, mask: Tensor) -> Aim:
        """The proposals, with those of the partners where ``mask`` (B, H, W) is true."""
        own, other = step.proposed, step.partners
        return Aim(
            mix(mask, own.classes, other.classes),
            mix(mask, own.weight, other.weight),
            mix(mask, own.valid, other.valid),
        )

    def aim(self, step: Step) -> list[Strong]:
        """The strong views and what they are to say."""
        return [self.mixed(step) for _ in range(self.views)]

    def learn(self, step: Step) -> dict[str, Tensor]:
        """The terms of the loss by name, each with its weight."""
        losses = {"supervised": self.labelled_loss(step.labelled.logits, step.targets) / 2}
        for number, (said, view) in enumerate(zip(step.said, step.strong, strict=True), 1):
            loss = unlabelled_loss(said.logits, view.aim)
            losses[f"strong-{number}"] = self.strong_weight / 2 * loss
        own = step.believed
        for number, logits in enumerate(step.dropped, 1):
            loss = unlabelled_loss(logits, Aim(own.classes, own.weight, own.valid))
            losses[f"features-{number}"] = self.feature_weight / 2 * loss
        return losses

    def notes(self, step: Step) -> dict[str, Any]:
        """Further things for the curves."""
        return {}

    # -- the step ---------------------------------------------------------------------------------

    def streams(self, data: Data[T]) -> dict[str, Any]:
        partners = data.unlabelled.batches(self.batch * self.ratio)
        return super().streams(data) | {"partners": partners}

    def loss(self, run: PixelRun) -> Tensor:
        step = self.look(run)
        step.believed = self.believe(run, step.own.logits.detach().softmax(1), step.valid)
        step.partners = self.believe(run, step.ahead, step.partner_valid)
        step.proposed = self.propose(step)
        step.strong = self.aim(step)
        step.said = self.see(run, [view.images for view in step.strong])
        losses = self.learn(step)
        self.observe(step, losses)
        return torch.stack(list(losses.values())).sum()

    def look(self, run: PixelRun) -> Step:
        """The weak views, and what the student says of them."""
        images, targets = self.labelled(run)
        weak = self.weak(run, run.batch.unlabelled.images)
        partner = self.weak(run, run.batch.partners.images)
        ahead = self.foresee(run, partner.images)
        student, own = run.student, len(images)
        features = student.encode(torch.cat([images, weak.images]))
        copies = [
            [drop_channels(maps[own:], run.draws, self.drop) for maps in features]
            for _ in range(self.feature_views)
        ]
        stacked = [torch.cat(level) for level in zip(features, *copies, strict=True)]
        logits = decoded(student, stacked, images.shape[-2:])
        sizes = [own, *[len(weak.images)] * (1 + self.feature_views)]
        labelled, clean, *dropped = logits.split(sizes)
        first, second = features[-1][:own], features[-1][own:]
        return Step(
            run, targets, weak, partner, Said(labelled, first), Said(clean, second), dropped, ahead
        )

    def believe(self, run: PixelRun, probs: Tensor, valid: Tensor) -> Believed:
        """What ``probs`` say, with the trust in it."""
        return Believed(probs, valid, self.select(run, probs, valid) * valid)

    def mixed(self, step: Step) -> Strong:
        """A strong view with a rectangle of a strong view of the partners."""
        run, size = step.run, step.weak.geometry.view
        own, other = (self.strong(run, seen.images) for seen in (step.weak, step.partner))
        mask = one_rectangle(len(own), size, run.draws, self.cutmix)
        return Strong(mix(mask, own, other), self.paste(step, mask), mask)

    def see(self, run: PixelRun, views: Sequence[Tensor]) -> list[Said]:
        """What the student says of views, all in one batch."""
        if not views:
            return []
        features = run.student.encode(torch.cat(list(views)))
        logits = decoded(run.student, features, views[0].shape[-2:])
        count = len(views)
        pairs = zip(logits.chunk(count), features[-1].chunk(count), strict=True)
        return [Said(*pair) for pair in pairs]

    def observe(self, step: Step, losses: dict[str, Tensor]) -> None:
        """Tells the trainer of the first strong view; of the weak one where there is none."""
        trainer, own = step.run.trainer, step.believed
        aim, student = Aim(own.classes, own.weight, own.valid), step.own.logits
        confidence = own.confidence
        with torch.no_grad():
            view = next(iter(step.strong), None)
            if view is not None:
                aim, student = view.aim, step.said[0].logits
                confidence = mix(view.pasted, step.proposed.confidence, step.partners.confidence)
            trainer.observe(
                losses=losses,
                weight=aim.weight,
                proposed=torch.where(aim.valid, aim.classes, UNKNOWN),
                confidence=confidence,
                student=student.argmax(1),
                truth=step.truth(view),
                **self.notes(step),
            )


def decoded(student: Segmenter, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """The logits (B, K, *size) of maps of the encoder."""
    return student.resize(student.classify(student.decode(features)), size)


def unlabelled_loss(logits: Tensor, aim: Aim) -> Tensor:
    """The weighted cross entropy, over all pixels that show a picture."""
    return pixel_cross_entropy(logits, aim.classes, aim.weight, aim.valid)


def _truth(run: PixelRun, stream: str, seen: Seen) -> Tensor:
    items = getattr(run.batch, stream).items
    return seen.geometry.maps(run.trainer.truth(items, stream))
