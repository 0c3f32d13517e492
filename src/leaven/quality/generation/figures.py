"""All figures of made pictures beside real ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from leaven.models.backbone import Backbone, load_backbone
from leaven.quality.generation.features import picture_features
from leaven.quality.generation.kernel_distance import kernel_distance
from leaven.quality.generation.moments import frechet_distance, moments
from leaven.quality.generation.neighbourhoods import neighbourhood_scores

NEIGHBOURS, NEIGHBOURS_OF_DENSITY = 3, 5
"""k of precision and recall, and of density and coverage, as published."""

FEWEST = NEIGHBOURS_OF_DENSITY + 1
"""Pictures of each kind that it takes at least."""


def picture_figures(
    real: Tensor | Iterable[Tensor],
    made: Tensor | Iterable[Tensor],
    extractor: Backbone | str,
    *,
    seed: int = 0,
    subsets: int = 100,
    size: int = 1000,
) -> dict[str, Any]:
    """Distances of made pictures from real ones and how good and many-sided they are.

    Figures of one extractor and of equally many pictures can be compared with each other, and with
    no others: published ones are of Inception-v3 and tens of thousands of pictures.

    Args:
        real, made: uint8 pictures (n, C, H, W), or batches of them; at least 6 of each.
        extractor: of features; or its name or folder, see ``load_backbone``, for ``real`` as one
            tensor, in whose shape it is loaded.
        seed: of the subsets of the kernel distance.
        subsets, size: see ``kernel_distance``.

    Returns:
        ``extractor`` (name), ``real`` and ``made`` (how many), ``fid``, ``kid``, ``kid_std``,
        ``precision``, ``recall``, ``density``, ``coverage``.

    Raises:
        ValueError: fewer than 6 pictures.
        ModelError: an extractor that cannot be loaded.

    Used by: 001, 044.
    """
    if isinstance(extractor, str):
        if not isinstance(real, Tensor):
            raise ValueError("an extractor by name needs the real pictures as one tensor")
        extractor = load_backbone(extractor, tuple(real.shape[1:]))
    x, y = picture_features(real, extractor), picture_features(made, extractor)
    if min(len(x), len(y)) < FEWEST:
        raise ValueError(
            f"{len(x)} real and {len(y)} made pictures; {FEWEST} of each are the fewest"
        )
    kernel = kernel_distance(x, y, torch.Generator().manual_seed(seed), subsets=subsets, size=size)
    near = neighbourhood_scores(x, y, NEIGHBOURS)
    dense = neighbourhood_scores(x, y, NEIGHBOURS_OF_DENSITY)
    return {
        "extractor": extractor.spec.name,
        "real": len(x),
        "made": len(y),
        "fid": frechet_distance(moments(x), moments(y)),
        "kid": kernel.mean,
        "kid_std": kernel.std,
        "precision": near.precision,
        "recall": near.recall,
        "density": dense.density,
        "coverage": dense.coverage,
    }
