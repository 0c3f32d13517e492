"""The page in a real browser: items corrected by keys, a server that is killed, boxes, two tabs."""

import json
import logging
import re
import shutil
import time
from contextlib import contextmanager

import pytest
from sklearn.datasets import load_digits
from tests.review.conftest import digits_run, named_run

from leaven.labels.corrections import CorrectionLog

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
LOOK = 30_000

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH"),
]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield started
        started.close()


class Watched:
    """Pages in one browser profile; what they log and where they ask is looked at."""

    def __init__(self, context):
        self.context, self.logged, self.asked = context, [], []

    def open(self, address, ready=True):
        page = self.context.new_page()
        page.set_default_timeout(LOOK)
        page.on("console", lambda message: self.logged.append(message.text))
        page.on("pageerror", lambda error: self.logged.append(f"error: {error}"))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(address)
        if ready:
            page.wait_for_selector("body[data-ready]")
        return page

    def check(self, *allowed):
        """Nothing was logged but failed requests to a server that is gone, and nobody else asked."""
        rest = [text for text in self.logged if not any(word in text for word in allowed)]
        assert rest == []
        assert all(re.match(r"(http://127\.0\.0\.1:|blob:|data:)", url) for url in self.asked)


@pytest.fixture
def watched(browser):
    @contextmanager
    def make(**options):
        context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)
        try:
            yield Watched(context)
        finally:
            context.close()

    return make


def until(page, expression):
    """Waits until it is true of the page; the page itself evaluates no text."""
    end = time.monotonic() + LOOK / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"{expression}: {page.url}"
        page.wait_for_timeout(50)


def saved(page):
    until(page, "document.getElementById('saving').textContent === 'saved'")


def title(page):
    return page.locator(".believed > :first-child").inner_text()


def test_twenty_corrections_outlive_a_kill(tmp_path, server, watched):
    run = digits_run(tmp_path / "run", count=300)
    with watched() as look:
        with server(run) as first:
            page = look.open(first.address)
            page.keyboard.press("Enter")
            wanted = {}
            for number in range(20):
                page.wait_for_selector("#act-accept")
                until(
                    page,
                    f"document.getElementById('position').textContent.startsWith('{number + 1} of')",
                )
                page.wait_for_selector(".class .sure")
                name = page.locator("#panel p .name").inner_text()
                label = str((number * 3) % 10)
                wanted[name] = label
                page.keyboard.press(label)
            saved(page)
            assert page.locator("#count-corrected").inner_text() == "20"
            page.reload()
            page.wait_for_selector("body[data-ready]")
            assert page.locator("#count-corrected").inner_text() == "20"
            # Said while the server is dead: it is kept in the browser, and sent when it is back.
            page.keyboard.press("g")
            first.kill()
            page.keyboard.press("ArrowDown")
            last = page.locator(".cell.current .file").inner_text()
            page.keyboard.press("5")
            page.wait_for_selector(".saving.lost")
            assert "1 waiting" in page.locator("#saving").inner_text()
            page.close(run_before_unload=False)
        assert len(CorrectionLog(run).read()) == 20
        with server(run, "--port", str(first.port)) as second:
            page = look.open(second.address)
            saved(page)
            until(page, "document.getElementById('count-corrected').textContent === '21'")
            standing = {name: said.label for name, said in CorrectionLog(run).standing().items()}
            assert standing == {**wanted, last: "5"}
            page.locator("input[name=status][value=corrected]").check()
            until(page, "document.getElementById('found').textContent.startsWith('21 items')")
            page.keyboard.press("Escape")
            page.locator(".cell").first.click()
            gone = page.locator("#panel p .name").inner_text()
            page.wait_for_selector(".state.corrected")
            page.keyboard.press("u")
            until(page, "document.getElementById('count-corrected').textContent === '20'")
            saved(page)
        assert set(CorrectionLog(run).standing()) == {*standing} - {gone}
        look.check("ERR_CONNECTION_REFUSED", "Failed to load resource", "ERR_")


