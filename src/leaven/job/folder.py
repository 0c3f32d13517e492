"""Run folders: made, checked and protected."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from leaven.atomic import replacing
from leaven.data.embedded import DIGITS
from leaven.data.embedded_scenes import SCENES
from leaven.data.picture_tags import MAPS
from leaven.errors import RunError
from leaven.job.config import RunConfig
from leaven.job.output_paths import check_folder, check_outside
from leaven.methods import find_method

LEAST_FREE = 200 * 2**20
"""Bytes that have to be free before a run starts: checkpoints, labels and the report of a small run."""

_MAY_DIFFER = {"out", "checkpoint_seconds", "threads", "features_to"}


def prepare(config: RunConfig, *, resume: bool) -> tuple[RunConfig, Path]:
    """The folder of a run, made or found again, and the configuration that holds in it.

    Raises:
        RunError: the folder belongs to something else, cannot be written, or the disk is full.
    """
    folder = config.out or default_folder(config, resume=resume)
    config = with_whole_paths(config.model_copy(update={"out": folder}))
    known = folder / "config.yaml"
    if known.exists():
        if not resume:
            raise taken(folder, config, RunConfig.read(known), (folder / "summary.json").exists())
        check_same(config, RunConfig.read(known), folder)
    elif resume:
        raise RunError(
            f"There is no run in {folder}.", "a folder with config.yaml", "start without --resume"
        )
    else:
        check_apart(config, folder)
        check_folder(folder, "run of leaven", ())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < LEAST_FREE:
            raise RunError(
                f"{folder} has {free / 2**20:.0f} MiB free.",
                f"at least {LEAST_FREE / 2**20:.0f} MiB for checkpoints, labels and the report",
                "free some space or choose another --out",
            )
        write_text(known, config.to_yaml())
    except OSError as error:
        raise RunError(
            f"{folder} cannot be written: {error.strerror or error}.",
            "a folder with permission to write",
            "choose another --out",
        ) from error
    return config, folder


def check_apart(config: RunConfig, folder: Path) -> None:
    """Refuses a new run inside the folder of its own data.

    Raises:
        RunError: it would be there.
    """
    if config.data not in (DIGITS, SCENES):
        check_outside(folder, Path(config.data))


def default_folder(config: RunConfig, *, resume: bool, ending: str | None = None) -> Path:
    """``runs/DATA-METHOD-ENDING``, where the ending is the seed when None; with a number behind
    it when that is taken, but not for resuming."""
    data = re.sub(r"[^A-Za-z0-9]+", "-", Path(config.data.split("@")[0]).stem).strip("-") or "data"
    ending = str(config.seed) if ending is None else ending
    base = Path("runs") / f"{data.lower()}-{config.method}-{ending}"
    if resume or not base.exists():
        return base
    number = 2
    while (path := base.with_name(f"{base.name}-{number}")).exists():
        number += 1
    return path


def abandon(folder: Path) -> None:
    """Removes a run folder in which nothing has begun, so that the same command can be given again
    when what was wrong is put right. A folder that holds more than the configuration stays."""
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    if files == [folder / "config.yaml"]:
        shutil.rmtree(folder, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def with_whole_paths(config: RunConfig) -> RunConfig:
    """With absolute paths of what is read, so that the run can be resumed from anywhere."""
    method = find_method(config.method, config.task)
    changes: dict[str, Any] = {"set": method.whole_paths(config.set)}
    if config.data not in (DIGITS, SCENES) and Path(config.data).exists():
        changes["data"] = str(Path(config.data).resolve())
    for name in ("labels", "annotations"):
        if (path := getattr(config, name)) is not None:
            changes[name] = path.resolve()
    if config.features is not None and Path(config.features).is_dir():
        changes["features"] = str(Path(config.features).resolve())
    if config.weights is not None and Path(config.weights).is_file():
        changes["weights"] = str(Path(config.weights).resolve())
    if config.tags is not None and config.tags != MAPS:
        changes["tags"] = str(Path(config.tags).expanduser().resolve())
    if config.features_to is not None:
        changes["features_to"] = config.features_to.resolve()
    return config.model_copy(update=changes)


def taken(folder: Path, config: RunConfig, before: RunConfig, finished: bool) -> RunError:
    """What to say of a new run in a folder that holds the run ``before``, maybe the same one."""
    other = f"another run ({before.method} on {before.data})"
    which = other if _changed(config, before) else "this run"
    go_on = "" if finished else f"go on with it by `leaven run --resume --out {folder}`, or "
    return RunError(
        f"{folder} holds {which}, {'finished' if finished else 'unfinished'}.",
        "a new or empty folder",
        f"{go_on}choose another --out; nothing was changed",
    )


def check_same(config: RunConfig, before: RunConfig, folder: Path) -> None:
    """Refuses to go on with the run in ``folder`` with options other than those ``before``.

    Raises:
        RunError: an option differs that makes another run.
    """
    if changed := _changed(config, before):
        raise RunError(
            f"The run in {folder} was started with other options ({'; '.join(changed)}).",
            "the same options",
            f"go on with `leaven run --resume --out {folder}` alone, or start a new run in another "
            "folder",
        )


def _changed(config: RunConfig, before: RunConfig) -> list[str]:
    mine, theirs = config.model_dump(mode="json"), before.model_dump(mode="json")
    return [
        f"{name}: {theirs[name]!r} there, {mine[name]!r} now"
        for name in mine
        if mine[name] != theirs[name] and name not in _MAY_DIFFER
    ]
