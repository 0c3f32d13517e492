"""Batched changes of uint8 pictures on any device, a draw per sample: the views and their parts."""

from leaven.data.transforms.block_cover import random_blocks
from leaven.data.transforms.box_noise import NoisyBoxes, noisy_boxes
from leaven.data.transforms.colour import gaussian_blur, greyed, hue
from leaven.data.transforms.colour_views import (
    COLOUR_OPERATIONS,
    DETECTOR_COLOURS,
    ColourChain,
    ColourJitter,
    StrongColour,
)
from leaven.data.transforms.erasing import NoiseErase
from leaven.data.transforms.geometric import (
    affine_nearest,
    cutout,
    flip_and_shift,
    horizontal_flip,
    quarter_turns,
    rotate,
    shear_x,
    shear_y,
    shift_reflect,
    translate_x,
    translate_y,
)
from leaven.data.transforms.geometry import Geometry, between
from leaven.data.transforms.moves import (
    cropped,
    mirrored,
    quarter_turned,
    scaled,
    sheared,
    shifted,
    turned,
    unmoved,
)
from leaven.data.transforms.photometric import (
    autocontrast,
    brightness,
    color,
    contrast,
    equalize,
    posterize,
    sharpness,
    solarize,
)
from leaven.data.transforms.placed import Erase, ScaleCropFlip, Seen, StrongPlaced
from leaven.data.transforms.randaugment import OPERATIONS, RandAugment, apply_operations
from leaven.data.transforms.regions import (
    box_masks,
    covered,
    mask_boxes,
    oddly_covered,
)
from leaven.data.transforms.square_crops import square_crops
from leaven.data.transforms.views import Cutout, Strong, Weak

__all__ = [
    "COLOUR_OPERATIONS",
    "DETECTOR_COLOURS",
    "OPERATIONS",
    "ColourChain",
    "ColourJitter",
    "Cutout",
    "Erase",
    "Geometry",
    "NoiseErase",
    "NoisyBoxes",
    "RandAugment",
    "ScaleCropFlip",
    "Seen",
    "Strong",
    "StrongColour",
    "StrongPlaced",
    "Weak",
    "affine_nearest",
    "apply_operations",
    "autocontrast",
    "between",
    "box_masks",
    "brightness",
    "color",
    "contrast",
    "covered",
    "cropped",
    "cutout",
    "equalize",
    "flip_and_shift",
    "gaussian_blur",
    "greyed",
    "horizontal_flip",
    "hue",
    "mask_boxes",
    "mirrored",
    "noisy_boxes",
    "oddly_covered",
    "posterize",
    "quarter_turned",
    "quarter_turns",
    "random_blocks",
    "rotate",
    "scaled",
    "sharpness",
    "shear_x",
    "shear_y",
    "sheared",
    "shift_reflect",
    "shifted",
    "solarize",
    "square_crops",
    "translate_x",
    "translate_y",
    "turned",
    "unmoved",
]
