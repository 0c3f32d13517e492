"""Numbers as people read them. What is not a number becomes a dash."""

from __future__ import annotations

import math

NONE = "–"


def number(value: object) -> float | None:
    """``value`` as a finite float, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # A whole number beyond all floats.
        return None


def percent(value: object, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage."""
    share = number(value)
    return NONE if share is None else f"{100 * share:.{digits}f}%"


def count(value: object) -> str:
    """A whole number with thin spaces between the thousands."""
    found = number(value)
    return NONE if found is None else f"{round(found):,}".replace(",", "\u2009")


def decimal(value: object, digits: int = 3) -> str:
    """A number with so many digits after the point."""
    found = number(value)
    return NONE if found is None else f"{found:.{digits}f}"


def points(value: object) -> str:
    """A difference of shares in percentage points, signed."""
    found = number(value)
    return NONE if found is None else f"{100 * found:+.1f}".replace("-", "\u2212")


def duration(value: object) -> str:
    """Seconds as "48 s", "12 min 5 s" or "3 h 20 min"."""
    seconds = number(value)
    if seconds is None:
        return NONE
    whole = round(seconds)
    if whole < 10:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
