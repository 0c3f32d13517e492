import pytest
import torch

from leaven.data import ImageSet, MemoryPixels, PairedPictures


def test_what_is_not_known_is_black() -> None:
    pictures = torch.full((3, 1, 2, 2), 7, dtype=torch.uint8)
    pairs = PairedPictures.from_tensor(pictures).hidden(torch.tensor([True, False, True]))
    assert pairs[torch.tensor([0, 1])].flatten(1).tolist() == [[7] * 4, [0] * 4]
    assert pairs.select(torch.tensor([1, 2])).known.tolist() == [False, True]
    assert pairs.shape == (1, 2, 2)


def test_a_batch_pairs_pictures() -> None:
    images = torch.arange(4, dtype=torch.uint8)[:, None, None, None].expand(4, 3, 2, 2)
    pairs = PairedPictures.from_tensor(255 - images[:, :1])
    names = ["a", "b", "c", "d"]
    stream = ImageSet(MemoryPixels(images), pairs, pairs, names).batches(3)
    stream.start(0, torch.device("cpu"))
    sample = stream.next()
    assert torch.equal(sample.targets, 255 - sample.images[:, :1])


def test_as_many_flags_as_pictures() -> None:
    with pytest.raises(ValueError, match="2 pictures, 1 known"):
        PairedPictures.from_tensor(
            torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.ones(1, dtype=torch.bool)
        )
