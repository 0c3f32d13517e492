"""Features of pictures that need no label and no downloaded weights: patches by k-means."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

from leaven.data import Data, ImageSet
from leaven.data.features import on_rows

PATCH, WORDS, SEEN, BATCH = 6, 128, 20_000, 250
"""Side of a patch, words of the dictionary, patches it is learned from, pictures at once."""


def on_patches(data: Data) -> Data:
    """The same job on features of its pictures, learned from its training pictures without labels.

    Patches of 6x6 are brought to zero mean and unit spread and whitened; k-means finds 128 words.
    What a patch says of a word is ``max(0, mean distance to all words - distance to the word)``,
    summed over each quarter of the picture; the 512 sums are brought to zero mean and unit spread.

    Source: Coates, Lee and Ng, "An analysis of single-layer networks in unsupervised feature
    learning", AISTATS 2011.
    """
    sets = [part for part in (data.train, data.test) if part is not None]
    dictionary = _dictionary(_Key(data.train))
    tables = [_features(images, *dictionary) for images in sets]
    mean, std = tables[0].mean(0), tables[0].std(0).clamp_min(1e-6)
    made = [
        on_rows(images, (table - mean) / std, torch.arange(len(images)))
        for images, table in zip(sets, tables, strict=True)
    ]
    return Data(data.name, data.classes, made[0], test=made[1], flip=False)


class _Key:
    """Image sets of the same pictures are the same to the cache."""

    def __init__(self, images: ImageSet) -> None:
        self.images, self.names = images, tuple(images.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.names == other.names

    def __hash__(self) -> int:
        return hash(self.names)


@cache
def _dictionary(key: _Key) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (P,), whitening (P, P) and words (W, P) of patches."""
    generator = torch.Generator().manual_seed(0)
    images = key.images
    chosen = torch.randperm(len(images), generator=generator)[: SEEN // 10]
    patches = _patches(images.pixels.batch(chosen)).flatten(0, 1)
    patches = patches[torch.randperm(len(patches), generator=generator)[:SEEN]]
    mean = patches.mean(0)
    value, vector = torch.linalg.eigh((patches - mean).T.cov())
    whitening = vector @ torch.diag((value + 0.1).rsqrt()) @ vector.T
    whole = ((patches - mean) @ whitening).numpy()
    found = MiniBatchKMeans(WORDS, batch_size=2000, n_init=1, random_state=0).fit(whole)
    return mean, whitening, torch.from_numpy(found.cluster_centers_).float()


def _features(images: ImageSet, mean: Tensor, whitening: Tensor, words: Tensor) -> Tensor:
    parts = []
    for index in torch.arange(len(images)).split(BATCH):
        patches = (_patches(images.pixels.batch(index)) - mean) @ whitening
        distance = torch.cdist(patches, words.expand(len(index), -1, -1))
        said = (distance.mean(2, keepdim=True) - distance).clamp_min(0)
        side = round(said.shape[1] ** 0.5)
        maps = said.transpose(1, 2).unflatten(2, (side, side))
        parts.append(F.adaptive_avg_pool2d(maps, 2).flatten(1))
    return torch.cat(parts)


def _patches(pictures: Tensor) -> Tensor:
    """(b, L, P) patches of zero mean and unit spread."""
    patches = F.unfold(pictures.float(), PATCH).transpose(1, 2)
    patches = patches - patches.mean(2, keepdim=True)
    return patches / (patches.var(2, keepdim=True) + 10).sqrt()
