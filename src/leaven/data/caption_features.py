"""What frozen encoders say of pictures and captions, found once and kept in files.

A table of latents per size of pictures, a table of texts; each is written once, goes on where it was
stopped, and is refused where it was made by another encoder, in another size or from other data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from leaven.data.buckets import BucketStream, bucket_picture
from leaven.data.dataset import ImageSet
from leaven.data.feature_files import Dtype, Progress, data_fingerprint, feature_table
from leaven.data.files import pool
from leaven.data.sources import Source
from leaven.labels.described import Described

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Way:
    """How features are kept.

    Attributes:
        folder: of the files.
        dtype: what they are kept as; float16 takes half the disk.
        batch: pictures or captions at once.
        progress: makes what is called with the rows done and n, from what is being made.
    """

    folder: Path
    dtype: Dtype = "float32"
    batch: int = 64
    progress: Callable[[str], Progress] | None = None

    def told(self, name: str) -> Progress | None:
        return None if self.progress is None else self.progress(name)


@dataclass(frozen=True)
class LatentTable:
    """Posteriors of ``n`` pictures of one size: (n, 2, c, h, w), means and spreads."""

    values: Tensor

    def __getitem__(self, rows: Tensor) -> Pair:
        """Mean and spread (b, c, h, w) float32."""
        mean, std = self.values[rows].float().unbind(1)
        return mean, std


@dataclass(frozen=True)
class TextTable:
    """Features of the tokens of ``n`` captions: (n, T, C_t) and (n, T) of 0 and 1."""

    values: Tensor
    mask: Tensor

    def __getitem__(self, rows: Tensor) -> Pair:
        """Features (b, T, C_t) float32 and mask (b, T) bool."""
        return self.values[rows].float(), self.mask[rows] > 0.5


@dataclass(frozen=True)
class CaptionBatch:
    """Pictures of one size with what is said of them, on the device.

    Attributes:
        mean, std: (b, c, h, w), the posterior of the latents; z is drawn anew at every visit.
        text: (b, T, C_t), or None where captions are not wanted.
        mask: (b, T) bool, or None.
        classes: (b,) int64, -1 where unknown.
        sizes: (b, 2) float, height and width of the pictures as they were found.
        items: (b,) int64.
    """

    mean: Tensor
    std: Tensor
    text: Tensor | None
    mask: Tensor | None
    classes: Tensor
    sizes: Tensor
    items: Tensor


class CaptionRows:
    """Makes batches of pictures by their items, for ``BucketStream``.

    Args:
        images: n pictures.
        latents: of each bucket.
        places: (n,) int64, the row of each picture in the table of its bucket.
        text: of captions, or None where they are not wanted.
        said: (n,) int64, the row of each picture in ``text``.
        device: of the batches.
    """

    def __init__(
        self,
        images: ImageSet[Described],
        latents: dict[int, LatentTable],
        places: Tensor,
        text: TextTable | None,
        said: Tensor,
        device: torch.device,
    ) -> None:
        self.images, self.latents, self.places = images, latents, places
        self.text, self.said, self.device = text, said, device
        self.sizes = sizes_of(images)

    def take(self, bucket: int, items: Tensor) -> CaptionBatch:
        """The batch of the items (b,) of a bucket."""
        mean, std = self.latents[bucket][self.places[items]]
        text, mask = (None, None) if self.text is None else self.text[self.said[items]]
        return CaptionBatch(
            self._moved(mean),
            self._moved(std),
            None if text is None else self._moved(text),
            None if mask is None else self._moved(mask),
            self._moved(self.images.labels.classes[items]),
            self._moved(self.sizes[items].float()),
            items,
        )

    def stream(self, buckets: Tensor, size: int) -> BucketStream:
        """Batches of ``size`` pictures; ``buckets`` (n,) with -1 for those that are left out."""
        return BucketStream(buckets, size, self.take)

    def _moved(self, values: Tensor) -> Tensor:
        return values.to(self.device, non_blocking=True)


def latent_table(
    name: str,
    images: ImageSet[Described],
    size: tuple[int, int],
    encode: Callable[[Tensor], Pair],
    encoder: str,
    way: Way,
) -> LatentTable:
    """The posteriors of pictures that are cut to one size.

    Args:
        name: of the file, without ending.
        images: n pictures.
        size: height and width in pixels, which they cover; see ``bucket_picture``.
        encode: pictures (b, C, H, W) uint8 -> mean and spread, each (b, c, h, w).
        encoder: its fingerprint.
        way: how they are kept.

    Raises:
        DataError: the file holds other features; a picture cannot be read.
    """
    cut = _Cut(images, size)
    shape = encode(cut.batch(torch.zeros(1, dtype=torch.int64)))[0].shape[1:]

    def rows(pictures: Tensor) -> Tensor:
        return torch.stack(encode(pictures), 1).flatten(1)

    about = {"encoder": encoder, "size": list(size), "pictures": data_fingerprint([images])}
    table = feature_table(
        way.folder / f"{name}.npy",
        cut,
        rows,
        2 * shape.numel(),
        about,
        dtype=way.dtype,
        batch=way.batch,
        progress=way.told(f"latents {size[0]}x{size[1]}"),
        strict=True,
    )
    return LatentTable(table.view(-1, 2, *shape))


def text_table(
    name: str,
    captions: Sequence[str],
    encode: Callable[[Sequence[str]], Pair],
    shape: tuple[int, int],
    encoder: str,
    way: Way,
) -> TextTable:
    """The features of the tokens of captions, and which tokens there are.

    Args:
        name: of the file, without ending.
        captions: n texts.
        encode: texts -> features (b, T, C_t) and mask (b, T).
        shape: T and C_t.
        encoder: its fingerprint.
        way: how they are kept.

    Raises:
        DataError: the file holds other features.
    """
    tokens, width = shape
    digest = hashlib.blake2b(json.dumps(list(captions)).encode(), digest_size=16).hexdigest()

    def rows(index: Tensor) -> Tensor:
        text, mask = encode([captions[row] for row in index.tolist()])
        return torch.cat([text.flatten(1), mask.to(text.dtype)], 1)

    table = feature_table(
        way.folder / f"{name}.npy",
        _Numbers(len(captions)),
        rows,
        tokens * (width + 1),
        {"encoder": encoder, "tokens": tokens, "captions": digest},
        dtype=way.dtype,
        batch=way.batch,
        progress=way.told("captions"),
        strict=True,
    )
    return TextTable(
        table[:, : tokens * width].unflatten(1, (tokens, width)), table[:, tokens * width :]
    )


def sizes_of(images: ImageSet[Described]) -> Tensor:
    """(n, 2) int64, height and width of the pictures as they were found."""
    if images.sizes is not None:
        return images.sizes
    return torch.tensor([images.pixels.shape[1:]]).expand(len(images), 2)


class _Numbers:
    """``n`` items that are nothing but their numbers."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def batch(self, index: Tensor) -> Tensor:
        return index


class _Cut:
    """Pictures that are cut to one size when they are wanted."""

    def __init__(self, images: ImageSet[Described], size: tuple[int, int]) -> None:
        self.images, self.size = images, size

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, index: Tensor) -> Tensor:
        images, channels = self.images, self.images.pixels.shape[0]
        found: list[Source]
        if images.sources is None:
            pictures = images.pixels.batch(index).cpu().numpy().transpose(0, 2, 3, 1)
            found = [_pillow(picture) for picture in pictures]
        else:
            found = [images.sources[item] for item in index.tolist()]
        names = [images.names[item] for item in index.tolist()]

        def cut(row: int) -> np.ndarray:
            return bucket_picture(found[row], self.size, channels, names[row])

        return torch.from_numpy(np.stack(list(pool().map(cut, range(len(found))))))


def _pillow(picture: np.ndarray) -> Image.Image:
    """A Pillow picture of (H, W, C) uint8."""
    return Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
