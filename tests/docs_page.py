"""Runs the Python samples of one page in the working folder.

usage: python docs_page.py PAGE.md

A sample with a title is the file of that name: under ``src/leaven`` it joins the package, under
``tests`` it is run by pytest. The others run one after the other. Budgets are cut to a few steps.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest
import torch

import leaven.train.engine

FENCE = re.compile(r'^```python(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
BUDGET = re.compile(r'(budget=|steps=|count=)("[^"]*"|\d+)')


def samples(page: Path) -> list[tuple[str, str]]:
    """(title, code) of every Python sample."""
    return [(title, code) for title, code in FENCE.findall(page.read_text())]


def main(page: Path) -> None:
    torch.set_num_threads(1)
    leaven.train.engine.fastest_here = lambda work: 1
    found = samples(page)
    for title, code in found:
        if title:
            path = Path(title)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code)
            if title.startswith("src/leaven/"):
                room = ".".join(path.parent.relative_to("src").parts)
                importlib.import_module(room).__path__.append(str(path.parent.resolve()))
    scope: dict[str, object] = {"__name__": "__main__"}
    for title, code in found:
        if not title:
            cut = BUDGET.sub(lambda match: match[1] + "3", code)
            exec(compile(cut, str(page), "exec"), scope)
    tests = [title for title, _ in found if title.startswith("tests/")]
    if tests:
        sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir=.", *tests]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
