"""RandAugment on batches: operations drawn per picture, applied to groups of pictures.

Each slot sorts the pictures of a batch by their operation, so that every operation works on a
slice and the affine ones on one slice together. Groups are counted on the CPU, where the draws are
made: a GPU is never waited for.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from leaven.data.transforms import geometric, photometric
from leaven.draws import Draws
from leaven.errors import ConfigError, DataError

MAGNITUDES = 30
"""The magnitude that stands for full strength."""

Strength = Tensor
"""(n,) float in [-1, 1]: how strong an operation is, and its direction where it has one."""


def _factor(strength: Strength) -> Tensor:
    return 0.95 - 0.9 * strength.abs()


def _bits(strength: Strength) -> Tensor:
    return (8 - 4 * strength.abs()).floor()


def _threshold(strength: Strength) -> Tensor:
    return 256 * (1 - strength.abs())


def _degrees(strength: Strength) -> Tensor:
    return 30 * strength


def _slope(strength: Strength) -> Tensor:
    return 0.3 * strength


def _pixels(strength: Strength, side: int) -> Tensor:
    return (0.3 * side * strength).round()


def _none(strength: Strength) -> Tensor:
    return torch.zeros_like(strength)


# Changes of grey levels from the pictures and the strengths, on the device of the pictures.
TONES: dict[str, Callable[[Tensor, Strength], Tensor]] = {
    "AutoContrast": lambda images, _: photometric.autocontrast(images),
    "Brightness": lambda images, s: photometric.brightness(images, _factor(s)),
    "Color": lambda images, s: photometric.color(images, _factor(s)),
    "Contrast": lambda images, s: photometric.contrast(images, _factor(s)),
    "Equalize": lambda images, _: photometric.equalize(images),
    "Identity": lambda images, _: images,
    "Posterize": lambda images, s: photometric.posterize(images, _bits(s)),
    "Sharpness": lambda images, s: photometric.sharpness(images, _factor(s)),
    "Solarize": lambda images, s: photometric.solarize(images, _threshold(s)),
}
# Maps from the strengths, the height and the width, on the CPU.
MAPS: dict[str, Callable[[Strength, int, int], Tensor]] = {
    "Rotate": lambda s, h, w: geometric.rotation_matrix(_degrees(s)),
    "ShearX": lambda s, h, w: geometric.shear_x_matrix(_slope(s), h),
    "ShearY": lambda s, h, w: geometric.shear_y_matrix(_slope(s), w),
    "TranslateX": lambda s, h, w: geometric.translation_matrix(_pixels(s, w), _none(s)),
    "TranslateY": lambda s, h, w: geometric.translation_matrix(_none(s), _pixels(s, h)),
}
OPERATIONS: tuple[str, ...] = (*TONES, *MAPS)
"""The names of the 14 operations; an operation's number is its position here."""


