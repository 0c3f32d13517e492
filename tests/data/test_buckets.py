"""Sizes of several aspect ratios, and batches of one size each."""

import numpy as np
import pytest
import torch
from PIL import Image

from leaven.data.buckets import (
    BucketStream,
    bucket_picture,
    bucket_sizes,
    fitting,
    nearest_bucket,
)
from leaven.errors import ConfigError, DataError


@pytest.mark.parametrize("side", [256, 512, 1024])
def test_there_are_forty_sizes_among_them_those_of_diffusers(side):
    from diffusers.pipelines.pixart_alpha import pipeline_pixart_alpha as published

    known = getattr(published, f"ASPECT_RATIO_{side}_BIN").values()
    sizes = bucket_sizes(side, side // 16)
    assert len(sizes) == 40
    assert {(int(height), int(width)) for height, width in known} <= set(sizes)
    ratios = [height / width for height, width in sizes]
    assert ratios == sorted(ratios)
    assert (ratios[0], ratios[-1]) == (0.25, 4.0)
    assert all(0.85 < height * width / side**2 <= 1.06 for height, width in sizes)


def test_at_1024_they_are_those_that_were_published():
    sizes = bucket_sizes(1024)
    assert {(512, 2048), (704, 1408), (1024, 1024), (1408, 704), (2048, 512)} <= set(sizes)


def test_small_sizes_are_multiples_and_come_once():
    sizes = bucket_sizes(24, 2)
    assert (24, 24) in sizes
    assert len(set(sizes)) == len(sizes) < 40
    assert all(height % 2 == width % 2 == 0 for height, width in sizes)


def test_a_side_that_is_no_multiple_is_refused():
    with pytest.raises(ConfigError, match="patches of 16"):
        bucket_sizes(250, 16)


def test_a_picture_gets_the_nearest_ratio_of_height_to_width():
    sizes = bucket_sizes(1024)
    found = nearest_bucket(torch.tensor([[50, 100], [600, 600], [100, 25], [25, 101]]), sizes)
    assert [sizes[place] for place in found[:3].tolist()] == [
        (704, 1408),
        (1024, 1024),
        (2048, 512),
    ]
    assert found[3] == -1


def test_every_size_is_its_own_bucket():
    sizes = bucket_sizes(512, 16)
    assert nearest_bucket(torch.tensor(sizes), sizes).tolist() == list(range(40))


def test_sides_beyond_four_to_one_do_not_fit():
    sizes = torch.tensor([[4, 1], [1, 4], [401, 100], [100, 401]])
    assert fitting(sizes).tolist() == [True, True, False, False]


def test_a_picture_covers_its_size_and_its_centre_stays():
    wide = np.zeros((20, 60), np.uint8)
    wide[:, 20:40] = 255
    made = bucket_picture(Image.fromarray(wide), (10, 10), 1)
    assert made.shape == (1, 10, 10)
    assert made[0, :, 1:9].min() > 200
    same = bucket_picture(Image.fromarray(wide), (20, 60), 1)
    assert np.array_equal(same[0], wide)
    assert bucket_picture(Image.fromarray(wide), (8, 4), 3).shape == (3, 8, 4)


BUCKETS = torch.tensor([0] * 7 + [3] * 4 + [5] * 2 + [-1] * 3)


def _stream(size=3, seed=1):
    stream = BucketStream(BUCKETS, size, lambda bucket, items: (bucket, items.tolist()))
    stream.start(seed, torch.device("cpu"))
    return stream


def test_a_batch_has_one_bucket_and_an_epoch_has_no_item_twice():
    stream = _stream()
    assert stream.steps_per_epoch == 3
    assert stream.seen == 11
    for _ in range(20):
        epoch = [stream.next() for _ in range(3)]
        assert sorted(bucket for bucket, _ in epoch) == [0, 0, 3]
        for bucket, items in epoch:
            assert {int(BUCKETS[item]) for item in items} == {bucket}
        items = [item for _, some in epoch for item in some]
        assert len(set(items)) == 9


def test_in_time_all_items_of_whole_buckets_are_seen():
    stream = _stream()
    seen = {item for _ in range(60) for item in stream.next()[1]}
    assert seen == set(range(11))


def test_order_is_of_seed_and_position_alone():
    one, other = _stream(), _stream()
    batches = [one.next() for _ in range(10)]
    other.load_state_dict({"position": 4})
    assert [other.next() for _ in range(6)] == batches[4:]
    another = _stream(seed=2)
    assert [another.next() for _ in range(10)] != batches


def test_processes_share_a_batch():
    whole = _stream(size=2)
    parts = [_stream(size=2) for _ in range(2)]
    for rank, part in enumerate(parts):
        part.start(1, torch.device("cpu"), rank, 2)
    for _ in range(8):
        items = whole.next()[1]
        assert [part.next()[1] for part in parts] == [items[:1], items[1:]]
    with pytest.raises(ConfigError, match="divided over 2"):
        _stream(size=3).start(1, torch.device("cpu"), 0, 2)


def test_without_a_whole_batch_it_says_so():
    with pytest.raises(DataError, match="no batch of 8"):
        BucketStream(BUCKETS, 8, lambda bucket, items: None)
