"""SegFormer and Mask2Former of transformers as segmentation networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from leaven.models.segmentation.segmenter import SegmentationNet

_LEAST_SCORE = 1e-6


class SegformerNet(SegmentationNet):
    """A ``SegformerForSemanticSegmentation`` without its last convolution.

    ``encode`` gives the maps of the four stages (strides 4 to 32), ``decode`` what the decoder of
    linear layers makes of them, at stride 4.

    Source: Xie et al., SegFormer, NeurIPS 2021. Used by: 054, 093.
    """

    decoder_parts = ("model.decode_head",)

    def __init__(self, model: Any, grey: bool) -> None:
        super().__init__()
        self.model, self.grey = model, grey
        self.num_features = model.decode_head.classifier.in_channels
        model.decode_head.classifier = nn.Identity()

    def encode(self, images: Tensor) -> list[Tensor]:
        images = images.expand(-1, 3, -1, -1) if self.grey else images
        segformer: Any = self.model.segformer
        found = segformer(images, output_hidden_states=True, return_dict=True).hidden_states
        return list(found)

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        return self.model.decode_head(tuple(features))


class Mask2FormerNet(SegmentationNet):
    """A ``Mask2FormerForUniversalSegmentation`` that scores pixels.

    ``encode`` gives the maps of the backbone (strides 4 to 32). ``decode`` gives at stride 4 the
    embeddings of the pixel decoder and, in the last K channels, the scores
    ``s_k(x) = sum_q p_q(k) sigmoid(m_q(x))`` over queries q with class probabilities p_q, of which
    the one of no object is left out, and mask logits m_q. The head gives ``log(s + 1e-6)``: its
    softmax is ``s_k / sum_j s_j``, and its argmax the class that the authors predict, who bring the
    masks to the size of the pictures before the sigmoid where this brings the logits there.

    Source: Cheng et al., Mask2Former, CVPR 2022.
    """

    decoder_parts = (
        "model.model.pixel_level_module.decoder",
        "model.model.transformer_module",
        "model.class_predictor",
    )
    class_parts = ("model.class_predictor",)

    def __init__(self, model: Any, grey: bool) -> None:
        super().__init__()
        self.model, self.grey = model, grey
        del model.criterion
        self.num_features = model.config.mask_feature_size + model.config.num_labels

    def encode(self, images: Tensor) -> list[Tensor]:
        images = images.expand(-1, 3, -1, -1) if self.grey else images
        pixel_level: Any = self.model.model.pixel_level_module
        return list(pixel_level.encoder(images).feature_maps)

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        inner: Any = self.model.model
        pixels = inner.pixel_level_module.decoder(list(features))
        found = inner.transformer_module(
            multi_scale_features=pixels.multi_scale_features,
            mask_features=pixels.mask_features,
            output_hidden_states=True,
        )
        queries = found.intermediate_hidden_states[-1].transpose(0, 1)
        classes = self.model.class_predictor(queries)
        masks = found.masks_queries_logits[-1]
        with torch.autocast(masks.device.type, enabled=False):
            probs = classes.float().softmax(-1)[..., :-1]
            scores = torch.einsum("bqk,bqhw->bkhw", probs, masks.float().sigmoid())
        return torch.cat([pixels.mask_features.float(), scores], 1)

    def new_head(self, num_classes: int) -> nn.Module:
        return LogScores(num_classes)


class LogScores(nn.Module):
    """``log(s + 1e-6)`` of the last K channels s: (B, D, h, w) to (B, K, h, w)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, pixel_features: Tensor) -> Tensor:
        return (pixel_features[:, -self.num_classes :].float() + _LEAST_SCORE).log()
