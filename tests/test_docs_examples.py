"""The samples of the README, CONTRIBUTING and the guide run as they stand."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from leaven.cli.main import COMMANDS, app
from leaven.data import Data, write_folder
from leaven.labels import ClassLabels
from leaven.methods import all_methods
from leaven.quality import Health

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs/guide").glob("*.md"))]
WITH_PYTHON = [page for page in PAGES if "```python" in page.read_text()]
SHELL = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """The words of every ``leaven`` command in the shell samples of ``page``."""
    lines = "\n".join(SHELL.findall(page.read_text())).splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[line.index("leaven") + 1 :] for line in words if "leaven" in line[:5]]


@pytest.fixture
def pictures(tmp_path: Path, digits_data: Data) -> Path:
    """The folder and the CSV file that the samples speak of, in a working folder of its own."""
    images, classes = digits_data.train, digits_data.classes
    some = images.subset(images.labels.argsort(descending=True)[:120])
    write_folder(tmp_path / "pictures", some, ClassLabels.from_person(some.labels), classes)
    rows = [
        f"{path.relative_to(tmp_path / 'pictures').as_posix()},{path.parent.name}"
        for path in sorted((tmp_path / "pictures").rglob("*.png"))
        if path.parent.name in classes
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *rows]) + "\n")
    return tmp_path


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_samples_run(page: Path, pictures: Path) -> None:
    (pictures / "tests").mkdir()
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "docs_page.py"), str(page)],
        cwd=pictures,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]


def test_pages_have_samples() -> None:
    assert {"README.md", "CONTRIBUTING.md", "python.md"} <= {page.name for page in WITH_PYTHON}
    assert any(commands(page) for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path) -> None:
    for name, *words in commands(page):
        assert name in COMMANDS, name
        help_text = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).output
        for option in (word.split("=")[0] for word in words if word.startswith("--")):
            assert option in help_text, f"leaven {name} has no {option}"


def test_every_health_code_is_explained() -> None:
    codes = set(re.findall(r"``([a-z-]+)``", (Health.__doc__ or "").split("Limits")[0]))
    assert len(codes) >= 9
    text = (ROOT / "docs/guide/engine.md").read_text()
    assert not [code for code in codes if f"| `{code}` |" not in text]


def test_every_method_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    own = {n for n, kind in all_methods().items() if kind.__module__.startswith("leaven.")}
    assert not [name for name in own if f"`{name}`" not in text]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        if target not in ("CLAIMS.md", "../comparison.md"):  # made from the results
            assert (page.parent / target).exists(), target


@pytest.fixture
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs/generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_of_a_method(generate: ModuleType) -> None:
    method = all_methods()["fixmatch"]
    row = {"text": "fixmatch reaches at least 97 % accuracy", "measured": 97.24, "shown": True}
    result = {"statement": "it works", "expectations": [row]}
    page = generate.method_page(method, {"fixmatch_digits": result})
    assert all(f"| `{name}` |" in page for name, *_ in method.hyperparameters())
    claim = "[fixmatch_digits](../../claims.md#fixmatch-digits)"
    assert f"| {claim} | {row['text']} | 97.2 | yes |" in page
    unfinished = {"statement": "it works", "expectations": []}
    page = generate.method_page(method, {"fixmatch_digits": unfinished})
    assert f"| {claim} | it works | not finished |  |" in page
    assert generate.NOT_MEASURED.strip() in generate.method_page(method, {})


def test_bars_in_cells_are_escaped(generate: ModuleType) -> None:
    assert generate.table(("a",), [("float | None",)])[-1] == "| float \\| None |"
