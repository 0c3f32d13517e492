"""The baseline: learn from the labelled pictures alone."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from leaven.methods.base import Card
from leaven.methods.detection import supervised


class Supervised(supervised.Supervised):
    """As for boxes, with the losses of the masks."""

    card: ClassVar[Card] = replace(
        supervised.Supervised.card, task="instance", evidence="boxes with masks"
    )
