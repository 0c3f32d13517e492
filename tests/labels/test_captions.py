import pytest
import torch

from leaven.labels import Captions, LabelStore, Source
from leaven.labels.caption_table import CaptionRound


def test_an_empty_caption_says_nothing() -> None:
    said = Captions.of(["a three", "", "an eight"])
    assert said.known.tolist() == [True, False, True]
    assert said.source.tolist() == [Source.PERSON, Source.NOBODY, Source.PERSON]
    assert not Captions.nothing(2).known.any()


def test_rows_are_taken_in_order() -> None:
    said = Captions.of(["a", "b", "c"], Source.MODEL)
    assert said[torch.tensor([2, 0, 2])] == ["c", "a", "c"]
    assert said.select(torch.tensor([1])).texts == ("b",)
    assert len(said.select(torch.tensor([], dtype=torch.int64))) == 0


def test_as_many_sources_as_texts() -> None:
    with pytest.raises(ValueError, match="2 captions, 1 sources"):
        Captions(("a", "b"), torch.tensor([1]))


def test_the_store_gives_back_what_it_was_given(tmp_path) -> None:
    store = LabelStore(tmp_path)
    texts = ["<b>a three</b>\n\x1b[31m", "", "ein Häuschen 🏠"]
    said = Captions.of(texts, Source.MODEL)
    written = CaptionRound(["x", "y", "z"], said, ["raw", "", ""], ["blip", "", "blip"])
    store.write_captions(0, written)
    found = store.read_captions()
    assert found.labels.texts == tuple(texts)
    assert torch.equal(found.labels.source, said.source)
    assert (found.names, found.raw, found.by) == (written.names, written.raw, written.by)


def test_as_many_names_as_captions(tmp_path) -> None:
    with pytest.raises(ValueError, match="1 captions with 2 names"):
        LabelStore(tmp_path).write_captions(
            0, CaptionRound(["x", "y"], Captions.of(["a"]), [""], [""])
        )
