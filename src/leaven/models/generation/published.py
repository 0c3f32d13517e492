"""Published models in the layout of diffusers: a folder of folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from leaven.errors import ModelError
from leaven.models.generation.class_transformer import ClassTransformer
from leaven.models.generation.hub import from_pretrained
from leaven.models.generation.latents import latents_of
from leaven.models.generation.libraries import library
from leaven.models.generation.maker import PictureMaker
from leaven.models.generation.text_to_picture import TextToPicture, text_to_picture_spec
from leaven.models.generation.transformer import TextTransformer

_PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")
_TRAINED = {
    "beta_schedule": "linear",
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
}


def load_published(
    path: Path | str, dtype: torch.dtype = torch.float32, *, tokens: int = 120
) -> PictureMaker:
    """A PixArt-alpha model from its folder, on the CPU and in evaluation mode.

    The folder has the parts ``transformer``, ``vae``, ``text_encoder``, ``tokenizer`` and
    ``scheduler``. Transformer and autoencoder are loaded now, from safetensors alone; the encoder of
    captions, by far the largest, when the first caption comes. Guidance leads away from the empty
    caption with its own mask, as in diffusers, for the layout has no table of a null caption.

    Args:
        path: the folder.
        dtype: of the weights.
        tokens: T.

    Raises:
        ModelError: a part is missing or damaged, has no safetensors, or was trained for other noise
            than this samples from.
        MissingExtraError: without diffusers; later, without transformers.
    """
    folder = Path(path)
    _check_parts(folder, _PARTS)
    _check_noise(folder / "scheduler" / "scheduler_config.json")
    diffusers = library("diffusers", "a published model")
    net = from_pretrained(diffusers.PixArtTransformer2DModel, str(folder), "transformer", dtype)
    transformer = TextTransformer.of(net, tokens)
    latents = latents_of(str(folder), 3, dtype)
    side = transformer.shape.side * latents.factor
    spec = text_to_picture_spec(
        transformer.shape,
        (latents.colours, side, side),
        words=str(folder),
        latents=str(folder),
        nothing="empty",
    )
    return TextToPicture(spec, transformer, latents=latents, dtype=dtype).eval()


def load_class_transformer(
    path: Path | str, dtype: torch.dtype = torch.float32
) -> ClassTransformer:
    """A published DiT from its folder: a teacher for ``reparameterise``.

    Args:
        path: a folder with the part ``transformer``, or that part.
        dtype: of the weights.

    Raises:
        ModelError: it is missing or damaged, or has no safetensors.
        MissingExtraError: without diffusers.
    """
    diffusers = library("diffusers", "a published model")
    kind: Any = diffusers.DiTTransformer2DModel
    return ClassTransformer.of(from_pretrained(kind, str(path), "transformer", dtype)).eval()


def _check_parts(folder: Path, parts: tuple[str, ...]) -> None:
    missing = [part for part in parts if not (folder / part).is_dir()]
    if missing:
        raise ModelError(
            f"{folder} is not a whole model: it has no {', '.join(missing)}.",
            "a folder in the layout of diffusers, with " + ", ".join(parts),
            "Give the folder that holds model_index.json; copy what is missing.",
        )


def _check_noise(path: Path) -> None:
    try:
        config = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(
            f"{path} cannot be read: {error}.",
            "the JSON that diffusers writes",
            "Copy the model again.",
        ) from error
    said = {name: config.get(name, "that is not told") for name in _TRAINED}
    other = [f"{name} {value}" for name, value in said.items() if value != _TRAINED[name]]
    if other:
        raise ModelError(
            f"The model in {path.parents[1]} was trained for other noise: {', '.join(other)}.",
            ", ".join(f"{name} {value}" for name, value in _TRAINED.items()),
            "Use a PixArt-alpha model, or its own pipeline of diffusers.",
        )
