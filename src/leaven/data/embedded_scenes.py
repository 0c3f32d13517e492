"""The embedded scenes as pictures that were found, with what is where in them."""

from __future__ import annotations

import torch
from PIL import Image

from leaven.data.annotated_listing import AnnotatedListing, Task
from leaven.data.scenes import scenes

SCENES = "scenes"
"""The name of the embedded scenes."""

COUNT = 800
"""How many there are."""

LABELLED = 100
"""So many keep their labels where nobody says how many."""


def listed_scenes(task: Task, count: int = COUNT, seed: int = 0) -> AnnotatedListing:
    """Scenes of 96x96, all labelled: maps with a background, or boxes and masks of digits.

    Args:
        task: what is said of them.
        count: how many.
        seed: equal seeds give equal scenes.
    """
    made = scenes(count, seed=seed)
    known = torch.ones(count, dtype=torch.bool)
    pixels = task == "segmentation"
    return AnnotatedListing(
        name=SCENES,
        sources=[Image.fromarray(image.numpy()) for image in made.images.permute(0, 2, 3, 1)],
        names=[f"{SCENES}/{number:05d}" for number in range(count)],
        splits=["train"] * count,
        classes=made.classes if pixels else made.thing_classes,
        sizes=torch.tensor([made.images.shape[2:]]).expand(count, 2).contiguous(),
        known=known,
        boxes=None if pixels else made.boxes(masks=task == "instance"),
        maps=list(made.semantic.numpy()) if pixels else None,
    )
