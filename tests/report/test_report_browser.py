"""The report in a real browser: it shows everything, runs without an error and loads nothing."""

import re
import shutil
import subprocess

import pytest

from leaven.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH"),
]

QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=2000",
]

HOSTILE = [
    "<script>document.title='pwned'</script>",
    "\" onerror=\"document.title='pwned'",
    "</script><script>document.title='pwned'</script>",
    "</style><img src=x onerror=\"document.title='pwned'\">",
    "{{ 7 * 7 }}",
    "Straße 猫",
    "\u202eevil",
    "'><svg onload=\"document.title='pwned'\">",
    "&lt;b&gt;",
    "javascript:alert(1)",
]


def browse(page, tmp_path, *flags):
    """What Chromium prints for a page: its DOM, and what it logs."""
    done = subprocess.run(
        [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", *flags, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout, done.stderr


def console(log):
    return [line for line in log.splitlines() if "CONSOLE" in line]


@pytest.fixture(scope="module")
def hostile_run(build_run, tmp_path_factory):
    return build_run(
        tmp_path_factory.mktemp("hostile"),
        classes=HOSTILE,
        data_name="<script>document.title='pwned'</script>",
        item=lambda i: f"\"'><script>document.title='pwned'</script>{i}.png",
        health=[
            {"level": "\"><script>document.title='pwned'</script>", "code": "<i>", "text": "</p>"}
        ],
        environment={"<script>document.title='pwned'</script>": ["</script>"]},
    )


def test_every_section_is_there_and_nothing_is_logged(run_folder, tmp_path):
    dom, log = browse(write_report(run_folder), tmp_path, "--dump-dom")
    assert console(log) == []
    for section in ("health", "curves", "classes", "reliability", "confusion", "next", "setup"):
        assert f'id="{section}"' in dom
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:|//|file:)""", dom)
    # The script adds a rule and a pop-up to every chart: it has run to its end.
    charts = dom.count("data-chart=")
    assert charts >= 4
    assert dom.count('class="rule"') == dom.count('class="popup"') == charts


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_screen(run_folder, tmp_path, width):
    page = write_report(run_folder)
    measure = tmp_path / "measured.html"
    text = re.sub(r"<meta http-equiv.*?>", "", page.read_text("utf-8"))
    script = "document.title = document.documentElement.scrollWidth + ' ' + innerWidth"
    measure.write_text(text + f"<script>{script}</script>", "utf-8")
    dom, _ = browse(measure, tmp_path, "--dump-dom", f"--window-size={width},900")
    needed, given = map(int, re.search(r"<title>(\d+) (\d+)", dom).groups())
    assert needed <= given

    shot = tmp_path / "shot.png"
    browse(page, tmp_path, f"--screenshot={shot}", f"--window-size={width},900")
    assert shot.stat().st_size > 10_000


def test_hostile_names_are_shown_and_not_run(hostile_run, tmp_path):
    dom, log = browse(write_report(hostile_run), tmp_path, "--dump-dom")
    title = re.search(r"<title>(.*?)</title>", dom, re.S)[1]
    assert title.startswith("&lt;script&gt;document.title")
    assert console(log) == []
    assert dom.count("<script") == 1
    assert not re.findall(r"<[^>]*\son(?:error|load)\s*=", re.sub(r'"[^"]*"', '""', dom))
    assert "{{ 7 * 7 }}" in dom and "猫" in dom
