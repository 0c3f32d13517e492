"""Makes proposals better from structure."""

from leaven.refine.alignment import AlignmentQueue, DistributionAlignment, align, sharpen
from leaven.refine.allocation import SinkhornAllocation, allocation_scale
from leaven.refine.allowed_classes import AllowedClasses, only_allowed
from leaven.refine.caption_cleaning import clean_caption
from leaven.refine.class_blend import ClassWindow, class_blend, frequency_share
from leaven.refine.class_centres import ClassCentres, class_means, reweight_by_centres
from leaven.refine.class_queue import ClassQueues
from leaven.refine.correlation import regions_of_rows, spread_by_correlation
from leaven.refine.debias import RunningMean, debias
from leaven.refine.given_labels import mix_given
from leaven.refine.graph import connect, neighbour_graph, normalise
from leaven.refine.label_borders import label_borders
from leaven.refine.label_model import (
    LabelModel,
    agreement,
    disagreement,
    echo,
    majority,
    vote_counts,
)
from leaven.refine.largest_component import largest_components
from leaven.refine.latest import LatestProposals
from leaven.refine.memory import LabelledMemory
from leaven.refine.nearest import Neighbours, nearest_neighbours
from leaven.refine.neighbour_vote import NeighbourVote, neighbour_vote
from leaven.refine.propagation import class_mass, propagate_labels, shares, spread_labels
from leaven.refine.prototype_labels import prototype_labels
from leaven.refine.prototypes import PrototypeQueues
from leaven.refine.refinery import estimate_counts, keep_confident, refine_to_counts
from leaven.refine.regions import vote_in_regions
from leaven.refine.relative import RelativeAlignment
from leaven.refine.shrink import Shrunk, shrink_classes
from leaven.refine.similarity import aggregate, blend, unfold
from leaven.refine.smoothing import NeighbourMemory

__all__ = [
    "AlignmentQueue",
    "AllowedClasses",
    "ClassCentres",
    "ClassQueues",
    "ClassWindow",
    "DistributionAlignment",
    "LabelModel",
    "LabelledMemory",
    "LatestProposals",
    "NeighbourMemory",
    "NeighbourVote",
    "Neighbours",
    "PrototypeQueues",
    "RelativeAlignment",
    "RunningMean",
    "Shrunk",
    "SinkhornAllocation",
    "aggregate",
    "agreement",
    "align",
    "allocation_scale",
    "blend",
    "class_blend",
    "class_mass",
    "class_means",
    "clean_caption",
    "connect",
    "debias",
    "disagreement",
    "echo",
    "estimate_counts",
    "frequency_share",
    "keep_confident",
    "label_borders",
    "largest_components",
    "majority",
    "mix_given",
    "nearest_neighbours",
    "neighbour_graph",
    "neighbour_vote",
    "normalise",
    "only_allowed",
    "propagate_labels",
    "prototype_labels",
    "refine_to_counts",
    "regions_of_rows",
    "reweight_by_centres",
    "shares",
    "sharpen",
    "shrink_classes",
    "spread_by_correlation",
    "spread_labels",
    "unfold",
    "vote_counts",
    "vote_in_regions",
]