def test_every_action_by_keys(tmp_path, nearby, watched):
    run = digits_run(tmp_path / "run")
    with watched(color_scheme="dark") as look, nearby(run) as served:
        page = look.open(served.address)
        keys = page.keyboard
        keys.press("a")  # In the grid: accept, and on to the next one.
        keys.press("x")
        keys.press("s")
        saved(page)
        said = CorrectionLog(run).read()
        assert [one.action for one in said] == ["accept", "reject", "skip"]
        keys.press("u")
        keys.press("u")
        saved(page)
        assert [one.undoes for one in CorrectionLog(run).read()[3:]] == [3, 2]
        keys.press("Enter")
        page.wait_for_selector(".class .sure")
        keys.press("r")
        keys.type("7")
        keys.press("Enter")
        saved(page)
        assert CorrectionLog(run).read()[-1].label == "7"
        position = page.locator("#position").inner_text()
        keys.press("k")
        keys.press("j")
        assert page.locator("#position").inner_text() == position
        keys.press("?")
        assert page.locator("#help").is_visible()
        keys.press("Escape")
        assert not page.locator("#help").is_visible()
        keys.press("g")
        assert page.evaluate("document.activeElement.classList.contains('cell')")
        keys.press("/")
        keys.type("digits/0012")
        until(page, "document.getElementById('found').textContent.startsWith('1 item,')")
        page.select_option("select[name=sort]", "name")
        page.fill("input[name=search]", "nobody")
        page.wait_for_selector("#nothing:not([hidden])")
        # What was chosen is in the address, so that a reload shows the same.
        page.reload()
        page.wait_for_selector("#nothing:not([hidden])")
        assert page.input_value("input[name=search]") == "nobody"
        assert page.input_value("select[name=sort]") == "name"
        look.check()


def test_two_tabs_lose_nothing(tmp_path, nearby, watched):
    run = digits_run(tmp_path / "run")
    with watched() as look, nearby(run) as served:
        one, two = look.open(served.address), look.open(served.address)
        for page in (one, two):
            page.keyboard.press("Enter")
            page.wait_for_selector(".class .sure")
        name = one.locator("#panel p .name").inner_text()
        one.keyboard.press("3")
        saved(one)
        two.keyboard.press("4")  # Of the same item, which this tab shows as it was before.
        two.wait_for_selector(".notice.bad")
        told = two.locator(".notice.bad").inner_text()
        assert name in told and "Not recorded" in told
        assert [said.label for said in CorrectionLog(run).read()] == ["3"]
        two.get_by_role("button", name="Show it").click()
        two.wait_for_selector(".state.corrected")
        assert title(two) == "3"
        two.keyboard.press("4")  # Now that it was seen, it may be said.
        saved(two)
        assert [said.label for said in CorrectionLog(run).read()] == ["3", "4"]
        one.keyboard.press("k")
        until(one, "document.querySelector('.believed > :first-child').textContent === '4'")
        look.check("409")


def test_what_others_said_just_before_is_not_missed(tmp_path, nearby, watched):
    run = digits_run(tmp_path / "run")
    with watched() as look, nearby(run) as served:
        page = look.open(served.address)
        page.wait_for_selector(".cell.current .file")
        mine = page.locator(".cell.current .file").inner_text()
        files = page.locator(".cell .file").all_inner_texts()
        other = next(file for file in files if file != mine)
        # Recorded before what is said here, which has the later number of the two.
        CorrectionLog(run).append(f"digits/{other.rpartition('/')[2]}", "relabel", label="7")
        page.keyboard.press("5")
        saved(page)
        page.locator(".cell.corrected", has_text=other).wait_for()
        assert len(CorrectionLog(run).read()) == 2
        look.check()


def corner(page, place, name):
    frame = page.locator(f"#boxes .handle.{name}[data-place='{place}']").bounding_box()
    return frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2


def drag(page, start, end):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    page.mouse.move(*end)
    page.mouse.up()


