"""What the health of a run adds up over a window of steps, without waiting for the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class Sums:
    """The sums of one window, on the device of what is observed.

    ``counts[i, k + 1]`` are the proposals of class k, accepted (i = 1) or not (i = 0); column 0 is
    for proposals without a class. ``boxes`` of ``pictures`` were accepted, ``detections`` of
    ``looked`` at were proposed. ``by_pixel``: proposals are pixels. Of ``steps`` so many ``judged``
    unlabelled items; a burn-in does not. ``told``: the sum over
    ``contests`` steps of the share of patches that a critic told right.
    """

    def __init__(self, num_classes: int, device: torch.device | str = "cpu") -> None:
        self.counts = torch.zeros(2, num_classes + 1, dtype=torch.long, device=device)
        self.agreed = torch.zeros((), dtype=torch.long, device=device)
        self.compared = torch.zeros((), dtype=torch.long, device=device)
        self.boxes = torch.zeros((), dtype=torch.long, device=device)
        self.detections = torch.zeros((), dtype=torch.long, device=device)
        self.highest = torch.zeros((), device=device)
        self.told = torch.zeros((), device=device)
        self.dead: dict[str, Tensor] = {}
        self.threshold: Tensor | float | None = None
        self.steps = self.weighed = self.skipped = self.pictures = self.looked = 0
        self.judged = self.contests = 0
        self.by_pixel = False

    @property
    def proposed(self) -> Tensor:
        """(K,) proposals of each class."""
        return self.counts.sum(0)[1:]

    @property
    def accepted(self) -> Tensor:
        """(K,) accepted proposals of each class."""
        return self.counts[1, 1:]

    @property
    def trusted(self) -> int:
        """How many proposals were accepted."""
        return int(self.counts[1].sum())

    @property
    def accepted_share(self) -> float:
        """How many of the weighed proposals were accepted; of pixels, of those that have a class: the
        others show no picture."""
        if self.by_pixel and (shown := int(self.proposed.sum())):
            return int(self.accepted.sum()) / shown
        return self.trusted / self.weighed

    @property
    def limit(self) -> float | None:
        """The threshold, its mean where it is many."""
        return None if self.threshold is None else float(torch.as_tensor(self.threshold).mean())

    def count(self, proposed: Tensor, weight: Tensor | None) -> None:
        """Adds the proposals (...) of one step; unlike ``bincount`` this needs no wait."""
        self.by_pixel = self.by_pixel or proposed.dim() > 1
        place = proposed + 1
        if weight is not None:
            place = place + (weight > 0) * self.counts.shape[1]
        if place.dim() == 1:
            self.counts.view(-1).scatter_add_(0, place, torch.ones_like(place))
            return
        # Each row has counters of its own: on a GPU millions of pixels would queue for a few.
        rows = place.flatten(0, -2)
        counts = self.counts.new_zeros(len(rows), self.counts.numel())
        counts.scatter_add_(1, rows, torch.ones_like(rows))
        self.counts += counts.sum(0).view_as(self.counts)

    def compare(self, student: Tensor, proposed: Tensor) -> None:
        """Adds where two opinions are one; pixels without a proposal (outside of a crop) apart."""
        same = student == proposed
        if proposed.dim() == 1:
            self.compared += len(proposed)
            self.agreed += same.sum()
            return
        known = proposed >= 0
        self.compared += known.sum()
        self.agreed += (same & known).sum()

    def count_boxes(self, boxes: Tensor | None, detections: Tensor | None) -> None:
        """Adds the accepted boxes and the teacher's detections of pictures, each (B,)."""
        if boxes is not None:
            self.boxes += boxes.sum()
            self.pictures += len(boxes)
        if detections is not None:
            self.detections += detections.sum()
            self.looked += len(detections)

    def to(self, device: torch.device | str) -> Sums:
        """A copy of the sums on ``device``."""
        moved = Sums(self.counts.shape[1] - 1, device)
        moved.load_state_dict(self.state_dict(), device)
        return moved

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(
        self, state: Mapping[str, Any], device: torch.device | str | None = None
    ) -> None:
        device = self.counts.device if device is None else device
        for name, value in state.items():
            if name == "dead":
                value = {key: tensor.to(device, copy=True) for key, tensor in value.items()}
            elif isinstance(value, Tensor):
                value = value.to(device, copy=True)
            setattr(self, name, value)
