"""Reading the digits of small scenes."""

import pytest
import torch

from leaven.data.embedded_captions import captioned_scenes
from leaven.quality.digit_reader import DigitReader


@pytest.fixture(scope="module")
def reader():
    return DigitReader()


def test_real_scenes_are_read_and_wrong_captions_are_told(reader):
    scenes = captioned_scenes(150, seed=4, held_out=True)
    images = scenes.images[scenes.clean]
    captions = [text for text, clean in zip(scenes.captions, scenes.clean, strict=True) if clean]
    right = reader.right(images, captions)
    assert sum(right) / len(right) > 0.93
    wrong = reader.right(images, captions[1:] + captions[:1])
    assert sum(wrong) / len(wrong) < 0.12


def test_digits_must_lie_where_the_caption_says(reader):
    scenes = captioned_scenes(80, seed=5)
    turned = 0
    for image, caption, clean in zip(scenes.images, scenes.captions, scenes.clean, strict=True):
        if " left of " in caption and clean and reader.right(image[None], [caption])[0]:
            one, other = caption.split(" left of ")
            assert reader.right(image[None], [f"{other} left of {one}"]) == [one == other]
            turned += 1
    assert turned > 20


def test_nothing_shows_no_digit(reader):
    nothing = torch.zeros(2, 1, 12, 24, dtype=torch.uint8)
    assert reader.right(nothing, ["a three", "a one left of a two"]) == [False, False]


def test_a_caption_without_digits_cannot_be_read(reader):
    with pytest.raises(ValueError, match="nothing of one or two digits"):
        reader.right(torch.zeros(1, 1, 12, 24, dtype=torch.uint8), ["a cat"])
