"""The routes of the page. They call the desk; what may come here is said in ``security``."""

# FastAPI reads the annotations of the routes, so they stay what they are.

import json
from collections.abc import Callable
from importlib import resources
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from leaven.data import PictureError
from leaven.errors import DataError, LeavenError, RunError
from leaven.review.desk import Desk, NoSuchItemError, StaleError
from leaven.review.items import Status
from leaven.review.lists import LONGEST_SEARCH, Wanted
from leaven.review.requests import Said
from leaven.review.security import refusal
from leaven.review.thumbnails import media_type

SCRIPTS = (
    "api", "app", "boxes", "chooser", "filters", "grid", "keys", "large", "masks", "store", "words",
)  # fmt: skip

PAGE = {
    "": ("index.html", "text/html; charset=utf-8"),
    **{f"{name}.js": (f"{name}.js", "text/javascript; charset=utf-8") for name in SCRIPTS},
    "style.css": ("style.css", "text/css; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
"""The files of the page by their path; there is no other way to a file."""

MOST_ITEMS = 500
"""Of one page of a list."""

CODES: list[tuple[type[LeavenError], int]] = [
    (StaleError, 409),
    (NoSuchItemError, 404),
    (PictureError, 404),
    (DataError, 422),
    (RunError, 503),
    (LeavenError, 500),
]
"""What an error is answered with."""

Number = Annotated[int, Query(ge=0, le=2**31)]
Text = Annotated[str, Query(max_length=4096)]
Share = Annotated[float, Query(ge=0, le=1, allow_inf_nan=False)]


def routed(desk: Desk) -> FastAPI:
    """The application without its guard."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    _add_errors(app)
    _add_page(app)
    _add_reading(app, desk)
    _add_writing(app, desk)
    return app


def _answer(content: Any, status: int = 200) -> Response:
    """JSON in ASCII: names may hold what is no UTF-8."""
    return Response(json.dumps(content, allow_nan=False), status, media_type="application/json")


def _add_errors(app: FastAPI) -> None:
    """Every error as JSON with what was found, what was expected and what to do."""

    async def of_leaven(_: Request, error: Exception) -> Response:
        assert isinstance(error, LeavenError)
        status = next(code for kind, code in CODES if isinstance(error, kind))
        more = {"item": error.item} if isinstance(error, StaleError) else {}
        return _answer(refusal(error.found, error.expected, error.do, **more), status)

    async def of_values(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or "the request"
        return _answer(refusal(f"{place[:200]}: {first['msg'][:200]}"), 422)

    async def of_http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _answer(refusal(str(error.detail)), error.status_code)

    async def of_anything(_: Request, error: Exception) -> Response:
        return _answer(refusal(f"{type(error).__name__} in leaven; what was said is kept."), 500)

    app.add_exception_handler(LeavenError, of_leaven)
    app.add_exception_handler(RequestValidationError, of_values)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(Exception, of_anything)


def _add_page(app: FastAPI) -> None:
    folder = resources.files("leaven.review") / "page"
    for path, (name, kind) in PAGE.items():
        content = (folder / name).read_bytes()

        app.add_route(f"/{path}", _giving(content, kind), methods=["GET"])


def _giving(content: bytes, kind: str) -> Callable[[Request], Response]:
    def give(_: Request) -> Response:
        return Response(content, media_type=kind)

    return give


def _add_reading(app: FastAPI, desk: Desk) -> None:
    @app.get("/api/run")
    def about() -> Response:
        return _answer(desk.about())

    @app.get("/api/items")
    def items(
        cursor: Text = "",
        start: Number = 0,
        count: Annotated[int, Query(ge=0, le=MOST_ITEMS)] = 100,
        sort: Text = "doubt",
        reverse: bool = False,
        status: Annotated[list[str] | None, Query(max_length=len(Status))] = None,
        label: Annotated[int | None, Query(ge=-1, le=2**31)] = None,
        low: Share = 0.0,
        high: Share = 1.0,
        search: Annotated[str, Query(max_length=LONGEST_SEARCH)] = "",
    ) -> Response:
        if cursor:
            wanted = Wanted.of_cursor(cursor)
        else:
            chosen = Wanted(
                sort=sort, reverse=reverse, status=_statuses(status or []), label=label, low=low,
                high=high, search=search,
            )  # fmt: skip
            wanted = desk.newest(chosen)
        return _answer(desk.list_items(wanted, start, count))

    @app.get("/api/changes")
    def changes(since: Number = 0) -> Response:
        return _answer(desk.changes(since))

    @app.get("/api/rounds/{number}/items/{item}")
    def detail(number: int, item: int) -> Response:
        return _answer(desk.detail(number, item))

    @app.get("/api/rounds/{number}/items/{item}/thumbnail")
    def small(number: int, item: int, drawn: bool = False) -> Response:
        made = desk.thumbnail(number, item, drawn)
        return Response(made, media_type=media_type(made))

    @app.get("/api/rounds/{number}/items/{item}/picture")
    def picture(number: int, item: int) -> Response:
        made = desk.picture(number, item)
        return Response(made, media_type=media_type(made))


def _add_writing(app: FastAPI, desk: Desk) -> None:
    @app.post("/api/items/{item}/say")
    def say(item: int, said: Said) -> Response:
        return _answer(desk.say(item, said))


def _statuses(names: list[str]) -> tuple[Status, ...]:
    known = {status.name.lower(): status for status in Status}
    for name in names:
        if name not in known:
            raise DataError(f"There is no status {name!r}.", ", ".join(known), "choose of these")
    return tuple(known[name] for name in names)
