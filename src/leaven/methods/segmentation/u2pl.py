"""U2PL: what a pixel is undecided about still says what it is not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from leaven.learn import (
    class_contrast,
    draw_anchors,
    half_rectangle,
    kept_pixel_cross_entropy,
)
from leaven.methods.base import Card
from leaven.methods.segmentation.few_maps import FewMaps, PixelRun, shown_pixels
from leaven.methods.segmentation.shown import Shown
from leaven.models.segmentation import (
    HeadedSegmenter,
    Segmenter,
    auxiliary_head,
    representation_head,
)
from leaven.propose import modes_kept
from leaven.refine import ClassQueues, class_means
from leaven.select import class_ranks, keep_certain, negative_classes, pixel_entropy
from leaven.train import EMA, from_student
from leaven.train.pixel_trainer import PixelTrainer

REPRESENTATION, AUXILIARY = "representation", "auxiliary"


@dataclass(frozen=True)
class Seen:
    """What a network makes of pictures (B, C, H, W).

    Attributes:
        encoded: the maps of its encoder.
        logits: (B, K, H, W).
        vectors: (B, D, h, w), the representations; None where they are not wanted.
        small: (B, K, h, w), the logits in the size of the representations, or None too.
    """

    encoded: list[Tensor]
    logits: Tensor
    vectors: Tensor | None = None
    small: Tensor | None = None


@dataclass(frozen=True)
class Parted:
    """The proposed pixels by how sure the teacher is; all (B, H, W) bool.

    Attributes:
        kept: below the percentile from which pixels are dropped; they are learned from.
        low: among the surest, as many as are dropped; they may be anchors and positives.
        high: the dropped ones; they are negatives of the classes that are unlikely for them.
    """

    kept: Tensor
    low: Tensor
    high: Tensor


class U2PL(FewMaps):
    """``loss = CE(labelled) + lambda_u L_u + lambda_c L_c``, with a teacher T and a student S.

    T in eval mode labels weak views of unlabelled pictures; in half of the steps each picture gets a
    rectangle of half its area from the next one (CutMix), labels alike. T in train mode, on the
    same labelled and mixed pictures as S, says how undecided each pixel is: ``H``, its entropy.

    - ``L_u``: with the share ``a = a_0 (1 - progress)`` of the proposed pixels of highest entropy
      dropped, ``CE`` over the rest, times all pixels / kept pixels.
    - ``L_c``: at a quarter of the size, for each class c with anchors (two classes at least):
      anchors are representations of S at pixels of class c that are labelled, or among the share
      ``a`` of lowest entropy, where T gives c more than 0.3. The positive is the mean of T's
      representations at these pixels (without the 0.3). Negatives come from a queue of T's
      representations of labelled pixels of another class with c among T's 3 most likely, and of
      dropped pixels for which c is of rank 3..19. InfoNCE of cosines, summed over these classes
      and divided by the number of classes with any labelled or surest pixel, as in the release.

    In the first ``supervised_share`` of the run S learns from labelled pictures alone and T is a copy
    of it; then ``T <- d T + (1 - d) S`` with ``d = min(1 - 1 / i, 0.99)`` in the i-th step, for
    weights; batch statistics are T's own. T is used after the run.

    The share ``a`` falls at every step, not at every epoch. The representation head has no
    dropout and, where features are finer than a quarter, works on their means. The recipe of the
    weights is that of all methods here, not SGD. Padding of a view is no pixel and none that was
    dropped; the release labels it. Where a class is absent the release lets anchors meet the
    negatives of another class, which is not followed.

    On Cityscapes the labelled loss has a second part of weight 0.4 (``auxiliary_weight``), the cross
    entropy of a small head on the last map but one of the encoder; there as well ``hard_pixels``.
    """

    card: ClassVar[Card] = Card(
        name="u2pl",
        title="U2PL: Semi-Supervised Semantic Segmentation Using Unreliable Pseudo-Labels",
        summary="Pixels the teacher is unsure of serve as negatives of their unlikely classes.",
        task="segmentation",
        evidence="few label maps",
        year=2022,
        venue="CVPR",
        paper="Wang et al., 2022, arXiv:2203.03884",
        code="https://github.com/Haochen-Wang409/U2PL",
        number=117,
        parts=(
            "select.pixel_entropy",
            "select.keep_certain",
            "select.negative_classes",
            "refine.ClassQueues",
            "refine.class_means",
            "learn.half_rectangle",
            "learn.kept_pixel_cross_entropy",
            "learn.class_contrast",
            "train.EMA",
        ),
        claim="VOC 2012 with 183 label maps: 69.15 mIoU, supervised 54.92; with 1/8 of the "
        "augmented set 79.01, supervised 71.55 (ResNet-101).",
        measured="CamVid at 72x96, 20 maps, 400 steps from random weights, 3 seeds, mean IoU: 21.8"
        " % against 20.9 % without the contrast, 21.8 % with reliable negatives and 25.5 % of the labels alone; "
        "with the first 40 % of the steps on labels alone 23.4 %, without the contrast 23.0 %, and at 120x160 with a U-Net, "
        "1,500 steps, 33.9 %, labels alone 33.1 %. Of the pixels that are taken for "
        "negatives of a class 38 % are of it, where the paper has under 5 %.",
    )

    supervised_share: float = Field(
        1 / 80, ge=0, lt=1, description="share of the run that learns from labelled pictures alone"
    )
    dropped: float = Field(
        0.2, ge=0, lt=1, description="share of proposed pixels that is dropped at the start, a_0"
    )
    unlabelled_weight: float = Field(1.0, ge=0, description="lambda_u, weight of the kept pixels")
    contrast_weight: float = Field(1.0, ge=0, description="lambda_c, weight of the contrast")
    cutmix: float = Field(0.5, ge=0, le=1, description="probability that a batch is mixed")
    auxiliary_weight: float = Field(
        0.0,
        ge=0,
        description="weight of a second head's labelled loss; 0.4 on Cityscapes, 0: no head",
    )
    width: int = Field(256, ge=1, description="length of the representation of a pixel")
    stride: int = Field(4, ge=1, description="side of the pictures over that of representations")
    ranks: tuple[int, int] = Field(
        (3, 20), description="first rank, and the one after the last, of the classes a pixel is not"
    )
    least: float = Field(
        0.3, ge=0, le=1, description="probability above which a pixel is an anchor"
    )
    anchors: int = Field(256, ge=1, description="anchors per class and step")
    negatives: int = Field(50, ge=1, description="negatives per anchor")
    temperature: float = Field(0.5, gt=0, description="of the cosines")
    queue: int = Field(30_000, ge=1, description="negatives that are kept for each class")
    first_queue: int | None = Field(
        50_000, ge=1, description="for class 0, the background of VOC; None: as for the others"
    )
    negatives_from: Literal["unreliable", "reliable", "released"] = Field(
        "unreliable",
        description="unlabelled negatives: dropped pixels; to compare, the surest ones, or what the "
        "released code takes: dropped pixels of the class itself and no labelled ones",
    )

    # -- networks and state -----------------------------------------------------------------------

    def student(self, trainer: PixelTrainer) -> Segmenter:
        plain = trainer.model()
        return trainer.built(lambda *_: HeadedSegmenter(plain, self.heads(trainer, plain)))

    def heads(self, trainer: PixelTrainer, plain: Segmenter) -> dict[str, nn.Module]:
        """What sits on the features besides the classifier of pixels, by name."""
        heads: dict[str, nn.Module] = {
            REPRESENTATION: representation_head(plain.num_features, self.width)
        }
        if self.auxiliary_weight:
            heads[AUXILIARY] = auxiliary_head(plain.encoder_channels[-2], plain.num_classes)
        return heads

    def average(self, student: Segmenter) -> EMA[Segmenter]:
        return EMA(student, self.ema, warm_up=from_student, own_buffers=True)

    def parts(self, trainer: PixelTrainer, student: Segmenter) -> dict[str, nn.Module]:
        sizes = [self.queue] * student.num_classes
        sizes[0] = self.first_queue or self.queue
        return {"queues": ClassQueues(sizes, self.width)}

    def after(self, run: PixelRun) -> None:
        if self.is_supervised(run):
            run.teacher.load_state_dict(run.student.state_dict())
        else:
            super().after(run)

    def final(self, run: PixelRun) -> Segmenter:
        return headed(run.teacher).alone()

    def is_supervised(self, run: PixelRun) -> bool:
        """Whether the step learns from labelled pictures alone."""
        return run.progress < self.supervised_share

    # -- a step -----------------------------------------------------------------------------------

    def loss(self, run: PixelRun) -> Tensor:
        labelled = self.labelled_pixels(run)
        if self.is_supervised(run):
            supervised = self.supervised_loss(run, self.look(run.student, labelled), labelled)
            run.trainer.observe(losses={"supervised": supervised})
            return supervised
        unlabelled = self.mixed(run, labelled, self.unlabelled_pixels(run))
        batch = labelled.joined(unlabelled)
        contrasted = self.contrast_weight > 0
        student = self.look(run.student, batch, vectors=contrasted)
        with torch.no_grad(), modes_kept(run.teacher):
            run.teacher.train()
            teacher = self.look(run.teacher, batch, vectors=contrasted)
            believed = self.believed(run, teacher, batch.allowed).softmax(1)
            parted = self.parted(run, pixel_entropy(believed), batch)
        mixed = slice(len(labelled), None)
        targets = torch.where(parted.kept | batch.given, batch.classes, -1)[mixed]
        supervised = self.supervised_loss(run, student, labelled)
        judged = (batch.given | batch.proposed)[mixed]
        consistency = self.unlabelled_loss(student.logits[mixed], targets, judged)
        loss = supervised + self.unlabelled_weight * consistency
        losses = {"supervised": supervised, "unlabelled": consistency}
        if contrasted:
            losses["contrast"] = self.contrast(run, student, teacher, batch, parted)
            loss = loss + self.contrast_weight * losses["contrast"]
        run.trainer.observe(
            losses=losses,
            weight=parted.kept[mixed].float(),
            proposed=torch.where(unlabelled.proposed, unlabelled.classes, -1),
            confidence=believed[mixed].amax(1),
            student=student.logits[mixed].argmax(1),
            truth=unlabelled.truth,
        )
        return loss

    def look(self, model: Segmenter, shown: Shown, vectors: bool = False) -> Seen:
        """What ``model`` makes of the pictures of ``shown``."""
        network, size = headed(model), shown.images.shape[-2:]
        encoded = network.encode(shown.images)
        features = network.decode(encoded)
        logits = network.resize(network.classify(features), size)
        if not vectors:
            return Seen(encoded, logits)
        coarse = (-(-size[0] // self.stride), -(-size[1] // self.stride))
        if features.shape[-2] > coarse[0]:
            features = F.adaptive_avg_pool2d(features, coarse)
        found = network.apply_head(REPRESENTATION, features)
        return Seen(encoded, logits, found, network.classify(features))

    def labelled_pixels(self, run: PixelRun) -> Shown:
        """Weak views of the labelled pictures of the step."""
        images, classes = self.labelled(run)
        unknown = torch.full_like(classes, -1)
        return Shown(images, classes, classes >= 0, torch.zeros_like(classes >= 0), unknown)

    def unlabelled_pixels(self, run: PixelRun) -> Shown:
        """Weak views of the unlabelled pictures of the step, with the teacher's classes."""
        sample = run.batch.unlabelled
        view = self.weak(run, sample.images)
        valid = shown_pixels(run, view)
        truth = view.geometry.maps(run.trainer.truth(sample.items))
        allowed = self.allowed(run, sample.items, valid)
        shown = Shown(
            view.images, torch.full_like(truth, -1), torch.zeros_like(valid), valid, truth, allowed
        )
        return self.proposed(run, shown)

    def allowed(self, run: PixelRun, items: Tensor, valid: Tensor) -> Tensor | None:
        """The classes that the pixels ``valid`` (B, H, W) of unlabelled pictures may have."""
        return None

    @torch.no_grad()
    def proposed(self, run: PixelRun, shown: Shown) -> Shown:
        """``shown`` with the classes that the teacher proposes for all valid pixels."""
        seen = self.look(run.teacher, shown, vectors=self.needs_vectors)
        classes = self.believed(run, seen, shown.allowed).argmax(1)
        return replace(shown, classes=torch.where(shown.proposed, classes, -1))

    @property
    def needs_vectors(self) -> bool:
        """Whether ``believed`` looks at representations."""
        return False

    def believed(self, run: PixelRun, seen: Seen, allowed: Tensor | None) -> Tensor:
        """The logits (B, K, H, W) that proposals and entropies come from."""
        return seen.logits

    def mixed(self, run: PixelRun, labelled: Shown, unlabelled: Shown) -> Shown:
        """What the student sees of the unlabelled pictures."""
        count, _, height, width = unlabelled.images.shape
        mask = half_rectangle(count, (height, width), run.draws)
        mask &= run.draws.flags(1, 1, 1, probability=self.cutmix)
        following = torch.arange(count, device=mask.device).roll(-1)
        return unlabelled.pasted(mask, unlabelled.rows(following))

    def parted(self, run: PixelRun, entropy: Tensor, batch: Shown) -> Parted:
        """The proposed pixels of ``batch`` by their ``entropy`` (B, H, W)."""
        share, proposed = self.dropped * (1 - run.progress), batch.proposed
        kept = keep_certain(entropy, proposed, 1 - share) if share > 0 else proposed
        return Parted(kept, keep_certain(entropy, proposed, share), proposed & ~kept)

    # -- losses -----------------------------------------------------------------------------------

    def supervised_loss(self, run: PixelRun, student: Seen, labelled: Shown) -> Tensor:
        """What given labels teach; the labelled pictures are the first that the student saw."""
        loss = self.labelled_loss(student.logits[: len(labelled)], labelled.classes)
        if not self.auxiliary_weight:
            return loss
        network = headed(run.student)
        coarse = network.apply_head(AUXILIARY, student.encoded[-2][: len(labelled)])
        logits = network.resize(coarse, labelled.classes.shape[-2:])
        return loss + self.auxiliary_weight * self.labelled_loss(logits, labelled.classes)

    def unlabelled_loss(self, logits: Tensor, targets: Tensor, judged: Tensor) -> Tensor:
        """What unlabelled pictures teach; ``targets`` (B, H, W) are -1 for dropped pixels and for
        those that are not ``judged`` (B, H, W) bool, the padding."""
        return kept_pixel_cross_entropy(logits, targets, judged)

    def contrast(
        self, run: PixelRun, student: Seen, teacher: Seen, batch: Shown, parted: Parted
    ) -> Tensor:
        """The contrast of the pixels of the whole batch.

        The curve ``negative_of_truth`` is the share of unsure pixels that are taken for negatives of
        what they are: the method rests on its being small.
        """
        assert student.vectors is not None
        assert teacher.vectors is not None
        assert teacher.small is not None
        classes, given, low, high, truth = (
            shrunk(maps, teacher.vectors.shape[-2:])
            for maps in (batch.classes, batch.given, parted.low, parted.high, batch.truth)
        )
        probs = self.without_ruled_out(teacher.small, batch.allowed).softmax(1)
        own = classes[:, None] == torch.arange(probs.shape[1], device=probs.device)[:, None, None]
        unsure = low if self.negatives_from == "reliable" else high
        negative = negative_classes(class_ranks(probs), classes, given, unsure, self.ranks)
        if self.negatives_from == "released":
            negative = negative & own
        # 0 / 0 is not a number, which the curve leaves out.
        judged = unsure & (truth >= 0)
        wrong = negative.gather(1, truth.clamp_min(0)[:, None])[:, 0] & judged
        run.trainer.observe(negative_of_truth=wrong.sum() / judged.sum())
        negative = self.with_ruled_out(negative, batch)

        member = own & (given | low)[:, None]
        vectors = run.trainer.gather(_pixels(teacher.vectors))
        positives = self.positives(run, vectors, _gathered(run, member))
        queues = cast("ClassQueues", run.parts["queues"])
        queues.push(F.normalize(vectors, dim=1), _gathered(run, negative))
        eligible = _pixels(member & (probs > self.least))
        anchors, present = draw_anchors(eligible.t(), self.anchors, run.draws)
        return class_contrast(
            _pixels(student.vectors)[anchors],
            positives,
            queues.draw(self.anchors, self.negatives, run.draws),
            present & (queues.filled > 0),
            _pixels(member).any(0),
            self.temperature,
        )

    def without_ruled_out(self, logits: Tensor, allowed: Tensor | None) -> Tensor:
        """Logits (B, K, h, w) without the classes that evidence rules out."""
        return logits

    def with_ruled_out(self, negative: Tensor, batch: Shown) -> Tensor:
        """Negative classes (B, K, h, w) bool with those that evidence rules out."""
        return negative

    def positives(self, run: PixelRun, vectors: Tensor, member: Tensor) -> Tensor:
        """(K, D), what anchors are drawn to; of T's ``vectors`` (P, D) and the classes of sure
        pixels, ``member`` (P, K)."""
        return class_means(vectors, member)[0]


def headed(model: Segmenter) -> HeadedSegmenter:
    """The students and teachers of this family are of this kind."""
    return cast("HeadedSegmenter", model)


def _gathered(run: PixelRun, flags: Tensor) -> Tensor:
    """(P, K) bool, flags (B, K, h, w) of the pixels of all processes."""
    return run.trainer.gather(_pixels(flags).byte()).bool()


def shrunk(maps: Tensor, size: torch.Size) -> Tensor:
    """Maps (..., H, W) in another size (..., h, w), by the nearest pixel."""
    if maps.shape[-2:] == size:
        return maps
    rows, columns = (
        ((torch.arange(new, device=maps.device) + 0.5) * old / new).long()
        for new, old in zip(size, maps.shape[-2:], strict=True)
    )
    return maps[..., rows[:, None], columns]


def _pixels(maps: Tensor) -> Tensor:
    """(B h w, C), the pixels of maps (B, C, h, w)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)
