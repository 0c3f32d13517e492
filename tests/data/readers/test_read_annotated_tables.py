import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet as pq

from leaven.data.readers.annotated import read_annotated
from leaven.errors import DataError

HEIGHT, WIDTH = 20, 30


def mask(*values: int) -> np.ndarray:
    """Rows of the values by turns."""
    rows = np.resize(np.array(values), HEIGHT)
    return np.repeat(rows[:, None], WIDTH, 1).astype(np.uint8)


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def table(path: Path, columns: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
    said = {key: json.dumps(value) for key, value in (metadata or {}).items()}
    pq.write_table(pa.table(columns).replace_schema_metadata(said), path)


def picture() -> bytes:
    return png(np.zeros((HEIGHT, WIDTH, 3), np.uint8))


def test_parquet_of_masks_takes_void_from_the_schema(tmp_path: Path) -> None:
    columns = {"name": ["x", "y"], "image": [picture()] * 2, "mask": [png(mask(0, 1, 2)), None]}
    table(tmp_path / "train.parquet", columns, {"classes": ["sky", "road"], "ignore": 2})
    table(
        tmp_path / "val.parquet",
        {"name": ["z"], "image": [picture()], "mask": [png(mask(1, 255))]},
        {"classes": ["sky", "road"], "ignore": 2},
    )
    found = read_annotated(tmp_path, "segmentation")
    assert list(zip(found.names, found.splits)) == [("x", "train"), ("y", "train"), ("z", "val")]
    assert found.known.tolist() == [True, False, True] and found.maps is not None
    assert np.array_equal(found.maps[0], mask(0, 1, 255)) and found.maps[1] is None
    assert np.array_equal(found.maps[2], mask(1, 255))


def test_parquet_of_instances(tmp_path: Path) -> None:
    numbers = np.zeros((HEIGHT, WIDTH), np.uint16)
    numbers[2:5, 3:9], numbers[10:, 20:] = 700, 2
    columns = {"image": [picture()] * 3, "instances": [png(numbers), None, png(numbers * 0)]}
    table(tmp_path / "cells.parquet", columns)
    found = read_annotated(tmp_path / "cells.parquet", "instance")
    assert found.known.tolist() == [True, False, True]
    assert found.boxes is not None and found.boxes.masks is not None
    assert found.boxes.counts.tolist() == [2, 0, 0]
    assert found.boxes.boxes.tolist() == [[20, 10, 30, 20], [3, 2, 9, 5]]
    assert np.array_equal(
        found.boxes.masks.dense().numpy(), np.stack([numbers == 2, numbers == 700])
    )
    assert read_annotated(tmp_path / "cells.parquet", "detection").classes == ("object",)


def test_parquet_of_boxes_in_both_forms(tmp_path: Path) -> None:
    table(
        tmp_path / "a.parquet",
        {
            "image": [picture()] * 3,
            "boxes": [[[1.0, 2.0, 5.0, 6.0]], None, []],
            "labels": [["dog"], None, []],
        },
        {"classes": ["cat", "dog"]},
    )
    table(
        tmp_path / "b.parquet",
        {
            "image": [picture()] * 2,
            "objects": [
                {"bbox": [[1.0, 2.0, 4.0, 4.0]], "category": [1]},
                {"bbox": [], "category": []},
            ],
        },
        {
            "huggingface": {
                "info": {"features": {"objects": {"category": {"names": ["cat", "dog"]}}}}
            }
        },
    )
    first, second = (read_annotated(tmp_path / f"{name}.parquet", "detection") for name in "ab")
    assert first.known.tolist() == [True, False, True] and second.known.tolist() == [True, True]
    for found in (first, second):
        assert found.classes == ("cat", "dog") and found.boxes is not None
        assert found.boxes.boxes.tolist() == [[1, 2, 5, 6]]
        assert found.boxes.classes.tolist() == [1]


def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    columns = {"name": ["x", "x"], "image": [picture()] * 2, "mask": [png(mask(0)), None]}
    table(tmp_path / "a.parquet", columns)
    with pytest.raises(DataError, match="the name 'x' more than once"):
        read_annotated(tmp_path / "a.parquet", "segmentation")


def test_pictures_outside_the_folder_of_the_table_are_refused(tmp_path: Path) -> None:
    table(tmp_path / "a.parquet", {"image": ["../../secret.png"], "mask": [png(mask(0))]})
    with pytest.raises(DataError, match=r"secret\.png"):
        read_annotated(tmp_path / "a.parquet", "segmentation")
