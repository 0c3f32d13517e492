"""The server of the page, which answers on this machine alone."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path

from leaven.errors import MissingExtraError, RunError
from leaven.review.desk import Desk
from leaven.review.security import Guard

LOOPBACK = "127.0.0.1"

PORT = 8470
"""The usual port; where it is taken, any free one. A page that is open when the server goes can send
what it still has to say when the server is back at the same port."""


def new_token() -> str:
    """A token that nobody guesses: 256 bits."""
    return secrets.token_urlsafe(32)


def create_app(run: Path, token: str, moved: Path | None = None) -> Guard:
    """The page of a run as an ASGI application; its address is ``http://HOST/TOKEN/``.

    Args:
        run: the folder of a run.
        token: of this server, part of the address.
        moved: where the pictures are now, if they were moved.

    Raises:
        MissingExtraError: FastAPI is not installed.
        RunError: there is no run, no labels yet, or none of the pictures.
    """
    try:
        from leaven.review.routes import routed
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "starlette"):
            raise
        raise MissingExtraError("fastapi", "review", "leaven review") from None
    return Guard(routed(Desk(run, moved)), token)


def serve(app: Guard, listening: socket.socket, started: Callable[[], None]) -> None:
    """Answers on an open socket until Ctrl-C or SIGTERM.

    Args:
        app: see ``create_app``.
        listening: see ``listen``.
        started: called when requests are answered.

    Raises:
        MissingExtraError: uvicorn is not installed.
    """
    try:
        import uvicorn
    except ImportError:
        raise MissingExtraError("uvicorn", "review", "leaven review") from None

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started()

    # Paths hold the token, so that no request is logged.
    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="error",
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=32 * 1024,
    )
    Server(config).run([listening])


def listen(port: int | None) -> socket.socket:
    """A socket that only this machine reaches: at ``port``, or at ``PORT`` or any free one.

    Raises:
        RunError: the port that was asked for is taken or not permitted.
    """
    for wanted in (PORT, 0) if port is None else (port,):
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if os.name == "posix":  # Elsewhere this would share the port with another server.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((LOOPBACK, wanted))
            return made
        except OSError as error:
            made.close()
            if port is not None or wanted == 0:
                raise RunError(
                    f"Port {wanted} cannot be used: {error.strerror}.",
                    "a free port from 1024 to 65535",
                    "choose another --port, or leave it out for any free one",
                ) from error
    raise AssertionError("one of the ports is used or refused")
