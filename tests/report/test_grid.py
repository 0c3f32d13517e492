import pytest
import torch

from leaven.report.grid import GAP, Samples, grid, read_settings, write_grid


def test_pictures_lie_in_rows() -> None:
    pictures = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 1, 6, 8)
    sheet = grid(pictures, 3)
    assert sheet.shape == (3, 2 * 6 + GAP, 3 * 8 + 2 * GAP)
    assert [int(sheet[0, 0, k * (8 + GAP)]) for k in range(3)] == [0, 1, 2]
    assert [int(sheet[2, 6 + GAP, k * (8 + GAP)]) for k in range(3)] == [3, 4, 255]
    assert int(sheet[0, 6, 0]) == 255


def test_one_picture_is_itself() -> None:
    picture = torch.randint(256, (1, 3, 5, 7), dtype=torch.uint8)
    assert torch.equal(grid(picture), picture[0])


def test_no_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a picture"):
        grid(torch.zeros(0, 3, 4, 4, dtype=torch.uint8))


def test_the_file_says_how_it_was_made(tmp_path) -> None:
    pictures = torch.randint(256, (2, 1, 4, 4), dtype=torch.uint8)
    path = write_grid(
        tmp_path / "a" / "s.png", Samples(pictures, ["eins", "zwei ä"], None, {"k": 3})
    )
    assert read_settings(path) == {"k": 3, "texts": ["eins", "zwei ä"]}
