"""Hugging Face data sets on disk."""

from __future__ import annotations

import sys

import pytest
import torch

from leaven.data import open_data
from leaven.data.readers import read
from leaven.errors import DataError, MissingExtraError

datasets = pytest.importorskip("datasets")


@pytest.fixture
def made(png_of):
    def make(labels, image="image", label="label", names=("dog", "cat")):
        kind = datasets.ClassLabel(names=list(names)) if names else datasets.Value("string")
        features = datasets.Features({image: datasets.Image(), label: kind})
        rows = [{"bytes": png_of(row), "path": None} for row in range(len(labels))]
        return datasets.Dataset.from_dict({image: rows, label: labels}, features=features)

    return make


def test_splits_classes_and_pictures(made, tmp_path, png_of):
    parts = {"train": made([0, 1, -1, None]), "validation": made([1]), "extra": made([0])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "pets")
    listing = read(tmp_path / "pets")
    assert listing.name == "pets" and listing.classes == ("dog", "cat")
    assert listing.labels.tolist() == [0, 1, -1, -1, 1]
    assert listing.splits == ["train"] * 4 + ["val"]
    assert listing.sources[2] == png_of(2)
    assert listing.notes == ("The splits extra were left out.",)
    data = open_data(tmp_path / "pets")
    assert data.shape == (3, 12, 12)
    assert data.train.pixels.batch(torch.tensor([3]))[0, 0, 0, 0] == 3


def test_other_feature_names_and_text_labels(made, tmp_path):
    made([0, 1], image="img", label="fine").save_to_disk(tmp_path / "one")
    assert read(tmp_path / "one").classes == ("dog", "cat")
    made(["x", "y", None], names=None).save_to_disk(tmp_path / "two")
    assert read(tmp_path / "two").labels.tolist() == [0, 1, -1]


def test_a_shuffled_selection_keeps_its_order(made, tmp_path, png_of):
    made([0, 1, 0, 1]).select([3, 0]).save_to_disk(tmp_path / "some")
    listing = read(tmp_path / "some")
    assert listing.labels.tolist() == [1, 0]
    assert [listing.sources[0], listing.sources[1]] == [png_of(3), png_of(0)]


def test_what_is_missing_is_said(made, tmp_path, monkeypatch):
    datasets.Dataset.from_dict({"text": ["a"], "label": [0]}).save_to_disk(tmp_path / "text")
    with pytest.raises(DataError, match=r"no one picture feature.*text, label"):
        read(tmp_path / "text")
    datasets.DatasetDict({"all": made([0, 1])}).save_to_disk(tmp_path / "all")
    with pytest.raises(DataError, match="has the splits all"):
        read(tmp_path / "all")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match="huggingface"):
        read(tmp_path / "all")
