"""A head that says which positions of a feature map belong together."""

from __future__ import annotations

from torch import Tensor, nn


class CorrelationHead(nn.Module):
    """A learned map from every position of a picture to every other.

    ``e = dropout(relu(norm(conv3x3(maps))))``, ``f1 = W1 e``, ``f2 = W2 e`` with K channels each, and
    ``A = softmax_rows(f1^T f2 / sqrt(K))``: (B, C, h, w) to (B, h w, h w), rows that sum to 1.

    Only learned with: the model that is used after the run has no such head.

    Args:
        inputs: C, channels of the map.
        num_classes: K.
        width: channels of e.
        dropout: of whole channels of e.

    Source: Sun et al., CorrMatch, CVPR 2024, https://github.com/BBBBchan/CorrMatch. Used by: 087.
    """

    def __init__(
        self, inputs: int, num_classes: int, width: int = 256, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.project = nn.Sequential(
            nn.Conv2d(inputs, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
        )
        self.first = nn.Conv2d(width, num_classes, 1)
        self.second = nn.Conv2d(width, num_classes, 1)

    def forward(self, maps: Tensor) -> Tensor:
        shared = self.project(maps)
        first, second = self.first(shared).flatten(2), self.second(shared).flatten(2)
        scores = first.transpose(1, 2) @ second / first.shape[1] ** 0.5
        return scores.softmax(2)
