"""Discs of three sizes and colours on noise: what the tests of detectors look for."""

from __future__ import annotations

import torch
from torch import Tensor

from leaven.labels.boxes import BoxLabels
from leaven.labels.masks import Masks

HEIGHT, WIDTH = 72, 100
SIDES = (9, 20, 34)


def discs(count: int, seed: int = 1, each: int = 4) -> tuple[Tensor, BoxLabels]:
    """uint8 pictures (count, 3, 72, 100) with ``each`` discs of three classes, and their labels."""
    draw = torch.Generator().manual_seed(seed)
    shape = (count, 3, HEIGHT, WIDTH)
    pictures = torch.randint(0, 40, shape, generator=draw, dtype=torch.uint8)
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    boxes, classes, masks = [], [], []
    for picture in pictures:
        kinds = torch.arange(each) % 3
        corners = torch.rand(each, 2, generator=draw)
        sides = torch.tensor(SIDES)[kinds]
        room = torch.tensor([WIDTH, HEIGHT]) - sides[:, None]
        low = (corners * room).floor()
        boxes.append(torch.cat([low, low + sides[:, None]], 1))
        classes.append(kinds)
        for kind, (left, top), side in zip(kinds.tolist(), low.tolist(), sides.tolist()):
            inside = (x - left - side / 2) ** 2 + (y - top - side / 2) ** 2 < side**2 / 4
            picture[:, inside] = 30
            picture[kind, inside] = 250
            masks.append(inside)
    return pictures, BoxLabels.from_person(
        boxes, classes, masks=Masks.from_dense(torch.stack(masks))
    )
