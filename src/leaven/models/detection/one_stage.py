"""One-stage detectors: RetinaNet and FCOS, with everything they say open to a method."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from leaven.draws import Draws
from leaven.labels.boxes import BoxLabels
from leaven.models.classifier import ModelSpec
from leaven.models.detection.anchors import AnchorGrid
from leaven.models.detection.dense_head import DenseHead, DenseOutputs
from leaven.models.detection.detector import Detections, Detector, mean_of
from leaven.models.detection.regions import (
    BACKGROUND,
    IGNORED,
    SMALLEST,
    Targets,
    assign,
    clipped,
    compare,
    rank_in_group,
    suppress,
)

BoxLoss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(P,) the loss of location codes, decoded boxes, anchors and true boxes, each (P, 4)."""

_CANDIDATES = 1000
"""Of each level of a picture, at most so many enter the suppression."""


class OneStage(Detector):
    """A dense head on a feature pyramid.

    ``forward`` gives the scores (B, N, K) in [0, 1] and the boxes (B, N, 4) in pixels of all
    anchors, which is also what an exported network gives.

    Args:
        backbone: normalised pictures to a tuple of maps, the finest first.
        head: on the maps.
        grid: the anchors.
    """

    def __init__(
        self,
        spec: ModelSpec,
        divisor: int,
        *,
        backbone: nn.Module,
        head: DenseHead,
        grid: AnchorGrid,
    ) -> None:
        super().__init__(spec, divisor)
        self.backbone, self.head, self.grid = backbone, head, grid

    def outputs(self, images: Tensor) -> DenseOutputs:
        """What the network says of pictures (B, C, H, W) at each anchor."""
        pictures = self.normalise(images)
        with self._autocast():
            maps = tuple(self.backbone(pictures))
            logits, location, centreness, classed, placed = self.head(maps)
        padded = pictures.shape[-2], pictures.shape[-1]
        levels = self.grid.boxes(maps, padded)
        anchors = torch.cat(levels)
        steps = [
            torch.full((len(boxes),), padded[0] / level.shape[-2], device=anchors.device)
            for boxes, level in zip(levels, maps, strict=True)
        ]
        return DenseOutputs(
            logits,
            location,
            self.decode(location, anchors),
            centreness,
            anchors,
            torch.cat(steps),
            tuple((level.shape[-2], level.shape[-1]) for level in maps),
            (images.shape[-2], images.shape[-1]),
            tuple(classed),
            tuple(placed),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        outputs = self.outputs(images)
        return self.scores(outputs), clipped(outputs.boxes, outputs.size)

    @abstractmethod
    def decode(self, location: Tensor, anchors: Tensor) -> Tensor:
        """Location codes (B, N, 4) at anchors (N, 4) to boxes (B, N, 4) in pixels."""

    def scores(self, outputs: DenseOutputs) -> Tensor:
        """(B, N, K) in [0, 1], by which detections are chosen and ordered."""
        return outputs.logits.sigmoid()

    @abstractmethod
    def assign(self, outputs: DenseOutputs, targets: Targets) -> Tensor:
        """(B, N) int64: the place in ``targets`` of each anchor, ``BACKGROUND`` or ``IGNORED``."""

    @abstractmethod
    def assigned_losses(
        self, outputs: DenseOutputs, targets: Targets, places: Tensor
    ) -> dict[str, Tensor]:
        """The loss terms under an assignment, as ``assign`` gives it."""

    def losses(self, images: Tensor, targets: BoxLabels, draws: Draws) -> dict[str, Tensor]:
        outputs = self.outputs(images)
        blocks = Targets.of(targets, outputs.logits.device)
        return self.assigned_losses(outputs, blocks, self.assign(outputs, blocks))

    def detections(
        self, images: Tensor, *, score: float = 0.05, nms: float = 0.5, most: int = 100
    ) -> Detections:
        return self.found(self.outputs(images), score=score, nms=nms, most=most)

    def found(self, outputs: DenseOutputs, *, score: float, nms: float, most: int) -> Detections:
        """The detections among all anchors."""
        scores = self.scores(outputs)
        pictures, places, classes = (scores > score).nonzero(as_tuple=True)
        values = scores[pictures, places, classes]
        counts = torch.tensor(outputs.counts, device=values.device)
        levels = torch.bucketize(places, counts.cumsum(0), right=True)
        chosen = rank_in_group(-values, pictures * len(counts) + levels) < _CANDIDATES
        pictures, places, classes = pictures[chosen], places[chosen], classes[chosen]
        values = values[chosen]
        boxes = clipped(outputs.boxes[pictures, places], outputs.size)
        # A box without area is no detection, and nothing can suppress it.
        large = ((boxes[:, 2:] - boxes[:, :2]) >= SMALLEST).all(1)
        boxes, values, pictures, classes = (
            rows[large] for rows in (boxes, values, pictures, classes)
        )
        kept = suppress(boxes, values, classes, pictures, nms=nms, most=most)
        counts = torch.bincount(pictures[kept], minlength=len(scores))
        return Detections(boxes[kept], classes[kept], values[kept], counts)


def focal(outputs: DenseOutputs, targets: Targets, places: Tensor) -> Tensor:
    """(B, N) the focal loss (Lin et al., 2017; alpha 0.25, gamma 2) of each anchor, summed over the
    classes, against the class of its target or none; 0 where the assignment is ``IGNORED``."""
    wanted = torch.zeros_like(outputs.logits)
    pictures, rows = (places >= 0).nonzero(as_tuple=True)
    wanted[pictures, rows, targets.classes[pictures, places[pictures, rows]]] = 1
    each = sigmoid_focal_loss(outputs.logits, wanted).sum(2)
    return each * (places != IGNORED)


def delta_l1(location: Tensor, boxes: Tensor, anchors: Tensor, wanted: Tensor) -> Tensor:
    """The L1 distance of the four deltas, summed: the box loss of torchvision's RetinaNet."""
    coded = BoxCoder((1.0, 1.0, 1.0, 1.0)).encode_single(wanted, anchors)
    return F.l1_loss(location, coded, reduction="none").sum(1)


def giou(location: Tensor, boxes: Tensor, anchors: Tensor, wanted: Tensor) -> Tensor:
    """``1 - GIoU`` of the decoded box (Rezatofighi et al., 2019)."""
    return generalized_box_iou_loss(boxes, wanted)


class Retina(OneStage):
    """RetinaNet (Lin et al., 2017): anchors by IoU (0.5 and 0.4), focal loss, deltas.

    ``class``: the focal loss over the number of positives of a picture, mean over pictures.
    ``box``: the box loss of positives, normalised the same way.

    Args:
        weights: of the deltas of centre and size: the reciprocals of their spreads.
        box_loss: of positives.
    """

    def __init__(
        self,
        spec: ModelSpec,
        divisor: int,
        *,
        backbone: nn.Module,
        head: DenseHead,
        grid: AnchorGrid,
        weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
        box_loss: BoxLoss = delta_l1,
    ) -> None:
        super().__init__(spec, divisor, backbone=backbone, head=head, grid=grid)
        self.coder = BoxCoder(weights)
        self.box_loss = box_loss

    def decode(self, location: Tensor, anchors: Tensor) -> Tensor:
        # The coder takes several codes for one box: here those of all pictures.
        codes = location.transpose(0, 1).flatten(1)
        return self.coder.decode_single(codes, anchors).unflatten(1, (-1, 4)).transpose(0, 1)

    def assign(self, outputs: DenseOutputs, targets: Targets) -> Tensor:
        return assign(outputs.anchors, targets, high=0.5, low=0.4, every_target=True)

    def assigned_losses(
        self, outputs: DenseOutputs, targets: Targets, places: Tensor
    ) -> dict[str, Tensor]:
        share = 1 / (places >= 0).sum(1).clamp_min(1) / max(len(places), 1)
        pictures, rows = (places >= 0).nonzero(as_tuple=True)
        each = self.box_loss(
            outputs.location[pictures, rows],
            outputs.boxes[pictures, rows],
            outputs.anchors[rows],
            targets.boxes[pictures, places[pictures, rows]],
        )
        return {
            "class": (focal(outputs, targets, places).sum(1) * share).sum(),
            "box": (each * share[pictures]).sum(),
        }


class FCOS(OneStage):
    """FCOS (Tian et al., 2019): points instead of anchors, distances to four sides, centreness.

    The anchor of a point has the side of its stride. A location is the distances to the left, top,
    right and bottom in units of the stride, cut at 0. A point belongs to the smallest true box
    that it lies in, no further from its centre than 1.5 strides along each axis, and whose furthest
    side is more than 4 and less than 8 strides away (from 0 on the finest level, without end on the
    coarsest). All losses are over the number of positives of the batch.

    ``class``: focal. ``box``: ``1 - GIoU``. ``centreness``: binary cross entropy against
    ``sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b))``. A score is
    ``sqrt(class * centreness)``. With a head without centreness there is no such term, and a score is
    that of the class.
    """

    def decode(self, location: Tensor, anchors: Tensor) -> Tensor:
        distances = location.relu() * (anchors[:, 2:] - anchors[:, :2]).repeat(1, 2)
        centres = (anchors[:, :2] + anchors[:, 2:]) / 2
        return torch.cat([centres - distances[..., :2], centres + distances[..., 2:]], -1)

    def scores(self, outputs: DenseOutputs) -> Tensor:
        if outputs.centreness is None:
            return super().scores(outputs)
        return (outputs.logits.sigmoid() * outputs.centreness.sigmoid()[..., None]).sqrt()

    def assign(self, outputs: DenseOutputs, targets: Targets) -> Tensor:
        points = outputs.points[None, :, None]
        stride = (outputs.anchors[:, 2] - outputs.anchors[:, 0])[None, :, None]
        boxes = targets.boxes[:, None]
        centres = (boxes[..., :2] + boxes[..., 2:]) / 2
        near = (points - centres).abs().amax(-1) < 1.5 * stride
        sides = torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], -1)
        counts = outputs.counts
        lower, upper = 4 * stride, 8 * stride
        lower[:, : counts[0]], upper[:, -counts[-1] :] = 0, torch.inf
        furthest = sides.amax(-1)
        fits = near & (sides.amin(-1) > 0) & (furthest > lower) & (furthest < upper)
        sizes = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
        sizes = torch.where(fits & targets.true[:, None], sizes, torch.inf)
        smallest, place = sizes.min(2)
        _, covered = compare(outputs.anchors.expand(len(boxes), -1, 4), targets)
        none = torch.where(covered, IGNORED, BACKGROUND)
        return torch.where(smallest.isfinite(), place, none)

    def assigned_losses(
        self, outputs: DenseOutputs, targets: Targets, places: Tensor
    ) -> dict[str, Tensor]:
        pictures, rows = (places >= 0).nonzero(as_tuple=True)
        wanted = targets.boxes[pictures, places[pictures, rows]]
        boxes = generalized_box_iou_loss(outputs.boxes[pictures, rows], wanted)
        count = len(rows)
        losses = {
            "class": mean_of(focal(outputs, targets, places), count),
            "box": mean_of(boxes, count),
        }
        if outputs.centreness is not None:
            points = outputs.points[rows]
            near, far = points - wanted[:, :2], wanted[:, 2:] - points
            centred = (torch.minimum(near, far) / torch.maximum(near, far)).prod(1).sqrt()
            centreness = F.binary_cross_entropy_with_logits(
                outputs.centreness[pictures, rows], centred, reduction="none"
            )
            losses["centreness"] = mean_of(centreness, count)
        return losses
