"""Classes by direction: the box head of few-shot detectors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leaven.models.detection.box_head import DeltaHead


class CosineLogits(nn.Linear):
    """``s cos(w_k, x)``: a linear layer without bias on rows and weights of length 1.

    Args:
        inputs, outputs: D and K.
        scale: s.

    Source: Wang et al., Frustratingly simple few-shot object detection, ICML 2020. Used by: 034.
    """

    def __init__(self, inputs: int, outputs: int, scale: float = 20.0) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.scale = scale

    def forward(self, rows: Tensor) -> Tensor:
        return self.scale * F.linear(F.normalize(rows, dim=1), F.normalize(self.weight, dim=1))


class CosineHead(DeltaHead):
    """``DeltaHead`` with classes by cosine, and with dropout on its hidden units.

    The classes of a few boxes then have logits of the same range as those of many.

    Args:
        scale: of the cosine.
        dropout: probability, after each hidden layer.

    Source: as of ``CosineLogits``; the dropout is that of Kaul et al., CVPR 2022. Used by: 034.
    """

    def __init__(
        self,
        channels: int,
        resolution: int,
        width: int,
        num_classes: int,
        *,
        scale: float = 20.0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(channels, resolution, width, num_classes)
        first, second = self.hidden.fc6, self.hidden.fc7
        self.hidden = _Hidden(first, second, dropout)
        self.class_logits = CosineLogits(width, num_classes + 1, scale)


class _Hidden(nn.Module):
    """Two linear layers with ReLU and dropout, named as in torchvision."""

    def __init__(self, first: nn.Module, second: nn.Module, dropout: float) -> None:
        super().__init__()
        self.fc6, self.fc7 = first, second
        self.dropout = nn.Dropout(dropout)

    def forward(self, pooled: Tensor) -> Tensor:
        hidden = self.dropout(torch.relu(self.fc6(pooled.flatten(1))))
        return self.dropout(torch.relu(self.fc7(hidden)))
