"""How much made pictures are like the real ones that they should be, and like real ones in general."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional

from leaven.cielab import lab_of, lightness_of, same_lightness
from leaven.quality.segmentation import SegmentationMeter

_STEEPEST, _BINS_PER_LEVEL = 361, 4
"""Above the length of the steepest gradient, 255 along both sides; and bins of its histogram."""
_LEVELS = 255.0
_LEAST_ERROR = 1e-10
"""Relative; a picture that is met exactly has 100 dB."""


class GradientHistogram:
    """How often pixels have a gradient of which length: blurred pictures lack the long ones.

    The gradient is the difference of a pixel of the grey picture (0 to 255) to its neighbours at the
    right and below, ``m = sqrt(dx^2 + dy^2)``; bins are a quarter of a level wide.

    Used by: 044.
    """

    def __init__(self) -> None:
        self.counts = torch.zeros(_STEEPEST * _BINS_PER_LEVEL, dtype=torch.float64)

    def add(self, pictures: Tensor) -> None:
        """Counts the pixels of (B, C, H, W) uint8, one channel or three."""
        grey = (same_lightness(pictures) if pictures.shape[1] == 3 else pictures).float()
        across = grey[..., :-1, 1:] - grey[..., :-1, :-1]
        down = grey[..., 1:, :-1] - grey[..., :-1, :-1]
        steepness = (across.square() + down.square()).sqrt().cpu()
        self.counts += torch.histc(steepness, len(self.counts), 0, _STEEPEST).double()

    def distance(self, other: GradientHistogram) -> float:
        """How far shares have to be moved for the one to become the other, in shares of 255.

        ``int |P(m) - Q(m)| dm / 255`` of the cumulated shares, the earth mover's distance. Unlike sums
        of differences bin by bin it does not hang on where bins begin: gradients of whole levels
        crowd on few lengths. NaN of no pixels.
        """
        apart = (_shares(self.counts) - _shares(other.counts)).cumsum(0).abs().sum()
        return float(apart) / _BINS_PER_LEVEL / _LEVELS


class ColourHistogram:
    """How often pixels have which lightness and which colour, in CIELAB.

    One histogram for each of L, a and b, in bins of 2 units; of grey pictures L alone.

    Source: Isola et al., CVPR 2017, table 5. Used by: 044.
    """

    LIMITS = ((0.0, 100.0), (-128.0, 128.0), (-128.0, 128.0))
    NAMES = ("lightness", "a", "b")

    def __init__(self) -> None:
        self.counts: list[Tensor] = []

    def add(self, pictures: Tensor) -> None:
        """Counts the pixels of (B, C, H, W) uint8, one channel or three."""
        lab = lab_of(pictures) if pictures.shape[1] == 3 else lightness_of(pictures)
        found = [
            torch.histc(values.cpu(), int(high - low) // 2, low, high).double()
            for values, (low, high) in zip(lab.unbind(1), self.LIMITS, strict=False)
        ]
        before = self.counts or [torch.zeros_like(counts) for counts in found]
        self.counts = [a + b for a, b in zip(before, found, strict=True)]

    def overlap(self, other: ColourHistogram) -> dict[str, float]:
        """``sum_i min(p_i, q_i)`` of the shares, by name, in [0, 1]; empty of no pixels."""
        return {
            name: float(torch.minimum(_shares(mine), _shares(theirs)).sum())
            for name, mine, theirs in zip(self.NAMES, self.counts, other.counts, strict=False)
        }


class PictureMeter:
    """Compares made pictures with the real ones, batch by batch."""

    def __init__(self) -> None:
        self._gradients = GradientHistogram(), GradientHistogram()
        self._colours = ColourHistogram(), ColourHistogram()
        self._l1 = self._psnr = 0.0
        self._count = 0

    @torch.no_grad()
    def add(self, made: Tensor, real: Tensor) -> None:
        """Counts a batch.

        Args:
            made, real: (B, C, H, W) uint8; picture i of one belongs to picture i of the other.

        Raises:
            ValueError: the shapes differ.
        """
        if made.shape != real.shape:
            raise ValueError(f"made {tuple(made.shape)}, real {tuple(real.shape)}")
        apart = (made.cpu().double() - real.cpu().double()) / _LEVELS
        self._l1 += float(apart.abs().flatten(1).mean(1).sum())
        error = apart.square().flatten(1).mean(1).clamp_min(_LEAST_ERROR)
        self._psnr += float((-10 * error.log10()).sum())
        self._count += len(made)
        for pictures, gradients, colours in zip((made, real), self._gradients, self._colours):
            gradients.add(pictures)
            colours.add(pictures)

    def metrics(self) -> dict[str, float]:
        """Figures of all that was added:

        - ``l1``: mean of ``|made - real|`` in shares of the whole range.
        - ``psnr``: mean over pictures of ``-10 log10 mean (made - real)^2``, in dB, at most 100.
        - ``gradient_distance``: see ``GradientHistogram``.
        - ``colour_overlap``: mean of ``lightness_overlap``, ``a_overlap`` and ``b_overlap``, see
          ``ColourHistogram``.

        Raises:
            ValueError: nothing was added.
        """
        if not self._count:
            raise ValueError("no picture was added")
        overlap = self._colours[0].overlap(self._colours[1])
        return {
            "l1": self._l1 / self._count,
            "psnr": self._psnr / self._count,
            "gradient_distance": self._gradients[0].distance(self._gradients[1]),
            "colour_overlap": sum(overlap.values()) / len(overlap),
            **{f"{name}_overlap": value for name, value in overlap.items()},
        }


def fcn_score(
    segment: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]], num_classes: int
) -> dict[str, float]:
    """How well a segmenter of real pictures finds in made ones what they were made from.

    From one confusion matrix H of all pixels (rows are true classes): ``pixel_accuracy``,
    ``mean_accuracy`` over the classes that are there, and ``miou``, the mean of
    ``H_kk / (row_k + col_k - H_kk)`` over classes that are there or were found.

    Args:
        segment: uint8 pictures (B, C, H, W) to classes (B, H, W) int64.
        batches: made pictures (B, C, h, w) uint8 and the label maps (B, H, W) int64 that they were
            made from, -1 for unknown. Pictures of another size are scaled to that of the maps,
            bilinearly; maps are never scaled.
        num_classes: K.

    Raises:
        ValueError: no pixel is known.

    Source: Isola et al., CVPR 2017, section 4.1. Used by: 044.
    """
    meter = SegmentationMeter(num_classes, border=0)
    for pictures, classes in batches:
        size = (classes.shape[1], classes.shape[2])
        if pictures.shape[2:] != classes.shape[1:]:
            scaled = functional.interpolate(pictures.float(), size, mode="bilinear")
            pictures = scaled.round().clamp(0, 255).to(torch.uint8)
        meter.add(segment(pictures), classes)
    found = meter.metrics()
    return {name: found[name] for name in ("pixel_accuracy", "mean_accuracy", "miou")}


def _shares(counts: Tensor) -> Tensor:
    return counts / counts.sum()
