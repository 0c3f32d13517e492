"""Labels: the currency of leaven. What is believed about items, how firmly, and who said so."""

from leaven.labels.classes import ClassLabels, Source
from leaven.labels.store import LabelStore

__all__ = ["ClassLabels", "LabelStore", "Source"]
