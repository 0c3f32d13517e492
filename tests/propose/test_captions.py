import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from leaven.models.captioners import Written
from leaven.propose.captions import caption_prompt, item_seed, shown, shown_size, write_captions


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        ((1000, 1000), (400, 400)),
        ((300, 200), (300, 200)),
        ((1200, 800), (600, 400)),
        ((800, 1600), (400, 800)),
        ((500, 5000), (80, 800)),
        ((5000, 500), (800, 80)),
        ((100, 900), (88, 800)),
        ((401, 401), (400, 400)),
        ((1, 100_000), (1, 800)),
        ((1, 1), (1, 1)),
    ],
)
def test_what_is_shown(size: tuple[int, int], seen: tuple[int, int]) -> None:
    assert shown_size(*size) == seen


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_the_rule_of_the_edges(height: int, width: int) -> None:
    seen = shown_size(height, width)
    assert max(seen) <= 800
    assert min(seen) <= min(400, height, width)
    assert seen[0] <= height
    assert seen[1] <= width
    # As large as the rule allows, but for rounding down.
    short, long = sorted((height, width))
    assert min(seen) in (max(1, int(min(800 * short / long, 400, short) + 1e-9)), 1)
    assert abs(max(seen) - min(800, min(seen) * long / short)) <= long / short + 1


def test_a_picture_is_shown_in_colour() -> None:
    seen = shown(Image.new("L", (1000, 500)))
    assert (seen.mode, seen.size) == ("RGB", (800, 400))


def test_the_two_prompts() -> None:
    without, given_one = caption_prompt(), caption_prompt("a red dog")
    assert "a red dog" in given_one
    assert "a red dog" not in without
    assert "detail" in without
    assert "detail" in given_one
    assert caption_prompt("") == without


def test_seeds_belong_to_items() -> None:
    seeds = {item_seed(seed, name) for seed in range(3) for name in ("a", "b", "\ud800")}
    assert len(seeds) == 9
    assert item_seed(0, "a") == item_seed(0, "a")
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_what_a_captioner_is_given() -> None:
    seen = {}

    class Fake:
        def write(self, pictures, raw, seeds, instruct):
            seen.update(sizes=[p.size for p in pictures], raw=raw, seeds=seeds, ask=instruct("x"))
            return [Written("a dog", 2, False, False) for _ in pictures]

    pictures = [Image.new("RGB", (900, 900)), Image.new("L", (20, 10))]
    written = write_captions(Fake(), pictures, ["a", "b"], ["x", ""], seed=3)
    assert [one.text for one in written] == ["a dog", "a dog"]
    assert seen["sizes"] == [(400, 400), (20, 10)]
    assert seen["seeds"] == [item_seed(3, "a"), item_seed(3, "b")]
    assert seen["ask"] == caption_prompt("x")
    write_captions(Fake(), pictures, ["a", "b"])
    assert seen["raw"] == ["", ""]
