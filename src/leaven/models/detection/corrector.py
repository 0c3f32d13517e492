"""Sloppy boxes put right, stage by stage, whatever is in them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import generalized_box_iou_loss

from leaven.models.detection.cost_assign import predicted_iou
from leaven.models.detection.detector import mean_of
from leaven.models.detection.pooling import Pyramid, RegionPool
from leaven.models.detection.regions import SMALLEST, Regions, clipped

THRESHOLDS = (0.3, 0.5, 0.7)
_WEIGHTS = ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0))


class CorrectorHead(nn.Sequential):
    """Pooled features (R, C s s) to four deltas (R, 4): three hidden layers, no class."""

    def __init__(self, inputs: int, width: int) -> None:
        layers: list[nn.Module] = [nn.Flatten()]
        for before in (inputs, width, width):
            layers += [nn.Linear(before, width), nn.ReLU()]
        last = nn.Linear(width, 4)
        nn.init.normal_(last.weight, std=1e-3)
        nn.init.zeros_(last.bias)
        super().__init__(*layers, last)


class BoxCorrector(nn.Module):
    """A cascade of three class-free box regressors (Cascade R-CNN without its classes).

    ``b_0`` is the box that is given, ``b_t = decode(head_t(pool(b_(t-1))), b_(t-1))``, cut at the
    border of the picture. In training, head t learns from the boxes with
    ``IoU(b_(t-1), truth) >= u_t``, u = 0.3, 0.5, 0.7.

    Args:
        channels: of the maps.
        width: units of the hidden layers.
        pool: of the features of a box.

    Source: Kaul et al., Label, Verify, Correct, CVPR 2022, after Cai and Vasconcelos, Cascade
    R-CNN, CVPR 2018. Used by: 034.
    """

    def __init__(self, channels: int, width: int, pool: RegionPool) -> None:
        super().__init__()
        self.pool = pool
        inputs = channels * pool.output**2
        self.heads = nn.ModuleList(CorrectorHead(inputs, width) for _ in THRESHOLDS)
        self.coders = [BoxCoder(weights) for weights in _WEIGHTS]

    def stages(self, features: Pyramid, regions: Regions) -> list[tuple[Tensor, Tensor]]:
        """Of each stage the boxes (R, 4) that it is given, without gradient, and its own."""
        boxes, stages = regions.boxes, []
        for head, coder in zip(self.heads, self.coders, strict=True):
            given = boxes.detach()
            deltas = head(self.pool(features, Regions(given, regions.pictures))).float()
            boxes = clipped(coder.decode_single(deltas, given), features.size)
            stages.append((given, boxes))
        return stages

    @torch.no_grad()
    def refine(self, features: Pyramid, regions: Regions) -> Tensor:
        """(R, 4) the boxes after all stages; one that is left without an area stays as it was."""
        boxes = self.stages(features, regions)[-1][1]
        whole = ((boxes[:, 2:] - boxes[:, :2]) >= SMALLEST).all(1, keepdim=True)
        return torch.where(whole, boxes, regions.boxes)

    def losses(
        self,
        features: Pyramid,
        regions: Regions,
        truth: Tensor,
        thresholds: Sequence[float] = THRESHOLDS,
    ) -> dict[str, Tensor]:
        """Of each stage the mean of ``1 - GIoU`` of its boxes that were near enough before it.

        Args:
            regions: (R,) boxes that are to be put right.
            truth: (R, 4) what each should be.
            thresholds: u.
        """
        losses = {}
        for number, (given, boxes) in enumerate(self.stages(features, regions)):
            near = predicted_iou(given[:, None], truth[:, None])[:, 0, 0] >= thresholds[number]
            each = generalized_box_iou_loss(boxes, truth) * near
            losses[f"stage_{number + 1}"] = mean_of(each, near.sum())
        return losses
