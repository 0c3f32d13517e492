"""Two-stage detectors: Faster R-CNN and Mask R-CNN, each step of theirs open to a method."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.roi_heads import paste_masks_in_image

from leaven.draws import Draws
from leaven.labels.boxes import BoxLabels
from leaven.models.classifier import ModelSpec
from leaven.models.detection.box_head import BoxHead, RegionOutputs
from leaven.models.detection.detector import Detections, Detector
from leaven.models.detection.mask_branch import (
    MaskBranch,
    MaskOutputs,
    cropped_masks,
    mask_iou,
    mask_loss,
    quality_loss,
)
from leaven.models.detection.pooling import Pyramid, RegionPool
from leaven.models.detection.regions import (
    BACKGROUND,
    IGNORED,
    SMALLEST,
    Regions,
    Targets,
    areas,
    assign_regions,
    clipped,
    sample,
    suppress,
)
from leaven.models.detection.rpn import AnchorOutputs, ProposalNetwork


@dataclass(frozen=True, slots=True)
class RegionSample:
    """S regions to train the second stage on.

    Attributes:
        regions: the places.
        labels: (S,) int64, the class; K for background, -1 for no loss.
        boxes: (S, 4), the true box of a positive; the region itself of a negative.
        target: (S,) int64, the row of the labels that a positive was assigned to; -1 of others.
    """

    regions: Regions
    labels: Tensor
    boxes: Tensor
    target: Tensor

    @property
    def positive(self) -> Tensor:
        """(S,) bool: assigned to a true box."""
        return self.target >= 0


@dataclass(frozen=True)
class SampleRules:
    """Attributes:
    threshold: IoU with a true box from which on a region is a positive.
    count, fraction: regions of a picture, and the largest share of positives.
    """

    threshold: float = 0.5
    count: int = 512
    fraction: float = 0.25


class TwoStage(Detector):
    """Faster R-CNN (Ren et al., 2015) on a feature pyramid; with a mask branch, Mask R-CNN.

    A step of a method, written by hand::

        features = model.features(images)
        anchors = model.rpn(features)
        losses = model.rpn_losses(anchors, targets, draws)
        chosen = model.sample(model.propose(anchors), targets, draws)
        outputs = model.roi_outputs(features, chosen.regions)
        losses["roi_class"] = model.roi_class_loss(outputs, chosen.labels, weight)
        losses["roi_box"] = model.roi_box_loss(outputs, chosen)

    Args:
        backbone: normalised pictures to a tuple of maps, the finest first.
        rpn, pool, box: the proposal network, the pooling for the box head, and the box head,
            which may be replaced by another ``BoxHead`` on the same pooled features.
        masks: the mask branch, and the pooling for it; or None.
        rules: how regions are labelled and sampled.
    """

    def __init__(
        self,
        spec: ModelSpec,
        divisor: int,
        *,
        backbone: nn.Module,
        rpn: ProposalNetwork,
        pool: RegionPool,
        box: BoxHead,
        masks: tuple[MaskBranch, RegionPool] | None = None,
        rules: SampleRules | None = None,
    ) -> None:
        super().__init__(spec, divisor)
        self.backbone, self.proposals, self.pool, self.box = backbone, rpn, pool, box
        self.mask: MaskBranch | None = masks[0] if masks else None
        self.mask_pool: RegionPool | None = masks[1] if masks else None
        self.rules = rules or SampleRules()

    def features(self, images: Tensor) -> Pyramid:
        """The feature maps of pictures (B, C, H, W)."""
        pictures = self.normalise(images)
        with self._autocast():
            maps = tuple(self.backbone(pictures))
        height, width = images.shape[-2:]
        return Pyramid(maps, (height, width), (pictures.shape[-2], pictures.shape[-1]))

    def rpn(self, features: Pyramid) -> AnchorOutputs:
        """What the proposal network says of each anchor."""
        with self._autocast():
            return self.proposals(features)

    def propose(self, anchors: AnchorOutputs) -> Regions:
        """The best regions of each picture, without gradient."""
        return self.proposals.propose(anchors)[0]

    def rpn_losses(
        self, anchors: AnchorOutputs, targets: BoxLabels, draws: Draws
    ) -> dict[str, Tensor]:
        """``rpn_objectness`` and ``rpn_box`` against any set of boxes of the same pictures."""
        blocks = Targets.of(targets, anchors.objectness.device)
        return self.proposals.losses(anchors, blocks, draws)

    def sample(self, regions: Regions, targets: BoxLabels, draws: Draws) -> RegionSample:
        """Regions to train on: the true boxes are added to ``regions``, all are assigned by IoU,
        and of each picture some positives and negatives are drawn.

        Regions in ignore regions are never drawn, unless they overlap a true box enough.
        """
        blocks = Targets.of(targets, regions.boxes.device)
        own = blocks.regions()
        regions = Regions(
            torch.cat([regions.boxes, own.boxes]), torch.cat([regions.pictures, own.pictures])
        )
        place = assign_regions(regions, blocks, self.rules.threshold)
        kind = torch.where(place == IGNORED, -1, (place != BACKGROUND).long())
        positive, negative = sample(
            kind, regions.pictures, self.rules.count, self.rules.fraction, draws
        )
        rows = (positive | negative).nonzero().squeeze(1)
        rows = rows[regions.pictures[rows].argsort(stable=True)]
        return self._labelled(regions.keep(rows), place[rows], blocks)

    def _labelled(self, regions: Regions, place: Tensor, blocks: Targets) -> RegionSample:
        found = place >= 0
        index = regions.pictures, place.clamp_min(0)
        return RegionSample(
            regions,
            torch.where(found, blocks.classes[index], self.num_classes),
            torch.where(found[:, None], blocks.boxes[index], regions.boxes),
            torch.where(found, blocks.rows[index], -1),
        )

    def roi_outputs(self, features: Pyramid, regions: Regions) -> RegionOutputs:
        """What the box head says of ``regions``, with gradient where it is recorded."""
        with self._autocast():
            return self.box(self.pool(features, regions))

    def roi_scores(self, features: Pyramid, regions: Regions) -> tuple[Tensor, Tensor]:
        """Class probabilities and refined boxes of given regions; nothing is suppressed.

        Returns:
            probs (R, K + 1), the background last, and boxes (R, K, 4), the refined box for each
            class, cut at the border of the picture.
        """
        outputs = self.roi_outputs(features, regions)
        boxes = self.box.decode(outputs.location, regions.boxes)
        return outputs.probs, clipped(boxes, features.size)

    def roi_class_loss(
        self, outputs: RegionOutputs, labels: Tensor, weight: Tensor | None = None
    ) -> Tensor:
        """``sum_j w_j CE_j / max(sum_j w_j, 1)``; rows labelled -1 have no weight.

        Args:
            labels: (R,) int64, the class, K for background, -1 for no loss.
            weight: (R,) >= 0; 1 each when None. It gets no gradient.

        Used by: Faster R-CNN, 097, 020, 005.
        """
        counted = (labels >= 0).float()
        weight = counted if weight is None else weight.detach().float() * counted
        each = F.cross_entropy(outputs.logits, labels.clamp_min(0), reduction="none")
        return (each * weight).sum() / weight.sum().clamp_min(1)

    def roi_box_loss(
        self, outputs: RegionOutputs, chosen: RegionSample, weight: Tensor | None = None
    ) -> Tensor:
        """``sum_{j positive} w_j L_j / max(S, 1)`` with S the number of sampled regions that have
        a label, and ``L_j`` the location loss of the box head.

        Args:
            weight: (S,) >= 0; 1 each when None.
        """
        rows = chosen.positive.nonzero().squeeze(1)
        each = self.box.location_loss(
            outputs.location[rows],
            chosen.regions.boxes[rows],
            chosen.labels[rows],
            chosen.boxes[rows],
        )
        if weight is not None:
            each = each * weight[rows].detach()
        return each.sum() / (chosen.labels >= 0).sum().clamp_min(1)

    def box_quality_loss(self, outputs: RegionOutputs, chosen: RegionSample) -> Tensor:
        """``quality_loss`` of the positives: the target is the IoU of the refined box of the true
        class with the true box. Used by: 005."""
        assert outputs.quality is not None
        rows = chosen.positive.nonzero().squeeze(1)
        with torch.no_grad():
            boxes = chosen.regions.boxes[rows]
            refined = self.box.decode(outputs.location[rows], boxes)
            refined = refined[torch.arange(len(rows), device=rows.device), chosen.labels[rows]]
            overlap = _paired_iou(refined, chosen.boxes[rows])
        return quality_loss(outputs.quality[rows], overlap)

    def mask_outputs(self, features: Pyramid, regions: Regions) -> MaskOutputs:
        """What the mask branch says of ``regions``."""
        assert self.mask is not None and self.mask_pool is not None
        with self._autocast():
            return self.mask(self.mask_pool(features, regions))

    def mask_targets(self, regions: Regions, rows: Tensor, masks: Tensor) -> Tensor:
        """The true masks within ``regions`` (P,): ``masks`` (m, H, W) at ``rows`` (P,) cropped,
        (P, M, M)."""
        assert self.mask_pool is not None
        return cropped_masks(masks, rows, regions.boxes, 2 * self.mask_pool.output)

    def losses(self, images: Tensor, targets: BoxLabels, draws: Draws) -> dict[str, Tensor]:
        features = self.features(images)
        anchors = self.rpn(features)
        losses = self.rpn_losses(anchors, targets, draws)
        chosen = self.sample(self.propose(anchors), targets, draws)
        outputs = self.roi_outputs(features, chosen.regions)
        losses["roi_class"] = self.roi_class_loss(outputs, chosen.labels)
        losses["roi_box"] = self.roi_box_loss(outputs, chosen)
        if outputs.quality is not None:
            losses["box_quality"] = self.box_quality_loss(outputs, chosen)
        if self.mask is not None:
            losses |= self._mask_losses(features, chosen, targets)
        return losses

    def _mask_losses(
        self, features: Pyramid, chosen: RegionSample, targets: BoxLabels
    ) -> dict[str, Tensor]:
        rows = chosen.positive.nonzero().squeeze(1)
        regions = chosen.regions.keep(rows)
        outputs = self.mask_outputs(features, regions)
        logits = outputs.of(chosen.labels[rows])
        dense = dense_masks(targets, features.size).to(logits.device)
        wanted = self.mask_targets(regions, chosen.target[rows], dense)
        losses = {"mask": mask_loss(logits, wanted)}
        if outputs.quality is not None:
            losses["mask_quality"] = quality_loss(outputs.quality, mask_iou(logits, wanted))
        return losses

    def detections(
        self, images: Tensor, *, score: float = 0.05, nms: float = 0.5, most: int = 100
    ) -> Detections:
        features = self.features(images)
        regions = self.propose(self.rpn(features))
        return self.found(features, regions, score=score, nms=nms, most=most)

    def found(
        self, features: Pyramid, regions: Regions, *, score: float, nms: float, most: int
    ) -> Detections:
        """The detections among ``regions``: the second stage alone."""
        outputs = self.roi_outputs(features, regions)
        certainty = self.box.certainty(outputs)
        probs = outputs.probs[:, :-1]
        boxes = clipped(self.box.decode(outputs.location, regions.boxes), features.size)
        large = (boxes[..., 2:] - boxes[..., :2]).amin(-1) >= SMALLEST
        rows, classes = ((probs > score) & large).nonzero(as_tuple=True)
        scores, pictures, boxes = probs[rows, classes], regions.pictures[rows], boxes[rows, classes]
        keys = scores
        if self.box.ranks_by_certainty and certainty is not None:
            keys = scores * certainty[rows]
        kept = suppress(boxes, keys, classes, pictures, nms=nms, most=most)
        # Not all heads suppress by score, but all give their rows by score.
        kept = kept[scores[kept].argsort(descending=True, stable=True)]
        kept = kept[pictures[kept].argsort(stable=True)]
        counts = torch.bincount(pictures[kept], minlength=len(features.maps[0]))
        quality = None if certainty is None else certainty[rows][kept]
        found = Detections(boxes[kept], classes[kept], scores[kept], counts, quality)
        return found if self.mask is None else self._with_masks(features, found)

    def _with_masks(self, features: Pyramid, found: Detections) -> Detections:
        """The masks of the detections; their quality is that of the mask where it is predicted."""
        outputs = self.mask_outputs(features, Regions(found.boxes, found.pictures))
        inside = outputs.of(found.classes).sigmoid()
        masks = paste_masks_in_image(inside[:, None], found.boxes, features.size)[:, 0] > 0.5
        quality = found.quality if outputs.quality is None else outputs.quality.sigmoid()
        return Detections(found.boxes, found.classes, found.scores, found.counts, quality, masks)


def dense_masks(labels: BoxLabels, size: tuple[int, int]) -> Tensor:
    """(m, H, W) bool, the masks of ``labels`` in pictures of ``size``.

    Raises:
        ValueError: there are rows and no masks, or masks of another size.
    """
    if not len(labels.boxes):
        return torch.zeros(0, *size, dtype=torch.bool)
    if labels.masks is None:
        raise ValueError("boxes without masks cannot train a mask branch")
    dense = labels.masks.dense()
    if dense.shape[1:] != size:
        raise ValueError(f"masks of {tuple(dense.shape[1:])} for pictures of {size}")
    return dense


def _paired_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """(P,) the IoU of each of ``boxes`` (P, 4) with its partner in ``others`` (P, 4)."""
    low = torch.maximum(boxes[:, :2], others[:, :2])
    high = torch.minimum(boxes[:, 2:], others[:, 2:])
    shared = (high - low).clamp_min(0).prod(1)
    return shared / (areas(boxes) + areas(others) - shared).clamp_min(1e-6)
