"""Nothing that is read runs: no pickles, no YAML of objects, no code beside a model."""

from __future__ import annotations

import ast
import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import leaven
from leaven.data.feature_files import feature_table
from leaven.errors import LeavenError, ModelError
from leaven.models import load_model
from leaven.models.weights import read_weights

SOURCES = sorted(Path(leaven.__file__).parent.rglob("*.py"))

READ_BY_ITS_WRITER = {"fedlabel_flower.py"}
"""Reads a file that the same command wrote a moment ago, into a folder that is its own alone."""

LOADERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def calls(tree: ast.AST) -> Iterator[tuple[str, dict[str | None, ast.expr], ast.Call]]:
    """Every call with the last words of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            words = {keyword.arg: keyword.value for keyword in node.keywords}
            yield ast.unparse(node.func), words, node


def says(value: ast.expr | None, wanted: object) -> bool:
    return isinstance(value, ast.Constant) and value.value is wanted


def test_there_are_sources() -> None:
    assert len(SOURCES) > 300


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_source_loads_code(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found = {name.partition(".")[0] for name in names} & LOADERS
            # pickle may be imported for the name of its error alone.
            assert found <= {"pickle"}, f"line {node.lineno}"
            assert not (found and isinstance(node, ast.ImportFrom)), f"line {node.lineno}"
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle":
            assert node.attr == "UnpicklingError", f"line {node.lineno}"
    for name, words, node in calls(tree):
        where = f"{path.name}:{node.lineno}: {name}"
        assert name not in ("eval", "exec", "compile", "os.system", "os.popen"), where
        if name == "torch.load" and path.name not in READ_BY_ITS_WRITER:
            assert says(words.get("weights_only"), True), where
        assert not says(words.get("allow_pickle"), True), where
        assert not says(words.get("trust_remote_code"), True), where
        assert not says(words.get("shell"), True), where
        assert not name.endswith("add_safe_globals"), where
        assert not name.endswith(("extractall", "unpack_archive", "read_pickle")), where
        if name.startswith("yaml."):
            assert name in ("yaml.SafeLoader", "yaml.safe_dump", "yaml.safe_load"), where
        if name == "yaml.safe_load":
            raise AssertionError(f"{where}: leaven.plain.read_yaml bounds what aliases stand for")


class Bad:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.mark,)  # type: ignore[return-value]


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("plain", [False, True])
def test_weights_that_are_a_pickle_of_code(tmp_path: Path, suffix: str, plain: bool) -> None:
    file, mark = tmp_path / f"w{suffix}", tmp_path / "pwned"
    if plain:
        file.write_bytes(pickle.dumps({"state_dict": Bad(mark)}))
    else:
        torch.save({"state_dict": {"a": torch.zeros(1), "b": Bad(mark)}}, file)
    with pytest.raises(ModelError):
        read_weights(file)
    assert not mark.exists()


def test_a_model_folder_whose_weights_are_a_pickle(tmp_path: Path) -> None:
    mark = tmp_path / "pwned"
    folder = tmp_path / "model"
    folder.mkdir()
    torch.save(Bad(mark), folder / "model.safetensors")
    spec = {
        "name": "cnn-small",
        "classes": ["a", "b"],
        "shape": [1, 8, 8],
        "mean": [0.5],
        "std": [0.5],
    }
    (folder / "model.json").write_text(json.dumps({"spec": spec}))
    with pytest.raises(LeavenError):
        load_model(folder)
    assert not mark.exists()


def test_features_that_are_a_pickle_are_made_anew(tmp_path: Path) -> None:
    mark, file = tmp_path / "pwned", tmp_path / "x.npy"

    class Pictures:
        def __len__(self) -> int:
            return 2

        def batch(self, index: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(index), 1, 4, 4, dtype=torch.uint8)

    def made() -> torch.Tensor:
        return feature_table(file, Pictures(), lambda images: images[:, 0, 0, :3].float(), 3, {})

    made()
    np.save(file, np.array([Bad(mark), None], dtype=object), allow_pickle=True)
    assert made().tolist() == [[0.0] * 3] * 2
    assert not mark.exists()
