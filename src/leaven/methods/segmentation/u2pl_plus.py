"""U2PL+: centres that last, corrected proposals, a bounded loss; for maps, domains and tags."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from leaven.data import Data
from leaven.data.pixel_maps import PixelMaps
from leaven.errors import ConfigError
from leaven.learn import classmix_mask, symmetric_pixel_cross_entropy, tag_loss
from leaven.methods.base import Card
from leaven.methods.segmentation.few_maps import PixelRun, shown_pixels
from leaven.methods.segmentation.shown import Shown
from leaven.methods.segmentation.u2pl import U2PL, Parted, Seen, headed, shrunk
from leaven.models.segmentation import Segmenter
from leaven.propose import activated_classes, class_activation_maps
from leaven.refine import (
    AllowedClasses,
    ClassCentres,
    class_means,
    only_allowed,
    reweight_by_centres,
)
from leaven.train.pixel_trainer import PixelTrainer

TAGS = "tags"


class U2PLPlus(U2PL):
    """U2PL with three additions that can be left out, for three kinds of evidence.

    The additions:

    - ``momentum_centres``: the positive of a class is an average over the steps,
      ``z_c <- g z_c + (1 - g) m_c`` with ``g = min(1 - 1 / i, 0.999)`` and ``m_c`` the mean that is
      U2PL's positive.
    - ``denoised``: T's distributions, for proposals and entropies, are multiplied by
      ``softmax_c(cos(r_T(x), z_c) / t)`` and renormalised.
    - ``backward``: ``L_u`` is ``CE + backward RCE`` in place of CE.

    Without them and with ``evidence="maps"`` every step is one of U2PL to the last bit.

    The evidence:

    - ``"maps"``: as U2PL.
    - ``"domains"``: labelled pictures are of one domain, unlabelled ones of another. Regions of half
      the classes of a labelled picture are pasted over each unlabelled one (ClassMix). Pasted
      pixels are given ones: always kept, never parted by entropy. Colours are not changed.
    - ``"tags"``: the classes of each picture are known (``PixelMaps.tags``). T's
      distributions are zero for other classes. In place of label maps stands what class activation
      maps of T are sure of, from a further head on the coarsest maps of the encoder, which learns
      from the tags; in the first steps (``tags_share``) nothing else is learnt, for a network that
      learns pixels from maps which show nothing yet does not come to learn the tags. Every pixel is
      a negative of all classes that its picture does not show. The paper has no label maps here;
      where some pictures have one, their cross entropy is added from then on.

    Without the contrast (``contrast_weight=0``) nothing trains representations, and proposals are as
    they are too. How the additions 2 and 3, domains and tags are wired is reconstructed here and not
    checked against the paper; the tag head, its loss, its thresholds and its start follow methods of
    that kind (CAM, WILDCAT, AFA).
    """

    card: ClassVar[Card] = Card(
        name="u2pl-plus",
        title="U2PL+: Using Unreliable Pseudo-Labels for Label-Efficient Semantic Segmentation",
        summary="U2PL with class centres that last, for label maps, another domain, or image tags.",
        task="segmentation",
        evidence="few label maps",
        year=2024,
        venue="IJCV",
        paper="Wang et al., 2024, arXiv:2306.02314",
        code="https://github.com/Haochen-Wang409/U2PL",
        number=54,
        parts=(
            *U2PL.card.parts,
            "refine.ClassCentres",
            "refine.reweight_by_centres",
            "refine.AllowedClasses",
            "refine.only_allowed",
            "propose.class_activation_maps",
            "propose.activated_classes",
            "learn.symmetric_pixel_cross_entropy",
            "learn.classmix_mask",
            "learn.tag_loss",
        ),
        claim="Better than U2PL on every split of VOC and Cityscapes, and gains over strong "
        "baselines of domain adaptation and of learning from tags.",
        measured="CamVid at 72x96 from day to dusk, 400 steps from random weights, 3 seeds, mean IoU: "
        "10.6 % against 8.7 % without the contrast, 9.0 % with it and proposals as they are, and 11.0 % of "
        "the source alone. 20 maps: 17.4 %, U2PL 21.8 %, with corrected proposals alone 22.9 %, with the "
        "bounded loss alone 15.7 %. Scenes of four digits from tags alone, 1600 steps: 43.4 %, without "
        "the contrast 40.4 %, with activation maps alone 39.9 %.",
    )

    evidence: Literal["maps", "domains", "tags"] = Field(
        "maps",
        description="what is known: maps of some pictures, maps of another domain, or image tags",
    )
    momentum_centres: bool = Field(True, description="positives are averages over the steps")
    centre_momentum: float = Field(0.999, ge=0, lt=1, description="the most that a centre keeps")
    denoised: bool = Field(True, description="proposals are weighted by closeness to the centres")
    backward: float = Field(0.5, ge=0, description="weight of the reverse cross entropy")
    background: int | None = Field(
        0, ge=0, description="class without a tag, seen in any picture; None: all have tags (tags)"
    )
    activated: float = Field(0.55, gt=0, le=1, description="activation of a sure class (tags)")
    inactive: float = Field(0.35, ge=0, lt=1, description="activation of sure background (tags)")
    tag_places: float = Field(
        0.1, ge=0, le=1, description="share of places whose highest scores speak for a tag (tags)"
    )
    tag_weight: float = Field(1.0, ge=0, description="weight of the loss of the tags (tags)")
    tags_share: float = Field(
        0.1, ge=0, lt=1, description="share of the run that learns the tags alone (tags)"
    )

    @property
    def needs_tags(self) -> bool:
        return self.evidence == TAGS

    # -- networks and state -----------------------------------------------------------------------

    def heads(self, trainer: PixelTrainer, plain: Segmenter) -> dict[str, nn.Module]:
        heads = super().heads(trainer, plain)
        if self.evidence == TAGS:
            head = nn.Conv2d(plain.encoder_channels[-1], plain.num_classes, 1)
            # As frequent as the class is: else it is long the bias alone that learns.
            share = _tags(trainer.data, plain.num_classes).float().mean(0)
            head.get_parameter("bias").data = share.clamp(0.01, 0.99).logit()
            heads[TAGS] = head
        return heads

    def parts(self, trainer: PixelTrainer, student: Segmenter) -> dict[str, nn.Module]:
        parts = super().parts(trainer, student)
        if self.momentum_centres or self.denoised:
            parts["centres"] = ClassCentres(student.num_classes, self.width, self.centre_momentum)
        if self.evidence == TAGS:
            tags = _tags(trainer.data, student.num_classes)
            parts["allowed"] = AllowedClasses(tags, self.background)
        return parts

    def streams(self, data: Data[Any]) -> dict[str, Any]:
        if self.evidence != TAGS:
            return super().streams(data)
        tagged = {"unlabelled": data.unlabelled.batches(self.batch * self.ratio)}
        if len(data.labelled) == 0:
            return tagged
        return {"labelled": data.labelled.batches(self.batch), **tagged}

    # -- additions --------------------------------------------------------------------------------

    @property
    def needs_vectors(self) -> bool:
        # Without the contrast nobody trains representations or moves centres.
        return self.denoised and self.contrast_weight > 0

    def positives(self, run: PixelRun, vectors: Tensor, member: Tensor) -> Tensor:
        means, counts = class_means(vectors, member)
        if "centres" not in run.parts:
            return means
        centres = cast("ClassCentres", run.parts["centres"])
        centres.update(means, counts)
        return centres.centres if self.momentum_centres else means

    def believed(self, run: PixelRun, seen: Seen, allowed: Tensor | None) -> Tensor:
        logits = self.without_ruled_out(seen.logits, allowed)
        if not self.needs_vectors:
            return logits
        assert seen.vectors is not None
        near = cast("ClassCentres", run.parts["centres"]).similarity(seen.vectors)
        near = headed(run.teacher).resize(near, logits.shape[-2:])
        return reweight_by_centres(logits, near, self.temperature)

    def unlabelled_loss(self, logits: Tensor, targets: Tensor, judged: Tensor) -> Tensor:
        if self.backward == 0:
            return super().unlabelled_loss(logits, targets, judged)
        return symmetric_pixel_cross_entropy(logits, targets, backward=self.backward, judged=judged)

    # -- domains ----------------------------------------------------------------------------------

    def mixed(self, run: PixelRun, labelled: Shown, unlabelled: Shown) -> Shown:
        if self.evidence != "domains":
            return super().mixed(run, labelled, unlabelled)
        every = torch.arange(len(unlabelled), device=unlabelled.images.device)
        source = labelled.rows(every % len(labelled))
        mask = classmix_mask(source.classes, run.draws, run.student.num_classes)
        return unlabelled.pasted(mask, source)

    # -- tags -------------------------------------------------------------------------------------

    def learns_tags_alone(self, run: PixelRun) -> bool:
        return self.evidence == TAGS and run.progress < self.tags_share

    def is_supervised(self, run: PixelRun) -> bool:
        return super().is_supervised(run) or self.learns_tags_alone(run)

    def loss(self, run: PixelRun) -> Tensor:
        if not self.learns_tags_alone(run):
            return super().loss(run)
        view = self.weak(run, run.batch.unlabelled.images)
        loss = self.tags_loss(run, headed(run.student).encode(view.images)[-1])
        run.trainer.observe(losses={"tags": loss})
        return loss

    def labelled_pixels(self, run: PixelRun) -> Shown:
        """Under tags, views of the pictures of the step with what activations are sure of."""
        if self.evidence != TAGS:
            return super().labelled_pixels(run)
        sample = run.batch.unlabelled
        view = self.weak(run, sample.images)
        valid = shown_pixels(run, view)
        classes = torch.where(valid, self.activated_pixels(run, view.images), -1)
        return Shown(
            view.images,
            classes,
            classes >= 0,
            torch.zeros_like(valid),
            torch.full_like(classes, -1),
            self.allowed(run, sample.items, valid),
        )

    @torch.no_grad()
    def activated_pixels(self, run: PixelRun, images: Tensor) -> Tensor:
        """(B, H, W) int64, the classes that the teacher's activation maps are sure of."""
        teacher = headed(run.teacher)
        scores, tags = teacher.apply_head(TAGS, teacher.encode(images)[-1]), self.tags(run)
        maps = class_activation_maps(scores, tags)
        maps = teacher.resize(maps, images.shape[-2:])
        return activated_classes(maps, tags, self.activated, self.inactive, self.background)

    def tags(self, run: PixelRun) -> Tensor:
        """(B, K) bool, the classes that the pictures of the step may show."""
        return cast("Tensor", run.parts["allowed"](run.batch.unlabelled.items))

    def allowed(self, run: PixelRun, items: Tensor, valid: Tensor) -> Tensor | None:
        if self.evidence != TAGS:
            return None
        return self.tags(run)[:, :, None, None].expand(-1, -1, *valid.shape[1:])

    def supervised_loss(self, run: PixelRun, student: Seen, labelled: Shown) -> Tensor:
        loss = super().supervised_loss(run, student, labelled)
        if self.evidence != TAGS:
            return loss
        loss = loss + self.tags_loss(run, student.encoded[-1][: len(labelled)])
        return loss + self.supervised(run) if len(run.trainer.data.labelled) else loss

    def tags_loss(self, run: PixelRun, encoded: Tensor) -> Tensor:
        """What the tags of the pictures of the step teach; ``encoded`` are the coarsest maps."""
        scores = headed(run.student).apply_head(TAGS, encoded)
        tagged = [c for c in range(scores.shape[1]) if c != self.background]
        tags = self.tags(run)[:, tagged]
        return self.tag_weight * tag_loss(scores[:, tagged], tags, self.tag_places)

    def without_ruled_out(self, logits: Tensor, allowed: Tensor | None) -> Tensor:
        if allowed is None:
            return logits
        return only_allowed(logits, shrunk(allowed, logits.shape[-2:]))

    def with_ruled_out(self, negative: Tensor, batch: Shown) -> Tensor:
        if batch.allowed is None:
            return negative
        size = negative.shape[-2:]
        seen = shrunk(batch.given | batch.proposed, size)[:, None]
        return negative | (seen & ~shrunk(batch.allowed, size))

    def parted(self, run: PixelRun, entropy: Tensor, batch: Shown) -> Parted:
        parted = super().parted(run, entropy, batch)
        if batch.allowed is None:
            return parted
        # Of a single class there is no doubt, however many of these pixels there are.
        certain = batch.proposed & (batch.allowed.sum(1) == 1)
        return Parted(parted.kept | certain, parted.low | certain, parted.high & ~certain)


def _tags(data: Data[PixelMaps], count: int) -> Tensor:
    tags = data.unlabelled.labels.tags
    if tags is not None and tags.shape[1] == count:
        return tags
    found = "There are none" if tags is None else f"They are of {tags.shape[1]} classes"
    raise ConfigError(
        f"evidence=tags learns from the classes of whole pictures. {found}.",
        f"tags (n, {count}) of the unlabelled pictures",
        "give them with --tags FILE, or in Python with PixelMaps.with_tags(...).",
    )
