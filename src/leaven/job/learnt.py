"""Which pictures a run has learnt the labels of, told by what they show."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from leaven.data.dataset import ImageSet
from leaven.data.files import PictureError, decode
from leaven.data.pixels import Pixels
from leaven.job.pictures import run_pictures
from leaven.labels.classes import Source
from leaven.labels.store import LabelStore

_BATCH = 256


def learnt_by(run: Path, images: ImageSet[Tensor]) -> Tensor:
    """(n,) bool: a person told ``run`` what the picture shows.

    Names say nothing of pictures of another folder, so the pixels are compared, in the shape that
    ``images`` have. All False where ``run`` is the folder of a model alone.

    Raises:
        RunError: the labels of the run are damaged, or its pictures are gone.
    """
    home = run if (run / "config.yaml").is_file() else run.parent
    store = LabelStore(home / "labels")
    if not (home / "config.yaml").is_file() or not store.rounds():
        return torch.zeros(len(images), dtype=torch.bool)
    names, labels, _, _ = store.read()
    told = labels.source == int(Source.PERSON)
    learnt = set(
        _run_digests(home, [names[row] for row in told.nonzero().squeeze(1).tolist()], images)
    )
    return torch.tensor([one in learnt for one in _digests(images.pixels)], dtype=torch.bool)


def _run_digests(run: Path, names: list[str], images: ImageSet[Tensor]) -> Iterator[bytes]:
    channels, height, width = images.pixels.shape
    pictures = run_pictures(run, names)
    for item, name in enumerate(names):
        try:
            source = pictures[item]
            if source is not None:
                yield _digest(decode(source, (height, width), channels, name))
        except PictureError:
            continue


def _digests(pixels: Pixels) -> Iterator[bytes]:
    for start in range(0, len(pixels), _BATCH):
        index = torch.arange(start, min(start + _BATCH, len(pixels)))
        yield from map(_digest, pixels.batch(index).cpu().numpy())


def _digest(pixels: np.ndarray) -> bytes:
    return blake2b(np.ascontiguousarray(pixels).tobytes(), digest_size=16).digest()
