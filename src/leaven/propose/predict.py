"""What a model itself says of pictures: over a whole set, or for one batch while it trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from leaven.models.classifier import Classifier


class Pictures(Protocol):
    """``n`` pictures that can be had in batches."""

    def __len__(self) -> int: ...

    def batch(self, index: Tensor) -> Tensor:
        """The pictures at ``index`` (b,) as uint8 (b, C, H, W)."""
        ...


def predict(model: nn.Module, pixels: Pictures, batch_size: int = 512) -> Tensor:
    """The class distribution of every picture: eval mode, no augmentation, no gradient.

    ``p_i = softmax(model(x_i))``. Each submodule is in its former mode afterwards.

    Args:
        model: pictures (b, C, H, W) uint8 -> logits (b, K).
        pixels: n pictures.
        batch_size: pictures at once, >= 1.

    Returns:
        (n, K) float32 on the CPU, in the order of ``pixels``.

    Raises:
        ValueError: a batch size below 1.

    Used by: supervised, FixMatch, 002, 006, 007, 077.
    """

    def probs(images: Tensor) -> tuple[Tensor, ...]:
        return (model(images).softmax(1, dtype=torch.float32),)

    return _over(model, probs, pixels, batch_size)[0]


def predict_features(
    model: Classifier, pixels: Pictures, batch_size: int = 512
) -> tuple[Tensor, Tensor]:
    """As ``predict``, with the features that the distributions come from, in one pass.

    Args:
        model: with ``features`` (pictures -> (b, D)) and ``classify`` (features -> logits).
        pixels, batch_size: as for ``predict``.

    Returns:
        probs (n, K) and features (n, D), both float32 on the CPU.

    Raises:
        ValueError: a batch size below 1.
    """

    def both(images: Tensor) -> tuple[Tensor, ...]:
        features = model.features(images)
        return model.classify(features).softmax(1, dtype=torch.float32), features.float()

    probs, features = _over(model, both, pixels, batch_size)
    return probs, features


@torch.no_grad()
def label_pass(model: nn.Module, images: Tensor) -> Tensor:
    """The class distributions of one batch by the network as it trains, free of its noise.

    ``r_i = softmax(model(x_i))`` with batch-norm in train mode and all else in eval mode: batch
    statistics normalise, dropout and stochastic depth of any kind are off. So the same weights
    and batch give the same result. As in any pass in train mode, the running statistics of
    batch-norm take the batch in; thus the clean pictures enter them beside the augmented ones.
    Each submodule is in its former mode afterwards.

    Args:
        model: pictures (B, C, H, W) -> logits (B, K).
        images: the batch, not augmented and not mixed. Batch-norm needs more than one value per
            channel.

    Returns:
        (B, K) float32 rows that sum to 1, without gradient, on the device of the model.

    Source: Arazo et al., Pseudo-Labeling and Confirmation Bias, IJCNN 2020 (its code).
    Used by: 007.
    """
    with modes_kept(model):
        batch_norm_alone(model)
        return model(images.to(device_of(model))).softmax(1, dtype=torch.float32)


def batch_norm_alone(model: nn.Module) -> None:
    """Batch-norm in train mode and all else in eval mode: what the model says depends on the batch,
    and on no draw."""
    model.eval()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.training = True


def _over(
    model: nn.Module,
    call: Callable[[Tensor], tuple[Tensor, ...]],
    pixels: Pictures,
    batch_size: int,
) -> tuple[Tensor, ...]:
    if batch_size < 1:
        raise ValueError(f"a batch has at least one picture, not {batch_size}")
    device, parts = device_of(model), []
    # Tensors of inference_mode could not be trained on later, so no_grad.
    with modes_kept(model), torch.no_grad():
        model.eval()
        # No picture is one empty batch: the model says how wide the empty result is.
        for start in range(0, max(1, len(pixels)), batch_size):
            index = torch.arange(start, min(start + batch_size, len(pixels)))
            images = pixels.batch(index).to(device, non_blocking=True)
            parts.append([part.cpu() for part in call(images)])
    return tuple(torch.cat(column) for column in zip(*parts))


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Puts every submodule back in its mode: some may be frozen in eval mode."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def device_of(model: nn.Module) -> torch.device:
    """Where the first weight of ``model`` lies; the CPU where it has none."""
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device
