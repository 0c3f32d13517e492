"""Decoding: every mode, and what is unreadable."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from leaven.data import FilePixels, PictureError, Sources, decode
from leaven.data.files import check_end, probe


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_colour_keeps_every_value(noise):
    values = noise(7, 5, 3)
    array = decode(encoded(Image.fromarray(values)), None, 3)
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array, values.transpose(2, 0, 1))


def test_grey_becomes_one_or_three_equal_channels(noise):
    values = noise(6, 6)
    data = encoded(Image.fromarray(values))
    np.testing.assert_array_equal(decode(data, None, 1), values[None])
    np.testing.assert_array_equal(decode(data, None, 3), np.stack([values] * 3))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_not_clipped(kind):
    deep = np.array([[0, 128, 129, 257, 400], [1000, 32768, 40000, 65407, 65535]], dtype=np.uint16)
    array = decode(encoded(Image.fromarray(deep), kind), None, 1)
    np.testing.assert_array_equal(array[0], np.rint(deep / 257).astype(np.uint8))


def test_sixteen_bits_become_colour_too():
    deep = np.full((4, 4), 40000, dtype=np.uint16)
    assert (decode(encoded(Image.fromarray(deep)), 4, 3) == 156).all()


def test_transparent_parts_are_white():
    values = np.zeros((2, 2, 4), dtype=np.uint8)
    values[0, 0] = (10, 20, 30, 255)
    values[1, 1] = (0, 0, 0, 51)
    array = decode(encoded(Image.fromarray(values, "RGBA")), None, 3)
    assert array[:, 0, 0].tolist() == [10, 20, 30]
    assert array[:, 0, 1].tolist() == [255] * 3
    assert array[:, 1, 1].tolist() == [204] * 3


def test_palette_with_and_without_transparency():
    image = Image.new("P", (2, 1))
    image.putpalette([200, 10, 10, 0, 0, 250])
    image.putpixel((1, 0), 1)
    plain = decode(encoded(image), None, 3)
    assert plain[:, 0, 0].tolist() == [200, 10, 10]
    assert plain[:, 0, 1].tolist() == [0, 0, 250]
    clear = decode(encoded(image, transparency=1), None, 3)
    assert clear[:, 0, 0].tolist() == [200, 10, 10]
    assert clear[:, 0, 1].tolist() == [255] * 3


def test_cmyk_and_one_bit():
    ink = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red = decode(encoded(ink, "JPEG", quality=95), None, 3)[:, 4, 4]
    assert red[0] > 200 and red[1] < 60 and red[2] < 60
    assert decode(encoded(Image.new("1", (3, 3), 1)), None, 1).tolist() == [[[255] * 3] * 3]


def test_exif_orientation_turns_the_picture():
    values = np.zeros((8, 16, 3), dtype=np.uint8)
    values[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(values), "PNG", exif=exif)
    info = probe(data)
    assert (info.height, info.width) == (16, 8)
    array = decode(data, None, 3)
    assert array.shape == (3, 16, 8)
    assert (array[:, :8] == 255).all() and (array[:, 8:] == 0).all()


@pytest.mark.parametrize(("height", "width"), [(40, 20), (20, 40), (5, 9)])
def test_another_size_is_the_centre_crop(height, width):
    values = np.zeros((height, width, 3), dtype=np.uint8)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    values[top : top + side, left : left + side] = 90
    # What lies outside the centre square would show as darker values.
    array = decode(encoded(Image.fromarray(values)), 10, 3)
    assert array.shape == (3, 10, 10)
    assert (array[:, 1:-1, 1:-1] == 90).all()


def test_draft_decoding_of_a_large_jpeg_gives_the_picture():
    ramp = np.tile(np.linspace(0, 255, 800).astype(np.uint8), (400, 1))
    data = encoded(Image.fromarray(ramp), "JPEG", quality=95)
    array = decode(data, (50, 100), 1)
    expected = ramp.reshape(400, 100, 8).mean(2)[:50]
    assert np.abs(array[0].astype(float) - expected).max() < 4


@pytest.mark.parametrize(
    ("mode", "grey"),
    [("L", True), ("LA", True), ("1", True), ("I;16", True), ("RGB", False), ("RGBA", False)],
)
def test_probe_tells_grey_from_colour(mode, grey):
    assert probe(encoded(Image.new(mode, (3, 4)))).grey is grey


@pytest.mark.parametrize(
    ("colours", "grey"), [([0, 0, 0, 9, 9, 9], True), ([0, 0, 0, 9, 8, 9], False)]
)
def test_probe_looks_into_the_palette(colours, grey):
    image = Image.new("P", (4, 4))
    image.putpalette(colours)
    image.putpixel((0, 0), 1)
    assert probe(encoded(image)).grey is grey


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"hello, this is text", "not a picture of a known format"),
        (None, "there is no picture"),
    ],
)
def test_unreadable_pictures_are_named(content, reason):
    with pytest.raises(PictureError, match=reason) as caught:
        decode(content, 8, 3, "cat/7.jpg")
    assert caught.value.name == "cat/7.jpg"
    assert caught.value.expected and caught.value.do


def test_truncated_missing_and_32_bit_pictures(tmp_path, noise):
    whole = encoded(Image.fromarray(noise(64, 64, 3)), "JPEG")
    with pytest.raises(PictureError, match="truncated"):
        decode(whole[: len(whole) // 2], 8, 3, "a")
    with pytest.raises(PictureError, match="there is no such file") as caught:
        decode(tmp_path / "gone.png", 8, 3)
    assert caught.value.name.endswith("gone.png")
    with pytest.raises(PictureError, match="32 bits"):
        decode(encoded(Image.new("F", (4, 4)), "TIFF"), 4, 1, "f")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_end_of_a_file_is_checked(tmp_path, noise, kind):
    whole = encoded(Image.fromarray(noise(128, 128, 3)), kind)
    for content in (whole, whole + b"\0" * 9000):
        check_end(content, "good")
    path = tmp_path / "half"
    path.write_bytes(whole[: len(whole) // 2])
    for broken in (path, path.read_bytes()):
        with pytest.raises(PictureError):
            check_end(broken, "half")


def test_file_pixels_are_the_decoded_pictures(noise):
    values = noise(5, 9, 9, 3)
    files = [encoded(Image.fromarray(value)) for value in values]
    pixels = FilePixels(Sources(files), [str(n) for n in range(5)], (3, 9, 9))
    expected = torch.from_numpy(values).permute(0, 3, 1, 2)
    assert len(pixels) == 5 and pixels.shape == (3, 9, 9)
    assert torch.equal(pixels.batch(torch.tensor([3, 0, 3])), expected[[3, 0, 3]])
    part = pixels.subset(torch.tensor([4, 2, 1])).subset(torch.tensor([2, 0]))
    assert torch.equal(part.batch(torch.tensor([0, 1])), expected[[1, 4]])
    assert part.names == ["1", "4"]


def test_file_pixels_name_what_they_cannot_read(noise):
    files = [encoded(Image.fromarray(noise(4, 4, 3))), b"broken"]
    pixels = FilePixels(Sources(files), ["good", "bad"], (3, 4, 4))
    with pytest.raises(PictureError, match="bad"):
        pixels.batch(torch.tensor([0, 1]))
