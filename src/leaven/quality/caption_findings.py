"""What is wrong with written captions, in plain words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from leaven.quality.health import Finding, Level

ALIKE_SHARE = 0.05
"""Pictures with one and the same caption: more than this share is too many."""

ALIKE_LEAST = 3
"""And at least so many pictures."""

CUT_SHARE = 0.05
EMPTY_SHARE = 0.01
LOOP = 5
"""A phrase that stands so often one behind the other is a loop."""

LONGEST_PHRASE = 8
"""Words of such a phrase."""


def caption_findings(
    texts: Sequence[str], cut: Sequence[bool], raw: Sequence[str] | None = None
) -> list[Finding]:
    """What people should know about written captions, the worst first.

    Codes: ``empty-captions``, ``repeated-captions`` (one caption for many pictures),
    ``looping-captions`` (a phrase five times in a row), ``cut-captions`` (at the limit of tokens),
    ``copied-captions`` (most captions are the raw ones).

    Args:
        texts: n captions.
        cut: n, the captioner was stopped at its limit of tokens.
        raw: n captions that came with the pictures, empty where there is none; None for none.
    """
    count = len(texts)
    if not count:
        return []
    said = Counter(" ".join(text.lower().split()) for text in texts)
    empty = said.pop("", 0)
    found = [_empty(empty, count), _alike(said, count)]
    looping = sum(_loops(text) for text in texts)
    share = looping / count
    if share > EMPTY_SHARE:
        found.append(
            _finding(
                "warning",
                "looping-captions",
                f"{looping} of {count} captions say a phrase {LOOP} times in a row or more often: the "
                "captioner does not find an end. Raise the temperature, lower the limit of tokens, "
                "or use another captioner.",
            )
        )
    found += [_cut(sum(cut), count), _copied(texts, raw)]
    order = {"error": 0, "warning": 1, "info": 2}
    return sorted((one for one in found if one is not None), key=lambda one: order[one.level])


def _finding(level: Level, code: str, text: str) -> Finding:
    return Finding(level, code, text, step=0)


def _empty(empty: int, count: int) -> Finding | None:
    if not empty:
        return None
    if empty == count:
        return _finding(
            "error",
            "empty-captions",
            f"All {count} captions are empty: the captioner ends before its first word. Use a model "
            "that was trained to answer such prompts.",
        )
    level: Level = "warning" if empty > EMPTY_SHARE * count else "info"
    return _finding(
        level,
        "empty-captions",
        f"{empty} of {count} captions are empty; their pictures count as not labelled.",
    )


def _alike(said: Counter[str], count: int) -> Finding | None:
    if not said:
        return None
    text, times = said.most_common(1)[0]
    if times < ALIKE_LEAST or times <= ALIKE_SHARE * count:
        return None
    short = text if len(text) <= 120 else text[:120] + "..."
    return _finding(
        "error" if times > count / 2 else "warning",
        "repeated-captions",
        f"{times} of {count} pictures have the same caption ({short!r}), and there are {len(said)} "
        "different captions: either the pictures are alike, or the captioner does not see them. "
        "Look at the page, and try another captioner.",
    )


def _cut(cut: int, count: int) -> Finding | None:
    if not cut:
        return None
    level: Level = "warning" if cut > CUT_SHARE * count else "info"
    return _finding(
        level,
        "cut-captions",
        f"{cut} of {count} captions were cut at the limit of tokens and end in the middle. Give a "
        "larger --max-tokens, or a captioner that ends by itself.",
    )


def _copied(texts: Sequence[str], raw: Sequence[str] | None) -> Finding | None:
    pairs = [
        (" ".join(text.lower().split()), " ".join(given.lower().split()))
        for text, given in zip(texts, raw or [""] * len(texts), strict=True)
        if given
    ]
    copied = sum(text == given for text, given in pairs)
    if not pairs or copied <= len(pairs) / 2:
        return None
    return _finding(
        "warning",
        "copied-captions",
        f"{copied} of {len(pairs)} captions are what the raw caption says and nothing else: the "
        "captioner does not look. Leave the raw captions out with --no-raw, or use another one.",
    )


def _loops(text: str) -> bool:
    """Whether a phrase of up to ``LONGEST_PHRASE`` words stands ``LOOP`` times in a row."""
    words = text.lower().split()
    for length in range(1, LONGEST_PHRASE + 1):
        same = (words[place] == words[place - length] for place in range(length, len(words)))
        runs = (sum(1 for _ in run) for equal, run in groupby(same) if equal)
        if max(runs, default=0) >= (LOOP - 1) * length:
            return True
    return False
