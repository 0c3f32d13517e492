"""The weak and the strong view: seeds, independence of samples, slices of processes, ranges."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from leaven.data import transforms as T
from leaven.data.transforms import geometric
from leaven.draws import Draws
from leaven.errors import ConfigError, DataError

VIEWS = [
    T.Weak(),
    T.Weak(flip=False, padding=2),
    T.Strong(),
    T.Strong(magnitude=None, ops=3),
    T.Cutout(),
    T.RandAugment(magnitude=None),
]


def pictures(count: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    shape = shape or (3, 12, 17)
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("view", VIEWS)
def test_same_seed_same_view_and_the_input_is_left_alone(view) -> None:
    images = pictures(48)
    before = images.clone()
    first, again, other = view(images, Draws(1)), view(images, Draws(1)), view(images, Draws(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)
    assert first.dtype == torch.uint8 and first.shape == images.shape


@pytest.mark.parametrize("view", VIEWS)
def test_a_sample_does_not_depend_on_the_pixels_of_others(view) -> None:
    images, changed = pictures(48), pictures(48).flip(0)
    changed[::7] = images[::7]
    wanted, got = view(images, Draws(1)), view(changed, Draws(1))
    assert torch.equal(got[::7], wanted[::7])


@pytest.mark.parametrize("view", VIEWS)
def test_slices_of_two_processes_equal_one_process(view) -> None:
    images, whole = pictures(48), Draws(1)
    parts = [Draws(1, rank=rank, world=2) for rank in range(2)]
    for _ in range(3):
        wanted = view(images, whole)
        for rank in range(2):
            assert torch.equal(view(images[rank::2], parts[rank]), wanted[rank::2])


@pytest.mark.parametrize("view", VIEWS)
def test_views_do_not_depend_on_the_chunks(view, monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(30)
    wanted = view(images, Draws(1))
    monkeypatch.setattr(geometric, "CPU_CHUNK", 4 * 3 * 12 * 17)
    assert torch.equal(view(images, Draws(1)), wanted)
    monkeypatch.setattr(geometric, "CPU_CHUNK", 1)
    assert torch.equal(view(images, Draws(1)), wanted)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 7), (1, 1, 1), (3, 24, 40)])
def test_views_take_every_shape_and_batches_of_one_and_none(view, shape) -> None:
    for count in (0, 1, 5):
        images = pictures(count, *shape)
        assert view(images, Draws(0)).shape == images.shape


def test_weak_is_a_mirror_and_a_shift_within_the_padding() -> None:
    images = pictures(300, 1, 16, 16)
    out = T.Weak(padding=2)(images, Draws(0))
    seen = torch.zeros(2, 5, 5, dtype=torch.int64)
    for image, got in zip(images, out):
        hits = []
        for flip in (False, True):
            for dx in range(-2, 3):
                for dy in range(-2, 3):
                    moved = T.flip_and_shift(
                        image[None], torch.tensor([flip]), torch.tensor([dx]), torch.tensor([dy])
                    )
                    if torch.equal(moved[0], got):
                        hits.append((int(flip), dx + 2, dy + 2))
        assert len(hits) == 1
        seen[hits[0]] += 1
    # Each of 2 * 25 changes is expected 6 times in 300.
    assert (seen > 0).float().mean() > 0.9
    assert abs(int(seen[1].sum()) - 150) < 5 * 8.7


def test_weak_without_flip_and_padding_changes_nothing() -> None:
    images = pictures(20)
    assert torch.equal(T.Weak(flip=False, padding=0)(images, Draws(0)), images)


def test_cutout_covers_a_square_of_up_to_its_share_of_the_shorter_side() -> None:
    images = torch.zeros(2000, 1, 20, 30, dtype=torch.uint8)
    covered = T.Cutout(0.5, fill=99)(images, Draws(0))[:, 0] == 99
    rows, columns = covered.any(2).sum(1), covered.any(1).sum(1)
    assert torch.equal(covered.sum((1, 2)), rows * columns)
    assert rows.max() == columns.max() == 10
    # Where the square is not cut off, its two sides differ by the rounding of a pixel at most.
    inner = ~(covered[:, [0, -1]].any((1, 2)) | covered[:, :, [0, -1]].any((1, 2)))
    assert inner.sum() > 500
    assert (rows - columns)[inner].abs().max() <= 1
    sides = rows[inner & (rows > 0)].float()
    assert sides.min() == 1 and 3.5 < sides.mean() < 6
    # The centre is anywhere: every pixel is covered now and then.
    assert covered.any(0).all()


def test_cutout_of_size_zero_changes_nothing() -> None:
    images = pictures(20)
    assert torch.equal(T.Cutout(0.0)(images, Draws(0)), images)


def test_strong_is_weak_then_randaugment_then_cutout() -> None:
    images, draws = pictures(40), Draws(7)
    wanted = T.Weak(True, 3)(images, draws)
    wanted = T.RandAugment(2, 20)(wanted, draws)
    wanted = T.Cutout(0.25)(wanted, draws)
    assert torch.equal(T.Strong(True, 3, 2, 20, 0.25)(images, Draws(7)), wanted)


def test_strong_and_weak_change_pictures_as_drawn_on_the_host() -> None:
    draws = Draws(3)
    host = draws.host()
    assert torch.equal(host.uniform(4), Draws(3).uniform(4))
    sequence = Draws(3)
    sequence.uniform(4)
    assert torch.equal(draws.uniform(4), sequence.uniform(4))


@pytest.mark.parametrize("view", VIEWS)
def test_pictures_of_another_dtype_or_rank_are_refused(view) -> None:
    with pytest.raises(DataError, match=r"batch of torch\.uint8 pictures"):
        view(torch.rand(2, 3, 8, 8), Draws(0))
    with pytest.raises(DataError, match=r"\(3, 8, 8\)"):
        view(torch.zeros(3, 8, 8, dtype=torch.uint8), Draws(0))


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="padding is -1"):
        T.Weak(padding=-1)
    with pytest.raises(ConfigError, match=r"size is 1\.5"):
        T.Strong(cutout=1.5)
    with pytest.raises(ConfigError, match="fill is -1"):
        T.Cutout(fill=-1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("view", VIEWS)
def test_views_on_a_gpu_equal_those_on_the_cpu(view) -> None:
    images = pictures(200, 3, 32, 32)
    wanted = view(images, Draws(1)).int()
    got = view(images.cuda(), Draws(1, device="cuda"))
    assert got.is_cuda
    # Float arithmetic may round another way in its last bit: by a grey level, or at a tie of two
    # pixels by one of them.
    assert ((got.cpu().int() - wanted).abs() > 1).float().mean() < 1e-3
