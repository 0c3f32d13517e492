"""Encoders of a run of PixArt-alpha, and the features that its stages learn from."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from leaven.data import Data, ImageSet
from leaven.data.buckets import BucketStream, bucket_sizes, nearest_bucket
from leaven.data.caption_features import (
    CaptionRows,
    Dtype,
    LatentTable,
    TextTable,
    Way,
    latent_table,
    sizes_of,
    text_table,
)
from leaven.labels.described import Described
from leaven.models.generation import Latents, Words, latents_of, words_of
from leaven.refine import clean_caption
from leaven.train import PictureTrainer
from leaven.train.journal import Bar

log = logging.getLogger(__name__)

TABLE, IDENTITY = "table", "identity"
"""Encoders that need no weights: random vectors of words, and pictures as they are."""

_LEAST_TOKENS, _WIDTH = 16, 64


@dataclass(frozen=True)
class Encoders:
    """The frozen encoders of a run, and what they were asked for by."""

    words: Words
    latents: Latents
    words_name: str
    latents_name: str


def encoders_of(
    words: str, latents: str, tokens: int | None, data: Data[Described], trainer: PictureTrainer
) -> Encoders:
    """Loads both, on the device of the run.

    Args:
        words, latents: names or local folders; see ``words_of`` and ``latents_of``.
        tokens: T; when None 120, and for ``"table"`` as many as the longest caption has, 16 at least
            and 120 at most.
        data: of the run.
        trainer: of the run.

    Raises:
        ModelError, MissingExtraError: see there.
    """
    words, latents = _whole(words, TABLE), _whole(latents, IDENTITY)
    if tokens is None:
        tokens = 120
        if words == TABLE:
            longest = 1 + int(words_of(TABLE, 1, _WIDTH).cut(data.train.labels.texts).max())
            tokens = min(tokens, max(longest, _LEAST_TOKENS))
    return Encoders(
        words_of(words, tokens, _WIDTH).to(trainer.device),
        latents_of(latents, data.shape[0]).to(trainer.device),
        words,
        latents,
    )


def _whole(name: str, own: str) -> str:
    """A local folder by its whole path, so that a model can be used from anywhere."""
    return str(Path(name).resolve()) if name != own and Path(name).is_dir() else name


class FeatureFiles:
    """The features of the training pictures of a run, each made when it is first asked for.

    Args:
        data: of the run.
        encoders: of the run.
        trainer: of the run.
        folder: of the files; that of the run when None.
        dtype: what they are kept as.
        clean: captions are encoded as ``clean_caption`` leaves them.
    """

    def __init__(
        self,
        data: Data[Described],
        encoders: Encoders,
        trainer: PictureTrainer,
        folder: Path | None,
        dtype: Dtype,
        clean: bool,
    ) -> None:
        self.data, self.encoders, self.trainer = data, encoders, trainer
        self.clean = clean
        self._temporary = None
        if folder is not None:
            place = folder
        elif trainer.folder is not None:
            place = trainer.folder / "features"
        else:
            self._temporary = tempfile.TemporaryDirectory(prefix="leaven-features-")
            place = Path(self._temporary.name)
        self._way = Way(place, dtype, progress=self._told)
        self._text: TextTable | None = None
        self.notes: list[str] = []

    @property
    def multiple(self) -> int:
        """Pixels per row of the latents."""
        return self.encoders.latents.factor

    def stream(
        self,
        which: str,
        chosen: Tensor,
        size: tuple[int, int],
        batch: int,
        *,
        text: bool,
        aspects: int | None = None,
    ) -> BucketStream:
        """Batches of some of the training pictures.

        Args:
            which: what these pictures are, in the names of the files.
            chosen: (n,) bool.
            size: height and width they are cut to.
            batch: pictures per step.
            text: whether captions are wanted; those that are chosen must have one then.
            aspects: they are cut to the sizes around ``size`` instead; of which all sides are
                multiples of it.
        """
        images = self.data.train.subset(chosen)
        sizes = [size] if aspects is None else bucket_sizes(size[0], aspects)
        buckets = torch.zeros(len(images), dtype=torch.int64)
        if aspects is not None:
            buckets = nearest_bucket(sizes_of(images), sizes)
        latents: dict[int, LatentTable] = {}
        places = torch.zeros_like(buckets)
        for number in buckets.unique().tolist():
            if number < 0:
                continue
            rows = (buckets == number).nonzero().squeeze(1)
            places[rows] = torch.arange(len(rows))
            # The square among the sizes has other pictures than where all are cut to it.
            name = which if aspects is None else f"{which}-aspects"
            latents[number] = self._latents(name, images.subset(rows), sizes[number])
        # The table of texts has a row for each picture that has a caption.
        said = (self.data.train.known.cumsum(0) - 1)[chosen]
        captions = self._captions() if text else None
        made = CaptionRows(images, latents, places, captions, said, self.trainer.device)
        stream = made.stream(buckets, batch)
        if stream.seen < len(images):
            self.notes.append(
                f"{len(images) - stream.seen} pictures have a ratio of their sides that fewer than "
                f"{batch} pictures have, and are not in {which} at {size[0]} x {size[1]}."
            )
        return stream

    def _latents(
        self, which: str, images: ImageSet[Described], size: tuple[int, int]
    ) -> LatentTable:
        encoder = self.encoders.latents

        def encode(pictures: Tensor) -> tuple[Tensor, Tensor]:
            return encoder.encode(pictures.to(self.trainer.device))

        name = f"latents-{which}-{size[0]}x{size[1]}"
        return latent_table(name, images, size, encode, encoder.fingerprint, self._way)

    def _captions(self) -> TextTable:
        """The features of all captions."""
        words, said = self.encoders.words, list(self.data.labelled.labels.texts)
        if self._text is None:
            if self.clean:
                said = [clean_caption(text) for text in said]
                emptied = said.count("")
                if emptied:
                    self.notes.append(
                        f"Of {emptied} of {len(said)} captions nothing is left when they are cleaned."
                    )
            cut = int((words.cut(said) > 0).sum())
            if cut:
                self.notes.append(
                    f"{cut} of {len(said)} captions are longer than the {words.tokens} tokens of "
                    "the encoder: their ends are not learned."
                )
            shape = words.tokens, words.width
            self._text = text_table(
                "captions", said, words.features, shape, words.fingerprint, self._way
            )
        return self._text

    def _told(self, name: str) -> Callable[[int, int], None]:
        bar, began = Bar(name, self.trainer.settings.show), time.monotonic()
        bar.__enter__()

        def tell(done: int, count: int) -> None:
            rate = done / max(1e-9, time.monotonic() - began)
            bar.show(done / max(1, count), rate, f"{done} of {count}")
            if done >= count:
                bar.__exit__(None, None, None)

        return tell
