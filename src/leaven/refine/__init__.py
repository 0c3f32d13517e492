"""Makes proposals better from structure."""

from leaven.refine.alignment import AlignmentQueue, DistributionAlignment, align, sharpen
from leaven.refine.allocation import SinkhornAllocation, allocation_scale
from leaven.refine.memory import LabelledMemory
from leaven.refine.similarity import aggregate, blend, unfold

__all__ = [
    "AlignmentQueue",
    "DistributionAlignment",
    "LabelledMemory",
    "SinkhornAllocation",
    "aggregate",
    "align",
    "allocation_scale",
    "blend",
    "sharpen",
    "unfold",
]
