"""How right maps of things are, pixel by pixel and thing by thing, where the truth is known."""

from __future__ import annotations

import torch
from torch import Tensor

from leaven.labels.boxes import BoxLabels
from leaven.labels.masks import Masks

CHUNK = 64
"""Masks that are unpacked at a time when they are painted."""

MATCH = 0.5
"""Above this IoU at most one predicted thing can match a true one: things do not overlap."""


class InstanceMeter:
    """Counts pictures of true and predicted things and makes the usual figures of them.

    Args:
        num_classes: K.

    Source: AJI: Kumar et al., "A dataset and a technique for generalized nuclear segmentation for
    computational pathology", IEEE TMI 2017. PQ: Kirillov et al., "Panoptic segmentation", CVPR
    2019. Object Dice: Sirinukunwattana et al., "Gland segmentation in colon histology images",
    Medical Image Analysis 2017. Used by systems 005 and 105.
    """

    def __init__(self, num_classes: int = 1) -> None:
        if num_classes < 1:
            raise ValueError(f"num_classes {num_classes} must be positive")
        self.num_classes = num_classes
        # Matched, predicted and true things, and the IoU of the matched ones, per class.
        self._matched = torch.zeros(num_classes, dtype=torch.int64)
        self._said = self._matched.clone()
        self._actual = self._matched.clone()
        self._iou = torch.zeros(num_classes, dtype=torch.float64)
        self._pictures: dict[str, list[float]] = {"aji": [], "dice": []}

    @torch.no_grad()
    def add(
        self,
        predicted: Tensor,
        truth: Tensor,
        predicted_classes: Tensor | None = None,
        truth_classes: Tensor | None = None,
        unclear: Tensor | None = None,
    ) -> None:
        """Counts one picture.

        Args:
            predicted: (H, W) int64, number of the thing at each pixel, 1 to P; 0 for none.
            truth: (H, W) int64, the same for the G true things.
            predicted_classes: (P,) int64, class of thing 1, 2, ...; 0 for all when None.
            truth_classes: (G,) int64.
            unclear: (H, W) bool, pixels that are not judged (crowds). A predicted thing of which
                more than half lies there is not held against the prediction.

        Raises:
            ValueError: the shapes differ, or a number or a class is out of range.
        """
        if predicted.shape != truth.shape:
            raise ValueError(f"predicted map {tuple(predicted.shape)}, true {tuple(truth.shape)}")
        said = self._classes(predicted, predicted_classes)
        actual = self._classes(truth, truth_classes)
        shared, area_true, area = overlaps(truth, predicted, len(actual), len(said), unclear)
        whole = torch.bincount(predicted.flatten(), minlength=len(said) + 1)[1:].cpu()
        iou = shared / (area_true[:, None] + area - shared).clamp_min(1)
        matched = (iou > MATCH) & (actual[:, None] == said)
        there, seen = area_true > 0, (area > 0) & ((area * 2 >= whole) | matched.any(0))
        self._count(iou, matched, actual, said[seen], actual[there])
        shared = shared[there][:, seen]
        if bool(there.any() | seen.any()):
            self._pictures["aji"].append(_aji(shared, area_true[there], area[seen]))
            self._pictures["dice"].append(_object_dice(shared, area_true[there], area[seen]))

    def add_labels(self, predictions: BoxLabels, truth: BoxLabels) -> None:
        """Counts the pictures of known truth of labels with masks.

        Predicted masks that overlap are laid over each other, the surest on top.

        Args:
            predictions, truth: of the same n pictures, in the same order.

        Raises:
            ValueError: the numbers of pictures or the sizes of masks differ, or masks are missing.
        """
        if len(predictions) != len(truth):
            raise ValueError(f"{len(predictions)} predicted pictures, {len(truth)} true ones")
        predictions, truth = predictions.cpu(), truth.cpu()
        for number in truth.known.nonzero():
            self._add_picture(predictions.select(number), truth.select(number))

    def metrics(self) -> dict[str, float]:
        """The figures; one for which there is nothing to judge is left out.

        - ``pq = sq * rq``: per class over all pictures, mean over the classes that are in the truth
          or were predicted. ``sq`` is the mean IoU of matched things, ``rq = TP / (TP + FP/2 +
          FN/2)``; a match has equal class and IoU > 0.5.
        - ``f1``: ``rq`` with the things of all classes counted together.
        - ``aji``: per picture ``sum_i |G_i & P_j(i)|`` by ``sum_i |G_i | P_j(i)|`` plus the area
          of predicted things that no true one chose, with ``P_j(i)`` of largest IoU; a thing with
          no overlap adds its area below. Mean over pictures with anything in them; classes do not
          count.
        - ``dice``: object Dice per picture, ``1/2 sum_i |G_i|/|G| Dice(G_i, P_(i)) + 1/2 sum_j
          |P_j|/|P| Dice(P_j, G_(j))`` with the partner of largest overlap; mean over the same
          pictures.
        """
        figures = {name: values.nanmean() for name, values in self.per_class().items()}
        true_positives = self._matched.sum()
        things = self._said.sum() + self._actual.sum()
        figures["f1"] = 2 * true_positives / things
        for name, values in self._pictures.items():
            figures[name] = torch.tensor(values, dtype=torch.float64).mean()
        return {name: float(value) for name, value in figures.items() if value == value}

    def per_class(self) -> dict[str, Tensor]:
        """``pq``, ``sq`` and ``rq`` per class (K,) float64; NaN where there is nothing to judge."""
        below = (self._said + self._actual).double() / 2
        rq = self._matched / below
        sq = self._iou / self._matched
        return {"pq": self._iou / below, "sq": sq, "rq": rq}

    def _classes(self, numbers: Tensor, classes: Tensor | None) -> Tensor:
        """The class of each thing of a map, checked."""
        largest = int(numbers.max()) if numbers.numel() else 0
        if classes is None:
            return torch.zeros(largest, dtype=torch.int64)
        if largest > len(classes):
            raise ValueError(f"thing {largest} of a map with {len(classes)} classes given")
        if len(classes) and not 0 <= int(classes.min()) <= int(classes.max()) < self.num_classes:
            raise ValueError(f"classes {classes.unique().tolist()} of {self.num_classes}")
        return classes.cpu()

    def _count(
        self, iou: Tensor, matched: Tensor, classes: Tensor, said: Tensor, actual: Tensor
    ) -> None:
        """Adds pairs (G, P) of a picture, and the classes of the things that were seen in it."""
        size = self.num_classes
        rows = classes[matched.nonzero()[:, 0]]
        self._matched += torch.bincount(rows, minlength=size)
        self._iou += torch.bincount(rows, iou[matched], minlength=size)
        self._said += torch.bincount(said, minlength=size)
        self._actual += torch.bincount(actual, minlength=size)

    def _add_picture(self, said: BoxLabels, actual: BoxLabels) -> None:
        """Counts labels of one picture."""
        if said.masks is None or actual.masks is None:
            raise ValueError("things are compared by their masks, but there are boxes alone")
        if len(said.masks) + len(actual.masks) == 0:
            return
        things = actual.keep(~actual.crowd)
        crowd = actual.keep(actual.crowd)
        sizes = torch.cat([said.masks.sizes, actual.masks.sizes])
        if bool((sizes != sizes[0]).any()):
            raise ValueError("the masks of one picture differ in size")
        height, width = sizes[0].tolist()
        self.add(
            _painted(said, height, width),
            _painted(things, height, width),
            said.classes,
            things.classes,
            _painted(crowd, height, width) > 0,
        )


