"""The terminal gets no control character from data, and reads no markup in it."""

from __future__ import annotations

import json
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.safety.hostile import FILES, NAMES, png, put
from typer.testing import CliRunner

from leaven.cli.main import app, main
from leaven.cli.output import print_error, print_json, print_table, safe, stdout, table, words
from leaven.cli.summary import print_health
from leaven.errors import LeavenError

RAW = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Whatever a terminal may take for an order, but for line ends."""


def check(text: str) -> None:
    assert not RAW.search(text), RAW.search(text)


@pytest.mark.parametrize("name", NAMES)
def test_every_way_out_writes_plain_text(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    stdout().print(words(name, style="bold"))
    print_error(LeavenError(name, name, name))
    print_table(table(["a", name], [[name, name]], right=1))
    print_health([{"level": "info", "text": name}, {"level": name, "text": "x"}])
    print_json({name: name})
    out, err = capsys.readouterr()
    check(out + err)
    if name.startswith("[red]"):
        assert "[red]not red[/red] [link=http://evil.example]x[/link]" in out
        assert "[red]not red[/red]" in err
    assert json.loads(out[out.index("{\n") :]) == {name: name}


@pytest.mark.parametrize("name", NAMES)
def test_styles_on_a_real_terminal_are_our_own(name: str) -> None:
    import io

    from rich.console import Console

    written = io.StringIO()
    Console(file=written, force_terminal=True, highlight=False, width=200).print(
        words(name, style="bold red")
    )
    left = re.sub(r"\x1b\[(1;31|0)m", "", written.getvalue())
    check(left)
    assert "\x1b]8" not in written.getvalue()


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """The commands set the log up for themselves."""
    logger = logging.getLogger("leaven")
    before, level = (logger.handlers, logger.propagate), logger.level
    with warnings.catch_warnings():
        yield
    logger.handlers, logger.propagate = before
    logger.setLevel(level)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Hostile file names, and labels of others that are not there."""
    for name in FILES:
        if name[0] != ".":
            put(tmp_path / "data" / f"{name}.png", png())
    put(tmp_path / "data/labels.csv", "file,label\n" + "".join(f'"{n}",x\n' for n in NAMES[6:9]))
    return tmp_path


def test_a_hostile_folder_is_refused_in_plain_text(folder: Path) -> None:
    done = CliRunner().invoke(app, ["run", str(folder / "data"), "--out", str(folder / "run")])
    assert done.exit_code == 2 and "Traceback" not in done.stderr
    check(done.stdout + done.stderr)
    assert "\\x1b[31m" in done.stderr and "[red]not red" in done.stderr


def test_a_traceback_is_plain_text_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["leaven", "--debug", "run", f"{folder / 'data'}", "--out", f"{folder / 'run'}"]
    monkeypatch.setattr(sys, "argv", given)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with pytest.raises(SystemExit) as end:
        main()
    told = capsys.readouterr().err
    assert end.value.code == 1 and "Traceback" in told
    check(told)
    assert "\\x1b[31m" in told


def test_line_ends_alone_are_kept() -> None:
    assert safe("a\nb\r\x1b[0m\u202e👩‍👩‍👧é") == "a\nb\\r\\x1b[0m\\u202e👩\\u200d👩\\u200d👧é"
