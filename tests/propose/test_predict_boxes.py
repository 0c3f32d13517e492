from __future__ import annotations

import pytest
import torch
from tests.models.detect_scenes import HEIGHT, WIDTH, discs

from leaven.data.pixels import MemoryPixels
from leaven.models.detection import build_detector
from leaven.propose import predict_boxes


@pytest.mark.parametrize("name", ["fcos-small", "conv-instance-small"])
def test_over_a_set_as_picture_by_picture(name: str) -> None:
    torch.manual_seed(0)
    model = build_detector(
        name,
        ["a", "b"],
        (3, HEIGHT, WIDTH),
        mean=(0.1,),
        std=(0.2,),
        options={"widths": (8, 8, 16, 16), "channels": 16},
    ).train()
    pictures, _ = discs(5)
    found = predict_boxes(model, MemoryPixels(pictures), score=0.001, most=4, batch_size=2)
    assert model.training and found.known.all()
    assert found.counts.tolist() == [4] * 5
    for row in range(5):
        alone = model.detect(pictures[row : row + 1], score=0.001, most=4)
        assert torch.allclose(found.boxes[found.pictures == row], alone.boxes, atol=1e-3)
    assert (found.masks is None) == (name == "fcos-small")
    nothing = predict_boxes(model, MemoryPixels(pictures[:0]))
    assert len(nothing) == 0 and len(nothing.boxes) == 0
    with pytest.raises(ValueError, match="at least one picture"):
        predict_boxes(model, MemoryPixels(pictures), batch_size=0)
