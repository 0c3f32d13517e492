import io

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from leaven.draws import Draws
from leaven.labels import ClassLabels, Source
from leaven.quality.acquisition import UNCERTAINTY, Pool, choose_auto
from leaven.report.gallery import LARGEST_SIDE, choose_accepted, choose_doubtful, write_gallery


def labelled(n=200, num_classes=4, threshold=0.6, people=10, seed=0):
    generator = torch.Generator().manual_seed(seed)
    probs = (torch.randn(n, num_classes, generator=generator) * 2).softmax(1)
    labels = ClassLabels.from_probs(probs, (probs.max(1).values > threshold).float())
    labels.source[:people] = int(Source.PERSON)
    return labels


def test_accepted_are_of_the_model_and_wrong_at_the_true_rate():
    labels = labelled()
    mine = labels.accepted & (labels.source != int(Source.PERSON))
    truth = labels.classes.clone()
    wrong = mine.nonzero().squeeze(1)[::4]
    truth[wrong] = (truth[wrong] + 1) % 4
    chosen = choose_accepted(labels, truth, 24)
    share = len(wrong) / int(mine.sum())
    assert len(chosen.unique()) == 24
    assert mine[chosen].all()
    assert int((truth[chosen] != labels.classes[chosen]).sum()) == round(24 * share)


def test_accepted_are_spread_over_classes_and_confidence():
    labels = labelled(people=0)
    chosen = choose_accepted(labels, torch.full((200,), -1), 24)
    everything = (
        torch.bincount(labels.classes[labels.accepted], minlength=4) / labels.accepted.sum()
    )
    shown = torch.bincount(labels.classes[chosen], minlength=4) / 24
    assert (shown - everything).abs().max() < 0.06
    confidence = labels.confidence[chosen]
    assert confidence.min() < 0.7 and confidence.max() > 0.95


def test_doubtful_are_not_accepted_ones_first_by_margin():
    labels = labelled()
    chosen = choose_doubtful(labels, 30)
    top = labels.probs.topk(2, dim=1).values
    margin = top[:, 0] - top[:, 1]
    accepted = labels.accepted[chosen].tolist()
    assert accepted == sorted(accepted)
    outside = [i for i in chosen.tolist() if not labels.accepted[i]]
    assert margin[outside].tolist() == sorted(margin[outside].tolist())
    assert (chosen >= 10).all()
    assert len(choose_doubtful(labels, 1000)) == 190


def test_fewer_items_than_wanted():
    labels = labelled(n=5, people=2)
    truth = torch.full((5,), -1)
    assert len(choose_accepted(labels, truth, 24)) <= 3
    nobody = labels.with_weight(torch.zeros(5))
    assert len(choose_accepted(nobody, truth, 24)) == 0
    assert sorted(choose_doubtful(nobody, 24).tolist()) == [2, 3, 4]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_written_rows_hold_pictures_and_names(tmp_path, channels):
    labels = labelled(n=40, people=4)
    images = torch.randint(0, 256, (40, channels, 9, 7)).to(torch.uint8)
    truth = labels.classes.clone()
    truth[20:] = -1
    names = [f"{i}.png" for i in range(40)]
    path = write_gallery(
        tmp_path / "gallery.parquet",
        lambda i: images[i],
        names,
        list("abcd"),
        labels,
        truth,
        None,
        6,
    )
    rows = pq.read_table(path).to_pylist()
    assert {row["kind"] for row in rows} == {"accepted", "doubtful", "next"}
    assert sum(row["kind"] == "next" for row in rows) == 6
    for row in rows:
        item = int(row["item"].removesuffix(".png"))
        assert item >= 4
        assert row["class"] == "abcd"[labels.classes[item]]
        assert row["truth"] == (None if item >= 20 else "abcd"[truth[item]])
        assert (row["score"] is None) == (row["kind"] != "next")
        picture = Image.open(io.BytesIO(row["png"]))
        assert picture.size == (7, 9)
        shown = torch.tensor(list(picture.tobytes())).view(9, 7, -1).permute(2, 0, 1)
        assert torch.equal(shown, images[item][: len(shown)].long())


def test_large_pictures_are_shrunk_and_labels_without_probs_have_no_next(tmp_path):
    labels = labelled(n=8, people=0)
    labels = ClassLabels(labels.classes, labels.confidence, labels.weight, labels.source)
    images = torch.zeros(8, 3, 400, 200, dtype=torch.uint8)
    path = write_gallery(
        tmp_path / "gallery.parquet",
        lambda i: images[i],
        list("ijklmnop"),
        list("abcd"),
        labels,
        None,
    )
    rows = pq.read_table(path).to_pylist()
    assert "next" not in {row["kind"] for row in rows}
    assert Image.open(io.BytesIO(rows[0]["png"])).size == (LARGEST_SIDE // 2, LARGEST_SIDE)


def test_an_item_without_a_class_shows_the_likeliest(tmp_path):
    probs = torch.tensor([[0.4, 0.6], [0.5, 0.5]])
    labels = ClassLabels(
        torch.tensor([-1, -1]),
        torch.tensor([0.6, 0.5]),
        torch.zeros(2),
        torch.zeros(2).long(),
        probs,
    )
    images = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
    path = write_gallery(
        tmp_path / "g.parquet", lambda i: images[i], "xy", ["a", "b"], labels, None
    )
    rows = {(row["kind"], row["item"]): row for row in pq.read_table(path).to_pylist()}
    assert rows["doubtful", "x"]["class"] == "b"


def test_next_items_are_typical_while_few_are_labelled(tmp_path):
    labels = labelled(n=40, people=0)
    images = torch.zeros(40, 1, 2, 2, dtype=torch.uint8)
    features = torch.randn(40, 5, generator=torch.Generator().manual_seed(3))

    def chosen(covered):
        path = write_gallery(
            tmp_path / "g.parquet",
            lambda i: images[i],
            [str(i) for i in range(40)],
            list("abcd"),
            labels,
            None,
            features,
            5,
            covered,
        )
        rows = pq.read_table(path).to_pylist()
        return [int(row["item"]) for row in rows if row["kind"] == "next"]

    values = {name: unsure(labels.probs) for name, unsure in UNCERTAINTY.items()}
    for count in (3, 30):
        covered = torch.randn(count, 5, generator=torch.Generator().manual_seed(4))
        pool = Pool(values, labels.probs, features, covered, labelled=count, classes=4)
        name, (index, _) = choose_auto(pool, 5, Draws(0))
        assert count != 3 or name == "typical"
        assert chosen(covered) == index.tolist()
