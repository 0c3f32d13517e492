"""One run for each of several seeds, and what they have in common."""

from __future__ import annotations

import json as json_format
import os
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import typer
import yaml

from leaven.cli.one import run_one
from leaven.cli.output import print_json, safe, stdout, words
from leaven.cli.summary import print_figures, print_health
from leaven.errors import ConfigError, RunError
from leaven.job.config import RunConfig
from leaven.job.folder import check_apart, check_same, taken, with_whole_paths, write_text
from leaven.plain import read_yaml

KEPT = "seeds.yaml"
"""The name of the file with the seeds and the options, in the folder of the runs."""


@dataclass(frozen=True)
class Manner:
    """How to run: so many at once, and what to print."""

    jobs: int
    resume: bool
    json: bool
    quiet: bool
    verbose: bool


def run_seeds(config: RunConfig, seeds: list[int], manner: Manner) -> None:
    """Runs every seed in OUT/seed-N, prints mean and spread, and keeps them in OUT/seeds.json;
    OUT/seeds.yaml holds the seeds and the options, to go on by.

    Raises:
        LeavenError: a run failed; the others are stopped and can be resumed.
    """
    out = config.out
    assert out is not None
    config = _prepared(config, seeds, manner)
    folders = {seed: out / f"seed-{seed}" for seed in seeds}
    configs = [config.model_copy(update={"seed": s, "out": f}) for s, f in folders.items()]
    try:
        if manner.jobs == 1:
            summaries = [_in_turn(each, out, manner) for each in configs]
        else:
            summaries = _at_once(configs, out, manner)
    except BaseException:
        _abandon(out)
        raise
    record = combined(summaries)
    write_text(out / "seeds.json", json_format.dumps(record, indent=2) + "\n")
    if manner.json:
        print_json(record)
        return
    print_figures(summaries)
    for seed, folder in folders.items():
        stdout().print(words(f"\nseed {seed}:", style="bold"))
        print_health(summaries[seeds.index(seed)]["health"])
        stdout().print(words(f"report: {folder / 'report.html'}"))


def kept_config(folder: Path) -> RunConfig | None:
    """The options of the runs of several seeds in ``folder``; None where there are none.

    Raises:
        ConfigError: they cannot be read.
    """
    return None if (kept := _kept(folder)) is None else RunConfig.make(**kept["options"])


def kept_seeds(folder: Path) -> list[int]:
    """Their seeds; none where there are no such runs.

    Raises:
        ConfigError: they cannot be read.
    """
    return [] if (kept := _kept(folder)) is None else list(kept["seeds"])


def _kept(folder: Path) -> dict[str, Any] | None:
    path = folder / KEPT
    if not path.is_file():
        return None
    try:
        kept = read_yaml(path.read_text(encoding="utf-8"))
        if not all(isinstance(seed, int) for seed in kept["seeds"]):
            raise ValueError("seeds are whole numbers")
        return {"seeds": kept["seeds"], "options": dict(kept["options"])}
    except (ValueError, LookupError, TypeError, OSError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}",
            "the seeds and the options that `leaven run --seeds` wrote",
            "mend it, or go on with each of the runs by `leaven run --resume --out FOLDER/seed-N`",
        ) from None


def _prepared(config: RunConfig, seeds: list[int], manner: Manner) -> RunConfig:
    """The options as they are kept, with whole paths."""
    assert config.out is not None
    folder = config.out
    config = with_whole_paths(config)
    if folder.is_file():
        raise RunError(f"{folder} is a file.", "a folder for the runs", "choose another --out")
    before = kept_config(folder)
    if before is not None and _begun(folder):
        if not manner.resume:
            ended = [folder / f"seed-{seed}" / "summary.json" for seed in kept_seeds(folder)]
            raise taken(folder, config, before, all(path.exists() for path in ended))
        check_same(config, before, folder)
    else:
        check_apart(config, folder)
    folder.mkdir(parents=True, exist_ok=True)
    kept = {"seeds": seeds, "options": config.model_dump(mode="json")}
    write_text(folder / KEPT, yaml.safe_dump(kept, sort_keys=False, allow_unicode=True))
    return config


def _begun(folder: Path) -> bool:
    return any(folder.glob("seed-*/config.yaml"))


def _abandon(folder: Path) -> None:
    """Takes back what was written for runs of which none has begun."""
    if not _begun(folder):
        (folder / KEPT).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()


