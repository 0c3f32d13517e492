"""Captioners by name or local folder."""

from __future__ import annotations

from typing import Any

import torch

from leaven.errors import ModelError
from leaven.models.captioners.base import Captioner
from leaven.models.captioners.families import (
    Beginning,
    ChatCaptioner,
    PictureOnly,
    QuestionCaptioner,
)
from leaven.models.generation.hub import UNLOADABLE, check_whole, first_line
from leaven.models.generation.libraries import library

_QUESTIONS = ("blip-2", "instructblip")
_PICTURE_ONLY = ("vision-encoder-decoder", "git")
_EXPECTED = (
    "an image-to-text model of transformers: a local folder of its files, or its name on the hub"
)
_EXAMPLES = "for example llava-hf/llava-1.5-7b-hf, Salesforce/blip2-opt-2.7b or a folder"


def load_captioner(
    name: str,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    temperature: float = 0.2,
    max_tokens: int = 1024,
) -> Captioner:
    """An image-to-text model of transformers with its weights, from safetensors alone.

    Code that comes with a model is not run.

    Args:
        name: of published weights, or a local folder in the layout of ``save_pretrained``.
        device: where it computes.
        dtype: of its weights; as they are stored when None.
        temperature, max_tokens: see ``Captioner``.

    Raises:
        ModelError: there is no such model, it writes no text about pictures, or takes its prompt in
            a way that is not known.
        MissingExtraError: without transformers.
    """
    transformers = library("transformers", "writing captions")
    kind = _kind(transformers, name)
    model = _model(transformers, name, dtype).requires_grad_(False).eval().to(device)
    how: Any = {"temperature": temperature, "max_tokens": max_tokens}
    if kind in _PICTURE_ONLY:
        processor = _part(transformers.AutoImageProcessor, name)
        return PictureOnly(model, processor, _part(transformers.AutoTokenizer, name), **how)
    processor = _part(transformers.AutoProcessor, name)
    if kind == "blip":
        return Beginning(model, processor, **how)
    if kind in _QUESTIONS:
        return QuestionCaptioner(model, processor, **how)
    if getattr(processor, "chat_template", None) is None and not kind.startswith("llava"):
        raise ModelError(
            f"The captioner {name!r} is of the type {kind!r} and has no chat template, so that "
            "nobody knows how to ask it.",
            "a model with a chat template, or BLIP, BLIP-2, InstructBLIP, GIT or a vision encoder "
            "with a text decoder",
            "Use a version that was trained on instructions.",
        )
    return ChatCaptioner(model, processor, **how)


def _kind(transformers: Any, name: str) -> str:
    """The type of the model that its configuration tells."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN,
    )

    try:
        config = transformers.AutoConfig.from_pretrained(name)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"There is no captioner {name!r}: {first_line(error)}",
            _EXPECTED,
            f"Check the name; {_EXAMPLES}. Where there is no network, copy the model into a folder "
            "first.",
        ) from error
    kind = str(config.model_type)
    if kind not in KNOWN:
        raise ModelError(
            f"The model {name!r} is of the type {kind!r}, which writes no text about pictures.",
            _EXPECTED,
            f"Choose a captioner, {_EXAMPLES}.",
        )
    return kind


def _model(transformers: Any, name: str, dtype: torch.dtype | None) -> Any:
    try:
        model, about = transformers.AutoModelForImageTextToText.from_pretrained(
            name, dtype=dtype or "auto", use_safetensors=True, output_loading_info=True
        )
    except UNLOADABLE as error:
        raise ModelError(
            f"The captioner {name!r} cannot be loaded: {str(error).strip()[:300]}",
            "config.json and whole safetensors of one model",
            "Copy or download it again; other files than safetensors are not read.",
        ) from error
    check_whole(name, about)
    return model


def _part(kind: Any, name: str) -> Any:
    try:
        return kind.from_pretrained(name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise ModelError(
            f"What prepares the input of the captioner {name!r} cannot be loaded: "
            f"{str(error).strip()[:300] or type(error).__name__}",
            "the files of its tokenizer and processor beside its weights",
            "Copy them there.",
        ) from error
