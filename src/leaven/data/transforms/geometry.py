"""Recorded geometry: where every pixel of a view comes from, so that labels can follow.

Labels made on one view move to any other: ``between(weak.geometry, strong.geometry)`` takes pixel
maps, predictions, points, boxes and masks of the weak view to the strong one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from leaven.data.transforms.regions import mask_boxes
from leaven.data.transforms.sampling import Size, inside, sample_bilinear, sample_nearest
from leaven.errors import ConfigError, DataError
from leaven.labels import UNKNOWN, BoxLabels, Masks


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the pixels of ``B`` source pictures lie in their views: an affine map for each.

    Places are measured in pixels from the upper left corner of the upper left pixel, x to the right
    and y down: pixel ``i`` covers [i, i + 1) and has its centre at ``i + 0.5``, and a picture covers
    [0, W] x [0, H]. Boxes and points are given so. A place ``(x, y)`` of the source lies at
    ``matrix (x, y, 1)`` in the view.

    Attributes:
        matrix: (B, 3, 3) float64 on the CPU, last row 0, 0, 1, invertible. On the CPU because the
            draws are made there and faster ways are chosen by the values: no GPU is waited for.
        source, view: (height, width) of the source pictures and of the views.

    Raises:
        DataError: matrices of another shape, or that cannot be inverted.

    Used by: 005, 020, 040, 057, 087, 097, 117, 119.
    """

    matrix: Tensor
    source: Size
    view: Size

    def __post_init__(self) -> None:
        matrix = self.matrix.detach().to("cpu", torch.float64)
        object.__setattr__(self, "matrix", matrix)
        if matrix.shape != (len(matrix), 3, 3):
            raise DataError(
                f"The matrices are of shape {tuple(matrix.shape)}.", "a tensor of shape (B, 3, 3)"
            )
        last = matrix.new_tensor([0.0, 0.0, 1.0])
        sound = matrix.isfinite().all() & (matrix[:, 2] == last).all()
        if not bool(sound & (_determinant(matrix) != 0).all()):
            raise DataError(
                "A matrix is no invertible affine map.",
                "finite values, the last row 0, 0, 1 and an area that is not 0",
                "Look for a scale of 0, or a division by the size of an empty picture.",
            )

    def __len__(self) -> int:
        return len(self.matrix)

    def __getitem__(self, index: Tensor) -> Geometry:
        """The geometry of the samples ``index`` (int64 positions or a bool mask)."""
        return replace(self, matrix=self.matrix[index.cpu()])

    @property
    def exact(self) -> Tensor:
        """(B,) bool: only mirrors, quarter turns and whole pixels, so that nothing is resampled."""
        matrix = self.matrix
        whole = (matrix == matrix.round()).flatten(1).all(1)
        # Whole numbers and orthonormal rows: one entry of ±1 in each row and column.
        linear = matrix[:, :2, :2]
        identity = torch.eye(2, dtype=matrix.dtype)
        return whole & (linear @ linear.transpose(1, 2) == identity).flatten(1).all(1)

    def inverse(self) -> Geometry:
        """From the view back to the source: a whole number stays one where ``exact`` is true."""
        (a, b, x), (c, d, y) = self.matrix[:, :2].permute(1, 2, 0)
        area = _determinant(self.matrix)
        a, b, c, d = d / area, -b / area, -c / area, a / area
        return Geometry(
            affine_matrix(a, b, -(a * x + b * y), c, d, -(c * x + d * y)), self.view, self.source
        )

    def then(self, other: Geometry) -> Geometry:
        """This view, and ``other`` of the view: one map with the matrices ``other @ self``.

        Raises:
            DataError: ``other`` starts from another size, or there are not as many of it.
        """
        if self.view != other.source or len(self) != len(other):
            raise DataError(
                f"{len(self)} views of (height, width) {self.view} are followed by {len(other)} of "
                f"pictures of {other.source}.",
                "as many of the same size",
            )
        return Geometry(other.matrix @ self.matrix, self.source, other.view)

    def valid(self, device: torch.device | str = "cpu", source: Tensor | None = None) -> Tensor:
        """(B, *view) bool: the pixel of the view shows the source.

        Args:
            device: where the result is wanted.
            source: (B, *source) bool, the pixels of the source that show anything; all when None.
        """
        if source is not None:
            return self.maps(source, fill=0)
        return inside(self._back, self.source, self.view, torch.device(device))

    def images(
        self, images: Tensor, mode: Literal["bilinear", "nearest"] = "bilinear", fill: float = 0
    ) -> Tensor:
        """The views of pictures.

        Bilinear is torch's ``grid_sample`` with ``align_corners=False`` and the edge pixels going on
        to the edge; what lies outside is ``fill``. Samples that are ``exact`` are copied pixel by
        pixel. Nothing is smoothed before it is made smaller.

        Args:
            images: (B, C, *source), uint8 or floating.
            mode: how values between the pixels are taken.
            fill: the value outside the source.

        Returns:
            (B, C, *view) in the dtype of ``images``.

        Raises:
            DataError: pictures of another number or size.
            ConfigError: an unknown mode.
        """
        self._check(images, 4)
        if mode not in ("bilinear", "nearest"):
            raise ConfigError(
                f"mode is {mode!r}.", "'bilinear' or 'nearest'", "Take 'nearest' for labels."
            )
        if mode == "nearest":
            return sample_nearest(images, self._back, self.view, fill)
        exact = self.exact
        if bool(exact.all()):
            return sample_nearest(images, self._back, self.view, fill)
        if not bool(exact.any()):
            return sample_bilinear(images, self._back, self.view, fill)
        copied, blended = exact.nonzero()[:, 0], (~exact).nonzero()[:, 0]
        order = torch.cat([copied, blended]).argsort().to(images.device, non_blocking=True)
        parts = [
            sample(images[rows.to(images.device)], self._back[rows], self.view, fill)
            for rows, sample in ((copied, sample_nearest), (blended, sample_bilinear))
        ]
        return torch.cat(parts).index_select(0, order)

    def maps(self, classes: Tensor, fill: float = UNKNOWN) -> Tensor:
        """The views of one value per pixel, by the nearest pixel.

        Args:
            classes: (B, *source), any dtype; classes are int64.
            fill: the value outside the source: -1 for classes, 0 for weights and flags, ``VOID`` for
                stored classes.

        Returns:
            (B, *view) in the dtype of ``classes``.

        Raises:
            DataError: maps of another number or size.
        """
        self._check(classes, 3)
        if classes.dtype == torch.bool:
            return self.maps(classes.view(torch.uint8), fill).view(torch.bool)
        return sample_nearest(classes[:, None], self._back, self.view, fill)[:, 0]

    def dense(self, probs: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The views of dense predictions, and where they are any.

        Args:
            probs: (B, K, *source), floating; the distributions stay distributions.
            valid: (B, *source) bool, the pixels that show anything; all when None.

        Returns:
            (B, K, *view), 0 outside the source, and (B, *view) bool: the pixel shows a valid one.

        Raises:
            DataError: predictions of another number or size.
        """
        return self.images(probs), self.valid(probs.device, valid)

    def masks(self, masks: Tensor, pictures: Tensor) -> Tensor:
        """(m, *view) bool: the views of ``masks`` (m, *source) bool, by the nearest pixel.

        Args:
            masks: one mask for each thing.
            pictures: (m,) int64, the sample each lies in.
        """
        return self[pictures].maps(masks, fill=0)

    def points(self, points: Tensor, pictures: Tensor) -> Tensor:
        """Where points lie in the view, also outside it.

        Args:
            points: (m, ..., 2), x and y.
            pictures: (m,) int64, the sample each row lies in.

        Returns:
            the same shape, floating.
        """
        # Half a picture away from 0 float32 has lost three digits behind the point.
        accurate = torch.float32 if points.device.type == "mps" else torch.float64
        matrix = self.matrix.to(points.device, accurate, non_blocking=True)[pictures]
        flat = points.to(accurate).unsqueeze(1).flatten(1, -2)
        moved = flat @ matrix[:, :2, :2].transpose(1, 2) + matrix[:, None, :2, 2]
        return moved.view(points.shape).to(
            points.dtype if points.dtype.is_floating_point else torch.float32
        )

    def boxes(self, boxes: Tensor, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Where boxes lie in the view: the hull of the four moved corners, clipped to the view.

        Args:
            boxes: (m, 4), x1, y1, x2, y2.
            pictures: (m,) int64, the sample each lies in.

        Returns:
            (m, 4) boxes, and (m,) the share of each hull's area that the view holds, in [0, 1]; 0
            for a box without area.

        Source: Xu et al., Soft Teacher, ICCV 2021. Used by: 020, 097, 119.
        """
        corners = self.points(boxes[:, [0, 1, 2, 1, 0, 3, 2, 3]].view(-1, 4, 2), pictures)
        low, high = corners.amin(1), corners.amax(1)
        area = (high - low).prod(1)
        limit = torch.tensor(self.view[::-1], device=boxes.device).to(low.dtype)
        low, high = low.clamp_min(0).minimum(limit), high.clamp_min(0).minimum(limit)
        share = (high - low).prod(1) / torch.where(area > 0, area, 1)
        return torch.cat([low, high], 1), share

    def labels(
        self, labels: BoxLabels, least_share: float = 0.1, least_side: float = 1.0
    ) -> BoxLabels:
        """What lies where in the view: boxes, masks and all that is believed of them.

        A row stays when the view holds at least ``least_share`` of its area and its box is at least
        ``least_side`` wide and high. With masks, the share is that of the mask's area and the box is
        the tight one of what is left of the mask, which under a turn is tighter than the hull.

        Args:
            labels: of ``B`` pictures; masks in the size of the source.
            least_share: in [0, 1].
            least_side: in pixels of the view, above 0 for boxes with an area.

        Raises:
            DataError: labels of another number of pictures, or masks of another size.
        """
        moved, kept = self.placed(labels, least_share, least_side)
        return moved.keep(kept)

    def placed(
        self, labels: BoxLabels, least_share: float = 0.1, least_side: float = 1.0
    ) -> tuple[BoxLabels, Tensor]:
        """All rows of ``labels`` moved, and which of them stay, (m,) bool: see ``labels``."""
        if len(labels) != len(self):
            raise DataError(
                f"There are labels of {len(labels)} pictures for {len(self)} views.",
                "one for each",
            )
        boxes, share = self.boxes(labels.boxes, labels.pictures)
        masks = None
        if labels.masks is not None and len(labels.masks):
            if bool((labels.masks.sizes != torch.tensor(self.source)).any()):
                raise DataError(
                    f"Masks are of sizes {labels.masks.sizes.unique(dim=0).tolist()}.",
                    f"the size of the pictures, {list(self.source)}",
                    "Use Masks.padded for pictures that were padded, Masks.resized for stretched ones.",
                )
            moved = self.masks(labels.masks.dense(), labels.pictures.cpu())
            masks = Masks.from_dense(moved)
            grown = _determinant(self.matrix).abs()[labels.pictures.cpu()]
            whole = (labels.masks.area() * grown).clamp_min(torch.finfo(torch.float64).tiny)
            share = (masks.area() / whole).to(share)
            boxes = mask_boxes(moved).to(boxes)
        sides = boxes[:, 2:] - boxes[:, :2]
        kept = (share >= least_share) & (sides >= least_side).all(1)
        return replace(labels, boxes=boxes, masks=masks or labels.masks), kept

    @property
    def _back(self) -> Tensor:
        return self.inverse().matrix[:, :2]

    def _check(self, values: Tensor, dimensions: int) -> None:
        found = tuple(values.shape)
        if values.ndim == dimensions and found[0] == len(self) and found[-2:] == self.source:
            return
        middle = ", C" if dimensions == 4 else ""
        raise DataError(
            f"The values are of shape {found}.",
            f"({len(self)}{middle}, {self.source[0]}, {self.source[1]}): what this geometry starts from",
            "Use geometry.inverse() to go from the view to the source.",
        )


def between(first: Geometry, second: Geometry) -> Geometry:
    """From one view of pictures to another view of them: ``A_second A_first^-1``.

    Raises:
        DataError: the views are not of the same number of pictures of one size.
    """
    return first.inverse().then(second)


def affine_matrix(a: Tensor, b: Tensor, x: Tensor, c: Tensor, d: Tensor, y: Tensor) -> Tensor:
    """(n, 3, 3) float64 maps ``(a u + b v + x, c u + d v + y)`` of the entries, (n,) each."""
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    return torch.stack([a, b, x, c, d, y, zero, zero, one], 1).double().view(-1, 3, 3)


def _determinant(matrix: Tensor) -> Tensor:
    return matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0]