class RandAugment:
    """Operations drawn per picture from the usual fourteen, one after the other.

    With the strength ``s`` in [0, 1] (``magnitude / 30``, or uniform per operation and picture) and
    a sign drawn where there is a direction, the ranges are those of FixMatch:

    ============================= =========================================================
    AutoContrast, Equalize        no strength
    Brightness, Color, Contrast,  factor 0.95 - 0.9 s, in [0.05, 0.95]
    Sharpness
    Identity                      the picture as it is
    Posterize                     floor(8 - 4 s) bits, in 4..8
    Rotate                        ± 30 s degrees
    ShearX, ShearY                slope ± 0.3 s
    Solarize                      threshold 256 (1 - s)
    TranslateX, TranslateY        ± 0.3 s of the side, to the nearest pixel
    ============================= =========================================================

    Maps take the nearest pixel. Randomness: one operation, strength and sign per picture and slot.

    Args:
        ops: operations per picture, at least 0.
        magnitude: strength of every operation in 0..30, or None for a random one (as FixMatch does).
        fill: grey level that comes in from outside the picture.

    Raises:
        ConfigError: a value out of its range.

    Sources: Cubuk et al., RandAugment, 2020 (arXiv:1909.13719); Sohn et al., FixMatch, 2020
    (arXiv:2001.07685), table 12.
    """

    def __init__(self, ops: int = 2, magnitude: int | None = 10, fill: int = 0) -> None:
        if ops < 0:
            raise ConfigError(f"ops is {ops}.", "0 or more operations per picture", "Set ops=2.")
        if magnitude is not None and not 0 <= magnitude <= MAGNITUDES:
            raise ConfigError(
                f"magnitude is {magnitude}.",
                f"a number in 0..{MAGNITUDES}, or None for a random one per operation",
                "Set magnitude=10, or magnitude=None for the setting of FixMatch.",
            )
        self.ops, self.magnitude, self.fill = ops, magnitude, geometric.check_fill(fill)

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """Changed copies of ``images`` (B, C, H, W) uint8, C 1 or 3, with ``draws`` per sample."""
        images = geometric.check_images(images)
        operations, strength = self.draw(len(images), draws)
        for slot in range(self.ops):
            images = apply_operations(images, operations[:, slot], strength[:, slot], self.fill)
        return images

    def draw(self, count: int, draws: Draws) -> tuple[Tensor, Tensor]:
        """Operations (count, ops) int64 and signed strengths (count, ops), both on the CPU."""
        host = draws.host()
        operations = host.integers(count, self.ops, high=len(OPERATIONS))
        negative = host.flags(count, self.ops)
        if self.magnitude is None:
            strength = host.uniform(count, self.ops)
        else:
            strength = torch.full((count, self.ops), self.magnitude / MAGNITUDES)
        return operations, torch.where(negative, -strength, strength)


def apply_operations(images: Tensor, operations: Tensor, strength: Tensor, fill: int = 0) -> Tensor:
    """Applies one operation to each picture.

    Args:
        images: (B, C, H, W) uint8, C 1 or 3.
        operations: (B,) int64 on the CPU, positions in ``OPERATIONS``.
        strength: (B,) float in [-1, 1] on the CPU; see ``RandAugment``.
        fill: grey level that comes in from outside the picture.

    Returns:
        (B, C, H, W) uint8.

    Raises:
        DataError: pictures, operations or strengths of another shape or dtype.
    """
    images = geometric.check_images(images)
    photometric.check_channels(images)
    if operations.shape != strength.shape or operations.shape != images.shape[:1]:
        raise DataError(
            f"There are {tuple(operations.shape)} operations and {tuple(strength.shape)} strengths "
            f"for {len(images)} pictures.",
            "one of each per picture",
            f"Pass tensors of shape ({len(images)},).",
        )
    unknown = operations[(operations < 0) | (operations >= len(OPERATIONS))]
    if len(unknown):
        raise DataError(
            f"There is an operation numbered {int(unknown[0])}.",
            f"numbers in 0..{len(OPERATIONS) - 1}, the positions in OPERATIONS",
            "Draw them with draws.host().integers(count, high=len(OPERATIONS)).",
        )
    order = operations.argsort(stable=True)
    counts = operations.bincount(minlength=len(OPERATIONS)).tolist()
    images = images.index_select(0, order.to(images.device, non_blocking=True))
    groups = dict(zip(OPERATIONS, images.split(counts)))
    strengths = dict(zip(OPERATIONS, strength[order].split(counts)))
    # The groups lie in the order of OPERATIONS, those of the maps at the end.
    parts = [
        change(groups[name], strengths[name].to(images.device, non_blocking=True))
        for name, change in TONES.items()
        if len(groups[name])
    ]
    parts.append(_move(images[sum(counts[: len(TONES)]) :], strengths, fill))
    back = order.argsort().to(images.device, non_blocking=True)
    return torch.cat(parts).index_select(0, back)


def _move(images: Tensor, strengths: dict[str, Tensor], fill: int) -> Tensor:
    """Applies ``MAPS`` to ``images``, their groups one after the other."""
    height, width = images.shape[2:]
    matrices = [
        make(strengths[name], height, width) for name, make in MAPS.items() if len(strengths[name])
    ]
    if not matrices:
        return images
    return geometric.affine_nearest(images, torch.cat(matrices), fill)
