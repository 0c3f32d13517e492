"""Checkpoints that survive a kill: written whole or not at all, checked before they are used."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import torch

from leaven.atomic import replacing
from leaven.errors import RunError

log = logging.getLogger(__name__)

_MAGIC = b"LEAVEN1\n"


class Checkpoints:
    """The checkpoints of one run, newest last.

    A file is a line of JSON (the SHA-256 and length of what follows) and the state as torch
    writes it. A file whose sum does not fit is passed over, and the one before it is used.

    Args:
        folder: where they are; made when the first one is written.
        keep: how many of the newest are kept, at least 2, so that there is one to fall back on.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder, self.keep = folder, max(2, keep)

    def files(self) -> list[Path]:
        """Oldest first."""
        return sorted(self.folder.glob("step-*.ckpt"))

    def write(self, step: int, state: dict[str, Any]) -> Path:
        """Saves ``state`` (tensors, numbers, strings, lists, dicts) as the newest checkpoint."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        body = buffer.getbuffer()
        head = {"sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body)}
        path = self.folder / f"step-{step:09d}.ckpt"
        try:
            with replacing(path) as beside, beside.open("wb") as file:
                file.writelines((_MAGIC, json.dumps(head).encode(), b"\n", body))
        except OSError as error:
            raise RunError(
                f"The checkpoint {path} could not be written: {error.strerror or error}.",
                "a folder with room and permission to write",
                "free some space and go on with --resume; the checkpoint before it is still there",
            ) from error
        for old in self.files()[: -self.keep]:
            old.unlink(missing_ok=True)
        return path

    def newest(self) -> dict[str, Any] | None:
        """The newest whole checkpoint, or None when there is none.

        Raises:
            RunError: one holds more than tensors and plain values.
        """
        for path in reversed(self.files()):
            try:
                return self._read(path)
            except (ValueError, KeyError, TypeError, RuntimeError, OSError) as error:
                log.warning("%s is damaged (%s); using the checkpoint before it", path.name, error)
        return None

    def clear(self) -> None:
        """Deletes all checkpoints."""
        for path in self.files():
            path.unlink(missing_ok=True)

    @staticmethod
    def _read(path: Path) -> dict[str, Any]:
        content = path.read_bytes()
        if not content.startswith(_MAGIC):
            raise ValueError("not a checkpoint of leaven")
        end = content.find(b"\n", len(_MAGIC))
        if end < 0:
            raise ValueError("the head is cut off")
        head = json.loads(content[len(_MAGIC) : end])
        body = memoryview(content)[end + 1 :]
        if len(body) != head["bytes"]:
            raise ValueError(f"{len(body)} bytes of {head['bytes']}")
        if hashlib.sha256(body).hexdigest() != head["sha256"]:
            raise ValueError("the check sum does not fit")
        try:
            return torch.load(io.BytesIO(body), weights_only=True, map_location="cpu")
        except pickle.UnpicklingError as error:
            raise RunError(
                "A checkpoint of this run is refused: it holds more than tensors and plain values, "
                "and could run code when it is opened.",
                "a checkpoint that leaven wrote",
                "do not go on with this run; start a new one in another folder.",
            ) from error
