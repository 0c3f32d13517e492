"""A box corrector with a backbone of its own, and what it learns from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leaven.data.pixels import Pixels
from leaven.data.transforms import noisy_boxes
from leaven.draws import Draws
from leaven.labels import BoxLabels
from leaven.models.detection import BoxCorrector, Regions, Targets, TwoStage
from leaven.models.detection.box_head import DeltaHead
from leaven.models.detection.detector import evaluating
from leaven.models.detection.regions import SMALLEST, clipped, compare, rank_in_group

_COPIES = 16
"""Noisy boxes made of each box, of which some are drawn."""
_AT_ONCE = 16


class Correction(nn.Module):
    """Pictures and boxes in, better boxes out.

    Args:
        trunk: a detector whose backbone gives the features; its heads are not used, and fixed.
    """

    def __init__(self, trunk: TwoStage) -> None:
        super().__init__()
        assert isinstance(trunk.box, DeltaHead)
        trunk.proposals.requires_grad_(False)
        trunk.box.requires_grad_(False)
        self.trunk = trunk
        width = trunk.box.deltas.in_features
        channels = int(trunk.backbone.out_channels)  # type: ignore[arg-type]
        self.corrector = BoxCorrector(channels, width, trunk.pool)


def corrector_losses(
    correction: Correction,
    images: Tensor,
    labels: BoxLabels,
    draws: Draws,
    *,
    detector: TwoStage,
    most: int,
    shift: float,
    scale: float,
    least_iou: float,
) -> dict[str, Tensor]:
    """The losses of the corrector on proposals and noisy boxes; ignore regions teach nothing.

    The boxes are proposals of ``detector`` whose IoU with a true box is above ``least_iou``, and
    ``noisy_boxes`` of the true boxes; of each picture at most ``most`` are drawn.
    """
    things = labels.keep(~labels.crowd).to(images.device)
    regions, truth = _to_correct(detector, images, things, draws, shift, scale, least_iou)
    chance = draws.fork().uniform(len(regions)).to(images.device)
    drawn = rank_in_group(chance, regions.pictures) < most
    features = correction.trunk.features(images)
    return correction.corrector.losses(features, regions.keep(drawn), truth[drawn])


@torch.no_grad()
def _to_correct(
    detector: TwoStage,
    images: Tensor,
    things: BoxLabels,
    draws: Draws,
    shift: float,
    scale: float,
    least_iou: float,
) -> tuple[Regions, Tensor]:
    with evaluating(detector):
        proposed = detector.propose(detector.rpn(detector.features(images)))
    blocks = Targets.of(things, images.device).select(proposed.pictures)
    overlap, place = compare(proposed.boxes[:, None], blocks)[0][:, 0].max(1)
    near = overlap > least_iou
    size = (images.shape[-2], images.shape[-1])
    noisy = noisy_boxes(things.boxes, _COPIES, draws, shift=shift, scale=scale, least_iou=least_iou)
    boxes = torch.cat([proposed.boxes[near], clipped(noisy.boxes, size)])
    pictures = torch.cat([proposed.pictures[near], things.pictures[noisy.rows]])
    truth = torch.cat([blocks.boxes[near, place[near]], things.boxes[noisy.rows]])
    large = ((boxes[:, 2:] - boxes[:, :2]) >= SMALLEST).all(1)
    return Regions(boxes[large], pictures[large]), truth[large]


@torch.no_grad()
def refined(correction: Correction, pixels: Pixels, labels: BoxLabels) -> Tensor:
    """(m, 4) the boxes of ``labels`` after correction, on the CPU."""
    device = next(correction.parameters()).device
    boxes = [torch.zeros(0, 4)]
    with evaluating(correction):
        for index in torch.arange(len(labels)).split(_AT_ONCE):
            some = labels.select(index).to(device)
            if not len(some.boxes):
                continue
            features = correction.trunk.features(pixels.batch(index).to(device))
            regions = Regions(some.boxes, some.pictures)
            boxes.append(correction.corrector.refine(features, regions).cpu())
    return torch.cat(boxes)
