"""The parts of an audit against closed forms, planted faults and slow references."""

import builtins
import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from leaven.errors import MissingExtraError
from leaven.labels.boxes import BoxLabels
from leaven.quality.audit import (
    box_errors,
    class_balance,
    connected,
    duplicate_pairs,
    fold_numbers,
    folded_share,
    label_errors,
    look_at,
    neighbour_distance,
    picture_faults,
    pixel_errors,
    share_as_far,
    wrong_at_most,
)
from leaven.quality.audit.duplicates import (
    descriptor,
    equal_rows,
    least_distance,
    orientations,
    standardised,
)
from leaven.quality.audit.pixel_errors import soft_minimum


def scene(seed, side=64, wide=64):
    """A smooth colour picture, unlike that of another seed."""
    noise = np.random.default_rng(seed).uniform(0, 255, (9, 9, 3)).astype(np.uint8)
    return Image.fromarray(noise).resize((wide, side), Image.Resampling.BICUBIC)


def encoded(image, kind="PNG", **options):
    written = io.BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def looked(pictures):
    return look_at(pictures, [f"p{number}" for number in range(len(pictures))])


# -- classes ------------------------------------------------------------------------------------------


def planted(count=600, classes=4, wrong=0.1, sure=0.9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(count) % classes
    probs = torch.full((count, classes), (1 - sure) / (classes - 1))
    probs[torch.arange(count), truth] = sure
    probs = probs + 0.02 * torch.rand(count, classes, generator=generator)
    flipped = torch.randperm(count, generator=generator)[: int(wrong * count)]
    labels = truth.clone()
    labels[flipped] = (truth[flipped] + 1) % classes
    return labels, probs / probs.sum(1, keepdim=True), flipped, truth


def test_planted_flips_are_found_and_nothing_else():
    labels, probs, flipped, truth = planted()
    found = label_errors(labels, probs)
    assert set(found.items.tolist()) == set(flipped.tolist())
    assert torch.equal(found.suggested[found.items], truth[found.items])
    quality = found.quality[found.items]
    assert torch.equal(quality, quality.sort().values)
    assert found.share == pytest.approx(0.1)


def test_with_the_bound_off_it_is_cleanlab():
    from cleanlab.filter import find_label_issues

    labels, probs, _, _ = planted(sure=0.4, wrong=0.3, seed=3)
    probs = torch.softmax(
        probs.log() + torch.randn(probs.shape, generator=torch.Generator().manual_seed(1)), 1
    )
    theirs = find_label_issues(labels.numpy(), probs.double().numpy(), n_jobs=1)
    mine = torch.zeros(len(labels), dtype=torch.bool)
    mine[label_errors(labels, probs, surest=0).items] = True
    assert theirs.any()
    assert np.array_equal(mine.numpy(), theirs & (probs.argmax(1) != labels).numpy())


def test_the_bound_is_that_of_clopper_and_pearson():
    labels = torch.zeros(1000, dtype=torch.int64)
    probs = torch.tensor([[0.9, 0.1]]).repeat(1000, 1)
    # Nothing differs among the 100 surest: 1 - 0.05^(1/100).
    assert wrong_at_most(labels, probs) == pytest.approx(1 - 0.05 ** (1 / 100))
    assert wrong_at_most(torch.ones_like(labels), probs) == 1.0
    assert wrong_at_most(labels[:0], probs[:0]) == 0.0


def test_a_weak_model_accuses_fewer_with_the_bound():
    """Sure where it is right, guessing elsewhere: most of what cleanlab counts are its own errors."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(2000) % 4
    logits = torch.randn(2000, 4, generator=generator)
    logits[:600, :] = 0
    logits[torch.arange(600), truth[:600]] = 5
    probs = logits.softmax(1)
    bounded, free = label_errors(truth, probs), label_errors(truth, probs, surest=0)
    assert len(bounded.items) < len(free.items) / 3
    assert set(bounded.items.tolist()) <= set(free.items.tolist())


def test_unknown_and_unjudged_labels_are_left_alone():
    labels, probs, flipped, _ = planted()
    labels[flipped[0]] = -1
    probs[flipped[1]] = torch.nan
    found = label_errors(labels, probs)
    assert set(found.items.tolist()) == set(flipped[2:].tolist())
    assert found.quality[flipped[:2]].tolist() == [1.0, 1.0]
    assert found.suggested[flipped[:2]].tolist() == [-1, -1]


def test_classes_without_a_label_are_no_suggestion():
    labels, probs, _, _ = planted(classes=3)
    more = torch.cat([probs, 5 * torch.ones(len(probs), 1)], 1)
    found = label_errors(labels, more / more.sum(1, keepdim=True))
    assert int(found.suggested.max()) == 2


@pytest.mark.parametrize("labels", [torch.zeros(0), torch.zeros(5), torch.full((5,), -1)])
def test_one_class_or_none_has_no_errors(labels):
    found = label_errors(labels.long(), torch.full((len(labels), 3), 1 / 3))
    assert len(found.items) == 0
    assert found.share == 0


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="for 3 labels"):
        label_errors(torch.zeros(3, dtype=torch.int64), torch.ones(2, 2))


def test_without_cleanlab_it_says_what_to_install(monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == "cleanlab"]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def refuse(name, *rest, **more):
        if name.split(".")[0] == "cleanlab":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setitem(sys.modules, "cleanlab", None)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match="audit"):
        label_errors(torch.tensor([0, 1]), torch.eye(2))


# -- boxes and pixels ---------------------------------------------------------------------------------


def boxed(count=30):
    """Pictures with three things each, and a detector that finds them all surely."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.tensor([[4.0, 4.0], [40.0, 8.0], [20.0, 40.0]])
    boxes, classes = [], []
    for _ in range(count):
        start = corners + 4 * torch.rand(3, 2, generator=generator)
        boxes.append(torch.cat([start, start + 14], 1))
        classes.append(torch.tensor([0, 1, 0]))
    flat = torch.cat(boxes)
    found = BoxLabels.from_model(
        flat, torch.cat(classes), torch.full((3 * count,), 0.99), torch.full((count,), 3)
    )
    return boxes, classes, found


def test_boxes_that_agree_are_right():
    boxes, classes, found = boxed()
    assert box_errors(BoxLabels.from_person(boxes, classes), found, 2) == []


def test_planted_faults_of_boxes_are_found_by_their_kind():
    boxes, classes, found = boxed()
    classes[3] = torch.tensor([1, 1, 0])  # the first thing has another class
    boxes[7] = boxes[7][[0, 2]]  # the second thing was forgotten
    classes[7] = classes[7][[0, 2]]
    boxes[11] = boxes[11].clone()
    boxes[11][2] += torch.tensor([12.5, 12.5, 12.5, 12.5])  # a corner of the third is hit at most
    faults = box_errors(BoxLabels.from_person(boxes, classes), found, 2)
    by_kind = {fault.kind: fault for fault in faults}
    assert {(fault.kind, fault.picture) for fault in faults} >= {
        ("class", 3), ("missing", 7), ("place", 11),
    }  # fmt: skip
    assert len(faults) <= 4
    assert (by_kind["class"].given, by_kind["class"].suggested) == (1, 0)
    assert (by_kind["missing"].given, by_kind["missing"].suggested) == (-1, 1)
    assert by_kind["place"].box == pytest.approx(tuple(boxes[11][2].tolist()))
    assert all(0 <= fault.score <= 1 for fault in faults)


def test_pictures_without_boxes_or_findings_are_no_fault():
    empty = [torch.zeros(0, 4)] * 2
    none = [torch.zeros(0, dtype=torch.int64)] * 2
    given = BoxLabels.from_person(empty, none)
    nobody = BoxLabels.from_model(
        torch.zeros(0, 4), none[0], torch.zeros(0), torch.zeros(2, dtype=torch.int64)
    )
    assert box_errors(given, nobody, 2) == []
    with pytest.raises(ValueError, match="pictures"):
        box_errors(given, nobody.select(torch.tensor([0])), 2)


def test_a_region_with_another_class_is_found():
    labels = torch.zeros(12, 16, 16, dtype=torch.int64)
    labels[:, :, 8:] = 1
    labels[:, 0] = -1
    probs = torch.stack([(labels != 1).float(), (labels == 1).float()], 1) * 0.9 + 0.05
    labels[5, 4:8, 2:6] = 1

    def batches():
        yield labels[:5], probs[:5]
        yield labels[5:], probs[5:]

    (fault,) = pixel_errors(batches, 2)
    assert (fault.picture, fault.given, fault.suggested) == (5, 1, 0)
    assert fault.box == (2, 4, 6, 8)
    assert fault.share == pytest.approx(16 / 240)
    assert 0 < fault.score < 1


def test_without_void_it_is_what_cleanlab_finds():
    from cleanlab.segmentation.filter import find_label_issues

    generator = torch.Generator().manual_seed(2)
    logits = torch.nn.functional.avg_pool2d(torch.randn(6, 3, 20, 20, generator=generator), 5, 1, 2)
    probs = (12 * logits).softmax(1)
    labels = probs.argmax(1)
    labels[2, 3:9, 3:9] = (labels[2, 3:9, 3:9] + 1) % 3
    labels[4, 10:, :5] = 0
    theirs = find_label_issues(labels.numpy(), probs.double().numpy(), verbose=False, n_jobs=1)
    faults = pixel_errors(lambda: iter([(labels[:4], probs[:4]), (labels[4:], probs[4:])]), 3)
    assert theirs.any()
    for picture in range(6):
        shares = sum(fault.share for fault in faults if fault.picture == picture)
        assert shares == pytest.approx(theirs[picture].mean(), abs=2 * 0.005 * 3)


def test_maps_of_which_nothing_is_known_have_no_fault():
    nothing = torch.full((2, 4, 4), -1)
    assert pixel_errors(lambda: iter([(nothing, torch.full((2, 3, 4, 4), 1 / 3))]), 3) == []


def test_the_soft_minimum_lies_between_minimum_and_mean():
    values = torch.tensor([0.1, 0.5, 0.9])
    assert float(values.min()) < soft_minimum(values) < float(values.mean())
    assert soft_minimum(torch.full((7,), 0.3)) == pytest.approx(0.3)
    assert soft_minimum(values, 1e-3) == pytest.approx(0.1, abs=1e-6)


# -- duplicates ---------------------------------------------------------------------------------------


def test_copies_are_found_however_they_were_saved():
    original = scene(0)
    pictures = [encoded(scene(seed)) for seed in range(30)]
    pictures += [
        encoded(original, "BMP"),
        encoded(original, "JPEG", quality=60),
        encoded(original.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=85),
        encoded(original.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "WEBP", quality=80),
        encoded(original.resize((48, 48)), "PNG"),
    ]
    looks = looked(pictures)
    pairs = duplicate_pairs(looks.digests, looks.thumbnails)
    found = set(zip(pairs.first.tolist(), pairs.second.tolist()))
    assert {(0, copy) for copy in range(30, 34)} <= found
    assert all(first in (0, 31, 32, 33, 34) and second >= 30 for first, second in found)
    assert bool(pairs.exact[0]) and (int(pairs.first[0]), int(pairs.second[0])) == (0, 30)
    assert not bool(pairs.exact[1:].any())
    groups = connected(len(pictures), pairs)
    assert len(groups[[0, 30, 31, 32, 33, 34]].unique()) == 1
    assert len(groups.unique()) == 30


def test_the_descriptor_is_the_same_in_all_orientations_and_loses_no_pair():
    rows = standardised(looked([encoded(scene(seed)) for seed in range(12)]).thumbnails)
    found = descriptor(rows)
    for turned in orientations(rows):
        torch.testing.assert_close(descriptor(turned.contiguous()), found, atol=1e-5, rtol=0)
    first, second = torch.combinations(torch.arange(12)).unbind(1)
    gap = (found[first] - found[second]).norm(dim=1)
    assert bool((gap <= least_distance(rows[first], rows[second]) + 1e-5).all())


def test_the_least_distance_is_that_of_a_loop():
    rows = standardised(looked([encoded(scene(seed)) for seed in range(4)]).thumbnails)
    expected = min(float((rows[0] - turned).norm()) for turned in orientations(rows[1:2])[:, 0])
    assert float(least_distance(rows[:1], rows[1:2])) == pytest.approx(expected, abs=1e-5)


def test_constant_pictures_are_like_nothing_but_equal_ones():
    grey, other = Image.new("RGB", (20, 20), (90, 90, 90)), Image.new("RGB", (20, 20), (91,) * 3)
    looks = looked([encoded(one) for one in (grey, other, grey, *map(scene, range(5)))])
    pairs = duplicate_pairs(looks.digests, looks.thumbnails)
    assert list(zip(pairs.first.tolist(), pairs.second.tolist())) == [(0, 2)]


def test_equal_rows_point_to_the_first():
    rows = torch.tensor([[1, 2], [3, 4], [1, 2], [5, 6], [3, 4]], dtype=torch.uint8)
    assert equal_rows(rows).tolist() == [0, 1, 0, 3, 1]
    assert len(equal_rows(rows[:0])) == 0


def test_few_or_no_pictures_have_no_pairs():
    for count in (0, 1):
        looks = looked([encoded(scene(seed)) for seed in range(count)])
        assert len(duplicate_pairs(looks.digests, looks.thumbnails)) == 0


def test_blocks_find_what_all_pairs_find(monkeypatch):
    import leaven.quality.audit.duplicates as duplicates

    pictures = [scene(seed) for seed in range(40)]
    pictures += [scene(seed).resize((40, 40)) for seed in range(20)]
    looks = looked([encoded(one) for one in pictures])
    whole = duplicate_pairs(looks.digests, looks.thumbnails)
    monkeypatch.setattr(duplicates, "_BLOCK", 7)
    told = []
    parts = duplicate_pairs(
        looks.digests, looks.thumbnails, progress=lambda done, count: told.append((done, count))
    )
    assert len(whole) == 20
    assert torch.equal(parts.first, whole.first) and torch.equal(parts.second, whole.second)
    assert told[-1] == (9, 9)


# -- foreign pictures ---------------------------------------------------------------------------------


def test_the_distance_is_that_to_the_kth_neighbour():
    reference = torch.tensor([[0.0], [1.0], [3.0], [6.0]])
    found = neighbour_distance(torch.tensor([[0.0]]), reference, count=2, metric="euclidean")
    assert found.tolist() == [1.0]
    own = neighbour_distance(reference, reference, count=1, metric="euclidean", leave_out=True)
    assert own.tolist() == [1.0, 1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match="neighbours"):
        neighbour_distance(reference[:1], reference[:1], leave_out=True)


def test_the_share_counts_those_as_far():
    gauge = torch.tensor([1.0, 2.0, 3.0, 4.0])
    share = share_as_far(torch.tensor([0.5, 2.0, 4.5]), gauge)
    assert share.tolist() == [1.0, 4 / 5, 1 / 5]
    both = folded_share([torch.tensor([2.5])] * 2, [gauge[:2], gauge[2:]])
    assert both.tolist() == [3 / 5]


def test_the_share_of_false_alarms_is_kept():
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(500, 8, generator=generator)
    gauge = neighbour_distance(reference, reference, leave_out=True)
    same = neighbour_distance(torch.randn(4000, 8, generator=generator), reference)
    alarms = float((share_as_far(same, gauge) <= 0.05).double().mean())
    assert 0.02 < alarms < 0.09


# -- classes and folds --------------------------------------------------------------------------------


def test_equal_classes_are_balanced():
    balance = class_balance(torch.tensor([10, 10, 10]))
    assert (balance.ratio, balance.evenness) == (1.0, pytest.approx(1.0))
    assert not bool(balance.rare.any())
    assert balance.severity.tolist() == [0, 0, 0]


def test_rare_and_missing_classes_are_named():
    balance = class_balance(torch.tensor([97, 100, 3, 0]))
    assert balance.rare.tolist() == [False, False, True, True]
    assert math.isinf(balance.ratio)
    assert balance.severity.tolist() == pytest.approx([0, 0, 1 - 3 / 50, 1])
    assert class_balance(torch.zeros(3, dtype=torch.int64)).evenness == 1.0
    with pytest.raises(ValueError):
        class_balance(torch.zeros(0, dtype=torch.int64))


def test_folds_share_classes_and_keep_copies_together():
    strata = torch.arange(103) % 5
    groups = torch.arange(103)
    groups[50], groups[77] = 3, 3
    fold = fold_numbers(strata, groups, 4, seed=1)
    assert fold[3] == fold[50] == fold[77]
    counts = torch.zeros(4, 5).index_put((fold, strata), torch.ones(103), accumulate=True)
    assert int(counts.min()) >= 3 and int(counts.max()) <= 8
    assert torch.equal(fold, fold_numbers(strata, groups, 4, seed=1))
    assert not torch.equal(fold, fold_numbers(strata, groups, 4, seed=2))


def test_a_group_that_is_nearly_everything_is_parted():
    fold = fold_numbers(torch.zeros(40).long(), torch.zeros(40).long(), 5, seed=0)
    assert torch.bincount(fold).tolist() == [8] * 5
    with pytest.raises(ValueError, match="folds"):
        fold_numbers(torch.zeros(3).long(), torch.arange(3), 4, seed=0)


# -- broken pictures ----------------------------------------------------------------------------------


def test_broken_pictures_are_named_and_stop_nothing():
    whole = encoded(scene(0), "JPEG")
    pictures = [
        *(encoded(scene(seed)) for seed in range(1, 8)),
        whole[: len(whole) // 2],
        b"",
        b"<html>",
        encoded(Image.new("RGB", (64, 64), (10, 20, 30))),
        encoded(scene(8, 5, 5)),
        encoded(scene(9, 20, 200)),
        None,
    ]
    told = []
    names = [f"p{number}" for number in range(len(pictures))]
    looks = look_at(pictures, names, lambda done, count: told.append((done, count)))
    kinds = {fault.item: fault.kind for fault in picture_faults(looks)}
    assert kinds == {
        7: "unreadable", 8: "unreadable", 9: "unreadable", 13: "unreadable",
        10: "constant", 11: "tiny", 12: "strip",
    }  # fmt: skip
    texts = {fault.item: fault.text for fault in picture_faults(looks)}
    assert "truncated" in texts[7] and "empty" in texts[8]
    assert told[-1] == (14, 14)
    assert looks.sizes[12].tolist() == [20, 200]


def test_small_pictures_are_no_fault_where_all_are_small():
    looks = looked([encoded(scene(seed, 6, 6)) for seed in range(6)])
    assert picture_faults(looks) == []


def test_of_no_readable_picture_only_that_is_said():
    assert [fault.kind for fault in picture_faults(looked([b"", b"x"]))] == ["unreadable"] * 2
    assert picture_faults(looked([])) == []