def combined(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """The runs, and ``mean`` and ``spread`` (sample standard deviation) of their figures.

    A figure that one of the runs lacks is None; so are the spread of one run, and words.
    """
    figures = [
        {key: summary[key] for key in ("metrics", "baseline", "labels", "seconds")}
        for summary in summaries
    ]
    return {
        "seeds": [summary["seed"] for summary in summaries],
        "mean": _over(figures, mean),
        "spread": _over(figures, lambda values: stdev(values) if len(values) > 1 else None),
        "runs": summaries,
    }


def _over(values: list[Any], figure: Any) -> Any:
    """``figure`` of numbers, of each entry of equal dicts and lists; None of words, and where one is
    None."""
    if any(value is None or isinstance(value, str) for value in values):
        return None
    if isinstance(values[0], dict):
        return {key: _over([value[key] for value in values], figure) for key in values[0]}
    if isinstance(values[0], list):
        return [_over(list(each), figure) for each in zip(*values, strict=True)]
    return figure(values)


def _in_turn(config: RunConfig, whole: Path, manner: Manner) -> dict[str, Any]:
    return run_one(config, resume=_resumes(config, manner), show=not manner.quiet, resumed_in=whole)


def _resumes(config: RunConfig, manner: Manner) -> bool:
    assert config.out is not None
    return manner.resume and (config.out / "config.yaml").exists()


def _at_once(configs: list[RunConfig], whole: Path, manner: Manner) -> list[dict[str, Any]]:
    from leaven.cli.main import INTERRUPTED

    try:
        return _Processes(manner).run(configs)
    except KeyboardInterrupt:
        how = (
            f"leaven run --resume --jobs {manner.jobs} --out {safe(whole)}" if _begun(whole) else ""
        )
        typer.echo(f"Stopped. Go on with: {how}" if how else "Stopped.", err=True)
        raise typer.Exit(INTERRUPTED) from None


class _Processes:
    """Runs in processes of their own, each on one thread, so that they share the cores fairly."""

    def __init__(self, manner: Manner) -> None:
        self.manner = manner
        self.started: list[subprocess.Popen[str]] = []
        self.stopping = threading.Event()

    def run(self, configs: list[RunConfig]) -> list[dict[str, Any]]:
        with (
            tempfile.TemporaryDirectory(prefix="leaven-") as scratch,
            ThreadPoolExecutor(self.manner.jobs) as pool,
        ):
            files = [Path(scratch) / f"{config.seed}.yaml" for config in configs]
            waiting = [pool.submit(self._one, *each) for each in zip(configs, files)]
            try:
                ended = wait(waiting, return_when=FIRST_EXCEPTION).done
            finally:
                self._stop()
            # The first to fail is among those that have ended; the others only were stopped.
            for future in ended:
                future.result()
            return [future.result() for future in waiting]

    def _one(self, config: RunConfig, file: Path) -> dict[str, Any]:
        threads = config.threads or 1
        file.write_text(config.model_copy(update={"threads": threads}).to_yaml())
        flags = [
            name
            for name, wanted in {
                "--resume": _resumes(config, self.manner),
                "--quiet": self.manner.quiet,
                "--verbose": self.manner.verbose,
            }.items()
            if wanted
        ]
        if self.stopping.is_set():
            raise _unfinished(config)
        process = subprocess.Popen(
            [sys.executable, "-m", "leaven", "run", "--config", str(file), "--json", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
        self.started.append(process)
        echo = threading.Thread(target=_echo, args=(process, f"seed {config.seed} | "))
        echo.start()
        assert process.stdout is not None
        text = process.stdout.read()
        code = process.wait()
        echo.join()
        if code:
            raise _unfinished(config)
        summary: dict[str, Any] = json_format.loads(text)
        return summary

    def _stop(self) -> None:
        self.stopping.set()
        for process in self.started:
            if process.poll() is None:
                process.terminate()


def _echo(process: subprocess.Popen[str], prefix: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        typer.echo(prefix + safe(line.rstrip("\n")), err=True)


def _unfinished(config: RunConfig) -> RunError:
    assert config.out is not None
    return RunError(
        f"The run of seed {config.seed} in {config.out} did not end well; the lines above say why.",
        "every seed to finish",
        "put that right, and give the same command with --resume",
    )
