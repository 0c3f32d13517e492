"""A table of features on the disk: written once, found again, never mistaken for another one.

``NAME.npy`` is the table (n, D), ``NAME.json`` beside it says what it was made from. While it is
written it is called ``.NAME.npy.partial``, with the number of rows that are done in
``.NAME.json.partial``; a pass that was stopped goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from leaven.atomic import TEMPORARY, replacing
from leaven.data.dataset import ImageSet
from leaven.data.pixels import MemoryPixels
from leaven.data.sources import Source
from leaven.errors import DataError

log = logging.getLogger(__name__)

Dtype = Literal["float32", "float16"]
Fingerprint = dict[str, Any]
Progress = Callable[[int, int], None]

_HASHED = 1024
_NOTE_SECONDS = 10.0
"""Time between two notes of how many rows are done."""


class Pictures(Protocol):
    """``n`` pictures that can be had in batches."""

    def __len__(self) -> int: ...

    def batch(self, index: Tensor) -> Tensor: ...


def feature_table(
    path: Path | str,
    pictures: Pictures,
    encode: Callable[[Tensor], Tensor],
    width: int,
    fingerprint: Fingerprint,
    *,
    dtype: Dtype = "float32",
    batch: int = 256,
    progress: Progress | None = None,
    strict: bool = False,
) -> Tensor:
    """The features of pictures, from the file where it has them, else written to it.

    A file of another fingerprint, a damaged one and one that was half written from something
    else are named in the log and made anew. Several processes may ask for the same file: one
    writes, the others wait.

    Args:
        path: of the table, ``.npy``.
        pictures: n pictures.
        encode: pictures (b, C, H, W) uint8 -> features (b, D), finite.
        width: D.
        fingerprint: what the features depend on, as JSON values.
        dtype: what they are kept as.
        batch: pictures at once.
        progress: called with the rows done and n.
        strict: a file of another fingerprint, whole or half written, is refused.

    Returns:
        (n, D) in ``dtype``, memory-mapped; what is written to it never reaches the file.

    Raises:
        DataError: features that are not finite; with ``strict`` features of something else.
        OSError: the file cannot be written; an older one stays whole.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    wanted = {**fingerprint, "rows": len(pictures), "width": width, "dtype": dtype}
    # Through JSON, so that it is compared as it will be read.
    wanted = json.loads(json.dumps(wanted))
    with FileLock(path.with_name(f".{path.name}.lock")):
        if not _usable(path, wanted, strict):
            _write(path, pictures, encode, wanted, batch, progress or _silent, strict)
    return torch.from_numpy(np.load(path, mmap_mode="c"))


def data_fingerprint(sets: Sequence[ImageSet[Any]]) -> str:
    """A digest of names, shape and content of pictures, whatever their order and division.

    Pictures in memory count by their pixels, files by size and time of change, encoded bytes by
    themselves; none is decoded for it.
    """
    lines = sorted(
        hashlib.blake2b(content, digest_size=16).hexdigest() + name
        for images in sets
        for name, content in zip(images.names, _contents(images), strict=True)
    )
    about = [list(sets[0].shown.shape), lines]
    return hashlib.blake2b(json.dumps(about).encode(), digest_size=16).hexdigest()


