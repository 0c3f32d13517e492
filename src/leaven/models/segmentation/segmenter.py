"""The one shape of a segmentation model: normalise, encode, decode, classify each pixel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leaven.errors import ModelError
from leaven.models.classifier import ModelSpec, channels, normalised
from leaven.models.precision import autocast


class SegmentationNet(nn.Module, ABC):
    """A segmentation network without its last layer; what a ``Segmenter`` is made of.

    Attributes:
        num_features: D, the channels of ``decode``.
        align_corners: how maps are brought to the size of the pictures.
        decoder_parts: the names of the submodules that ``decode`` is made of.
        class_parts: the names of the submodules inside the net whose shape depends on the classes.
    """

    num_features: int
    align_corners: bool = False
    decoder_parts: tuple[str, ...] = ()
    class_parts: tuple[str, ...] = ()

    @abstractmethod
    def encode(self, images: Tensor) -> list[Tensor]:
        """Normalised pictures (B, C, H, W) to maps from high to low resolution, at least two."""

    @abstractmethod
    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """The maps of ``encode`` to pixel features (B, D, h, w)."""

    def new_head(self, num_classes: int) -> nn.Module:
        """Pixel features to logits (B, K, h, w): a 1x1 convolution, Xavier-normal, zero bias."""
        head = nn.Conv2d(self.num_features, num_classes, 1)
        nn.init.xavier_normal_(head.weight)
        nn.init.constant_(head.get_parameter("bias"), 0.0)
        return head

    def translate(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[Tensor]]:
        """The weights of a library's whole model as those of this net and of its head.

        The head is [weight, bias], or an empty list.

        Raises:
            ModelError: of a net that is not from a library.
        """
        raise ModelError(
            f"The weights were not written by leaven: {', '.join(list(state)[:3]) or 'no tensors'}.",
            "a model.safetensors that leaven has written",
            "Use the model these weights were made with, or other weights.",
        )


class Segmenter(nn.Module):
    """Pictures in, logits of every pixel out.

    ``forward`` takes pictures (B, C, H, W) as uint8, or as float in [0, 1], and gives float32
    logits (B, K, H, W): ``resize(classify(decode(encode(images))))``. A method that perturbs
    features or adds heads calls the four one by one::

        features = model.encode(images)
        dropped = [F.dropout2d(maps, 0.5) for maps in features]
        logits = model.resize(model.classify(model.decode(dropped)), images.shape[-2:])
        correlation_head(features[-1])  # built with model.encoder_channels[-1]
        representation_head(model.decode(features))  # built with model.num_features

    Args:
        net: normalised pictures -> maps -> pixel features.
        head: pixel features -> logits.
        spec: how it was built; saved with the weights.
        encoder_channels: of the maps of ``encode``, in their order.
        strides: H / h of the maps of ``encode``, rounded.

    Attributes:
        precision: the dtype of autocast; None for none.

    Used by: 025, 040, 054, 057, 072, 086, 087, 093, 117.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: SegmentationNet,
        head: nn.Module,
        spec: ModelSpec,
        encoder_channels: Sequence[int],
        strides: Sequence[int],
    ) -> None:
        super().__init__()
        self.net, self.head, self.spec = net, head, spec
        self.encoder_channels, self.strides = tuple(encoder_channels), tuple(strides)
        self.register_buffer("mean", channels(spec.mean, 3))
        self.register_buffer("std", channels(spec.std, 3))
        self.precision: torch.dtype | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        return self.spec.classes

    @property
    def num_classes(self) -> int:
        return len(self.spec.classes)

    @property
    def num_features(self) -> int:
        """D, the channels of ``decode``."""
        return self.net.num_features

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 or [0, 1] pictures to zero mean and unit spread per channel."""
        return normalised(images, self.mean, self.std)

    def encode(self, images: Tensor) -> list[Tensor]:
        """The maps of the encoder, float32, from high to low resolution; at least two."""
        with self._autocast():
            return [maps.float() for maps in self.net.encode(self.normalise(images))]

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """The maps of ``encode`` to pixel features, float32 (B, D, h, w)."""
        with self._autocast():
            return self.net.decode(features).float()

    def classify(self, pixel_features: Tensor) -> Tensor:
        """(B, D, h, w) pixel features to float32 logits (B, K, h, w)."""
        with self._autocast():
            return self.head(pixel_features).float()

    def resize(self, maps: Tensor, size: Sequence[int]) -> Tensor:
        """Maps (B, K, h, w) to ``size`` (H, W), bilinear as this network does it."""
        if tuple(maps.shape[-2:]) == tuple(size):
            return maps
        return F.interpolate(
            maps, tuple(size), mode="bilinear", align_corners=self.net.align_corners
        )

    def forward(self, images: Tensor) -> Tensor:
        # Without the way over float32 between the three, which only others need.
        with self._autocast():
            maps = self.head(self.net.decode(self.net.encode(self.normalise(images))))
        return self.resize(maps.float(), images.shape[-2:])

    def decoder_parameters(self) -> list[nn.Parameter]:
        """The weights of decoder and head, which many recipes train at another rate."""
        found = [p for part in self._decoder_parts() for p in part.parameters()]
        return [*found, *self.head.parameters()]

    def encoder_parameters(self) -> list[nn.Parameter]:
        """All weights but ``decoder_parameters``."""
        others = {id(p) for p in self.decoder_parameters()}
        return [p for p in self.parameters() if id(p) not in others]

    def take_decoder(self, other: Segmenter) -> None:
        """Copy decoder and head, buffers included, from ``other`` of the same kind."""
        for mine, theirs in zip(self._decoder_parts(), other._decoder_parts(), strict=True):
            mine.load_state_dict(theirs.state_dict())
        self.head.load_state_dict(other.head.state_dict())

    def _decoder_parts(self) -> list[nn.Module]:
        return [self.net.get_submodule(name) for name in self.net.decoder_parts]

    def _autocast(self) -> AbstractContextManager[Any]:
        return autocast(self.mean, self.precision)
