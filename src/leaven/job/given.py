"""What pictures are made from: prompts, or pictures and label maps to translate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from leaven.cielab import same_lightness
from leaven.data import decode
from leaven.data.changed_pixels import painted
from leaven.data.files import probe
from leaven.data.label_maps import stored_values
from leaven.data.placement import placed_map
from leaven.data.readers.folder import find_pictures
from leaven.errors import ConfigError, DataError
from leaven.labels.pixels import VOID
from leaven.models.classifier import ModelSpec
from leaven.plain import brief, is_text
from leaven.refine.caption_cleaning import clean_caption

LONGEST_PROMPT = 10_000
"""Letters; encoders take about a twentieth of it."""

LARGEST_FILE = 10_000_000
"""Bytes of a file of prompts."""


@dataclass(frozen=True)
class Given:
    """One thing to make pictures of.

    Attributes:
        name: what a person gave: the prompt, or the name of the file.
        value: what the model takes: the cleaned prompt, or (C', H, W) uint8.
        left_out: tokens of the prompt that have no place.
    """

    name: str
    value: str | Tensor
    left_out: int = 0


def prompts_of(prompts: Sequence[str], file: Path | None) -> list[Given]:
    """Prompts of the command line, then those of a file, one a line; cleaned as captions are.

    Raises:
        ConfigError: there is none, or one is empty, huge, or not text.
        DataError: the file cannot be read.
    """
    found = [(f"Prompt {number}", prompt) for number, prompt in enumerate(prompts, 1)]
    if file is not None:
        found += [(f"Line {n} of {file}", line) for n, line in _lines(file) if line.strip()]
    if not found:
        raise ConfigError(
            "There is no prompt.",
            "a prompt or more, or a file with one a line",
            'give one: leaven generate RUN "a three left of a seven", or --from FILE.',
        )
    return [_prompt(where, text) for where, text in found]


def _prompt(where: str, text: str) -> Given:
    expected = f"a few words, at most {LONGEST_PROMPT} letters"
    if not is_text(text):
        raise ConfigError(f"{where} is not text: {ascii(text)[:60]}.", expected, "write it anew.")
    if len(text) > LONGEST_PROMPT:
        raise ConfigError(f"{where} has {len(text)} letters.", expected, "shorten it.")
    if not text.strip():
        raise ConfigError(f"{where} is empty.", expected, "say what is to be seen.")
    cleaned = clean_caption(text)
    if not cleaned:
        raise ConfigError(
            f"Nothing is left of {where[0].lower() + where[1:]} ({brief(text)}) when it is cleaned "
            "as the captions of the training are.",
            "words, beside addresses, numbers and signs",
            "say what is to be seen.",
        )
    return Given(text, cleaned)


def _lines(file: Path) -> list[tuple[int, str]]:
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise ValueError(f"it has more than {LARGEST_FILE} bytes")
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(
            f"The prompts {file} cannot be read: {reason}.",
            "a text file in UTF-8 with one prompt a line",
            "check the path and the file.",
        ) from error
    return list(enumerate(text.splitlines(), 1))


def pictures_of(source: Path | None, spec: ModelSpec, size: tuple[int, int] | None) -> list[Given]:
    """A picture, or those below a folder, as the translator of ``spec`` takes them.

    They are scaled to ``size``, or to the size of the training. Where the model was trained on label
    maps, files without colours of their own are taken for maps of class numbers, and painted in the
    colours of the training.

    Raises:
        ConfigError: there is none.
        DataError: one cannot be read.
    """
    if source is None:
        raise ConfigError(
            "The model translates pictures, and none is given.",
            "a picture or label map, or a folder of them",
            "give it: leaven generate RUN --from FILE-or-FOLDER.",
        )
    files = [source]
    if source.is_dir():
        files = [source / name for name in find_pictures(source).pictures]
    elif not source.exists():
        raise DataError(
            f"There is no file or folder {source}.", "pictures to translate", "check the path."
        )
    height, width = size or (spec.shape[1], spec.shape[2])
    names = [file.relative_to(source).as_posix() if file != source else file.name for file in files]
    return [
        Given(_shown(name), _picture(file, spec, (height, width)))
        for name, file in zip(names, files, strict=True)
    ]


def _picture(file: Path, spec: ModelSpec, size: tuple[int, int]) -> Tensor:
    channels = int(spec.options.get("given", spec.shape[0]))
    if spec.classes and channels == 3:
        numbers = _numbers(file, len(spec.classes))
        if numbers is not None:
            return painted(placed_map(numbers, size)[None, None])[0]
    if spec.options.get("lab") and not probe(file).grey:
        return same_lightness(torch.from_numpy(decode(file, size, 3))[None])[0]
    return torch.from_numpy(decode(file, size, channels))


def _numbers(file: Path, classes: int) -> Tensor | None:
    """The class numbers (H, W) uint8 of a label map; None of a picture."""
    values = stored_values(file, file.name)
    if values.ndim != 2 or not ((values < classes) | (values == VOID)).all():
        return None
    return torch.from_numpy(np.ascontiguousarray(values.astype(np.uint8)))


def _shown(name: str) -> str:
    """A name of a file as text that can be written."""
    return name.encode("utf-8", "replace").decode("utf-8")
