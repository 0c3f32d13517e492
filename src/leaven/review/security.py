"""What stands before every route: only this machine, only the page itself, only with the token."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
"""What the page may be called by. A name of somebody else that resolves to this machine (DNS
rebinding) is none of them."""

MOST_BODY = 2**20
"""Bytes of a request."""

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """Lets a request through to ``app`` that

    - is for a host of this machine by one of ``HOSTS``,
    - has the token as the first part of its path, compared in constant time,
    - comes from the page itself: an ``Origin`` is that of the host, ``Sec-Fetch-Site`` is
      ``same-origin``, or the request opens the page,
    - has a body of at most ``MOST_BODY`` bytes, and says that it is JSON where it has one.

    The token is taken off the path, so that no route and no error knows it. As part of the address
    it is with every picture and script, needs no cookie (which all ports of a machine share), and
    is never sent elsewhere: the page loads nothing from outside and has no referrer.

    Every answer carries ``HEADERS``; what is refused is answered with JSON.
    """

    def __init__(self, app: App, token: str) -> None:
        self._app, self._token = app, token.encode("utf-8")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = _headers(scope)
        sender = _secured(send)
        path, refusal = self._path(scope, headers)
        if refusal is None and scope["method"] in ("POST", "PUT", "PATCH", "DELETE"):
            refusal = _bad_kind(headers)
        if refusal is not None:
            await _refuse(sender, *refusal)
            return
        assert path is not None
        body = await _body(headers, receive)
        if body is None:
            await _refuse(sender, 413, f"The request has more than {MOST_BODY} bytes.")
            return
        inner = {**scope, "path": path, "raw_path": path.encode("utf-8"), "root_path": ""}
        await self._app(inner, _replayed(body, receive), sender)

    def _path(
        self, scope: Scope, headers: dict[str, list[str]]
    ) -> tuple[str | None, tuple[int, str] | None]:
        """The path behind the token, or why there is none."""
        hosts = headers.get("host", [])
        if len(hosts) != 1 or _name_of(hosts[0]) not in HOSTS:
            return None, (421, "This host is not served here.")
        token, slash, rest = str(scope["path"])[1:].partition("/")
        given = token.encode("utf-8", "surrogatepass")
        if not hmac.compare_digest(given, self._token) or not slash:
            return None, (403, "The token is missing or wrong; use the address that was printed.")
        path = "/" + rest
        opens = path == "/" and scope["method"] == "GET"
        if not _from_here(headers, hosts[0], opens):
            return None, (403, "Another page sent this request.")
        return path, None


def refusal(found: str, expected: str = "", do: str = "", **more: Any) -> dict[str, Any]:
    """What is answered where something is refused."""
    return {"error": {"found": found, "expected": expected, "do": do}, **more}


def _headers(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _name_of(host: str) -> str:
    """A host without its port, in lower case; empty where it is none."""
    name, port = host, ""
    if ":" in host.rpartition("]")[2]:
        name, _, port = host.rpartition(":")
    return name.lower() if port == "" or port.isdecimal() else ""


def _from_here(headers: dict[str, list[str]], host: str, opens: bool) -> bool:
    for origin in headers.get("origin", []):
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        if parts.scheme != "http" or parts.netloc.lower() != host.lower():
            return False
    site = headers.get("sec-fetch-site", ["same-origin"])
    if site == ["same-origin"]:
        return True
    # A link in a terminal, a mail or a file opens the page, as a whole and not in a frame.
    return opens and headers.get("sec-fetch-dest", ["document"]) == ["document"]


def _bad_kind(headers: dict[str, list[str]]) -> tuple[int, str] | None:
    kinds = [kind.partition(";")[0].strip().lower() for kind in headers.get("content-type", [])]
    return None if kinds == ["application/json"] else (415, "The request is not JSON.")


async def _body(headers: dict[str, list[str]], receive: Receive) -> bytes | None:
    """The whole body; None where it is too long, which is known before it is read where it says."""
    said = headers.get("content-length", ["0"])[0]
    if not said.isdecimal() or len(said) > 12 or int(said) > MOST_BODY:
        return None
    read = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            break
        read += message.get("body", b"")
        more = message.get("more_body", False)
        if len(read) > MOST_BODY:
            return None
    return bytes(read)


def _replayed(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _secured(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = {name.encode(): value.encode() for name, value in HEADERS.items()}
            kept = [(name, value) for name, value in message["headers"] if name not in own]
            message = {**message, "headers": [*kept, *own.items()]}
        await send(message)

    return with_headers


async def _refuse(send: Send, status: int, found: str) -> None:
    body = json.dumps(refusal(found)).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
