"""Any backbone of timm under the decoder of DeepLabV3+."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leaven.errors import MissingExtraError
from leaven.models.adapters import AdaptedEncoder, adapted_encoder, build_other, no_such, no_weights
from leaven.models.segmentation.layers import DeepLabDecoder
from leaven.models.segmentation.segmenter import SegmentationNet
from leaven.models.small import Norm, initialise
from leaven.models.weights import load_into, read_weights

_STRIDE = 16
_RATES = (6, 12, 18)


class TimmNet(SegmentationNet):
    """A backbone of timm and the decoder of DeepLabV3+.

    ``encode`` gives the finest map of stride 4 or more (the low-level skip) and the last one.

    Args:
        backbone: pictures -> maps, from ``timm.create_model(..., features_only=True)``.
        stride: of the last map; the dilations of the pyramid are (6, 12, 18) at stride 16 and
            change with it, unless ``rates`` says otherwise.
        width: D, of the pyramid and of the pixel features.
        low: channels of the low-level skip in the decoder.
        norm: of the decoder, ``"batch"`` or ``"group"``.
    """

    align_corners = True
    decoder_parts = ("decoder",)

    def __init__(
        self,
        backbone: nn.Module,
        *,
        width: int = 256,
        low: int = 48,
        rates: Sequence[int] | None = None,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        self.backbone, self.num_features = backbone, width
        info: Any = backbone.feature_info
        strides, widths = info.reduction(), info.channels()
        self.low = next(n for n, stride in enumerate(strides) if stride >= min(4, strides[-1]))
        if rates is None:
            rates = [max(1, rate * _STRIDE // strides[-1]) for rate in _RATES]
        self.decoder = DeepLabDecoder(
            widths[self.low], widths[-1], width=width, low=low, rates=rates, norm=norm
        )
        initialise(self.decoder)

    def encode(self, images: Tensor) -> list[Tensor]:
        maps = self.backbone(images)
        if str(getattr(self.backbone, "output_fmt", "NCHW")).endswith("NHWC"):
            maps = [one.permute(0, 3, 1, 2) for one in maps]
        return [maps[self.low], maps[-1]]

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        return self.decoder(features[0], features[-1])


def timm_net(
    name: str,
    shape: tuple[int, ...],
    published: str | None,
    local: str | Path | None,
    options: dict[str, Any],
) -> TimmNet:
    """The network ``timm:<name>``.

    The backbone has output stride 16 where it can be dilated, else its own; the option
    ``output_stride`` asks for another one.

    Args:
        name: of a timm model, also with the tag of its weights.
        shape: (C, H, W) of the pictures.
        published: ``"default"`` or a tag, of weights of the backbone; None for random ones.
        local: a file of the whole classification model, in the place of ``published``.
        options: of ``TimmNet``; all others of the timm model.

    Raises:
        ModelError: for unknown names, options and tags, models without maps, and weights that
            cannot be downloaded or do not fit.
        MissingExtraError: without timm.
    """
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError("timm", "timm", f"the model 'timm:{name}'") from error
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise no_such("timm", name, timm.list_models(), "timm:resnet18", kind="backbone")
    tags = [n.partition(".")[2] for n in timm.list_pretrained(f"{architecture}.*")]
    tag = published if published not in (None, "default") else tag
    if (tag and tag not in tags) or (published and not tags):
        raise no_weights(f"timm:{architecture}", tag or "default", tags)
    full = f"{architecture}.{tag}" if tag else architecture
    own = {n: options[n] for n in ("width", "low", "rates", "norm") if n in options}
    wanted: dict[str, Any] = {"features_only": True, "in_chans": shape[0], **_size(full, shape)}
    wanted |= {n: value for n, value in options.items() if n not in own}
    if local is not None:
        state = _whole(name, shape, local)
        wanted |= {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": state}}
    elif published is not None:
        wanted["pretrained"] = True
    return TimmNet(_dilated(f"timm:{name}", full, wanted, published), **own)


def _dilated(name: str, full: str, wanted: dict[str, Any], published: str | None) -> nn.Module:
    """The backbone with output stride 16, or with its own where it knows no other."""
    import timm

    if "output_stride" not in wanted:
        try:
            return timm.create_model(full, output_stride=_STRIDE, **wanted)
        except (TypeError, AssertionError, ValueError, NotImplementedError):
            pass
    return build_other(name, lambda: timm.create_model(full, **wanted), published)


def _size(full: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """Models that are made for one size of pictures are made for this one."""
    import timm

    config = timm.models.get_pretrained_cfg(full)
    return {"img_size": shape[1:]} if config and config.fixed_input_size else {}


def _whole(name: str, shape: tuple[int, ...], local: str | Path) -> dict[str, Tensor]:
    """The weights in the file ``local``, all of which fit the classification model."""
    with torch.random.fork_rng(devices=[]):
        encoder: AdaptedEncoder = adapted_encoder(f"timm:{name}", shape, None, {})
    body, _ = encoder.translate(read_weights(local))
    load_into(encoder.model, body, local)
    return dict(encoder.model.state_dict())
