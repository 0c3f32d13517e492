"""Scenes: embedded pictures with exact boxes, masks, depth, second views, motion and captions."""

from leaven.data.scenes.domains import DOMAINS, Domain
from leaven.data.scenes.moving import Frames, moving
from leaven.data.scenes.stereo import RightView
from leaven.data.scenes.still import CLASSES, Scenes, scenes
from leaven.data.scenes.things import MIN_VISIBLE, Things

__all__ = [
    "CLASSES",
    "DOMAINS",
    "MIN_VISIBLE",
    "Domain",
    "Frames",
    "RightView",
    "Scenes",
    "Things",
    "moving",
    "scenes",
]
