"""``leaven plan``: days of GPUs from rates, and its page."""

import json
import shutil

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def planned(leaven, *arguments):
    result = leaven("plan", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def measured(tmp_path):
    """A run with two timed stages, killed in the middle of a line."""
    rows = [
        {"step": 1, "phase": "pixels", "images_per_second": 2.0},
        *({"step": n, "phase": "pixels", "images_per_second": rate} for n, rate in ((2, 90), (3, 110), (4, 100))),
        {"step": 4, "phase": "pixels", "denoising_error": 0.2},
        {"step": 5, "phase": "words", "images_per_second": 50.0},
    ]  # fmt: skip
    run = tmp_path / "short"
    run.mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (run / "metrics.jsonl").write_text(lines + '{"step": 6, "pha')
    (run / "summary.json").write_text(json.dumps({"environment": {"processor": "a fast one"}}))
    return run


def test_the_published_schedule_has_its_published_days(leaven):
    made = planned(leaven)
    assert [round(stage["gpu_days"]) for stage in made["stages"]] == [88, 672, 416, 320, 160]
    assert made["gpu_days"] == pytest.approx(1656)
    assert made["published"] == {"v100_days": 1656, "a100_days": pytest.approx(1656 / 2.2)}
    assert made["cost"] is None


def test_a_faster_gpu_many_gpus_and_a_price(leaven):
    made = planned(leaven, "--times", 4, "--gpus", 8, "--price", 2.5)
    assert made["gpu_days"] == pytest.approx(414)
    assert made["days"] == pytest.approx(414 / 8)
    assert made["cost"] == pytest.approx(414 * 24 * 2.5)


def test_days_of_own_stages_by_the_formula(leaven):
    made = planned(leaven, "--stage", "pixels=864x1000@10", "--stage", "my words = 86400X2@0.5")
    assert [stage["gpu_days"] for stage in made["stages"]] == pytest.approx([1, 4])
    assert [stage["name"] for stage in made["stages"]] == ["pixels", "my words"]
    assert made["images"] == 864_000 + 172_800


def test_rates_of_a_run_are_medians_without_the_first_note(leaven, measured):
    made = planned(leaven, "--run", measured, "--stage", "pixels=10x10", "--stage", "words=10x10")
    assert [stage["images_per_second"] for stage in made["stages"]] == [100, 50]
    assert made["rates_from"] == "as given, else by short on a fast one"


def test_a_given_rate_is_taken_before_a_measured_one(leaven, measured):
    made = planned(leaven, "--run", measured, "--stage", "pixels=10x10@7")
    assert made["stages"][0]["images_per_second"] == 7


def test_words_for_people(leaven):
    said = leaven("plan", "--gpus", 2, "--price", 1)
    assert said.exit_code == 0
    assert "1,656.0 GPU-days" in said.stdout
    assert "828.0 days on 2 GPUs" in said.stdout
    assert "39,744 at 1 per GPU and hour" in said.stdout


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--stage", "pixels"], "'pixels' cannot be read"),
        (["--stage", "=3x4@1"], "cannot be read"),
        (["--stage", "a=3x4"], "'a' has no rate"),
        (["--stage", "a=3x4@1.2.3"], "'a' has no rate"),
        (["--stage", "a=0x4@1"], "0 steps"),
        (["--stage", "a=3x4@0"], "0.0 pictures per second"),
        (["--stage", "a=3x4@1", "--times", 2], "both given"),
        (["--times", 0], "--times is 0"),
        (["--times", "nan"], "--times is nan"),
        (["--run", "nowhere"], "no stage"),
        (["--run", "nowhere", "--stage", "a=3x4"], "no metrics"),
        (["--page", "."], "cannot be written"),
    ],
)
def test_bad_input_is_said(refused, tmp_path, monkeypatch, arguments, found):
    monkeypatch.chdir(tmp_path)
    assert found in " ".join(refused("plan", *arguments).split())


def test_a_stage_that_was_not_timed_is_told_which_were(refused, measured):
    said = " ".join(refused("plan", "--run", measured, "--stage", "finer=3x4").split())
    assert "pixels (100.0), words (50.0)" in said


def test_a_run_without_rates_is_refused(refused, measured):
    (measured / "metrics.jsonl").write_text('{"step": 1, "accuracy": 0.5}\n[]\n')
    assert "has noted no rate" in refused("plan", "--run", measured, "--stage", "a=3x4")


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
def test_the_page_computes_again_what_is_changed(leaven, tmp_path):
    from playwright.sync_api import sync_playwright

    hostile = "<script>document.title='pwned'</script>"
    page = tmp_path / "plan.html"
    result = leaven(
        "plan", "--stage", "pixels=864x1000@10", "--stage", f"{hostile}=864x2000@10",
        "--price", 2, "--page", page,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            seen, said = browser.new_page(), []
            seen.on("console", lambda message: said.append(message.text))
            seen.on("pageerror", lambda error: said.append(str(error)))
            seen.goto(page.as_uri())

            def figures():
                return [seen.locator(f"[data-sum={name}]").first.inner_text()
                        for name in ("days", "wall", "cost")]  # fmt: skip

            assert figures() == ["3", "3", "144"]
            seen.fill("#gpus", "2")
            seen.locator("#stages tr").first.locator("input").nth(3).fill("5")
            assert figures() == ["4", "2", "192"]
            seen.click("#add")
            assert figures() == ["4", "2", "192"]
            seen.locator("button.remove").nth(1).click()
            assert figures() == ["2", "1", "96"]
            assert seen.title() == "What the training costs · leaven"
            assert said == []
        finally:
            browser.close()
