"""A segmenter with further heads on its features."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from leaven.models.segmentation.layers import conv_norm
from leaven.models.segmentation.segmenter import Segmenter


class HeadedSegmenter(Segmenter):
    """A segmenter and heads that share its features: representations, tags, second opinions.

    ``forward`` is that of the segmenter. The heads are part of the module, so that whatever moves,
    averages or copies it moves them along.

    Args:
        segmenter: shares its weights with this one.
        heads: by name, maps (B, D, h, w) to maps.

    Used by: 054, 117.
    """

    def __init__(self, segmenter: Segmenter, heads: Mapping[str, nn.Module]) -> None:
        super().__init__(
            segmenter.net,
            segmenter.head,
            segmenter.spec,
            segmenter.encoder_channels,
            segmenter.strides,
        )
        self.heads = nn.ModuleDict(heads)
        self.precision = segmenter.precision
        self.to(segmenter.mean.device).train(segmenter.training)

    def apply_head(self, name: str, maps: Tensor) -> Tensor:
        """What the head ``name`` makes of maps of ``encode`` or ``decode``, float32."""
        with self._autocast():
            return self.heads[name](maps).float()

    def alone(self) -> Segmenter:
        """The segmenter without the heads; it shares its weights with this one."""
        plain = Segmenter(self.net, self.head, self.spec, self.encoder_channels, self.strides)
        plain.precision = self.precision
        return plain.to(self.mean.device).train(self.training)


def representation_head(inputs: int, width: int = 256) -> nn.Sequential:
    """Pixel features to the vectors that pixels are compared by.

    Two 3x3 convolutions with normalisation and ReLU and a 1x1 convolution:
    (B, ``inputs``, h, w) to (B, ``width``, h, w).

    Source: Wang et al., U2PL, CVPR 2022, without its dropout. Used by: 054, 117.
    """
    return nn.Sequential(
        conv_norm(inputs, width), conv_norm(width, width), nn.Conv2d(width, width, 1)
    )


def auxiliary_head(inputs: int, num_classes: int, width: int = 256) -> nn.Sequential:
    """A second classifier of pixels, on a map inside the encoder, that helps its training alone.

    A 3x3 convolution with normalisation and ReLU, dropout of a tenth of the channels, and a 1x1
    convolution: (B, ``inputs``, h, w) to logits (B, ``num_classes``, h, w).

    Source: Zhao et al., Pyramid scene parsing network, CVPR 2017. Used by: 117.
    """
    return nn.Sequential(
        conv_norm(inputs, width), nn.Dropout2d(0.1), nn.Conv2d(width, num_classes, 1)
    )
