from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from PIL import Image

from leaven.cielab import lab_of, lightness_of
from leaven.data import Data, PairedPictures
from leaven.data.changed_pixels import classes_of_colours, painted
from leaven.data.edges import edges
from leaven.data.formats.masks import palette
from leaven.data.open_pairs import find_pairing, open_pairs
from leaven.data.paired_maps import photos_with_maps
from leaven.errors import DataError


def save(path: Path, value: int, size: tuple[int, int] = (16, 16), mode: str = "RGB") -> Path:
    """A picture of one brightness, which tells it apart."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour: Any = (value,) * 3 if mode == "RGB" else value
    Image.new(mode, size, colour).save(path)
    return path


def pair(root: Path, first: str, second: str, value: int, **how: Any) -> None:
    save(root / first, value, **how)
    save(root / second, value + 100, **how)


def told(data: Data[PairedPictures]) -> None:
    """Every pair belongs together: the second picture is brighter by 100."""
    for images in (data.train, data.val, data.test):
        if images is not None:
            rows = torch.arange(len(images))
            given, wanted = images.pixels.batch(rows), images.labels[rows]
            assert torch.equal(given + 100, wanted)


LAYOUTS = {
    "splits below": ("A/{split}/{n}.png", "B/{split}/{n}.png"),
    "splits above": ("{split}/a/{n}.png", "{split}/b/{n}.jpg"),
    "splits together": ("{split}A/{n}.png", "{split}B/{n}.png"),
    "other names": ("{split}/edges/x/{n}.png", "{split}/photos/x/{n}.png"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_two_folders(tmp_path: Path, layout: str) -> None:
    for split, start, count in (("train", 0, 4), ("val", 10, 2), ("test", 20, 3)):
        for number in range(start, start + count):
            first, second = (
                text.format(split=split, n=f"{number:02d}") for text in LAYOUTS[layout]
            )
            pair(tmp_path, first, second, number)
    data = open_pairs(tmp_path)
    assert [len(data.train), len(data.val or ()), len(data.test or ())] == [4, 2, 3]
    assert data.classes == ()
    told(data)
    back = open_pairs(tmp_path, swap=True)
    rows = torch.arange(3)
    assert torch.equal(back.train.labels[rows] + 100, back.train.pixels.batch(rows))
    assert any("--swap" in note for note in data.notes)


def test_a_second_folder_elsewhere(tmp_path: Path) -> None:
    for number in range(3):
        pair(tmp_path, f"in/{number}.png", f"elsewhere/{number}.png", number)
    data = open_pairs(tmp_path / "in", other=tmp_path / "elsewhere")
    assert len(data.train) == 3
    told(data)


def test_pictures_without_a_partner_are_left_out(tmp_path: Path) -> None:
    for number in range(5):
        pair(tmp_path, f"A/{number}.png", f"B/{number}.png", number)
    save(tmp_path / "A" / "alone.png", 7)
    data = open_pairs(tmp_path)
    assert len(data.train) == 5
    assert any("1 picture has no partner" in note and "alone" in note for note in data.notes)


def test_hardly_a_pair(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / "A" / f"{number}.png", number)
        save(tmp_path / "B" / f"other-{number}.png", number)
    pair(tmp_path, "A/same.png", "B/same.png", 9)
    with pytest.raises(DataError, match="1 pairs were found and 8 pictures without a partner"):
        open_pairs(tmp_path)


def test_two_sizes(tmp_path: Path) -> None:
    pair(tmp_path, "A/0.png", "B/0.png", 0)
    save(tmp_path / "A" / "1.png", 1)
    save(tmp_path / "B" / "1.png", 101, size=(16, 20))
    with pytest.raises(DataError, match=r"1 pairs are of two sizes.*1.png of 16x16.*of 16x20"):
        open_pairs(tmp_path)


def test_names_that_differ_in_the_ending_alone(tmp_path: Path) -> None:
    pair(tmp_path, "A/0.png", "B/0.png", 0)
    save(tmp_path / "A" / "0.bmp", 1)
    with pytest.raises(DataError, match="ending"):
        open_pairs(tmp_path)


def test_an_unreadable_picture_takes_its_partner_along(tmp_path: Path) -> None:
    for number in range(12):
        pair(tmp_path, f"A/{number:02d}.png", f"B/{number:02d}.png", number)
    (tmp_path / "B" / "03.png").write_bytes(b"no picture")
    data = open_pairs(tmp_path)
    assert len(data.train) == 11
    assert "A/03.png" not in data.train.names
    told(data)


def test_side_by_side(tmp_path: Path) -> None:
    for split, numbers in (("train", range(3)), ("test", range(3, 5))):
        for number in numbers:
            whole = np.zeros((16, 32, 3), dtype=np.uint8)
            whole[:, :16], whole[:, 16:] = number, number + 100
            (tmp_path / split).mkdir(exist_ok=True)
            Image.fromarray(whole).save(tmp_path / split / f"{number}.png")
    assert find_pairing(tmp_path, "auto") == "side-by-side"
    data = open_pairs(tmp_path)
    assert data.shape == (3, 16, 16)
    assert len(data.test or ()) == 2
    told(data)


def test_side_by_side_of_an_odd_width(tmp_path: Path) -> None:
    save(tmp_path / "0.png", 0, size=(33, 16))
    with pytest.raises(DataError, match="33 pixels wide"):
        open_pairs(tmp_path, pairs="side-by-side")


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """Photos of three classes; the last has no mask."""
    generator = np.random.default_rng(0)
    for number in range(6):
        photo = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(photo).save(tmp_path / "images" / f"{number}.png")
        if number < 5:
            mask = generator.integers(0, 4, (12, 16)).astype(np.uint8)
            mask[mask == 3] = 255
            (tmp_path / "masks").mkdir(exist_ok=True)
            Image.fromarray(mask).save(tmp_path / "masks" / f"{number}.png")
    (tmp_path / "classes.json").write_text(json.dumps(["road", "car", "tree"]))
    return tmp_path


def test_label_maps_are_painted(masks: Path) -> None:
    data = open_pairs(masks)
    assert data.classes == ("road", "car", "tree")
    assert len(data.train) == 5
    assert any("1 pictures without a label map" in note for note in data.notes)
    rows = torch.arange(5)
    given = data.train.pixels.batch(rows)
    stored = np.array(Image.open(masks / "masks" / "2.png"))
    assert np.array_equal(given[2].permute(1, 2, 0).numpy(), palette()[stored])
    photo = np.array(Image.open(masks / "images" / "2.png"))
    assert np.array_equal(data.train.labels[rows][2].permute(1, 2, 0).numpy(), photo)


@pytest.mark.parametrize("swap", [False, True])
def test_painted_maps_are_read_again(masks: Path, swap: bool) -> None:
    photos = photos_with_maps(open_pairs(masks, swap=swap), swap=swap)
    rows = torch.arange(5)
    stored = np.array(Image.open(masks / "masks" / "3.png")).astype(np.int64)
    stored[stored == 255] = -1
    assert np.array_equal(photos.train.labels[rows][3].numpy(), stored)
    photo = np.array(Image.open(masks / "images" / "3.png"))
    assert np.array_equal(photos.train.pixels.batch(rows)[3].permute(1, 2, 0).numpy(), photo)


def test_colours_and_classes() -> None:
    stored = torch.tensor([[[[0, 1, 2, 255]]]], dtype=torch.uint8)
    colours = painted(stored)
    assert classes_of_colours(colours, 3).tolist() == [[[0, 1, 2, -1]]]
    # What a network makes is near a colour, not the colour.
    near = (colours.int() + torch.tensor([20, -20, 20])[:, None, None]).clamp(0, 255).byte()
    assert classes_of_colours(near, 3).tolist() == [[[0, 1, 2, -1]]]
    assert classes_of_colours(colours[:0], 3).numel() == 0


def encoded(colour: tuple[int, int, int]) -> bytes:
    import io

    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "PNG")
    return file.getvalue()


def test_greys_of_a_table_without_labels(tmp_path: Path) -> None:
    colours = [(200, 30, 40), (20, 90, 250), (120, 120, 120)]
    table = pa.table({"image": [encoded(colour) for colour in colours]})
    parquet.write_table(table, tmp_path / "pictures.parquet")
    with pytest.raises(DataError, match="Nothing tells"):
        open_pairs(tmp_path / "pictures.parquet")
    data = open_pairs(tmp_path / "pictures.parquet", pairs="grey")
    assert data.train.labels.of_grey
    rows = torch.arange(3)
    grey, colour = data.train.pixels.batch(rows), data.train.labels[rows]
    assert grey.shape == (3, 1, 8, 8)
    assert colour[:, :, 0, 0].tolist() == [list(one) for one in colours]
    torch.testing.assert_close(lightness_of(grey), lab_of(colour)[:, :1], atol=0.3, rtol=0)
    assert not open_pairs(
        tmp_path / "pictures.parquet", pairs="grey", swap=True
    ).train.labels.of_grey


def test_nothing_to_colour() -> None:
    with pytest.raises(DataError, match="have no colours"):
        open_pairs("digits", pairs="grey")


def test_edges_of_digits() -> None:
    data = open_pairs("digits", pairs="edges", image_size=32)
    assert data.shape == data.train.labels.shape == (1, 32, 32)
    assert not data.flip
    drawn = data.train.pixels.batch(torch.arange(8))
    assert drawn.unique().tolist() == [0, 255]
    assert 0.02 < float((drawn == 0).float().mean()) < 0.4


def test_edges_of_a_square_are_its_outline() -> None:
    picture = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    picture[..., 8:24, 8:24] = 200
    black = edges(picture)[0, 0] == 0
    rows, columns = black.nonzero().unbind(1)
    assert 6 <= int(rows.min()) <= 8 and 23 <= int(rows.max()) <= 24
    assert 6 <= int(columns.min()) <= 8 and 23 <= int(columns.max()) <= 24
    assert not black[11:21, 11:21].any()
    # One pixel thin along every side, and closed but for the corners.
    assert black[12:20].sum(1).tolist() == [2] * 8
    assert black[:, 12:20].sum(0).tolist() == [2] * 8


def test_weak_edges_live_by_strong_ones() -> None:
    picture = torch.zeros(1, 3, 32, 64, dtype=torch.uint8)
    picture[..., 16:, :] = torch.linspace(255, 0, 64).byte()
    weak = edges(picture, low=0.01, high=0.1)[0, 0] == 0
    assert weak[:, :50].any(0).all()
    strong = edges(picture, low=0.1, high=0.1)[0, 0] == 0
    assert int(strong.sum()) < int(weak.sum())
    assert not (edges(torch.full_like(picture, 90), low=1e-3) == 0).any()


def test_scenes() -> None:
    data = open_pairs(None)
    assert (len(data.train), len(data.test or ())) == (560, 240)
    assert data.shape == data.train.labels.shape == (3, 64, 64)
    assert not data.flip
    assert len(data.classes) == 11
    assert data.notes == ()


def test_the_label_map_tells_the_colours_of_scenes() -> None:
    photos = photos_with_maps(open_pairs(None)).train
    rows = torch.arange(200)
    pictures, classes = photos.pixels.batch(rows).float(), photos.labels[rows]
    for number in (1, 5, 8):
        colours = pictures.permute(0, 2, 3, 1)[classes == number]
        strong = colours[colours.amax(1) - colours.amin(1) > 150]
        hue = strong / strong.amax(1, keepdim=True)
        assert len(strong) > 50
        assert float(hue.std(0).max()) < 0.1
    behind = torch.where((classes == 0)[:, None], pictures, torch.nan)
    # One background in another light.
    assert (
        float((behind / behind.nanmean((1, 2, 3), keepdim=True))[:, :, 5, 5].nan_to_num(1).std())
        < 0.3
    )


def test_bad_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="pairs is 'gray'"):
        open_pairs(tmp_path, pairs="gray")
    with pytest.raises(DataError, match="no file or folder"):
        open_pairs(tmp_path / "nowhere")
    save(tmp_path / "one.png", 1)
    with pytest.raises(DataError, match="Nothing tells"):
        open_pairs(tmp_path)
    with pytest.raises(DataError, match="two folders of pictures"):
        open_pairs(tmp_path, pairs="folders")
