"""Captions of scenes, and the numbers that scenes are drawn from."""

from __future__ import annotations

import numpy as np
import torch

from leaven.data.scenes import scenes
from leaven.data.scenes.bank import backdrop_bank, digit_bank, random_phase
from leaven.data.scenes.numbers import Numbers
from leaven.data.scenes.words import NAMES, caption


def box(x: float, y: float) -> list[float]:
    return [x - 4, y - 6, x + 4, y + 6]


def test_sentences():
    assert caption([], torch.zeros(0, 4)) == "no digits"
    assert caption([8], torch.tensor([box(10, 10)])) == "an eight"
    boxes = torch.tensor([box(70, 50), box(20, 52), box(75, 80)])
    assert caption([7, 3, 2], boxes) == "a three left of a seven, a seven above a two"
    boxes = torch.tensor([box(20, 60), box(25, 20)])
    assert caption([1, 0], boxes) == "a one below a zero"
    # As far right as down is left of; the same column goes by rows.
    assert caption([1, 0], torch.tensor([box(20, 20), box(30, 30)])) == "a one left of a zero"
    assert caption([1, 0], torch.tensor([box(20, 60), box(20, 20)])) == "a zero above a one"


def test_captions_say_what_the_boxes_say():
    made = scenes(150, seed=9, objects=(0, 5))
    labels = made.boxes(masks=False)
    seen = set()
    for number, sentence in enumerate(made.captions()):
        own = labels.select(torch.tensor([number]))
        middles = (own.boxes[:, :2] + own.boxes[:, 2:]) / 2
        order = np.lexsort((middles[:, 1].numpy(), middles[:, 0].numpy()))
        words = [NAMES[own.classes[row]] for row in order]
        clauses = sentence.split(", ")
        assert len(clauses) == max(1, len(words) - 1)
        if len(words) < 2:
            assert sentence.split()[-1] == (words[0] if words else "digits")
            continue
        for clause, left, right in zip(clauses, order, order[1:], strict=False):
            first, relation, second = clause.split()[1], clause.split()[2], clause.split()[-1]
            assert first == NAMES[own.classes[left]] and second == NAMES[own.classes[right]]
            x, y = (middles[right] - middles[left]).tolist()
            assert (relation == "left") == (x >= abs(y))
            assert relation == "left" or (relation == "above") == (y > 0)
            seen.add(relation)
    assert seen == {"left", "above", "below"}


def test_numbers_are_a_table():
    items = np.arange(1000)
    whole = Numbers(3, items, 0)
    drawn = whole.uniform(2, 3, low=-1, high=3)
    assert drawn.shape == (1000, 2, 3) and drawn.min() >= -1 and drawn.max() < 3
    assert abs(drawn.mean() - 1) < 0.06 and abs(drawn.std() - 4 / np.sqrt(12)) < 0.03
    part = Numbers(3, items[400:500], 0)
    assert np.array_equal(part.uniform(2, 3, low=-1, high=3), drawn[400:500])
    assert np.array_equal(part.uniform(5), whole.uniform(5)[400:500])
    streams = [Numbers(3, items, stream).uniform(1)[:, 0] for stream in range(4)]
    streams += [Numbers(4, items, 0).uniform(1)[:, 0], drawn[:, 0, 0], drawn[:, 1, 0]]
    linked = np.corrcoef(streams[1:]) - np.eye(6)
    assert np.abs(linked).max() < 0.12
    counts = np.bincount(Numbers(0, items, 0).integers(10, high=4).ravel(), minlength=4)
    assert counts.sum() == 10000 and np.abs(counts - 2500).max() < 200


def test_the_hash_is_splitmix64():
    from leaven.data.scenes.numbers import _mixed

    # The first outputs for the seed 0; the state goes on by the golden gamma.
    state = np.array([0, 0x9E3779B97F4A7C15], np.uint64)
    assert [hex(value) for value in _mixed(state)] == ["0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4"]


def test_the_bank_holds_the_real_digits():
    from sklearn.datasets import load_digits

    images = torch.from_numpy(load_digits().images) / 16
    bank = digit_bank(96)
    fine = bank.side // 10
    ink = torch.from_numpy(bank.ink).view(-1, bank.side, bank.side).float() / 255
    coarse = torch.nn.functional.avg_pool2d(ink[:, None], fine)[:, 0, 1:-1, 1:-1]
    pairs = torch.stack([coarse.flatten(), images.flatten().float()])
    assert torch.corrcoef(pairs)[0, 1] > 0.97
    assert not ink[:, [0, -1]].any() and not ink[:, :, [0, -1]].any()


def test_backdrops_are_the_photos_and_their_mirror_pictures():
    bank = backdrop_bank(96, False)
    assert len(bank.starts) == 12
    assert sorted(set(np.minimum(bank.heights, bank.widths).tolist())) == [134, 192, 288]
    assert bank.starts[-1] + bank.heights[-1] * bank.widths[-1] == len(bank.pixels)
    shape = (bank.heights[0], bank.widths[0])
    plain, mirrored = (
        bank.pixels[start : start + shape[0] * shape[1]].reshape(shape) for start in bank.starts[:2]
    )
    assert np.array_equal(plain, mirrored[:, ::-1])


def test_a_texture_has_the_amplitudes_of_its_picture():
    random = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(64), np.arange(48))
    wave = np.cos(2 * np.pi * (3 * x / 64 + 2 * y / 48)) + 0.7 * np.cos(2 * np.pi * 5 * x / 64)
    picture = np.stack([128 + gain * wave for gain in (30, 20, -10)], 2)
    picture = (picture + random.normal(0, 2, picture.shape)).clip(0, 255).astype(np.uint8)
    made = random_phase(picture, 0)
    assert not np.array_equal(made, picture)
    before, after = (np.abs(np.fft.rfft2(p, axes=(0, 1))) for p in (picture, made))
    peaks = [(0, 0), (2, 3), (0, 5)]
    for row, column in peaks:
        assert np.allclose(before[row, column], after[row, column], rtol=0.08)
    # One phase for all channels keeps the colours together.
    corr = np.corrcoef(made.reshape(-1, 3).T.astype(float))
    assert corr[0, 1] > 0.95 and corr[0, 2] < -0.8


def test_a_ramp_has_no_texture():
    # Its edges do not meet, and that is all there is to it: without, a step of 5 is left.
    ramp = np.repeat(np.tile(np.arange(40, 200, 5), (20, 1))[..., None], 3, 2).astype(np.uint8)
    assert np.abs(random_phase(ramp, 0) - ramp.mean()).max() <= 5
    assert np.abs(random_phase(ramp.transpose(1, 0, 2), 0) - ramp.mean()).max() <= 5


def test_backdrops_go_on_as_their_reflection():
    from leaven.data.scenes.paint import _reflected

    place = np.array([[-3, -1, 0, 3, 4, 7, 8, 9]])
    assert _reflected(place, np.array([4])).tolist() == [[2, 0, 0, 3, 3, 0, 0, 1]]
