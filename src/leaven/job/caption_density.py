"""Which of several sources of captions names most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from leaven.data.readers.captioned import read_captioned
from leaven.job.caption_folder import JOURNAL, SUMMARY, WRITTEN, CaptionJournal
from leaven.labels.store import LabelStore
from leaven.quality.concept_density import ConceptDensity, concept_density, ranked, tagged_nouns


def rank_sources(
    sources: Sequence[str], raw_column: str | None = None, more_than: int = 10
) -> list[tuple[str, ConceptDensity]]:
    """The concept density of captions that are there, the best source first; see ``ranked``.

    Args:
        sources: data with captions, or folders of ``leaven caption``, whose written ones are taken.

    Raises:
        DataError: a source has no captions.
    """
    tagged_nouns("a word")
    found: dict[str, ConceptDensity] = {}
    for source in sources:
        path = Path(source)
        if (path / "labels").is_dir() and (path / SUMMARY).is_file():
            texts = _written_before(path)
        else:
            texts = list(read_captioned(path, None, raw_column).said.texts)
        found[source] = concept_density(texts, more_than=more_than)
    return ranked(found)


def _written_before(folder: Path) -> list[str]:
    """The captions that an earlier job wrote for the pictures that it could read."""
    journal = CaptionJournal(folder / JOURNAL)
    journal.read()
    unreadable = {item for item, entry in journal.entries.items() if entry.unreadable}
    said = LabelStore(folder / "labels").read_captions(WRITTEN)
    pairs = zip(said.names, said.labels.texts, strict=True)
    return [text for item, text in pairs if item not in unreadable]
