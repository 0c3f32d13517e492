"""Features of pictures and captions that are found once."""

import json
from dataclasses import replace

import pytest
import torch

from leaven.data import ImageSet, MemoryPixels
from leaven.data.caption_features import CaptionRows, Way, latent_table, text_table
from leaven.errors import DataError
from leaven.labels.described import Described

TEXTS = ["a red square", "a dot", ""]


def _images(count=3):
    pixels = MemoryPixels(torch.arange(count * 64, dtype=torch.uint8).view(count, 1, 8, 8))
    said = Described.of(TEXTS[:count], classes=torch.arange(count))
    return ImageSet(pixels, said, said, [f"p{number}" for number in range(count)])


class _Counted:
    """An encoder that counts its pictures; the spread is 1."""

    def __init__(self, stop=None):
        self.pictures, self.stop = 0, stop

    def __call__(self, pictures):
        self.pictures += len(pictures)
        if self.stop is not None and self.pictures > self.stop:
            raise KeyboardInterrupt
        mean = pictures.float().mean((2, 3), keepdim=True).expand(-1, 2, 4, 4)
        return mean, torch.ones_like(mean)


def _encode(texts):
    text = torch.stack([torch.full((4, 2), float(len(text))) for text in texts])
    mask = torch.tensor([[place <= len(text.split()) for place in range(4)] for text in texts])
    return text, mask


def test_latents_are_found_once(tmp_path):
    first, second = _Counted(), _Counted()
    way = Way(tmp_path)
    made = latent_table("latents", _images(), (8, 8), first, "one", way)
    again = latent_table("latents", _images(), (8, 8), second, "one", way)
    assert second.pictures == 1  # Only to see their shape.
    mean, std = again[torch.tensor([2, 0])]
    assert mean.shape == std.shape == (2, 2, 4, 4)
    assert torch.equal(mean, made[torch.tensor([2, 0])][0])
    assert torch.equal(mean[:, 0, 0, 0], torch.tensor([159.5, 31.5]))
    assert bool((std == 1).all())


def test_latents_of_another_encoder_size_or_data_are_refused(tmp_path):
    way = Way(tmp_path)
    latent_table("latents", _images(), (8, 8), _Counted(), "one", way)
    before = (tmp_path / "latents.npy").read_bytes()
    with pytest.raises(DataError, match="other encoder"):
        latent_table("latents", _images(), (8, 8), _Counted(), "two", way)
    with pytest.raises(DataError, match="other size"):
        latent_table("latents", _images(), (4, 4), _Counted(), "one", way)
    with pytest.raises(DataError, match="pictures"):
        latent_table("latents", _images(2), (8, 8), _Counted(), "one", way)
    with pytest.raises(DataError, match="other dtype"):
        latent_table("latents", _images(), (8, 8), _Counted(), "one", replace(way, dtype="float16"))
    assert (tmp_path / "latents.npy").read_bytes() == before


def test_a_pass_that_was_stopped_goes_on(tmp_path):
    way = Way(tmp_path, batch=1)
    with pytest.raises(KeyboardInterrupt):
        latent_table("latents", _images(), (8, 8), _Counted(stop=2), "one", way)
    assert not (tmp_path / "latents.npy").exists()
    with pytest.raises(DataError, match="other encoder"):
        latent_table("latents", _images(), (8, 8), _Counted(), "two", way)
    rest = _Counted()
    made = latent_table("latents", _images(), (8, 8), rest, "one", way)
    assert rest.pictures == 1 + 2
    assert torch.equal(made[torch.arange(3)][0][:, 0, 0, 0], torch.tensor([31.5, 95.5, 159.5]))


def test_texts_keep_their_masks(tmp_path):
    way = Way(tmp_path)
    made = text_table("captions", TEXTS, _encode, (4, 2), "table", way)
    text, mask = made[torch.tensor([1, 2])]
    assert torch.equal(text, torch.tensor([[[5.0] * 2] * 4, [[0.0] * 2] * 4]))
    assert mask.tolist() == [[True, True, True, False], [True, False, False, False]]
    with pytest.raises(DataError, match="other captions"):
        text_table("captions", ["new", *TEXTS[1:]], _encode, (4, 2), "table", way)
    about = json.loads((tmp_path / "captions.json").read_text())
    assert about["encoder"] == "table"
    assert about["tokens"] == 4


def test_progress_is_told(tmp_path):
    told = []
    way = Way(tmp_path, batch=2, progress=lambda name: lambda *done: told.append((name, *done)))
    latent_table("latents", _images(), (8, 8), _Counted(), "one", way)
    assert told[0] == ("latents 8x8", 0, 3)
    assert told[-1] == ("latents 8x8", 3, 3)


def test_rows_know_which_table_and_caption_are_theirs(tmp_path):
    images, way = _images(), Way(tmp_path)
    tables = {
        bucket: latent_table(f"l{bucket}", images.subset(rows), (8, 8), _Counted(), "one", way)
        for bucket, rows in ((0, torch.tensor([0, 2])), (1, torch.tensor([1])))
    }
    text = text_table("captions", TEXTS[::-1], _encode, (4, 2), "table", way)
    rows = CaptionRows(
        images, tables, torch.tensor([0, 0, 1]), text, torch.tensor([2, 1, 0]), torch.device("cpu")
    )
    batch = rows.take(0, torch.tensor([2]))
    assert float(batch.mean[0, 0, 0, 0]) == 159.5
    assert float(batch.text[0, 0, 0]) == 0.0
    assert batch.classes.tolist() == [2]
    assert batch.sizes.tolist() == [[8.0, 8.0]]
    one = rows.take(1, torch.tensor([1]))
    assert float(one.mean[0, 0, 0, 0]) == 95.5
    assert float(one.text[0, 0, 0]) == 5.0
