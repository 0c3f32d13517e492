"""Boxes of classes that only a few pictures are labelled for, and what must not be punished."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from leaven.labels import BoxLabels
from leaven.models.detection.regions import Regions, best_overlap


@dataclass(frozen=True, slots=True)
class NewClassBoxes:
    """Attributes:
    candidates: (m,) bool, rows that may become labels.
    ignored: (m,) bool, rows that are neither labels nor background.
    """

    candidates: Tensor
    ignored: Tensor


def new_class_boxes(
    found: BoxLabels, given: BoxLabels, novel: Tensor, score: float = 0.8
) -> NewClassBoxes:
    """What a detector found of new classes in pictures that nobody has labelled for them.

    A picture with a given box of a new class is one of the few that are labelled for it, and
    nothing is taken from it for that class. Elsewhere boxes of new classes with a score of ``score``
    or more are candidates, and the others are ignored where the picture has a candidate of their
    class. In pictures of which nothing is known, boxes of any other class are ignored too where one
    of that class has such a score.

    Args:
        found: of n pictures, with scores as confidence.
        given: of the same pictures; those that are known have all boxes of the other classes.
        novel: (K,) bool, the new classes.
        score: in [0, 1].

    Source: Kaul et al., Label, Verify, Correct, CVPR 2022. Used by: 034.
    """
    labelled = torch.zeros(len(given), len(novel), dtype=torch.bool, device=novel.device)
    labelled[given.pictures, given.classes] = True
    new = novel[found.classes]
    taken = new & ~labelled[found.pictures, found.classes]
    high = found.confidence >= score
    unknown = ~given.known[found.pictures]
    sure = torch.zeros_like(labelled)
    sure[found.pictures[high], found.classes[high]] = True
    beside = sure[found.pictures, found.classes]
    return NewClassBoxes(taken & high, beside & ((taken & ~high) | (~new & unknown)))


def with_new_classes(
    given: BoxLabels, pseudo: BoxLabels, ignored: BoxLabels, overlap: float = 0.5
) -> BoxLabels:
    """The labels to train on: what was given, the new boxes, and ignore regions (``crowd``).

    Ignore regions lie in pictures with a new box alone; one that overlaps a box that stays by an IoU
    of ``overlap`` or more is deleted. Pictures are known where they were before, or have a new box
    now.

    Args:
        given, pseudo, ignored: of the same n pictures.
        overlap: in [0, 1].

    Source: Kaul et al., Label, Verify, Correct, CVPR 2022. Used by: 034.
    """
    kept = BoxLabels.combined([given, pseudo])
    kept = replace(kept, known=given.known | (pseudo.counts > 0))
    things = kept.keep(~kept.crowd)
    free = best_overlap(Regions(ignored.boxes, ignored.pictures), things) < overlap
    regions = ignored.keep(free & (pseudo.counts > 0)[ignored.pictures])
    regions = replace(
        regions, crowd=torch.ones_like(regions.crowd), known=torch.zeros_like(given.known)
    )
    return BoxLabels.combined([kept, regions])
