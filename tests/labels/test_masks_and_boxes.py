"""Masks as run lengths, ragged boxes, label maps, and their tables."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from leaven.labels import VOID, BoxLabels, LabelStore, Masks, PixelLabels, Source
from leaven.labels.pixel_table import PicturePixels


def random_boxes(counts: list[int], seed: int = 0, masks: bool = False) -> BoxLabels:
    generator = torch.Generator().manual_seed(seed)
    corner = [torch.rand(n, 2, generator=generator) * 10 for n in counts]
    boxes = [torch.cat([low, low + 1 + low.flip(1)], 1) for low in corner]
    classes = [torch.randint(0, 3, (n,), generator=generator) for n in counts]
    total = sum(counts)
    stack = torch.rand(total, 12, 14, generator=generator) > 0.5
    return BoxLabels.from_person(boxes, classes, masks=Masks.from_dense(stack) if masks else None)


@given(st.integers(0, 4), st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6))
def test_masks_survive_their_run_lengths(count: int, height: int, width: int, seed: int) -> None:
    dense = torch.rand(count, height, width, generator=torch.Generator().manual_seed(seed)) > 0.5
    masks = Masks.from_dense(dense)
    assert len(masks) == count
    if count:
        assert torch.equal(masks.dense(), dense)
        assert masks.area().tolist() == dense.flatten(1).sum(1).tolist()
        assert torch.equal(masks.one(count - 1), dense[-1])


def test_the_box_of_a_mask_is_tight_and_of_none_is_zero() -> None:
    dense = torch.zeros(2, 5, 6, dtype=torch.bool)
    dense[0, 1:3, 2:5] = True
    assert Masks.from_dense(dense).boxes().tolist() == [[2, 1, 5, 3], [0, 0, 0, 0]]


def test_masks_of_several_sizes_join_and_have_no_common_array() -> None:
    one, other = torch.ones(1, 2, 3, dtype=torch.bool), torch.zeros(1, 4, 4, dtype=torch.bool)
    joined = Masks.joined([Masks.from_dense(one), Masks.from_dense(other)])
    assert joined.sizes.tolist() == [[2, 3], [4, 4]]
    assert torch.equal(joined.one(0), one[0])
    with pytest.raises(ValueError, match="different sizes"):
        joined.dense()


def test_masks_padded_and_cut_are_themselves_again() -> None:
    dense = torch.rand(3, 4, 5) > 0.5
    masks = Masks.from_dense(dense)
    padded = masks.padded((6, 9))
    assert torch.equal(padded.dense()[:, :4, :5], dense)
    assert int(padded.area().sum()) == int(masks.area().sum())
    assert torch.equal(padded.cut(torch.tensor([[4, 5]] * 3)).dense(), dense)


def test_a_mask_doubled_in_size_has_four_pixels_for_each() -> None:
    dense = torch.rand(2, 3, 4) > 0.5
    doubled = Masks.from_dense(dense).resized(torch.tensor([[6, 8]] * 2)).dense()
    assert torch.equal(doubled, dense.repeat_interleave(2, 1).repeat_interleave(2, 2))


def test_the_masks_of_a_map_have_its_numbers() -> None:
    instances = torch.tensor([[0, 3, 3], [7, 7, 0]])
    masks, numbers = Masks.from_map(instances)
    assert numbers.tolist() == [3, 7]
    assert torch.equal(masks.dense()[1], instances == 7)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(0, 100))
def test_pictures_selected_one_by_one_join_to_the_whole(counts: list[int], seed: int) -> None:
    labels = random_boxes(counts, seed, masks=True)
    parts = [labels[torch.tensor([number])] for number in range(len(counts))]
    joined = BoxLabels.joined(parts)
    assert torch.equal(joined.boxes, labels.boxes)
    assert joined.counts.tolist() == counts
    order = torch.arange(len(counts) - 1, -1, -1)
    back = labels.select(order).select(order)
    assert torch.equal(back.boxes, labels.boxes)
    if sum(counts):
        assert back.masks is not None and back.masks.runs == labels.masks.runs  # type: ignore[union-attr]


def test_rows_kept_stay_in_their_pictures() -> None:
    labels = random_boxes([2, 0, 3])
    kept = labels.keep(torch.tensor([False, True, True, False, True]))
    assert kept.counts.tolist() == [1, 0, 2]
    assert kept.pictures.tolist() == [0, 2, 2]
    assert torch.equal(kept.boxes, labels.boxes[[1, 2, 4]])


def test_hidden_pictures_lose_their_rows_and_are_unknown() -> None:
    labels = random_boxes([2, 1, 0]).hidden(torch.tensor([False, True, True]))
    assert labels.counts.tolist() == [0, 1, 0]
    assert labels.known.tolist() == [False, True, True]


def test_unknown_pictures_are_filled_in_order() -> None:
    labels = random_boxes([2, 1, 3, 1]).hidden(torch.tensor([True, False, True, False]))
    found = random_boxes([0, 4], seed=3)
    filled = labels.filled(found)
    assert filled.counts.tolist() == [2, 0, 3, 4]
    assert filled.known.all()
    assert torch.equal(filled.boxes[-4:], found.boxes)
    with pytest.raises(ValueError, match="to be filled"):
        labels.filled(random_boxes([1]))


def test_boxes_of_wrong_lengths_are_refused() -> None:
    labels = random_boxes([2, 1])
    with pytest.raises(ValueError, match="counts say"):
        BoxLabels.from_model(labels.boxes, labels.classes, labels.confidence, torch.tensor([1, 1]))


@pytest.mark.parametrize("masks", [False, True])
def test_boxes_come_back_from_the_store(tmp_path: Path, masks: bool) -> None:
    labels = random_boxes([2, 0, 3, 0], masks=masks).hidden(torch.tensor([True, True, True, False]))
    sizes = torch.tensor([[12, 14]] * 4)
    names = ["a", "b, with a comma", "ü", "d"]
    store = LabelStore(tmp_path)
    store.write_boxes(0, names, labels, sizes, ["x", "y", "z"])
    found = store.read_boxes()
    assert found.names == names and found.classes == ["x", "y", "z"]
    for name in ("boxes", "classes", "confidence", "weight", "source", "counts", "known", "crowd"):
        assert torch.equal(getattr(found.labels, name), getattr(labels, name)), name
    assert (found.labels.masks is not None) == masks
    if masks:
        assert torch.equal(found.labels.masks.dense(), labels.masks.dense())  # type: ignore[union-attr]
    table = pq.read_table(tmp_path / "round-000.parquet")
    assert table["item"].to_pylist() == ["a"] * 2 + ["b, with a comma"] + ["ü"] * 3 + ["d"]
    assert table["known"].to_pylist() == [True] * 6 + [False]


def test_no_boxes_at_all_come_back_from_the_store(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    store.write_boxes(0, ["a", "b"], BoxLabels.nothing(2), torch.tensor([[3, 4]] * 2), ["x"])
    found = store.read_boxes().labels
    assert len(found) == 2 and len(found.boxes) == 0 and not found.known.any()


def test_label_maps_come_back_from_the_store(tmp_path: Path) -> None:
    classes = torch.tensor([[0, 0, 2], [VOID, 2, 2]], dtype=torch.uint8)
    confidence = torch.tensor([[0.5, 0.7, 0.9], [0.0, 0.9, 0.9]])
    weight = torch.tensor([[0.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    picture = PicturePixels("a", classes, confidence, weight, Source.MODEL, 0.75)
    empty = PicturePixels(
        "b", torch.full((1, 1), VOID, dtype=torch.uint8), *torch.zeros(2, 1, 1), Source.NOBODY
    )
    store = LabelStore(tmp_path)
    store.write_pixels(3, iter([picture, empty]), ["x", "y", "z"])
    found = store.read_pixels(3)
    assert found.names == ["a", "b"] and found.classes == ["x", "y", "z"]
    back = found.picture(0)
    assert torch.equal(back.classes, classes)
    assert torch.equal(back.accepted, picture.accepted)
    assert back.confidence[0].tolist() == pytest.approx([0.6, 0.6, 0.9])
    assert (back.accuracy, back.source) == (0.75, Source.MODEL)
    assert not found.picture(1).accepted.any() and found.picture(1).accuracy is None


def maps(*rows: list[int]) -> Tensor:
    return torch.tensor([rows], dtype=torch.uint8)


def test_the_accuracy_of_pixels_counts_what_is_accepted_and_known() -> None:
    probs = torch.tensor([[[[0.9, 0.2, 0.6, 0.8]], [[0.1, 0.8, 0.4, 0.2]]]])
    labels = PixelLabels.from_probs(probs, torch.tensor([[[1.0, 1.0, 0.0, 1.0]]]))
    assert labels.classes.tolist() == [[[0, 1, 0, 0]]]
    assert labels.accuracy(maps([0, 0, 1, VOID])) == 0.5
    assert labels.accuracy(maps([VOID] * 4)) is None
    assert labels.accepted_share == 0.75


def test_maps_of_people_are_trusted_where_they_say_something() -> None:
    labels = PixelLabels.from_person(torch.cat([maps([0, VOID]), maps([VOID, VOID])]))
    assert labels.accepted.tolist() == [[[True, False]], [[False, False]]]
    assert labels.source.tolist() == [int(Source.PERSON), int(Source.NOBODY)]
    proposed = PixelLabels.from_probs(torch.full((1, 2, 1, 2), 0.5))
    filled = labels.filled(proposed, torch.tensor([False, True]))
    assert filled.source.tolist() == [int(Source.PERSON), int(Source.MODEL)]
