"""The command ``leaven``: finds the command that is wanted and turns errors into words.

``leaven --help`` and ``leaven --version`` load neither torch nor any command.
"""

from __future__ import annotations

import errno
import importlib
from typing import Annotated, Any, Never, TextIO

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from leaven.errors import LeavenError, RunError
from leaven.version import __version__

COMMANDS = {
    "run": "Learn from a few labels: labels for the rest, a model and a report.",
    "methods": "List the methods, or show one with its hyperparameters.",
    "predict": "Say what the model of a run sees in pictures.",
    "generate": "Make pictures from words, or translate label maps and pictures.",
    "estimate": "Say how accurate a model is on pictures without labels.",
    "promise": "Say which labels of any model can be accepted, so that a share of them is right.",
    "export": "Write the model as ONNX and the labelled data set as files.",
    "suggest": "Say what a person should label next, so that few labels teach much.",
    "review": "Look at the labels of a run in the browser and correct the doubtful ones.",
    "corrections": "Record the corrections that people made in Label Studio or CVAT.",
    "caption": "Write captions of pictures with an image-to-text model.",
    "plan": "Say what it costs to train a generator: GPU-days of a plan in stages.",
    "audit": "Find what is wrong with a data set: labels, copies, leaks, broken pictures.",
    "report": "Write the HTML report of a run again.",
    "doctor": "Look at this machine and installation, and say what to do.",
}

BAD_INPUT = 2
INTERRUPTED = 130
_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


class _Deferred(TyperCommand):
    """A command that is known by name and sentence; the file is loaded when it is called."""

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(name=name, help=sentence, add_help_option=False)

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> Any:
        return self._load().make_context(info_name, args, *rest, **extra)

    def _load(self) -> Any:
        assert self.name is not None
        app = typer.Typer(add_completion=False, rich_markup_mode="rich")
        app.command(self.name)(
            getattr(importlib.import_module(f"leaven.cli.{self.name}"), self.name)
        )
        return get_command(app)


class _Commands(TyperGroup):
    """The commands by name, with every error said in words."""

    def __init__(self, *rest: Any, **extra: Any) -> None:
        super().__init__(*rest, **extra)
        self.commands = {name: _Deferred(name, sentence) for name, sentence in COMMANDS.items()}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        rest = [arg for arg in args if arg != "--debug"]
        return super().parse_args(ctx, rest if len(rest) == len(args) else ["--debug", *rest])

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LeavenError as error:
            _stop(ctx, error)
        except OSError as error:
            if error.errno not in _CANNOT_WRITE:
                raise
            _stop(ctx, _unwritable(error), error)
        except KeyboardInterrupt:
            typer.echo("Stopped.", err=True)
            raise typer.Exit(INTERRUPTED) from None


def _stop(ctx: Any, error: LeavenError, cause: BaseException | None = None) -> Never:
    from leaven.cli.output import print_error

    if ctx.params.get("debug"):
        raise error from cause
    print_error(error)
    raise typer.Exit(BAD_INPUT)


def _unwritable(error: OSError) -> RunError:
    place = error.filename or "the disk"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(
            f"There is no space left for {place}.",
            "free space for checkpoints, labels and the report",
            "free some space; a run goes on with `leaven run --resume --out FOLDER`",
        )
    return RunError(
        f"{place} cannot be read or written: {error.strerror}.",
        "permission to read and write it",
        "change the permissions or choose another place",
    )


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"leaven {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="leaven",
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done, 1 done in part, 2 something to put right, 130 interrupted.",
)


@app.callback()
def _leaven(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; works anywhere.")
    ] = False,
) -> None:
    """From a few, weak or noisy labels to a labelled data set of known quality and a model.

    \b
    See it work on digits that come with it:
        leaven run --labels-per-class 4 --compare
    Do it on your own folder of pictures:
        leaven run pictures/ --labels labels.csv --out runs/mine
    Then look at runs/mine/report.html, and take the result along:
        leaven export runs/mine
    """


def main() -> None:
    """Runs the command line; ends the process with its exit code."""
    import sys
    import warnings

    warnings.showwarning = _warn
    try:
        app(prog_name="leaven")
    except Exception:
        # The words of an error may come from a file: no control character reaches the terminal.
        import traceback

        from leaven.cli.output import safe

        sys.stderr.write(safe(traceback.format_exc()))
        sys.exit(1)


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    from leaven.cli.output import safe

    typer.echo(f"{category.__name__}: {safe(message)}", err=True)


if __name__ == "__main__":
    main()
