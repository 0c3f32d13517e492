"""The embedded scenes: what is seen, what is said about it, and that both are one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from leaven.data.scenes import CLASSES, DOMAINS, Domain, scenes
from leaven.data.scenes.bank import digit_bank
from leaven.data.scenes.raster import THRESHOLD
from leaven.errors import ConfigError

CLEAN = replace(DOMAINS["day"], name="clean", noise=(0.0, 0.0))


@pytest.fixture(scope="module")
def crowded():
    return scenes(48, seed=11, objects=(0, 9))


def test_maps_are_one_another(crowded):
    slots = crowded.present.shape[1]
    instances = crowded.instances.long()
    classes = torch.nn.functional.pad(crowded.things.classes + 1, (1, 0))
    assert torch.equal(crowded.semantic.long().flatten(1), classes.gather(1, instances.flatten(1)))
    assert torch.equal(crowded.panoptic % 1000, crowded.instances.int())
    assert torch.equal(crowded.panoptic // 1000, crowded.semantic.int())
    each = instances[:, None] == torch.arange(1, slots + 1)[:, None, None]
    assert torch.equal(each.sum((2, 3)), crowded.things.visible)
    assert crowded.classes == CLASSES and len(CLASSES) == 11
    assert crowded.thing_classes == tuple("0123456789")


def test_the_nearest_object_is_seen_and_masks_hold_what_is_hidden(crowded):
    amodal = crowded.amodal
    slots = amodal.shape[1]
    number = torch.arange(1, slots + 1)[:, None, None]
    front = (amodal * number).amax(1)
    assert torch.equal(front, crowded.instances.long())
    depth = torch.where(amodal, crowded.things.depth[:, :, None, None], torch.inf).amin(1)
    assert torch.equal(depth.clamp_max(10), crowded.depth)
    assert torch.equal(amodal.sum((2, 3)), crowded.things.whole)
    assert (crowded.things.visible < crowded.things.whole).any()
    assert not amodal[~crowded.present].any()


def test_nearer_objects_come_later_and_no_two_are_as_near(crowded):
    depth = torch.where(crowded.present, crowded.things.depth, torch.nan)
    steps = depth.diff(dim=1)
    steps = steps[~steps.isnan()]
    assert len(steps) > 50 and (steps < 0).all()
    assert depth.nan_to_num(5).min() >= 2 and depth.nan_to_num(5).max() <= 8


def test_pixels_are_where_the_digits_ink_is():
    made = scenes(3, seed=2, objects=(3, 3), size=64)
    layout, bank = made.layout, digit_bank(64)
    different = 0
    for scene in range(3):
        seen = np.zeros((64, 64), int)
        for slot in range(3):
            ink = bank.ink.reshape(-1, bank.side, bank.side)[layout.digits[scene, slot]]
            centre, angle = layout.centres[scene, slot], float(layout.angles[scene, slot])
            per_pixel = bank.side * 0.8 / layout.sides[scene, slot]
            for y in range(64):
                for x in range(64):
                    away = complex(x + 0.5 - centre[0], y + 0.5 - centre[1])
                    own = away * np.exp(-1j * angle) * per_pixel + bank.side / 2 * (1 + 1j)
                    row, column = int(np.floor(own.imag)), int(np.floor(own.real))
                    inside = 0 <= row < bank.side and 0 <= column < bank.side
                    if inside and ink[row, column] >= THRESHOLD:
                        seen[y, x] = slot + 1
        different += int((torch.from_numpy(seen) != made.instances[scene]).sum())
    # Single precision may put a pixel on the other side of a boundary.
    assert different <= 3


def test_a_digit_is_drawn_in_the_class_it_is_given():
    from sklearn.datasets import load_digits

    target = torch.from_numpy(load_digits().target)
    made = scenes(60, seed=1, objects=(1, 4))
    digits = torch.from_numpy(made.layout.digits)
    assert torch.equal(target[digits][made.present], made.things.classes[made.present])
    assert made.things.classes[made.present].unique().tolist() == list(range(10))


def test_boxes_are_tight_in_both_kinds(crowded):
    for kind in ("visible", "amodal"):
        labels = crowded.boxes(kind, min_visible=0.1)
        assert len(labels.boxes) > 100
        assert torch.equal(labels.masks.boxes(), labels.boxes)
        assert torch.equal(labels.classes, crowded.boxes(min_visible=0.1, masks=False).classes)
        assert crowded.boxes(kind, masks=False).masks is None
    dense = crowded.boxes("amodal", 0).masks.dense()
    seen = crowded.boxes("visible", 0).masks.dense()
    assert (seen <= dense).all() and (seen < dense).any()


def test_rows_of_boxes_name_their_instances(crowded):
    labels, ids = crowded.boxes(min_visible=0.3), crowded.ids(0.3)
    masks = labels.masks.dense()
    for row, picture in enumerate(labels.pictures.tolist()):
        assert torch.equal(masks[row], crowded.instances[picture] == ids[row])


def test_hidden_objects_are_left_out_of_what_is_said(crowded):
    whole = crowded.amodal.sum((2, 3))
    number = torch.arange(1, whole.shape[1] + 1)[:, None, None]
    seen = (crowded.instances[:, None] == number).sum((2, 3))
    for share in (0.0, 0.25, 0.6, 1.0):
        wanted = (seen > 0) & (seen / whole.clamp_min(1) >= share)
        assert torch.equal(crowded.boxes(min_visible=share, masks=False).counts, wanted.sum(1))
        assert torch.equal(crowded.things.shown(share), wanted)
    shares = crowded.things.visible_share[crowded.present]
    assert (shares < 0.25).any() and (shares == 1).any()


def test_tags_are_the_classes_of_the_boxes(crowded):
    labels, tags = crowded.boxes(masks=False), crowded.tags()
    assert tags.shape == (48, 10)
    for picture in range(48):
        own = labels.select(torch.tensor([picture])).classes.unique()
        assert tags[picture].nonzero().squeeze(1).tolist() == own.tolist()


def test_numbers_of_objects_are_as_asked_and_all_lie_in_the_picture():
    made = scenes(200, seed=5, objects=(2, 4))
    counts = made.present.sum(1)
    assert counts.unique().tolist() == [2, 3, 4]
    amodal = made.things.amodal_boxes[made.present]
    assert (amodal[:, :2] >= 0).all() and (amodal[:, 2:] <= 96).all()
    assert torch.equal(made.amodal.sum((2, 3)), made.things.whole)


def test_objects_keep_away_from_one_another():
    made = scenes(300, seed=5, objects=(2, 2))
    centres = torch.from_numpy(made.layout.centres)
    apart = (centres[:, 0] - centres[:, 1]).norm(dim=1)
    # Objects of different scenes know nothing of one another.
    by_chance = (centres[:, 0] - centres[:, 1].roll(1, 0)).norm(dim=1)
    assert apart.mean() > 1.15 * by_chance.mean()
    five = scenes(200, seed=5, objects=(5, 5)).things.visible_share
    assert five.mean() > 0.85 and (five < 1).float().mean() > 0.2


def test_one_object_and_none():
    one = scenes(4, objects=(1, 1))
    assert one.present.all() and (one.things.visible_share == 1).all()
    none = scenes(4, objects=(0, 0))
    assert none.present.shape == (4, 0) and not none.semantic.any()
    assert (none.depth == 10).all() and none.boxes().counts.tolist() == [0] * 4
    assert none.captions() == ["no digits"] * 4 and not none.tags().any()
    assert none.amodal.shape == (4, 0, 96, 96)
    nothing = scenes(0)
    assert len(nothing) == 0 and len(nothing.boxes()) == 0 and nothing.captions() == []


def test_scenes_depend_on_the_seed_and_their_number_alone():
    whole = scenes(70, seed=4)
    for first, count in ((0, 1), (3, 40), (69, 1)):
        part = scenes(count, seed=4, first=first)
        rows = slice(first, first + count)
        assert torch.equal(part.images, whole.images[rows])
        assert torch.equal(part.instances, whole.instances[rows])
        assert torch.equal(part.things.boxes, whole.things.boxes[rows])
        assert torch.equal(part.amodal, whole.amodal[rows])
    other = scenes(70, seed=5)
    assert not (other.images == whole.images).flatten(1).all(1).any()
    assert len(torch.unique(whole.images.flatten(1), dim=0)) == 70


def test_domains_show_the_same_layout_in_other_looks():
    made = {name: scenes(40, seed=8, domain=name) for name in DOMAINS}
    clean = scenes(40, seed=8, domain=CLEAN)
    for one in made.values():
        assert torch.equal(one.instances, clean.instances)
    level = {name: float(one.images.float().mean()) for name, one in made.items()}
    assert level["night"] < 0.6 * level["day"]

    def deviation(name):
        # Where clipping does not hide it.
        middle = (clean.images > 90) & (clean.images < 160)
        return float((made[name].images.float() - clean.images.float())[middle].std())

    assert 1 < deviation("day") < 4 and 25 < deviation("noise") < 45
    background = clean.instances == 0
    difference = (made["texture"].images.float() - clean.images.float()).abs().mean(1)
    assert difference[background].mean() > 20


def test_noise_is_as_strong_as_the_domain_says_and_never_the_same():
    domain = replace(CLEAN, noise=(20.0, 20.0))
    residual = scenes(12, seed=3, domain=domain).images.float()
    clean = scenes(12, seed=3, domain=CLEAN).images.float()
    middle = (clean > 100) & (clean < 155)
    assert float((residual - clean)[middle].std()) == pytest.approx(20, rel=0.03)
    noise = torch.where(middle, residual - clean, 0).flatten(1)
    noise = noise / noise.norm(dim=1, keepdim=True)
    assert ((noise @ noise.T) - torch.eye(12)).abs().max() < 0.1


def test_light_is_the_formula_of_the_domain():
    lamp = Domain("lamp", ambient=(0.4, 0.4), slope=0.2, lamp=(0.3, 0.3), noise=(0, 0))
    flat = Domain("flat", ambient=(1.0, 1.0), slope=0.0, noise=(0, 0))
    dim, plain = scenes(5, seed=1, domain=lamp), scenes(5, seed=1, domain=flat)
    light = dim.layout.light.astype(np.float64)
    side = (np.arange(96) + 0.5) / 48 - 1
    x, y = np.meshgrid(side, side)
    for scene in range(5):
        ambient, right, down, strength, lamp_x, lamp_y = light[scene]
        far = (x - lamp_x) ** 2 + (y - lamp_y) ** 2
        factor = ambient + right * x + down * y + strength * np.exp(-far / (2 * 0.5**2))
        wanted = np.clip(plain.images[scene].numpy() * factor, 0, 255)
        assert np.abs(wanted - dim.images[scene].numpy()).max() <= 0.51


@pytest.mark.parametrize("size", [32, 97, 160])
def test_other_sizes(size):
    made = scenes(5, seed=6, size=size)
    assert made.images.shape == (5, 3, size, size)
    labels = made.boxes(min_visible=0)
    assert torch.equal(labels.masks.boxes(), labels.boxes)
    sides = torch.from_numpy(made.layout.sides)
    assert (sides > 0.2 * size).all() and (sides < 0.5 * size).all()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"count": -1}, "-1 scenes"),
        ({"count": 1, "first": -2}, "number -2"),
        ({"count": 1, "size": 31}, "31 x 31"),
        ({"count": 1, "objects": (3, 2)}, r"\(3, 2\)"),
        ({"count": 1, "objects": (-1, 2)}, r"\(-1, 2\)"),
        ({"count": 1, "objects": (1, 251)}, "251"),
        ({"count": 1, "domain": "nigth"}, "night"),
    ],
)
def test_bad_arguments_are_named(wrong, words):
    with pytest.raises(ConfigError, match=words):
        scenes(**wrong)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_outside_its_range_is_refused(share):
    with pytest.raises(ConfigError, match="min_visible"):
        scenes(1).boxes(min_visible=share)
