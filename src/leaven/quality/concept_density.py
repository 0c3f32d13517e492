"""How many things captions name: by it data sources for text and pictures are ranked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache

from leaven.errors import MissingExtraError

Nouns = Callable[[str], list[str]]
"""From a caption to its nouns in small letters, as often as they occur."""

MORE_THAN = 10
"""A noun is valid when it was seen more often than this."""

LONGEST = 20_000
"""Letters of a caption that are tagged."""

_ARTICLES = frozenset({"a", "an", "another"})


@dataclass(frozen=True, slots=True)
class ConceptDensity:
    """What the captions of a source name.

    Attributes:
        pictures: how many captions were looked at, one per picture; empty ones count.
        empty: how many say nothing.
        distinct: DN, different nouns.
        valid: VN, those of them that were seen more than ``MORE_THAN`` times.
        total: all nouns.
    """

    pictures: int
    empty: int
    distinct: int
    valid: int
    total: int

    @property
    def per_picture(self) -> float:
        """Nouns per picture; 0 where there is no picture."""
        return self.total / self.pictures if self.pictures else 0.0

    @property
    def valid_share(self) -> float:
        """VN/DN in [0, 1]; 0 where there is no noun."""
        return self.valid / self.distinct if self.distinct else 0.0

    def as_dict(self) -> dict[str, float]:
        """The counts with ``per_picture`` and ``valid_share``."""
        return {
            **asdict(self),
            "per_picture": round(self.per_picture, 4),
            "valid_share": round(self.valid_share, 4),
        }


def concept_density(
    captions: Iterable[str], *, nouns: Nouns | None = None, more_than: int = MORE_THAN
) -> ConceptDensity:
    """The concept density of captions, one per picture.

    ``DN = |{w}|``, ``VN = |{w : count(w) > more_than}|`` over the nouns ``w`` of all captions, in
    small letters and as they are written: ``horse`` and ``horses`` are two.

    Args:
        captions: of n pictures; an empty one is a picture of which nothing is said.
        nouns: finds the nouns of a caption; ``tagged_nouns`` when None.
        more_than: see VN; 10 for data of millions, fewer for small ones.

    Source: Chen et al., PixArt-alpha, ICLR 2024. Used by: 001.
    """
    find = tagged_nouns if nouns is None else nouns
    seen: Counter[str] = Counter()
    pictures = empty = 0
    for caption in captions:
        pictures += 1
        empty += not caption.strip()
        seen.update(find(caption))
    return ConceptDensity(
        pictures,
        empty,
        distinct=len(seen),
        valid=sum(count > more_than for count in seen.values()),
        total=seen.total(),
    )


def ranked(sources: Mapping[str, ConceptDensity]) -> list[tuple[str, ConceptDensity]]:
    """Data sources from the one that says most of its pictures to the one that says least.

    By nouns per picture, then by VN/DN. So the paper chose: captions of SAM pictures have 29.3
    nouns per picture and VN/DN 18.6 %, those of an aesthetic set 12.2 and 26.1 %, and alignment
    was learnt from the first.
    """
    return sorted(
        sources.items(), key=lambda one: (-one[1].per_picture, -one[1].valid_share, one[0])
    )


def tagged_nouns(caption: str) -> list[str]:
    """The nouns of an English caption by TextBlob's tagger, in small letters.

    Its lexicon and rules are text files of the package. Proper names count; what does
    not begin with a letter does not. A number in words behind an article and before no noun is a noun: ``a three left of a
    seven`` has two, ``a two story house`` has ``story`` and ``house``.

    Raises:
        MissingExtraError: without TextBlob.
    """
    words = _tagger()(caption[:LONGEST])
    found = []
    for place, (word, tag) in enumerate(words):
        lower = word.lower()
        if not lower[:1].isalpha():
            continue
        if tag.startswith("NN") or (tag == "CD" and _stands_alone(words, place)):
            found.append(lower)
    return found


def _stands_alone(words: list[tuple[str, str]], place: int) -> bool:
    """Whether the number at ``place`` is what an article stands before."""
    after = words[place + 1][1] if place + 1 < len(words) else ""
    article = place > 0 and words[place - 1][0].lower() in _ARTICLES
    return article and not after.startswith(("NN", "JJ", "CD"))


@cache
def _tagger() -> Callable[[str], list[tuple[str, str]]]:
    try:
        from textblob.en import tag
    except ImportError as error:
        raise MissingExtraError("textblob", "captions", "counting nouns") from error
    return lambda caption: tag(caption) if caption.strip() else []
