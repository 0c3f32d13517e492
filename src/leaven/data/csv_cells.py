"""Text in CSV files that spreadsheets do not run.

A cell that begins with ``=``, ``+``, ``-`` or ``@`` is a formula to them, and may start programs.
Numbers and single signs are none.
"""

from __future__ import annotations

import re

_FORMULA = re.compile(r"['\s]*[=+\-@].", re.DOTALL)
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_QUOTED = re.compile(r"'['\s]*[=+\-@].", re.DOTALL)


def written_cell(text: str) -> str:
    """``text`` with ``'`` in front where a spreadsheet would take it for a formula."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def read_cell(cell: str) -> str:
    """The text that ``written_cell`` wrote as ``cell``."""
    return cell[1:] if _QUOTED.match(cell) else cell
