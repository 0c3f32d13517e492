"""Checkpoints: whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from leaven.errors import RunError
from leaven.train import Checkpoints


def state(step: int) -> dict[str, object]:
    return {"step": step, "weights": torch.full((100,), float(step)), "names": ["a", "b"]}


def test_the_newest_of_two_is_read_and_older_ones_go(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c")
    assert checkpoints.newest() is None
    for step in (1, 2, 30):
        checkpoints.write(step, state(step))
    assert [path.name for path in checkpoints.files()] == [
        "step-000000002.ckpt",
        "step-000000030.ckpt",
    ]
    newest = checkpoints.newest()
    assert newest is not None and newest["step"] == 30
    assert torch.equal(newest["weights"], torch.full((100,), 30.0))


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "head", "other"])
def test_a_damaged_checkpoint_is_passed_over(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write(1, state(1))
    path = checkpoints.write(2, state(2))
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flip":
        content[-200] ^= 1
    elif damage == "empty":
        content = bytearray()
    elif damage == "head":
        content = content[:20]
    else:
        content[:4] = b"zip!"
    path.write_bytes(content)
    newest = checkpoints.newest()
    assert newest is not None and newest["step"] == 1
    assert "step-000000002.ckpt is damaged" in caplog.text


def test_half_written_files_are_not_seen(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write(1, state(1))
    (tmp_path / ".step-000000002.ckpt.99.partial").write_bytes(b"half")
    newest = checkpoints.newest()
    assert newest is not None and newest["step"] == 1


def test_code_in_a_checkpoint_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("executed",)

    checkpoints = Checkpoints(tmp_path)
    checkpoints.write(1, {"evil": Evil()})
    with pytest.raises(RunError, match="could run code"):
        checkpoints.newest()


def test_a_write_that_fails_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write(1, state(1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match="No space left"):
        checkpoints.write(2, state(2))
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001.ckpt"]
