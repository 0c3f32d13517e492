"""``leaven review``."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Self

import typer

from leaven.cli.output import safe, stderr, words


def review(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            min=1024,
            max=65535,
            help="The port to answer at; 8470, or any free one where that is taken.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Where the pictures are now, if they were moved."),
    ] = None,
    no_open: Annotated[
        bool, typer.Option("--no-open", help="Print the address and open no browser.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the address as one line of JSON.")
    ] = False,
) -> None:
    """Look at the labels of a run in the browser and correct the doubtful ones.

    The page is served on this machine alone, under an address with a secret
    token; nothing leaves the machine. It shows the labels of the last round,
    the most doubtful first; press ? there for the keys. What you say is
    written to RUN/corrections.jsonl at once, and nothing else is changed. End
    it with Ctrl-C; what was said is kept, and the next review goes on there.

    \b
    Examples:
        leaven review runs/mine
        leaven review runs/mine --data /new/place/pictures
      on another machine, seen from here:
        ssh -L 8470:127.0.0.1:8470 server leaven review runs/mine --no-open --port 8470
      train on with what was corrected:
        leaven run --resume --with-corrections --out runs/mine
    """
    from leaven.review.server import create_app, listen, new_token, serve

    token = new_token()
    app = create_app(run, token, data)
    listening = listen(port)
    address = f"http://127.0.0.1:{listening.getsockname()[1]}/{token}/"

    with _Browser(address) as browser:

        def started() -> None:
            _tell(run, address, json=json)
            if not no_open:
                browser.open()

        with suppress(KeyboardInterrupt), listening:
            serve(app, listening, started)
    stderr().print(words(f"\nStopped. What was said is in {run / 'corrections.jsonl'}."))


def _tell(run: Path, address: str, *, json: bool) -> None:
    import json as json_format

    if json:
        typer.echo(json_format.dumps({"address": address, "run": str(run)}))
        return
    typer.echo(safe(address))
    stderr().print(words(f"Review of {run}; the address is for you alone. Ctrl-C ends it."))


class _Browser:
    """Opens the address by a file that only its owner reads and that leads there: the arguments of
    a process, and so the token, can be read by everybody on the machine."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._path: Path | None = None

    def open(self) -> None:
        """Does so without waiting for the browser."""
        import tempfile
        import threading
        import webbrowser

        with tempfile.NamedTemporaryFile(
            "w", prefix="leaven-review-", suffix=".html", delete=False
        ) as file:
            file.write(f'<meta http-equiv="refresh" content="0; url={self._address}">')
        self._path = Path(file.name)
        threading.Thread(target=webbrowser.open, args=(self._path.as_uri(),), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)
