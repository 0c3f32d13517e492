"""Side-aware boundary classification: each side of a box is found in one of several buckets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leaven.errors import ModelError
from leaven.models.detection.box_head import BETA, BoxHead, RegionOutputs


@dataclass(frozen=True)
class BucketCoder:
    """The sides of a box as buckets and offsets within them.

    A region is enlarged about its centre by ``enlarge``. Its left half is the range of the left
    side, its right half that of the right side, and so above and below; each range is cut into
    ``bins`` buckets of width ``d`` with centres ``z_k``, in order of the coordinate. A side is
    ``z_k + o_k d``. Sides are ordered x1, y1, x2, y2.

    Attributes:
        bins: buckets per side, >= 1.
        enlarge: > 0.

    Source: the side-aware boundary localisation of Wang et al. (2020), as the box head of 020.
    """

    bins: int = 7
    enlarge: float = 1.7

    def buckets(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Of regions (R, 4): the centres (R, 4, bins), and the widths (R, 4, 1), in pixels."""
        low, high = boxes[:, :2], boxes[:, 2:]
        centre, half = (low + high) / 2, (high - low) / 2 * self.enlarge
        starts = torch.cat([centre - half, centre], 1)[..., None]
        width = (half / self.bins).repeat(1, 2)[..., None]
        steps = torch.arange(self.bins, device=boxes.device, dtype=boxes.dtype) + 0.5
        return starts + steps * width, width

    def encode(self, boxes: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The true boxes (R, 4) in the buckets of their regions (R, 4).

        Returns:
            the bucket that holds each side, (R, 4) int64 (the nearest for a side outside its
            range), and the offsets ``(side - z_k) / d`` (R, 4, bins).
        """
        centres, width = self.buckets(boxes)
        offsets = (targets[..., None] - centres) / width
        return offsets.abs().argmin(-1), offsets

    def decode(self, boxes: Tensor, logits: Tensor, offsets: Tensor) -> Tensor:
        """The boxes (R, 4) at the best bucket of each side: ``z_k* + o_k* d``, ``k*`` the argmax.

        Args:
            boxes: (R, 4) regions.
            logits, offsets: (R, 4, bins).
        """
        centres, width = self.buckets(boxes)
        best = logits.argmax(-1, keepdim=True)
        return (centres.gather(-1, best) + offsets.gather(-1, best) * width)[..., 0]


def side_certainty(logits: Tensor) -> Tensor:
    """``q = 1/4 sum_sides max_k softmax(logits)_k``: (R, 4, bins) to (R,) in [1 / bins, 1].

    Used by: 020.
    """
    return logits.softmax(-1).amax(-1).mean(-1)


def bucket_loss(logits: Tensor, offsets: Tensor, bins: Tensor, targets: Tensor) -> Tensor:
    """``sum_sides CE(logits, bin) + sum_sides smoothL1(offset)``, (R,).

    Offsets are trained at the bucket that holds the side and at the one next nearest to it.

    Args:
        logits, offsets: (R, 4, n), of the head.
        bins: (R, 4) int64, the bucket that holds each side.
        targets: (R, 4, n), the true offset from each bucket.

    Used by: 020.
    """
    classified = F.cross_entropy(logits.flatten(0, 1), bins.flatten(), reduction="none")
    nearest = targets.abs().topk(min(2, targets.shape[-1]), -1, largest=False).indices
    moved = F.smooth_l1_loss(
        offsets.gather(-1, nearest), targets.gather(-1, nearest), beta=BETA, reduction="none"
    )
    return classified.view_as(bins).sum(1) + moved.sum((1, 2))


class BucketHead(BoxHead):
    """A box head that classifies the bucket of each side, and so says how certain the place is.

    The location code is (R, 8 bins): for each side the logits of its buckets, then for each side
    the offset in each bucket; one box for all classes. Its certainty is ``side_certainty``, and
    suppression orders boxes by class score times certainty.

    Args:
        bins: buckets per side.
        enlarge: by how much a region is enlarged before it is cut into buckets.

    Used by: 020.
    """

    ranks_by_certainty = True

    def __init__(
        self,
        channels: int,
        resolution: int,
        width: int,
        num_classes: int,
        *,
        bins: int = 7,
        enlarge: float = 1.7,
    ) -> None:
        super().__init__(channels, resolution, width, num_classes)
        if bins < 1 or enlarge <= 0:
            raise ModelError(
                f"bins={bins}, enlarge={enlarge}.",
                "at least one bucket per side, and a factor above 0",
                "Change the options of the box head.",
            )
        self.coder = BucketCoder(bins, enlarge)
        self.sides = nn.Linear(width, 8 * bins)
        nn.init.normal_(self.sides.weight, std=0.001)
        nn.init.zeros_(self.sides.bias)

    def locate(self, hidden: Tensor) -> Tensor:
        return self.sides(hidden)

    def parts(self, location: Tensor) -> tuple[Tensor, Tensor]:
        """The location code as logits and offsets, each (R, 4, bins)."""
        both = location.view(len(location), 2, 4, self.coder.bins)
        return both[:, 0], both[:, 1]

    def decode(self, location: Tensor, boxes: Tensor) -> Tensor:
        refined = self.coder.decode(boxes, *self.parts(location))
        # A left side beyond the right one is no box.
        low, high = refined[:, :2], refined[:, 2:]
        refined = torch.cat([torch.minimum(low, high), torch.maximum(low, high)], 1)
        return refined[:, None].expand(-1, self.num_classes, -1)

    def location_loss(
        self, location: Tensor, boxes: Tensor, classes: Tensor, targets: Tensor
    ) -> Tensor:
        return bucket_loss(*self.parts(location), *self.coder.encode(boxes, targets))

    def certainty(self, outputs: RegionOutputs) -> Tensor:
        return side_certainty(self.parts(outputs.location)[0])
