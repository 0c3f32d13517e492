"""What a reader of pictures with captions found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leaven.data.sources import SourceList
from leaven.labels.described import Described

LONGEST = 10_000
"""Letters of a caption that are kept: more than any encoder of captions takes."""


@dataclass(frozen=True)
class CaptionedListing:
    """Pictures that were found and not yet decoded, with what is said of them.

    Attributes:
        name: what the data are called.
        sources: where the n pictures are.
        names: n stable identifiers.
        splits: n of "train", "val", "test".
        said: n captions, with classes and marks where there are some.
        classes: the class names in the order of their indices; none where there are no classes.
        notes: what people should know.
    """

    name: str
    sources: SourceList
    names: Sequence[str]
    splits: Sequence[str]
    said: Described
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        counts = {len(self.names), len(self.sources), len(self.splits), len(self.said)}
        if len(counts) > 1:
            raise ValueError(f"names, sources, splits and captions differ in length: {counts}")


def tidy(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """The captions on one line without blanks at their ends, at most ``LONGEST`` letters of each;
    and a note about those that were longer."""
    joined = [" ".join(text.split()) for text in texts]
    long = sum(len(text) > LONGEST for text in joined)
    notes = []
    if long:
        were = "caption is" if long == 1 else "captions are"
        notes.append(f"{long} {were} longer than {LONGEST:,} letters and cut there.")
    return [text[:LONGEST] for text in joined], notes
