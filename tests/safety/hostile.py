"""Names and values of a data set that means harm, and what is checked of every answer to it."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from leaven.errors import LeavenError

NAMES = (
    "<script>document.title='pwned'</script>",
    '"><img src=x onerror="document.title=\'pwned\'">',
    "'><svg onload=\"document.title='pwned'\">",
    "</style></script><script>alert(1)</script>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "\x1b[31mred\x1b[0m\x1b]8;;http://evil.example\x07link\x1b]8;;\x07",
    "\x9b31m\x07\x08\x7f",
    "[red]not red[/red] [link=http://evil.example]x[/link]",
    "\u202egnp.exe",
    "\u2066a\u2069\u200f",
    "two\nlines\r\nand\ttabs",
    "\u2028\u2029",
    "'; DROP TABLE labels; --",
    "quote \" and ' and `backtick`",
    "$(touch pwned) `touch pwned` ; touch pwned",
    "👩‍👩‍👧 😀 日本語 Straße",
    "../../escaped",
    "..",
    ".",
    "/etc/passwd",
    "C:\\Windows\\system32",
    "..\\..\\escaped",
    "CON",
    "nul.png",
    "COM1",
    "trailing. ",
    ".hidden",
    "-rf",
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "%2E%2E%2Fx",
    "a" * 5000,
    "deep/" * 400 + "x",
    "\x00",
)
"""As names of classes, pictures and data sets."""

FILES = tuple(name for name in NAMES if "/" not in name and "\0" not in name and len(name) < 250)
"""Those that a file of Linux can have."""

HUGE = (2**31, 2**63, -(2**63), 2**64, 10**30, 10**400)


def deep(depth: int) -> Any:
    """Lists in lists."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def values() -> st.SearchStrategy[Any]:
    """What may stand in JSON or YAML where something else should."""
    return st.one_of(
        st.none(),
        st.booleans(),
        st.sampled_from([0, 1, -1, 2, 7, 255, 256, 65536, *HUGE]),
        st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e308, -0.0, 0.5, 1e-300]),
        st.sampled_from(["", " ", "\ud800", "../a.png", "/a.png", "a.png", "1", "nan", *NAMES]),
        st.text(max_size=6),
        st.sampled_from([[], {}, [[]], [None], {"a": {}}, [1, 2, 3, 4], deep(40), deep(900)]),
    )


def changed(document: Any, changes: list[tuple[int, str, Any]]) -> Any:
    """A JSON document in which places are replaced, removed, doubled or renamed.

    Args:
        changes: a number that tells the place, what is done there, and the value for it.
    """
    document = json.loads(json.dumps(document))
    for number, action, given in changes:
        value = copy.deepcopy(given)
        places = _places(document)
        if not places:
            break
        holder, key = places[number % len(places)]
        if action == "remove":
            del holder[key]
        elif action == "double" and isinstance(holder, list):
            holder.insert(key, holder[key])
        elif action == "rename" and isinstance(holder, dict):
            holder[value if isinstance(value, str) else "other"] = holder.pop(key)
        else:
            holder[key] = value
    return document


def _places(document: Any) -> list[tuple[Any, Any]]:
    found, waiting = [], [document]
    while waiting:
        holder = waiting.pop()
        if isinstance(holder, dict | list):
            keys = list(holder) if isinstance(holder, dict) else range(len(holder))
            for key in keys:
                found.append((holder, key))
                if len(found) < 2000:
                    waiting.append(holder[key])
    return found


def changes(most: int = 3) -> st.SearchStrategy[list[tuple[int, str, Any]]]:
    """For ``changed``."""
    action = st.sampled_from(["replace", "replace", "replace", "remove", "double", "rename"])
    return st.lists(st.tuples(st.integers(0, 500), action, values()), min_size=1, max_size=most)


def damaged(content: bytes, damage: tuple[str, int, int]) -> bytes:
    """Bytes that are cut off, changed in one place, or have something put in between."""
    kind, place, byte = damage
    at = place % (len(content) + 1)
    if kind == "cut":
        return content[:at]
    if kind == "flip" and at < len(content):
        return content[:at] + bytes([content[at] ^ (byte or 1)]) + content[at + 1 :]
    if kind == "put":
        return content[:at] + bytes([byte]) * (1 + place % 5) + content[at:]
    return content


def damages() -> st.SearchStrategy[tuple[str, int, int]]:
    """For ``damaged``; often nothing is done."""
    kinds = st.sampled_from(["none", "none", "none", "cut", "flip", "put"])
    return st.tuples(kinds, st.integers(0, 1 << 20), st.integers(0, 255))


def png(size: tuple[int, int] = (8, 6), mode: str = "RGB") -> bytes:
    """An encoded picture of width and height ``size``."""
    width, height = size
    plain = np.arange(width * height, dtype=np.uint8).reshape(height, width) % 3
    buffer = io.BytesIO()
    Image.fromarray(plain).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def put(path: Path, content: bytes | str) -> None:
    """Writes a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    )


def answered(action: Callable[[], Any]) -> Any:
    """The result of ``action``, or None where it refuses in words; any other error is raised."""
    try:
        return action()
    except LeavenError as error:
        assert error.found and error.expected and error.do, repr(error)
        assert len(str(error)) < 100_000
        return None


def refusal(action: Callable[[], Any]) -> LeavenError:
    """The error in words that ``action`` must end with."""
    try:
        found = action()
    except LeavenError as error:
        str(error).encode()
        return error
    raise AssertionError(f"not refused: {found!r}"[:300])
