from leaven.quality.caption_findings import caption_findings


def codes(texts, cut=None, raw=None):
    found = caption_findings(texts, cut or [False] * len(texts), raw)
    return {one.code: one.level for one in found}


GOOD = [f"a dog number {number} in a house with {number} trees" for number in range(100)]


def test_good_captions_have_no_findings() -> None:
    assert codes(GOOD) == {}
    assert codes([]) == {}


def test_empty_captions() -> None:
    assert codes([*GOOD, " "]) == {"empty-captions": "info"}
    assert codes([*GOOD, *[""] * 5]) == {"empty-captions": "warning"}
    assert codes(["", ""]) == {"empty-captions": "error"}


def test_one_caption_for_many_pictures() -> None:
    assert codes([*GOOD, *["a dog"] * 5]) == {}
    assert codes([*GOOD, *["a dog"] * 3, "A  dog", *["a dog"] * 4]) == {
        "repeated-captions": "warning"
    }
    assert codes([*GOOD[:3], *["a dog"] * 5]) == {"repeated-captions": "error"}
    # Two pictures of two are few.
    assert codes(["a dog", "a dog"]) == {}


def test_cut_captions() -> None:
    assert codes(GOOD, [True] * 5 + [False] * 95) == {"cut-captions": "info"}
    assert codes(GOOD, [True] * 6 + [False] * 94) == {"cut-captions": "warning"}


def test_loops() -> None:
    assert codes(["a dog and a cat and a bird and a fish and so on", GOOD[0]]) == {}
    assert codes(["a dog " + "very " * 5 + "old", GOOD[0]]) == {"looping-captions": "warning"}
    assert codes(["a dog " + "very " * 4 + "old", GOOD[0]]) == {}
    assert codes(["on the left of " * 5, GOOD[0]]) == {"looping-captions": "warning"}
    assert codes(["on the left of " * 4, GOOD[0]]) == {}


def test_copies_of_the_raw_caption() -> None:
    raw = [text.upper() for text in GOOD[:60]] + [""] * 40
    assert codes(GOOD, raw=raw) == {"copied-captions": "warning"}
    assert codes(GOOD, raw=[*GOOD[:30], *["a"] * 30, *[""] * 40]) == {}


def test_the_worst_comes_first() -> None:
    texts = [*GOOD[:9], "", *["a dog"] * 20]
    found = caption_findings(texts, [True] + [False] * 29)
    assert [one.level for one in found] == ["error", "warning", "info"]
    assert "20 of 30" in found[0].text
