"""What a detector says of pictures, over a whole set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from leaven.labels.boxes import BoxLabels
from leaven.propose.predict import Pictures

if TYPE_CHECKING:
    from leaven.models.detection.detector import Detector


def predict_boxes(
    model: Detector,
    pixels: Pictures,
    *,
    score: float = 0.05,
    nms: float = 0.5,
    most: int = 100,
    batch_size: int = 16,
) -> BoxLabels:
    """The things in every picture: evaluation mode, no augmentation, no gradient.

    Each submodule is in its former mode afterwards. Every picture is known in the result, also one
    in which nothing was found.

    Args:
        model: a detector; one for instances gives masks too.
        pixels: n pictures.
        score: only above this score, in [0, 1].
        nms: of boxes of one class that overlap by more than this IoU, the best is kept.
        most: of one picture, at most so many.
        batch_size: pictures at once, >= 1.

    Returns:
        the labels of the n pictures, in main memory; the confidence is the score.

    Raises:
        ValueError: a batch size below 1.

    Used by: Unbiased Teacher, 005, 020, 034, 097, 119.
    """
    if batch_size < 1:
        raise ValueError(f"a batch has at least one picture, not {batch_size}")
    device = next(model.parameters()).device
    parts = []
    for start in range(0, len(pixels), batch_size):
        index = torch.arange(start, min(start + batch_size, len(pixels)))
        images = pixels.batch(index).to(device, non_blocking=True)
        parts.append(model.detect(images, score=score, nms=nms, most=most).cpu())
    return BoxLabels.joined(parts) if parts else BoxLabels.nothing(0)
