"""Dense captions from a captioner: how it is asked, and what it is shown."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from PIL import Image

from leaven.models.captioners import Captioner, Written

LONGEST, SHORTEST = 800, 400
"""The most pixels of the longest and of the shortest edge that a captioner is shown."""


def caption_prompt(raw: str = "") -> str:
    """What a captioner is asked: to describe a picture, with the help of a raw caption or without.

    Source: Chen et al., PixArt-alpha, ICLR 2024, which asks in the same two ways. Used by: 001.
    """
    if raw:
        return (
            f"Somebody wrote of this picture: {raw}\nWith that in mind, and correcting it where the "
            "picture shows otherwise, describe the picture in great detail."
        )
    return "Describe this picture and its style in great detail."


def shown_size(height: int, width: int) -> tuple[int, int]:
    """The size at which a captioner sees a picture, its aspect kept, as height and width.

    ``short = min(800 * s / l, 400, s)`` and ``long = short * l / s`` for edges ``s <= l``, in whole
    pixels rounded down, at least 1: the longest edge is at most 800, the shortest at most 400, and
    nothing is enlarged.

    Source: Chen et al., PixArt-alpha, ICLR 2024. Used by: 001.
    """
    shortest, longest = min(height, width), max(height, width)
    # In whole numbers, so that 800 comes out as 800.
    if LONGEST * shortest <= min(SHORTEST, shortest) * longest:
        short, long = max(1, LONGEST * shortest // longest), min(longest, LONGEST)
    else:
        short = min(SHORTEST, shortest)
        long = short * longest // shortest
    return (short, long) if height <= width else (long, short)


def shown(picture: Image.Image) -> Image.Image:
    """The picture in RGB as a captioner sees it; see ``shown_size``."""
    height, width = shown_size(picture.height, picture.width)
    picture = picture.convert("RGB")
    if (width, height) == picture.size:
        return picture
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def item_seed(seed: int, name: str) -> int:
    """The seed of an item's draws: the same in every process and batch, another for each name."""
    digest = hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def write_captions(
    captioner: Captioner,
    pictures: Sequence[Image.Image],
    names: Sequence[str],
    raw: Sequence[str] | None = None,
    seed: int = 0,
) -> list[Written]:
    """A dense caption of each picture.

    Args:
        captioner: see ``leaven.models.captioners.load_captioner``.
        pictures: n pictures of any sizes.
        names: n stable item names; with ``seed`` they say what is drawn, so that the caption of an
            item does not depend on the others.
        raw: n captions that came with the pictures, empty where there is none; None for none.
        seed: of all draws.

    Source: Chen et al., PixArt-alpha, ICLR 2024. Used by: 001.
    """
    return captioner.write(
        [shown(picture) for picture in pictures],
        [""] * len(pictures) if raw is None else raw,
        [item_seed(seed, name) for name in names],
        caption_prompt,
    )
