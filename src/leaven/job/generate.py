"""Pictures of a model that makes some: files that say how they were made, a grid and a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leaven.errors import ConfigError, RunError, nearest
from leaven.job.generated import Desk, Generated
from leaven.job.given import Given, pictures_of, prompts_of
from leaven.job.makers import open_maker
from leaven.models.backbone import model_folder
from leaven.models.generation import SAMPLERS, PictureMaker, TextToPicture
from leaven.models.generation.fingerprint import fingerprint
from leaven.train.settings import find_precision, find_processes
from leaven.version import __version__

USUAL_STEPS = {"dpm++": 20, "ddim": 50, "iddpm": 100, "sa": 25}
"""Evaluations by sampler, where none are asked for."""

GUIDANCE = 4.5
OF_A_PROMPT, OF_A_PICTURE = 16, 1
"""Pictures of each, where no number is asked for."""

MOST_STEPS = 1000
_LARGEST_SEED = 2**62


@dataclass(frozen=True)
class Wanted:
    """Which pictures are to be made.

    Attributes:
        run: the folder of a run, of a model, or of a published model in the layout of diffusers.
        prompts: of a model of captions.
        source: a file of prompts, one a line; for a translator a picture or a folder of pictures.
        out: an empty or new folder; a new one when None.
        count: pictures of each prompt or given picture; 16 of a prompt, 1 of a picture when None.
        seed: of the first picture of each; the next ones count up.
        steps, guidance, size, sampler: of a model of captions; the usual ones when None.
        batch: pictures at once.
        device, precision: of the computing.
    """

    run: Path
    prompts: tuple[str, ...] = ()
    source: Path | None = None
    out: Path | None = None
    count: int | None = None
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    size: tuple[int, int] | None = None
    sampler: str | None = None
    batch: int = 8
    device: str = "auto"
    precision: str = "auto"


def generate(wanted: Wanted, *, progress: Callable[[int, int], None] | None = None) -> Generated:
    """Makes pictures, each with its settings inside, ``grid.png`` and ``generate.html``.

    Picture k of a prompt is made from the seed ``seed + k`` and from nothing else that is random, so
    that its settings make it again without the others. Files have numbers for names.

    Args:
        wanted: the model and the pictures.
        progress: called with (done, all).

    Raises:
        LeavenError: something that the user can put right; says what to do. Nothing is written
            then.
    """
    _check(wanted)
    folder = _folder(wanted)
    _, device = find_processes(wanted.device)
    precision = find_precision(wanted.precision, device)
    maker = open_maker(wanted.run, device, precision)
    how = _how(maker, wanted)
    given = _given(maker, wanted)
    settings = {
        "leaven": __version__,
        "task": maker.spec.task,
        "model": wanted.run.resolve().name,
        "weights": fingerprint(maker),
        **{name: list(value) if name == "size" else value for name, value in how.items()},
        "precision": "fp32" if precision is None else str(precision).removeprefix("torch."),
        "device": device.type,
    }
    count = wanted.count or (OF_A_PROMPT if _of_words(maker) else OF_A_PICTURE)
    jobs = [(row, wanted.seed + k) for row in range(len(given)) for k in range(count)]
    desk = Desk(folder, given, settings, count)
    for done, picture in enumerate(_pictures(maker, given, jobs, how, wanted.batch)):
        desk.add(*jobs[done], picture)
        if progress is not None:
            progress(done + 1, len(jobs))
    return desk.close()


def _pictures(
    maker: PictureMaker,
    given: Sequence[Given],
    jobs: Sequence[tuple[int, int]],
    how: dict[str, Any],
    batch: int,
) -> Iterator[Tensor]:
    """The picture (C, H, W) uint8 of each job, a row of ``given`` and a seed."""
    if isinstance(maker, TextToPicture):
        for start in range(0, len(jobs), batch):
            part = jobs[start : start + batch]
            prompts = [str(given[row].value) for row, _ in part]
            yield from maker.make(prompts, [_generator(seed) for _, seed in part], **how).cpu()
        return
    # One by one: what is random in a translation, and the statistics of its norms, are of a batch.
    for row, seed in jobs:
        value = given[row].value
        assert isinstance(value, Tensor)
        yield maker.make(value[None], _generator(seed)).cpu()[0]


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _of_words(maker: PictureMaker) -> bool:
    return maker.spec.task == "text-to-image"


def _given(maker: PictureMaker, wanted: Wanted) -> list[Given]:
    if _of_words(maker):
        given = prompts_of(wanted.prompts, wanted.source)
        if not isinstance(maker, TextToPicture):
            return given
        cut = maker.words.cut([str(one.value) for one in given]).tolist()
        return [replace(one, left_out=n) for one, n in zip(given, cut, strict=True)]
    if wanted.prompts:
        raise ConfigError(
            f"The model in {wanted.run} translates pictures, and prompts are given.",
            "pictures or label maps",
            "give them by --from FILE-or-FOLDER, without prompts.",
        )
    return pictures_of(wanted.source, maker.spec, wanted.size)


def _how(maker: PictureMaker, wanted: Wanted) -> dict[str, Any]:
    """What ``make`` of a model of captions is told beside them, checked; for others the size."""
    height, width = wanted.size or maker.spec.shape[1:]
    if not isinstance(maker, TextToPicture):
        for name in ("steps", "guidance", "sampler"):
            if getattr(wanted, name) is not None:
                raise ConfigError(
                    f"--{name} is given, and the model in {wanted.run} translates pictures in one "
                    "pass.",
                    "--from, -n, --seed and --size",
                    f"leave --{name} out.",
                )
        return {"size": (height, width)}
    maker.check_size(height, width)
    sampler = wanted.sampler or "dpm++"
    steps = USUAL_STEPS[sampler] if wanted.steps is None else wanted.steps
    guidance = GUIDANCE if wanted.guidance is None else wanted.guidance
    return {"size": (height, width), "sampler": sampler, "steps": steps, "guidance": guidance}


def _check(wanted: Wanted) -> None:
    """Refuses what no model takes, before one is loaded."""
    if wanted.sampler is not None and wanted.sampler not in SAMPLERS:
        raise ConfigError(
            f"There is no sampler {wanted.sampler!r}.",
            "one of " + ", ".join(SAMPLERS),
            nearest(wanted.sampler, SAMPLERS),
        )
    guidance = wanted.guidance
    if guidance is not None and not 0 <= guidance < float("inf"):
        raise ConfigError(
            f"guidance is {guidance}.",
            "0 or more; 0 makes pictures of anything, 1 follows the prompt without a push",
            f"leave it out for {GUIDANCE}.",
        )
    for name, value, low, high in (
        ("steps", wanted.steps, 1, MOST_STEPS),
        ("-n", wanted.count, 1, 100_000),
        ("batch", wanted.batch, 1, 100_000),
        ("seed", wanted.seed, 0, _LARGEST_SEED),
    ):
        if value is not None and not low <= value <= high:
            raise ConfigError(
                f"{name} is {value}.", f"a whole number from {low} to {high}", "change it."
            )
    if wanted.size is not None and min(wanted.size) < 1:
        raise ConfigError(f"size is {wanted.size}.", "a height and a width", "change it.")


def _folder(wanted: Wanted) -> Path:
    """An empty folder, or one that is not there yet."""
    if wanted.out is None:
        own = model_folder(str(wanted.run)) not in (None, wanted.run)
        above = wanted.run / "generated" if own else Path("generated")
        number = 1
        while (above / f"{number:03d}").exists():
            number += 1
        return above / f"{number:03d}"
    if wanted.out.exists() and (not wanted.out.is_dir() or any(wanted.out.iterdir())):
        raise RunError(
            f"{wanted.out} is there already.",
            "a new or empty folder, so that pictures of two calls are not mixed",
            "choose another --out.",
        )
    return wanted.out
