"""The frame around the commands: light, and every error in words."""

import errno
import importlib
import subprocess
import sys
import typing

import pytest
from typer.models import ArgumentInfo

from leaven import __version__
from leaven.cli.main import COMMANDS
from leaven.errors import LeavenError


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_first_words_load_neither_torch_nor_a_command(option):
    code = (
        "import sys\n"
        "from leaven.cli.main import main\n"
        f"sys.argv = ['leaven', {option!r}]\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "heavy = {'torch', 'numpy', 'pyarrow', 'PIL', 'leaven.cli.run', 'leaven.cli.export'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (__version__ if option == "--version" else "predict") in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_teaches_by_examples(leaven, name):
    result = leaven(name, "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.stdout
    # `run` is the one command with many ways.
    most = 10 if name == "run" else 6
    assert 2 <= result.stdout.count(f" leaven {name}") <= most


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_its_arguments_are(leaven, name):
    command = getattr(importlib.import_module(f"leaven.cli.{name}"), name)
    hints = typing.get_type_hints(command, include_extras=True).values()
    known = [part for hint in hints for part in getattr(hint, "__metadata__", ())]
    arguments = [part for part in known if isinstance(part, ArgumentInfo)]
    text = " ".join(leaven(name, "--help").stdout.replace("│", " ").split())
    for argument in arguments:
        first = " ".join(argument.help.split()[:3])
        assert first in text


def test_wrong_command_is_suggested(leaven):
    result = leaven("predcit")
    assert result.exit_code == 2
    assert "predict" in result.stderr


def test_usage_errors_are_bad_input(leaven):
    assert leaven("run", "--seed", "x").exit_code == 2
    assert leaven("run", "--no-such-option").exit_code == 2
    assert leaven("export").exit_code == 2


def test_debug_shows_the_error_itself_wherever_it_is_given(leaven, refused, tmp_path):
    refused("report", tmp_path)
    for arguments in (["--debug", "report", tmp_path], ["report", tmp_path, "--debug"]):
        assert isinstance(leaven(*arguments).exception, LeavenError)


def test_full_disk_is_said_in_words(monkeypatch, refused, leaven, tmp_path):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("leaven.report.write_report", full)
    said = refused("report", tmp_path)
    assert "no space left" in said.lower()
    assert str(tmp_path) in said


def test_other_system_errors_are_not_swallowed(monkeypatch, leaven, tmp_path):
    def broken(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("leaven.report.write_report", broken)
    result = leaven("report", tmp_path)
    assert isinstance(result.exception, OSError)
    assert result.exit_code == 1


def test_interrupt_ends_with_130(monkeypatch, leaven, tmp_path):
    def stopped(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("leaven.report.write_report", stopped)
    result = leaven("report", tmp_path)
    assert result.exit_code == 130
    assert "Stopped" in result.stderr
