"""The region proposal network of Faster R-CNN, for a whole batch at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.rpn import RPNHead

from leaven.draws import Draws
from leaven.models.detection.anchors import AnchorGrid
from leaven.models.detection.box_head import BETA
from leaven.models.detection.dense_head import rows_of
from leaven.models.detection.detector import mean_of
from leaven.models.detection.pooling import Pyramid
from leaven.models.detection.regions import (
    IGNORED,
    Regions,
    Targets,
    assign,
    clipped,
    rank_in_group,
    sample,
    suppress,
)

_SMALLEST = 1e-3


@dataclass(frozen=True, slots=True)
class AnchorOutputs:
    """What the proposal network says of the A anchors of each picture.

    Attributes:
        objectness: (B, A) float32 logits.
        deltas: (B, A, 4) float32.
        anchors: (A, 4) float32, x1, y1, x2, y2 in pixels.
        levels: (A,) int64, the level of the pyramid.
        size: (height, width) of the pictures.
    """

    objectness: Tensor
    deltas: Tensor
    anchors: Tensor
    levels: Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class ProposalRules:
    """How anchors are labelled and proposals chosen.

    Attributes:
        before: of each level, so many proposals enter suppression, when training and when not.
        after: so many of a picture are left, when training and when not.
        nms: the IoU above which the weaker of two proposals goes.
        high, low: from ``high`` IoU on an anchor is positive, under ``low`` negative.
        count, fraction: anchors of a picture in the loss, and the largest share of positives.
    """

    before: tuple[int, int] = (2000, 1000)
    after: tuple[int, int] = (2000, 1000)
    nms: float = 0.7
    high: float = 0.7
    low: float = 0.3
    count: int = 256
    fraction: float = 0.5


class ProposalNetwork(nn.Module):
    """Objectness and four deltas for each anchor (Ren et al., 2015).

    Args:
        channels: of the feature maps.
        grid: the anchors.
        rules: of labels and proposals.
    """

    def __init__(self, channels: int, grid: AnchorGrid, rules: ProposalRules) -> None:
        super().__init__()
        self.head = RPNHead(channels, grid.count)
        self.grid, self.rules = grid, rules
        self.coder = BoxCoder((1.0, 1.0, 1.0, 1.0))

    def forward(self, pyramid: Pyramid) -> AnchorOutputs:
        maps = pyramid.maps
        objectness, deltas = self.head(list(maps))
        anchors = self.grid.boxes(maps, pyramid.padded)
        levels = [torch.full((len(one),), n, device=one.device) for n, one in enumerate(anchors)]
        return AnchorOutputs(
            torch.cat([rows_of(one, 1) for one in objectness], 1)[..., 0].float(),
            torch.cat([rows_of(one, 4) for one in deltas], 1).float(),
            torch.cat(anchors),
            torch.cat(levels),
            pyramid.size,
        )

    @torch.no_grad()
    def propose(self, outputs: AnchorOutputs) -> tuple[Regions, Tensor]:
        """The best regions of each picture, (R,) in order of picture and falling objectness, and
        their objectness in [0, 1]; more of them in training mode."""
        training = 0 if self.training else 1
        objectness = outputs.objectness
        count, number = objectness.shape
        pictures = torch.arange(count, device=objectness.device).repeat_interleave(number)
        levels = outputs.levels.repeat(count)
        groups = pictures * (int(outputs.levels[-1]) + 1) + levels
        chosen = rank_in_group(-objectness.flatten(), groups) < self.rules.before[training]
        rows = chosen.nonzero().squeeze(1)
        anchors = outputs.anchors[rows % number]
        boxes = self.coder.decode_single(outputs.deltas.flatten(0, 1)[rows], anchors)
        boxes = clipped(boxes, outputs.size)
        large = ((boxes[:, 2:] - boxes[:, :2]) >= _SMALLEST).all(1)
        rows, boxes = rows[large], boxes[large]
        scores = objectness.flatten()[rows].sigmoid()
        kept = suppress(
            boxes,
            scores,
            levels[rows],
            pictures[rows],
            nms=self.rules.nms,
            most=self.rules.after[training],
        )
        return Regions(boxes[kept], pictures[rows][kept]), scores[kept]

    def losses(self, outputs: AnchorOutputs, targets: Targets, draws: Draws) -> dict[str, Tensor]:
        """``rpn_objectness``: the mean binary cross entropy of the sampled anchors of all pictures.
        ``rpn_box``: the smooth L1 of the deltas of positives, over the number sampled."""
        rules = self.rules
        places = assign(outputs.anchors, targets, high=rules.high, low=rules.low, every_target=True)
        pictures = torch.arange(len(places), device=places.device)[:, None].expand_as(places)
        labels = torch.where(places == IGNORED, -1, (places >= 0).long())
        positive, negative = sample(
            labels.flatten(), pictures.flatten(), rules.count, rules.fraction, draws
        )
        chosen = (positive | negative).nonzero().squeeze(1)
        objectness = F.binary_cross_entropy_with_logits(
            outputs.objectness.flatten()[chosen], positive[chosen].float(), reduction="none"
        )
        rows = positive.nonzero().squeeze(1)
        wanted = self.coder.encode_single(
            targets.boxes[pictures.flatten()[rows], places.flatten()[rows]],
            outputs.anchors[rows % len(outputs.anchors)],
        )
        moved = F.smooth_l1_loss(
            outputs.deltas.flatten(0, 1)[rows], wanted, beta=BETA, reduction="none"
        )
        count = len(chosen)
        return {"rpn_objectness": mean_of(objectness, count), "rpn_box": mean_of(moved, count)}
