import subprocess
import sys

import pytest

from leaven.errors import MissingExtraError
from leaven.quality.concept_density import ConceptDensity, concept_density, ranked, tagged_nouns


def test_the_figures_by_hand() -> None:
    captions = ["dog cat"] * 11 + ["dog"] + [""] + ["tree " * 10]
    found = concept_density(captions, nouns=str.split)
    assert found == ConceptDensity(pictures=14, empty=1, distinct=3, valid=2, total=33)
    assert found.per_picture == 33 / 14
    # Ten trees are not more than ten.
    assert found.valid_share == pytest.approx(2 / 3)
    assert concept_density(captions, nouns=str.split, more_than=9).valid == 3
    assert found.as_dict()["valid_share"] == 0.6667


def test_nothing_at_all() -> None:
    found = concept_density([], nouns=str.split)
    assert (found.per_picture, found.valid_share) == (0.0, 0.0)
    assert concept_density(["", " "], nouns=str.split).empty == 2


def test_the_order_of_sources_is_that_of_the_paper() -> None:
    # Millions of nouns and pictures of four sources, as published.
    web = ConceptDensity(11_250, 0, 2461, 210, 72_000)
    web_dense = ConceptDensity(11_191, 0, 646, 85, 233_900)
    sam_dense = ConceptDensity(11_191, 0, 124, 23, 327_900)
    aesthetic = ConceptDensity(11_197, 0, 582, 152, 136_600)
    sources = {"web": web, "aesthetic": aesthetic, "sam": sam_dense, "web, dense": web_dense}
    assert [name for name, _ in ranked(sources)] == ["sam", "web, dense", "aesthetic", "web"]
    assert round(web.valid_share, 3) == 0.085
    assert round(aesthetic.valid_share, 3) == 0.261


def test_ties_go_by_the_valid_share() -> None:
    one, other = ConceptDensity(10, 0, 10, 1, 20), ConceptDensity(10, 0, 10, 5, 20)
    assert [name for name, _ in ranked({"one": one, "other": other})] == ["other", "one"]


@pytest.mark.parametrize(
    ("caption", "nouns"),
    [
        ("A man in a red jacket sits on two horses.", ["man", "jacket", "horses"]),
        ("a photo of running shoes on the street", ["photo", "shoes", "street"]),
        ("the quickly running of", []),
        ("", []),
        ("a three left of a seven, a seven above a two", ["three", "seven", "seven", "two"]),
        ("a two story house with three dogs", ["story", "house", "dogs"]),
        ("a dog, 4 cats - and 77 in 4k.", ["dog", "cats"]),
    ],
)
def test_tagged_nouns(caption: str, nouns: list[str]) -> None:
    assert tagged_nouns(caption) == nouns


def test_a_long_caption_is_tagged_to_its_limit() -> None:
    assert len(tagged_nouns("dog, " * 40_000)) == 4000


def test_nothing_is_unpickled() -> None:
    """The tagger, in a process of its own: here its lexicon may be there already."""
    script = """
import pickle
def refuse(*_, **__):
    raise SystemExit("something is unpickled")
pickle.load = pickle.loads = refuse
from textblob.en import tag
print([word for word, kind in tag("a dog") if kind == "NN"])
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.stdout == "['dog']\n", ran.stderr


def test_without_the_tagger(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["leaven.quality.concept_density"]

    module._tagger.cache_clear()
    monkeypatch.setitem(sys.modules, "textblob.en", None)
    with pytest.raises(MissingExtraError, match="textblob"):
        tagged_nouns("a dog")