def paint(masks: Masks, order: Tensor, height: int, width: int) -> Tensor:
    """The map (H, W) int64 of masks laid over each other: mask i has number i + 1, 0 is none.

    Args:
        masks: m masks of size ``height`` x ``width``.
        order: (m,) a mask lies on top of those of smaller value; among equals the first on top.
        height, width: of the map.
    """
    # From the lowest to the topmost.
    below = len(order) - 1 - torch.argsort(order.flip(0), stable=True)
    top = torch.zeros(height, width, dtype=torch.int64)
    for begin in range(0, len(below), CHUNK):
        rows = below[begin : begin + CHUNK]
        place = torch.arange(begin + 1, begin + 1 + len(rows))
        dense = masks.select(rows).dense()
        top = torch.maximum(top, (dense * place[:, None, None]).amax(0))
    return torch.cat([torch.zeros(1, dtype=torch.int64), below + 1])[top]


def overlaps(
    truth: Tensor, predicted: Tensor, things: int, said: int, unclear: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels that true and predicted things share, and their areas, ``unclear`` pixels left out.

    Args:
        truth, predicted: (H, W) int64, numbers of things, 0 for none.
        things, said: G and P, the largest numbers that may occur.
        unclear: (H, W) bool.

    Returns:
        (G, P) shared pixels, (G,) areas of true and (P,) of predicted things; float64, on the CPU.
    """
    cell = (truth * (said + 1) + predicted).flatten()
    if unclear is not None:
        cell = cell[~unclear.flatten()]
    counts = torch.bincount(cell, minlength=(things + 1) * (said + 1)).cpu().double()
    table = counts.view(things + 1, said + 1)
    return table[1:, 1:], table[1:].sum(1), table[:, 1:].sum(0)


def _painted(labels: BoxLabels, height: int, width: int) -> Tensor:
    assert labels.masks is not None
    return paint(labels.masks, labels.confidence, height, width)


def _aji(shared: Tensor, area_true: Tensor, area: Tensor) -> float:
    if shared.numel() == 0:
        return 0.0
    union = area_true[:, None] + area - shared
    iou, best = (shared / union).max(1)
    paired = iou > 0
    rows = paired.nonzero().squeeze(1)
    chosen = torch.zeros(len(area), dtype=torch.bool)
    chosen[best[rows]] = True
    below = union[rows, best[rows]].sum() + area_true[~paired].sum() + area[~chosen].sum()
    return float(shared[rows, best[rows]].sum() / below)


def _object_dice(shared: Tensor, area_true: Tensor, area: Tensor) -> float:
    if shared.numel() == 0:
        return 0.0
    return (_half_dice(shared, area_true, area) + _half_dice(shared.T, area, area_true)) / 2


def _half_dice(shared: Tensor, own: Tensor, other: Tensor) -> float:
    """``sum_i |A_i| / |A| * Dice(A_i, its partner of largest overlap)``."""
    most, partner = shared.max(1)
    return float((own * 2 * most / (own + other[partner])).sum() / own.sum())
