"""CPS: two networks that label each other's pictures."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from leaven.data import Data
from leaven.data.dataset import T
from leaven.labels import UNKNOWN
from leaven.learn import mix, pixel_cross_entropy, xor_rectangles
from leaven.methods.base import Card
from leaven.methods.loop import seeded
from leaven.methods.segmentation.few_maps import FewMaps, PixelRun, shown_pixels
from leaven.models.segmentation import Segmenter, redraw_decoder
from leaven.train.pixel_trainer import PixelTrainer


class CPS(FewMaps):
    """Cross pseudo supervision (Chen et al., CVPR 2021).

    ``loss = CE(P1(x), y) + CE(P2(x), y) + cross_weight (CE(P1, Y2) + CE(P2, Y1))`` with ``Pi`` the
    logits of two networks on the same view and ``Yi = argmax Pi``, without gradient. The cross term
    is a mean over the pixels of labelled and unlabelled pictures together, all with weight 1; there
    is no threshold and no ramp. The first network is the result.

    The networks have equal encoders at the start, whose weights may be published ones, and decoders
    and heads of other draws (``models.segmentation.redraw_decoder``). One optimiser holds both: its
    rule goes weight by weight, so that it is two with the same settings (but for ``recipe.clip``,
    which sees both gradients as one). Pixels beside the picture have no class here; the authors'
    code learns them too.
    """

    card: ClassVar[Card] = Card(
        name="cps",
        title="Cross Pseudo Supervision",
        summary="Two networks with other heads: the classes that one says are the other's labels.",
        task="segmentation",
        evidence="label maps",
        year=2021,
        venue="CVPR",
        paper="https://arxiv.org/abs/2106.01226",
        code="https://github.com/charlesCXK/TorchSemiSeg",
        number=25,
        parts=("models.segmentation.redraw_decoder", "learn.pixel_cross_entropy"),
        claim="VOC, ResNet-50, 1/8 of the labels: 73.2 % mIoU without CutMix.",
        measured="CamVid at 72x96, 20 maps, 400 steps from random weights, 3 seeds, mean IoU: 22.4 % "
        "against 25.1 % of the labels alone and 25.0 % of one network that labels itself.",
    )

    cross_weight: float = Field(
        1.5, ge=0, description="weight of the cross term; 1.5 on VOC, 6 on Cityscapes"
    )
    ema: float = Field(
        0.0, ge=0, lt=1, description="decay of the averaged first network; 0: the network itself"
    )
    hard_least: int = Field(
        200_000,
        ge=0,
        description="pixels per step that are learned however easy they are (OHEM); "
        "the authors count 50 000 for each labelled picture",
    )

    def parts(self, trainer: PixelTrainer, student: Segmenter) -> dict[str, nn.Module]:
        peer = copy.deepcopy(student)
        redraw_decoder(peer, seeded(trainer))
        return {"peer": peer}

    def loss(self, run: PixelRun) -> Tensor:
        sample = run.batch.labelled
        labelled, seen = (self.weak(run, one.images) for one in (sample, run.batch.unlabelled))
        classes = labelled.geometry.maps(sample.targets)
        shown = torch.cat([shown_pixels(run, labelled, "labelled"), shown_pixels(run, seen)])
        count = len(labelled.images)
        logits = [torch.cat([net(labelled.images), net(seen.images)]) for net in _both(run)]
        said = [_said(each, shown) for each in logits]

        supervised = _sum(self.labelled_loss(each[:count], classes) for each in logits)
        cross = crossed(logits, [each.classes for each in said])
        truth = seen.geometry.maps(run.trainer.truth(run.batch.unlabelled.items))
        self.note(run, supervised, cross, [each.rows(count) for each in said], truth)
        return supervised + self.cross_weight * cross

    def note(
        self, run: PixelRun, supervised: Tensor, cross: Tensor, said: list[Said], truth: Tensor
    ) -> None:
        """Tells the trainer of a step: the peer's classes of unlabelled pixels are proposed, and the
        agreement of the two networks is that of the curve."""
        own, peer = said
        run.trainer.observe(
            losses={"supervised": supervised, "cross": cross},
            weight=(peer.classes >= 0).float(),
            proposed=peer.classes,
            confidence=peer.confidence,
            student=own.classes,
            truth=truth,
        )


class CPSCutMix(CPS):
    """CPS with CutMix, as ``CPS`` but for the cross term.

    With two batches a and b of unlabelled pictures and masks m of three rectangles each, of which
    an odd number covers a pixel of m, ``x = (1 - m) a + m b`` and ``Yi = argmax((1 - m) Pi(a) + m Pi(b))``,
    without gradient but in train mode. The cross term is ``CE(P1(x), Y2) + CE(P2(x), Y1)``, of
    unlabelled pictures alone.
    """

    card: ClassVar[Card] = Card(
        name="cps-cutmix",
        title="Cross Pseudo Supervision with CutMix",
        summary="CPS on mixtures of two pictures, with what the peer says of each of them.",
        task="segmentation",
        evidence="label maps",
        year=2021,
        venue="CVPR",
        paper="https://arxiv.org/abs/2106.01226",
        code="https://github.com/charlesCXK/TorchSemiSeg",
        number=25,
        parts=(
            "models.segmentation.redraw_decoder",
            "learn.xor_rectangles",
            "learn.mix",
            "learn.pixel_cross_entropy",
        ),
        claim="VOC, 1/8 of the labels: 73.7 % mIoU with ResNet-50, 76.4 % with ResNet-101.",
        measured="60 of 2,000 scenes with digits labelled, 4,000 steps, 3 seeds, mean IoU: 66.3 %, labels alone "
        "47.3 %. CamVid at 120x160, 20 maps, U-Net from random weights, 1,500 steps: 34.7 %, labels alone 33.1 "
        "(36.3 with all labels); at 72x96 in 400 steps 24.1 %, labels alone 25.1, one network that labels "
        "itself 25.0.",
    )

    cross_weight: float = Field(
        1.0, ge=0, description="weight of the cross term; 1 on VOC, 5 on Cityscapes"
    )

    def streams(self, data: Data[T]) -> dict[str, Any]:
        # Two batches of unlabelled pictures per step, in one.
        unlabelled = data.unlabelled.batches(2 * self.batch * self.ratio)
        return super().streams(data) | {"unlabelled": unlabelled}

    def loss(self, run: PixelRun) -> Tensor:
        images, classes = self.labelled(run)
        seen = self.weak(run, run.batch.unlabelled.images)
        first, second = seen.images.chunk(2)
        size = (first.shape[2], first.shape[3])
        mask = self.mask(run, len(first), size)
        shown = shown_pixels(run, seen)
        with torch.no_grad():
            said = [
                _said(net(first), shown[: len(first)]).mixed(
                    mask, _said(net(second), shown[len(first) :])
                )
                for net in _both(run)
            ]
        both = mix(mask, first, second)

        supervised = _sum(self.labelled_loss(net(images), classes) for net in _both(run))
        cross = crossed([net(both) for net in _both(run)], [each.classes for each in said])
        truth = seen.geometry.maps(run.trainer.truth(run.batch.unlabelled.items))
        self.note(run, supervised, cross, said, mix(mask, *truth.chunk(2)))
        return supervised + self.cross_weight * cross

    def mask(self, run: PixelRun, count: int, size: tuple[int, int]) -> Tensor:
        """(count, *size) bool, where the second batch is seen."""
        return xor_rectangles(count, size, run.draws)


class Said(NamedTuple):
    """What a network says of views, without gradient: (B, H, W) each, -1 beside the picture."""

    classes: Tensor
    confidence: Tensor

    def rows(self, first: int) -> Said:
        """Of the views from ``first`` on."""
        return Said(self.classes[first:], self.confidence[first:])

    def mixed(self, mask: Tensor, other: Said) -> Said:
        """``other`` where ``mask``: argmax and mixing change places, see ``learn.mix``."""
        return Said(*(mix(mask, *pair) for pair in zip(self, other, strict=True)))


def crossed(logits: Sequence[Tensor], classes: Sequence[Tensor]) -> Tensor:
    """``CE(P1, Y2) + CE(P2, Y1)`` of the logits and the classes (-1: none) of two networks."""
    first, second = logits
    return pixel_cross_entropy(first, classes[1]) + pixel_cross_entropy(second, classes[0])


def _both(run: PixelRun) -> tuple[nn.Module, nn.Module]:
    return run.student, run.parts["peer"]


def _said(logits: Tensor, valid: Tensor) -> Said:
    confidence, classes = logits.detach().softmax(1).max(1)
    return Said(torch.where(valid, classes, UNKNOWN), confidence)


def _sum(losses: Iterable[Tensor]) -> Tensor:
    """The sum of some losses."""
    return torch.stack(list(losses)).sum()