def weights_fingerprint(state: dict[str, Tensor]) -> str:
    """A digest of named tensors."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _contents(images: ImageSet[Any]) -> Iterator[bytes]:
    if images.sources is None or isinstance(images.shown, MemoryPixels):
        for part in torch.arange(len(images)).split(_HASHED):
            for picture in images.shown.batch(part).cpu().contiguous().numpy():
                yield picture.tobytes()
    else:
        for item in range(len(images)):
            yield _content(images.sources[item])


def _content(source: Source) -> bytes:
    if source is None or isinstance(source, bytes):
        return source or b""
    if isinstance(source, Path):
        about = source.stat()
        return f"{about.st_size} {about.st_mtime_ns}".encode()
    return source.tobytes()


def _usable(path: Path, wanted: Fingerprint, strict: bool) -> bool:
    """Whether the table is there and is the wanted one; says why not."""
    about = path.with_suffix(".json")
    if not path.exists() or not about.exists():
        return False
    try:
        found = json.loads(about.read_text(encoding="utf-8"))
        table = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        log.warning("the features in %s are damaged (%s): they are made anew", path, error)
        return False
    if found == wanted and table.shape == (wanted["rows"], wanted["width"]):
        log.info("features found in %s: %d of width %d", path, *table.shape)
        return True
    names = ", ".join(sorted(_different(found, wanted))) or "the table itself"
    if strict:
        raise _foreign(path, names)
    log.warning("the features in %s are of other %s: they are made anew", path, names)
    return False


def _foreign(path: Path, names: str) -> DataError:
    return DataError(
        f"The features in {path} were made from other {names}.",
        "features of the same encoder, size and data, which a second run finds and uses",
        "give another folder for the features, or remove this file to have it made anew.",
    )


def _different(found: Any, wanted: Fingerprint) -> set[str]:
    if not isinstance(found, dict):
        return {"make"}
    return {name for name in {*found, *wanted} if found.get(name) != wanted.get(name)}


def _write(
    path: Path,
    pictures: Pictures,
    encode: Callable[[Tensor], Tensor],
    wanted: Fingerprint,
    batch: int,
    progress: Progress,
    strict: bool,
) -> None:
    beside = path.with_name(f".{path.name}{TEMPORARY}")
    note = path.with_suffix(".json").with_name(f".{path.stem}.json{TEMPORARY}")
    table, done = _begun(beside, note, wanted, strict)
    noted, count = time.monotonic(), wanted["rows"]
    progress(done, count)
    try:
        with torch.no_grad():
            while done < count:
                index = torch.arange(done, min(done + batch, count))
                rows = encode(pictures.batch(index)).float().cpu().numpy()
                table[done : done + len(index)] = _checked(rows, wanted, done)
                done += len(index)
                progress(done, count)
                if time.monotonic() - noted > _NOTE_SECONDS:
                    _note(table, note, wanted, done)
                    noted = time.monotonic()
    finally:
        _note(table, note, wanted, done)
    del table
    # Until the new description is there the table counts as missing: the two never disagree.
    path.with_suffix(".json").unlink(missing_ok=True)
    beside.replace(path)
    with replacing(path.with_suffix(".json")) as written:
        written.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
    note.unlink()
    log.info("features written to %s: %d of width %d", path, count, wanted["width"])


def _begun(beside: Path, note: Path, wanted: Fingerprint, strict: bool) -> tuple[np.memmap, int]:
    """The table that is being written, and how many of its rows are done."""
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
        if found["of"] == wanted:
            table = np.lib.format.open_memmap(beside, mode="r+")
            log.info("features: going on at row %d of %d", found["done"], wanted["rows"])
            return table, int(found["done"])
        if strict:
            raise _foreign(beside, ", ".join(sorted(_different(found["of"], wanted))))
        log.warning("half-written features beside %s are of something else: begun anew", beside)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # Nothing was begun, or it was broken off before its first note.
    shape = (wanted["rows"], wanted["width"])
    return np.lib.format.open_memmap(beside, mode="w+", dtype=wanted["dtype"], shape=shape), 0


def _note(table: np.memmap, note: Path, wanted: Fingerprint, done: int) -> None:
    """Rows first, then their number: what is noted as done is on the disk."""
    table.flush()
    with replacing(note) as written:
        written.write_text(json.dumps({"of": wanted, "done": done}), encoding="utf-8")


def _checked(rows: np.ndarray, wanted: Fingerprint, done: int) -> np.ndarray:
    if rows.shape[1:] != (wanted["width"],):
        raise ValueError(f"features have the width {wanted['width']}, not {rows.shape[1:]}")
    with np.errstate(over="ignore"):
        rows = rows.astype(wanted["dtype"])
    if not np.isfinite(rows).all():
        raise DataError(
            f"The backbone gives features that are no finite {wanted['dtype']} numbers, among "
            f"pictures {done} to {done + len(rows) - 1}.",
            "finite features",
            "use other weights, or keep float32 features if they are float16.",
        )
    return rows


def _silent(done: int, total: int) -> None:
    """No progress is wanted."""