def test_boxes_are_moved_resized_added_deleted_and_given_a_class(runs, tmp_path, nearby, watched):
    run = shutil.copytree(runs["masks"], tmp_path / "run")
    with watched() as look, nearby(run) as served:
        page = look.open(served.address + "#sort=name")
        item = page.evaluate("fetch('api/rounds/1/items/1').then((answer) => answer.json())")
        assert len(item["boxes"]) >= 2 and all(thing["accepted"] for thing in item["boxes"])
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        page.wait_for_selector("#boxes .frame")
        count = len(item["boxes"])
        assert page.locator("#boxes .frame").count() == count
        assert page.evaluate(
            "new Uint32Array(document.getElementById('masks').getContext('2d')"
            ".getImageData(0, 0, 96, 96).data.buffer).some((value) => value !== 0)"
        )
        scale = page.locator("#boxes").bounding_box()["width"] / 96
        # Moved by the keys, resized by the mouse at a corner.
        page.keyboard.press("]")
        page.keyboard.press("Shift+ArrowLeft")
        page.keyboard.press("ArrowRight")
        x, y = corner(page, 0, "nw")
        drag(page, (x, y), (x + 3 * scale, y + 2 * scale))
        page.keyboard.press("9")
        # The second one deleted, a third one drawn.
        page.keyboard.press("Escape")
        page.keyboard.press("]")
        page.keyboard.press("]")
        page.keyboard.press("Delete")
        page.keyboard.press("n")
        sheet = page.locator("#boxes").bounding_box()
        at = lambda x, y: (sheet["x"] + x * scale, sheet["y"] + y * scale)  # noqa: E731
        drag(page, at(60, 70), at(90, 95))
        page.keyboard.press("2")
        assert page.locator("#boxes .frame").count() == count
        page.keyboard.press("a")
        saved(page)
        (said,) = CorrectionLog(run).read()
        assert said.action == "relabel" and len(said.boxes) == count
        x1, y1, x2, y2 = item["boxes"][0]["box"]
        left = max(-10, -x1) + 1  # The rim of the picture stops a box.
        first, last = said.boxes[0], said.boxes[-1]
        assert first["box"] == pytest.approx([x1 + left + 3, y1 + 2, x2 + left, y2], abs=0.6)
        assert first["class"] == "9"
        assert last["box"] == pytest.approx([60, 70, 90, 95], abs=0.6)
        assert last["class"] == "2" and last["mask"] is None
        # Taken back, the boxes are those of the run again.
        page.keyboard.press("u")
        saved(page)
        page.wait_for_selector(".state.given")
        assert page.locator("#boxes .frame").count() == count
        # Boxes that were edited and not saved are still there after a look elsewhere.
        page.keyboard.press("]")
        page.keyboard.press("Delete")
        page.keyboard.press("j")
        until(page, "document.getElementById('position').textContent.startsWith('3 of')")
        page.keyboard.press("k")
        # The frames of the picture before stay, hidden, until those of this one are there.
        until(
            page,
            "document.getElementById('position').textContent.startsWith('2 of') "
            "&& !document.getElementById('boxes').hidden "
            f"&& document.querySelectorAll('#boxes .frame').length === {count - 1}",
        )
        page.keyboard.press("z")
        assert page.locator("#boxes .frame").count() == count
        look.check()


def test_nothing_is_there_is_asked_for_twice(runs, tmp_path, nearby, watched):
    run = shutil.copytree(runs["boxes"], tmp_path / "run")
    with watched() as look, nearby(run) as served:
        page = look.open(served.address + "#status=needs")
        page.keyboard.press("a")  # In the grid this opens the picture.
        page.wait_for_selector("#act-accept:has-text('Nothing is there')")
        page.keyboard.press("a")
        page.wait_for_selector(".notice.info")
        assert CorrectionLog(run).read() == []
        page.keyboard.press("a")
        saved(page)
        (said,) = CorrectionLog(run).read()
        assert (said.action, said.boxes) == ("relabel", ())
        look.check()


def test_label_maps_lie_over_the_picture(runs, tmp_path, nearby, watched):
    run = shutil.copytree(runs["pixels"], tmp_path / "run")
    with watched() as look, nearby(run) as served:
        page = look.open(served.address)
        page.keyboard.press("Enter")
        page.wait_for_selector(".swatches li")
        opacity = "document.getElementById('masks').style.opacity"
        assert float(page.evaluate(opacity)) == 0.5
        page.locator("input[type=range]").fill("0.8")
        assert float(page.evaluate(opacity)) == 0.8
        page.keyboard.press("m")
        assert float(page.evaluate(opacity)) == 0
        page.keyboard.press("a")
        saved(page)
        assert CorrectionLog(run).read()[0].action == "accept"
        look.check()


HOSTILE = [
    "<script>document.title='pwned'</script>.png",
    "\" onerror=\"document.title='pwned'.png",
    "'><img src=x onerror=document.title='pwned'>.png",
    "line\nbreak\x1b[31m\x07.png",
    "\u202egnp.exe",
    "{{ 7 * 7 }} ${7*7}.png",
    "javascript:alert(1).png",
    "Straße 猫.png",
]


