"""Streams: order, epochs, processes, restoring, decoding ahead."""

from __future__ import annotations

import functools
import io
import operator

import pytest
import torch
from PIL import Image

from leaven.data import FilePixels, ImageSet, MemoryPixels, Sources
from leaven.errors import ConfigError

CPU = torch.device("cpu")


def image_set(count: int = 10, *, files: bool = False) -> ImageSet:
    images = torch.arange(count, dtype=torch.uint8).view(count, 1, 1, 1).repeat(1, 1, 2, 2)
    names = [str(item) for item in range(count)]
    labels = torch.arange(count) % 3
    if not files:
        return ImageSet(MemoryPixels(images), labels, labels.clone(), names)
    encoded = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image[0].numpy()).save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    pixels = FilePixels(Sources(encoded), names, (1, 2, 2))
    return ImageSet(pixels, labels, labels.clone(), names)


def stream_of(images: ImageSet, size: int = 4, seed: int = 0, rank: int = 0, world: int = 1, **kw):
    stream = images.batches(size, **kw)
    stream.start(seed, CPU, rank, world)
    return stream


def items_of(stream, batches: int) -> list[list[int]]:
    return [stream.next().items.tolist() for _ in range(batches)]


def test_a_batch_holds_the_pictures_and_targets_of_its_items():
    batch = stream_of(image_set()).next()
    assert len(batch) == 4 and batch.images.dtype == torch.uint8
    assert batch.images[:, 0, 0, 0].tolist() == batch.items.tolist()
    assert torch.equal(batch.targets, batch.items % 3)


def test_the_order_depends_on_seed_and_position_alone():
    first, second = stream_of(image_set()), stream_of(image_set())
    order = items_of(first, 8)
    assert items_of(second, 8) == order
    assert items_of(stream_of(image_set(), seed=1), 8) != order
    jumped = stream_of(image_set())
    jumped.position = 6
    assert items_of(jumped, 2) == order[6:]
    jumped.position = 1
    assert items_of(jumped, 1) == order[1:2]


def test_without_whole_epochs_every_item_comes_once_per_epoch_across_batches():
    flat = functools.reduce(operator.iadd, items_of(stream_of(image_set(10), size=4), 5), [])
    assert sorted(flat[:10]) == list(range(10)) and sorted(flat[10:]) == list(range(10))
    assert flat[:10] != flat[10:]


def test_whole_epochs_visit_each_item_at_most_once():
    stream = stream_of(image_set(10), size=4, whole_epochs=True)
    assert stream.steps_per_epoch == 2
    left_out = set()
    for epoch in range(20):
        assert stream.epoch == epoch
        seen = functools.reduce(operator.iadd, items_of(stream, 2), [])
        assert len(set(seen)) == 8
        left_out |= set(range(10)) - set(seen)
    assert left_out == set(range(10))


def test_epochs_are_counted_by_items_given_out():
    stream = stream_of(image_set(10), size=4)
    epochs = []
    for _ in range(6):
        stream.next()
        epochs.append(stream.epoch)
    assert epochs == [0, 0, 1, 1, 2, 2]


def test_a_set_smaller_than_a_batch_is_repeated_evenly():
    for batch in items_of(stream_of(image_set(3), size=7), 4):
        counts = torch.bincount(torch.tensor(batch), minlength=3)
        assert counts.sum() == 7 and counts.max() <= 4 and counts.min() >= 1


def test_two_processes_interleave_to_the_global_batch():
    whole = stream_of(image_set(10), size=4)
    parts = [stream_of(image_set(10), size=4, rank=rank, world=2) for rank in range(2)]
    for _ in range(6):
        items = whole.next().items
        mine = [part.next() for part in parts]
        assert torch.equal(torch.stack([part.items for part in mine], 1).flatten(), items)
        assert torch.equal(mine[1].targets, mine[1].items % 3)


def test_a_batch_that_cannot_be_divided_is_refused():
    with pytest.raises(ConfigError, match=r"5 items .* 2 processes"):
        stream_of(image_set(), size=5, world=2)


@pytest.mark.parametrize("files", [False, True])
def test_a_restored_stream_goes_on_identically(files):
    stream = stream_of(image_set(files=files))
    stream.index = torch.tensor([1, 2, 5, 6, 7, 9])
    stream.targets = torch.rand(10, 3)
    items_of(stream, 3)
    state = stream.state_dict()
    expected = [stream.next() for _ in range(5)]
    again = stream_of(image_set(files=files))
    again.next()
    again.load_state_dict(state)
    for batch in expected:
        other = again.next()
        assert torch.equal(other.items, batch.items)
        assert torch.equal(other.images, batch.images)
        assert torch.equal(other.targets, batch.targets)


def test_decoding_ahead_equals_memory_also_when_index_and_targets_change():
    memory, files = stream_of(image_set()), stream_of(image_set(files=True))
    for step in range(12):
        if step == 4:
            memory.index = files.index = torch.tensor([0, 3, 4, 8, 9])
        if step == 7:
            memory.targets = files.targets = torch.arange(10) + 100
        if step == 9:
            memory.position = files.position = 2
        one, other = memory.next(), files.next()
        assert torch.equal(one.items, other.items)
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.targets, other.targets)


def test_a_replaced_index_is_followed_at_once():
    stream = stream_of(image_set())
    stream.next()
    stream.index = torch.tensor([2, 3])
    assert set(functools.reduce(operator.iadd, items_of(stream, 4), [])) == {2, 3}


def test_impossible_streams_are_refused():
    with pytest.raises(ValueError, match="at least one item"):
        image_set().batches(0)
    with pytest.raises(ValueError, match="at least 12 items"):
        image_set(10).batches(12, whole_epochs=True)
    stream = image_set(10).batches(4, whole_epochs=True)
    with pytest.raises(ValueError, match="at least 4 items"):
        stream.index = torch.tensor([1, 2])


def test_subsets_keep_every_column_together():
    images = image_set(10)
    part = images.subset(images.labels == 1).subset(torch.tensor([2, 0]))
    assert part.names == ["7", "1"]
    assert part.labels.tolist() == [1, 1]
    assert part.pixels.batch(torch.arange(2))[:, 0, 0, 0].tolist() == [7, 1]


def test_image_sets_of_unequal_columns_are_refused():
    images = image_set(3)
    with pytest.raises(ValueError, match="differ in length"):
        ImageSet(images.pixels, images.labels, images.truth, ["a"])
