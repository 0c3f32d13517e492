"""Labels: the currency of leaven. What is believed about items, how firmly, and who said so."""

from leaven.labels.boxes import BoxLabels
from leaven.labels.captions import Captions
from leaven.labels.classes import UNKNOWN, ClassLabels, Source
from leaven.labels.corrections import Correction, CorrectionLog
from leaven.labels.described import Described
from leaven.labels.masks import Masks
from leaven.labels.pixels import VOID, PixelLabels
from leaven.labels.store import LabelStore

__all__ = [
    "UNKNOWN",
    "VOID",
    "BoxLabels",
    "Captions",
    "ClassLabels",
    "Correction",
    "CorrectionLog",
    "Described",
    "LabelStore",
    "Masks",
    "PixelLabels",
    "Source",
]