def test_hostile_names_are_shown_and_not_run(tmp_path, nearby, watched):
    names = [name.replace("/", "∕") for name in HOSTILE[:4]]
    names += ["\u202egnp.png", *[name.replace("/", "∕") for name in HOSTILE[5:]]]
    classes = [
        "<b onclick=\"document.title='pwned'\">b</b>",
        "\u202etxet \x00",
        "</script><script>x()",
    ]
    run = named_run(tmp_path, names, classes)
    with watched() as look, nearby(run) as served:
        page = look.open(served.address + "#sort=name")
        page.wait_for_selector(f".cell:nth-of-type({len(names)})")
        text = page.locator("#spacer").inner_text()
        labels = [cell.get_attribute("aria-label") for cell in page.locator(".cell").all()]
        assert "<script>document.title='pwned'" in text and "{{ 7 * 7 }}" in text and "猫" in text
        assert "\\u202egnp.png" in text and "\u202e" not in text and "\x1b" not in "".join(labels)
        assert "line\\u000abreak\\u001b[31m\\u0007.png" in text
        page.keyboard.press("Enter")
        page.wait_for_selector(".class .sure")
        for label in range(3):
            page.keyboard.press(str(label + 1))
            until(
                page,
                f"document.getElementById('position').textContent.startsWith('{label + 2} of')",
            )
        saved(page)
        assert {said.label for said in CorrectionLog(run).read()} == set(classes)
        assert "pwned" not in page.title()
        assert (
            page.locator("script").count() == 1 and page.locator("#spacer b, main b").count() == 0
        )
        look.check()


def test_many_items_exist_only_where_they_are_seen(tmp_path, nearby, watched):
    run = digits_run(tmp_path / "run", count=1797, rounds=1)
    with watched() as look, nearby(run) as served:
        page = look.open(served.address)
        assert page.locator(".cell").count() < 100
        page.keyboard.press("End")
        page.wait_for_selector(".cell.current[data-position='1796']")
        assert page.locator(".cell").count() < 100
        pictures = [url for url in look.asked if url.endswith("/thumbnail")]
        assert len(set(pictures)) < 300
        page.keyboard.press("Enter")
        until(page, "document.getElementById('position').textContent === '1,797 of 1,797'")
        look.check()


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_screen_and_has_names_for_everything(tmp_path, nearby, watched, width):
    run = digits_run(tmp_path / "run")
    with watched() as look, nearby(run) as served:
        page = look.open(served.address)
        page.set_viewport_size({"width": width, "height": 800})
        for _ in range(2):
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            nameless = page.evaluate(
                "[...document.querySelectorAll('button, input, select')].filter((one) => "
                "!(one.textContent.trim() || one.getAttribute('aria-label') || "
                "(one.labels && [...one.labels].some((label) => label.textContent.trim()))))"
                ".map((one) => one.outerHTML)"
            )
            assert json.dumps(nameless) == "[]"
            page.keyboard.press("Enter")
            page.wait_for_selector("#act-accept")
        look.check()


def command(*words):
    """``leaven`` in this process; gives what it prints as JSON."""
    from typer.testing import CliRunner

    from leaven.cli.main import app

    logger = logging.getLogger("leaven")
    before = logger.handlers, logger.propagate, logger.level
    try:
        done = CliRunner().invoke(app, [str(word) for word in words])
    finally:
        logger.handlers, logger.propagate, level = before
        logger.setLevel(level)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_round_with_corrections_is_better(tmp_path, nearby, watched):
    """The digits with one label per class: 40 answers by keys, then a round with them."""
    run = tmp_path / "run"
    before = command(
        "run", "--labels-per-class", 1, "--features", "pixels", "--method", "label-spreading",
        "--threads", 1, "--features-to", tmp_path / "features", "--out", run, "--json",
    )  # fmt: skip
    truth = load_digits().target
    with watched() as look, nearby(run) as served:
        page = look.open(served.address + "#sort=gain")
        page.keyboard.press("Enter")
        asked = set()
        for number in range(40):
            until(
                page,
                f"document.getElementById('position').textContent.startsWith('{number + 1} of')",
            )
            until(page, "document.querySelector('#panel p .name') !== null")
            name = page.locator("#panel p .name").inner_text()
            asked.add(name)
            page.keyboard.press(str(truth[int(name.removeprefix("digits/"))]))
        saved(page)
        after = command("run", "--resume", "--with-corrections", "--out", run, "--json")
        assert len(asked) == len(CorrectionLog(run).standing()) == 40
        for figures in ("metrics", "labels"):
            assert after[figures]["accuracy"] > before[figures]["accuracy"] + 0.03
        # The page that is still open is told of the new round, and shows it after a reload.
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        page.reload()
        page.wait_for_selector("body[data-ready]")
        newest = max((run / "labels").glob("round-*.parquet")).stem.removeprefix("round-")
        assert f"round {int(newest)}" in page.locator("#run").inner_text()
        assert page.locator("#count-corrected").inner_text() == "40"
        look.check("409")
