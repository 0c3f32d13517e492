"""The index, its orders and lists; boxes and masks; thumbnails."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco
from tests.review.conftest import digit_labels, write_config

from leaven.errors import DataError, RunError
from leaven.labels import BoxLabels, Captions, ClassLabels, LabelStore, Source
from leaven.labels.caption_table import CaptionRound
from leaven.labels.correction_fields import encoded
from leaven.labels.corrections import CorrectionLog
from leaven.labels.pixel_table import PicturePixels
from leaven.labels.pixels import VOID
from leaven.review.items import Members, Status, class_doubt, open_index
from leaven.review.lists import Lists, Wanted
from leaven.review.ranking import Ranking, unmatched
from leaven.review.things import accepted_things, said_things
from leaven.review.thumbnails import LARGEST, SIDE, Thumbnails, large, media_type, thumbnail
from leaven.review.verdicts import Verdicts

MANY = 100_000


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A run of 100,000 items in two rounds, and its arrays."""
    run = tmp_path_factory.mktemp("many")
    write_config(run, data="digits")
    draws = np.random.default_rng(0)
    probs = draws.dirichlet(np.full(6, 0.5), MANY).astype(np.float32)
    before = draws.dirichlet(np.full(6, 0.5), MANY).astype(np.float32)
    names = [f"part-{k % 97:02d}/{k:06d}.JPG" for k in range(MANY)]
    store = LabelStore(run / "labels")
    weight = torch.from_numpy((probs.max(1) > 0.6).astype(np.float32))
    classes = list("abcdef")
    store.write(
        0, names[::-1], ClassLabels.from_probs(torch.from_numpy(before[::-1].copy())), classes
    )
    store.write(1, names, ClassLabels.from_probs(torch.from_numpy(probs), weight), classes)
    index = open_index(run)
    return index, Lists(index, Ranking(index)), probs, before, names


def listed(lists, **wanted):
    return lists.items(Wanted(**wanted), Verdicts)


def test_many_items_are_in_the_right_order(many):
    index, lists, probs, before, names = many
    top = np.sort(probs, 1)
    doubt = 1 - (top[:, -1] - top[:, -2])
    np.testing.assert_allclose(index.doubt, doubt, atol=1e-6)
    found = listed(lists)
    assert sorted(found) == list(range(MANY))
    assert (np.diff(index.doubt[found]) <= 0).all()
    change = np.abs(probs - before).sum(1) / 2  # The rounds were written in different orders.
    assert (np.diff(change[listed(lists, sort="change")]) <= 1e-5).all()
    assert (np.diff(index.confidence[listed(lists, sort="confidence")]) >= 0).all()
    by_class = listed(lists, sort="class")
    assert (np.diff(index.label[by_class]) >= 0).all()
    first = by_class[index.label[by_class] == 0]
    assert (np.diff(index.doubt[first]) <= 0).all()
    by_name = listed(lists, sort="name")
    assert [names[k] for k in by_name[:2000]] == sorted(names)[:2000]
    differs = probs.argmax(1) != before.argmax(1)
    expected = np.where(differs, probs.max(1), 0)
    assert (np.diff(expected[listed(lists, sort="disagreement")]) <= 1e-6).all()


def test_many_items_are_filtered_as_one_by_one(many):
    index, lists, probs, _, names = many
    accepted = probs.max(1) > 0.6
    wanted = {
        "status": (Status.NEEDS,), "label": 2, "low": 0.3, "high": 0.5, "search": "PART-1", "reverse": True,
    }  # fmt: skip
    found = listed(lists, **wanted)
    sure = index.confidence
    slow = [
        k for k in range(MANY)
        if not accepted[k] and probs[k].argmax() == 2 and 0.3 <= sure[k] <= 0.5 and "part-1" in names[k]
    ]  # fmt: skip
    assert len(found) > 100 and sorted(found) == slow
    assert (np.diff(index.doubt[found]) >= 0).all()
    assert len(listed(lists, search="%")) == len(listed(lists, search=".*")) == 0


def test_many_items_are_paged_whole(many):
    from leaven.review.routes import MOST_ITEMS

    _, lists, *_ = many
    wanted = Wanted(sort="gain", round=1)
    assert Wanted.of_cursor(wanted.cursor()) == wanted
    pages = [
        lists.items(wanted, Verdicts)[start : start + MOST_ITEMS]
        for start in range(0, MANY, MOST_ITEMS)
    ]
    assert np.array_equal(np.sort(np.concatenate(pages)), np.arange(MANY))


def test_the_first_by_gain_are_unlike_each_other():
    """Copies of one doubtful item do not come one after the other."""
    probs = torch.tensor(
        [[0.5, 0.5, 0.0]] * 20 + [[0.0, 0.48, 0.52]] * 3 + [[0.9, 0.05, 0.05]] * 20
    )
    from types import SimpleNamespace

    labels = ClassLabels.from_probs(probs)
    index = SimpleNamespace(
        task="classification", content=labels, doubt=class_doubt(labels), earlier=None,
        label=labels.classes.numpy(),
    )  # fmt: skip
    ranking = Ranking(index)
    by_doubt, by_gain = ranking.order("doubt")[:2], ranking.order("gain")[:2]
    assert all(k < 20 for k in by_doubt)
    assert len({k < 20 for k in by_gain}) == 2


def test_doubt_of_classes():
    probs = torch.tensor([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0], [float("nan")] * 3])
    labels = ClassLabels(
        torch.tensor([0, 0, 0]),
        probs[:, 0],
        torch.ones(3),
        torch.full((3,), int(Source.MODEL)),
        probs,
    )
    assert class_doubt(labels).tolist() == pytest.approx([0.8, 0.0, 1.0])
    unsure = ClassLabels(
        torch.tensor([1, -1]), torch.tensor([0.7, 0.9]), torch.ones(2), torch.ones(2).long()
    )
    assert class_doubt(unsure).tolist() == pytest.approx([0.3, 1.0])


def test_given_labels_that_are_not_believed_come_first(runs):
    index = open_index(runs["classes"])
    given = np.full(len(index), -1)
    given[[30, 31, 40]] = index.label[[30, 31, 40]]
    given[31] = (given[31] + 1) % 10
    ranking = Ranking(index, given)
    assert ranking.order("disagreement")[0] == 31
    sure, other = index.content.probs[31, index.label[31]], index.content.probs[31, given[31]]
    assert ranking.key("disagreement")[31] == pytest.approx(float(1 + sure - other))


def test_the_given_class_is_read_where_it_was_not_hidden(tmp_path):
    from tests.review.conftest import Client, named_run

    names = [f"{k}.png" for k in range(6)]
    run = named_run(tmp_path, names, ["x", "y"])
    believed = open_index(run).label
    other = ["y" if label == 0 else "x" for label in believed]
    (tmp_path / "labels.csv").write_text(
        f"file,label\n0.png,{other[0]}\n1.png,{'xy'[believed[1]]}\n"
    )
    page = Client(run)
    listed = page.json("api/items", sort="disagreement")["items"]
    assert listed[0]["number"] == 0
    assert page.item(0)["given"] == 1 - believed[0] and page.item(2)["given"] == -1


def test_members():
    members = Members(np.array([0, 2, 2, 3]), np.array([4, 1, 4]))
    assert [members.of(k) for k in range(3)] == [[4, 1], [], [4]]
    assert members.having(4).tolist() == [True, False, True]
    assert members.having(1).tolist() == [True, False, False]
    assert members.having(-1).tolist() == [False, True, False]
    assert members.having(9).tolist() == [False, False, False]


def boxes(corners, classes, counts):
    rows = len(corners)
    return BoxLabels(
        torch.tensor(corners).float().reshape(-1, 4), torch.tensor(classes).long(), torch.ones(rows),
        torch.ones(rows), torch.full((rows,), 2), torch.tensor(counts), torch.ones(len(counts)).bool(),
        torch.zeros(rows).bool(),
    )  # fmt: skip


def test_boxes_without_a_counterpart():
    one = boxes([[0, 0, 10, 10], [20, 0, 30, 10], [0, 0, 4, 4]], [0, 1, 0], [2, 0, 1, 0])
    other = boxes([[0, 0, 10, 8], [20, 0, 30, 10], [5, 5, 9, 9]], [0, 0, 0], [2, 1, 0, 0])
    assert unmatched(one, other).tolist() == [0.5, 1.0, 1.0, 0.0]
    assert unmatched(one, one).tolist() == [0.0, 0.0, 0.0, 0.0]
    empty = boxes([], [], [0, 0, 0, 0])
    assert unmatched(empty, empty).tolist() == [0.0] * 4


def test_pixels_that_changed(runs):
    index = open_index(runs["pixels"])
    before = LabelStore(runs["pixels"] / "labels").read_pixels(0)
    change = Ranking(index).key("change")
    for item in range(len(index)):
        now, then = index.content.picture(item).classes, before.picture(item).classes
        assert change[item] == pytest.approx(float((now != then).float().mean()), abs=1e-6)
    assert change[:5].tolist() == [0] * 5 and change[5:].max() > 0


def test_pixels_of_which_nothing_is_said_in_both_rounds_did_not_change(tmp_path):
    write_config(tmp_path, data="scenes", task="segmentation")
    store, draws = LabelStore(tmp_path / "labels"), torch.Generator().manual_seed(0)
    rounds = [torch.randint(0, 3, (4, 20, 30), generator=draws) for _ in range(2)]
    for maps in rounds:
        maps[maps == 2] = VOID
    rounds[0][1] = rounds[1][1]
    rounds[0][2] = rounds[1][2] = VOID
    for number, maps in enumerate(rounds):
        pictures = [
            PicturePixels(f"p{row}", classes.byte(), torch.ones(20, 30), torch.ones(20, 30), 1)
            for row, classes in enumerate(maps)
        ]
        store.write_pixels(number, iter(pictures), ("road", "sky"))
    wanted = (rounds[0] != rounds[1]).flatten(1).float().mean(1)
    change = Ranking(open_index(tmp_path)).key("change")
    assert change.tolist() == pytest.approx(wanted.tolist(), abs=1e-6)
    assert change[1] == change[2] == 0


@pytest.mark.parametrize("task", ["translation", "text-to-image"])
def test_a_run_that_makes_pictures_has_no_labels_to_look_at(tmp_path, task):
    write_config(tmp_path, data="scenes", task=task)
    said = CaptionRound(["a"], Captions.of(["a dog"]), [""], [""])
    LabelStore(tmp_path / "labels").write_captions(0, said)
    with pytest.raises(RunError, match="makes pictures"):
        open_index(tmp_path)


def test_the_largest_class_of_a_map(runs):
    index = open_index(runs["pixels"])
    for item in range(len(index)):
        counts = torch.bincount(index.content.picture(item).classes.flatten().long())
        assert index.label[item] == int(counts.argmax())


@pytest.mark.parametrize("kind", ["boxes", "masks", "pixels"])
def test_places_are_given_accepted_or_need_a_person(runs, kind):
    index = open_index(runs[kind])
    assert set(index.status[:5]) == {Status.GIVEN}
    assert (index.doubt[:5] == 0).all() and index.doubt[5:].max() > 0
    assert {Status.ACCEPTED, Status.NEEDS} == set(index.status[5:])


def test_a_damaged_round_is_passed_over(copied):
    run = copied("classes")
    path = run / "labels/round-001.parquet"
    path.write_bytes(path.read_bytes()[:2000])
    assert open_index(run).number == 0


def test_verdicts_follow_the_log(tmp_path):
    log = CorrectionLog(tmp_path / "corrections.jsonl")
    log.append("a", "accept", label="x")
    log.append("a", "skip")
    log.append("b", "skip")
    log.append("a", "undo", undoes=1)
    verdicts = Verdicts(log.read(3))
    assert verdicts.of("a").evidence.id == 1 and verdicts.of("a").status is Status.CORRECTED
    verdicts.add(log.read()[3:])
    assert verdicts.of("a").evidence is None and verdicts.of("a").status is Status.SKIPPED
    assert verdicts.of("a").version == 4 and verdicts.last_id == 4
    assert verdicts.of("b").last.id == 3 and verdicts.of("c").version == 0
    standing = {name for name, verdict in verdicts.items() if verdict.evidence}
    assert standing == set(log.standing())


SHOWN = [
    {"box": [2.0, 3.0, 8.0, 9.0], "label": 0, "accepted": True, "crowd": False, "mask": None},
    {"box": [0.0, 0.0, 5.0, 5.0], "label": 1, "accepted": False, "crowd": False, "mask": None},
]


def with_mask():
    mask = torch.zeros(12, 16, dtype=torch.bool)
    mask[4:8, 3:7] = True
    mask[4, 3] = False
    return mask, [{**SHOWN[0], "mask": encoded(mask)}]


def test_masks_go_along_with_their_boxes():
    mask, shown = with_mask()

    def of(box):
        (said,) = said_things([{"box": box, "class": "a", "from": 0}], shown, ["a"], (12, 16))
        return None if said["mask"] is None else torch.from_numpy(coco.decode(said["mask"])).bool()

    assert torch.equal(of([2, 3, 8, 9]), mask)
    moved = torch.zeros_like(mask)
    moved[5:9, 6:10] = mask[4:8, 3:7]
    assert torch.equal(of([5, 4, 11, 10]), moved)
    smaller = mask.clone()
    smaller[:, :5] = False
    assert torch.equal(of([5, 3, 8, 9]), smaller)
    assert torch.equal(of([0, 0, 16, 12]), mask)
    assert of([9, 3, 12, 9]) is None
    up = of([2, 0, 8, 6])
    assert torch.equal(up[1:5, 3:7], mask[4:8, 3:7]) and int(up.sum()) == int(mask.sum())


def test_a_hostile_mask_is_not_decoded():
    _, shown = with_mask()
    for counts in ("0" * 9, "~~~~", "", "`" * 50, "1" * 300):
        shown[0]["mask"] = {"size": [12, 16], "counts": counts}
        (said,) = said_things(
            [{"box": [3, 3, 9, 9], "class": "a", "from": 0}], shown, ["a"], (12, 16)
        )
        assert said["mask"] is None


def test_boxes_are_cut_at_the_rim_and_checked():
    def of(box, **more):
        one = {"box": box, "class": "a", "from": None, **more}
        return said_things([one], SHOWN, ["a", "b"], (10, 10))[0]["box"]

    assert of([-5, -5, 50, 4.5]) == [0, 0, 10, 4.5]
    for box, more in [
        ([4, 4, 4, 8], {}), ([8, 0, 2, 5], {}), ([20, 20, 30, 30], {}),
        ([0, 0, 5, 5], {"class": "c"}), ([0, 0, 5, 5], {"from": 2}), ([0, 0, 5, 5], {"from": -1}),
    ]:  # fmt: skip
        with pytest.raises(DataError):
            of(box, **more)
    assert accepted_things(SHOWN, ["a", "b"], (10, 10)) == [
        {"box": [2.0, 3.0, 8.0, 9.0], "class": "a", "mask": None}
    ]


def test_boxes_are_accepted_and_corrected(client):
    page = client("masks")
    number = next(
        item["number"] for item in page.json("api/items", status="accepted", count=99)["items"]
        if len(item["members"]) > 2
    )  # fmt: skip
    shown = page.item(number)["boxes"]
    kept = [place for place, thing in enumerate(shown) if thing["accepted"]]
    said = page.say(number, "accept")["item"]
    assert [thing["box"] for thing in said["boxes"]] == [shown[place]["box"] for place in kept]
    assert all(thing["person"] and thing["mask"] for thing in said["boxes"])
    wanted = [
        {"box": [1, 2, 30, 40], "class": "3", "from": None},
        {"box": said["boxes"][0]["box"], "class": "7", "from": 0},
    ]
    said = page.say(number, "relabel", said["version"], boxes=wanted)["item"]
    assert said["members"] == [3, 7] and said["boxes"][0]["box"] == [1, 2, 30, 40]
    assert said["boxes"][0]["mask"] is None and said["boxes"][1]["mask"] is not None
    assert page.json("api/items", label=3, search=said["name"])["total"] == 1
    assert page.json("api/items", label=-1, search=said["name"])["total"] == 0
    said = page.say(number, "relabel", said["version"], boxes=[])["item"]
    assert (
        said["boxes"] == [] and page.json("api/items", label=-1, search=said["name"])["total"] == 1
    )
    said = page.say(number, "undo", said["version"])["item"]
    assert said["members"] == [3, 7]
    standing = CorrectionLog(page.run).standing()[said["name"]]
    assert [box["class"] for box in standing.boxes] == ["3", "7"]
    for thumb in (False, True):
        answer = page.get(f"api/rounds/1/items/{number}/thumbnail", drawn=thumb)
        assert answer.status_code == 200


def test_boxes_that_mean_nothing_are_refused(client):
    page = client("boxes")
    needs = page.json("api/items", status="needs")["items"][0]["number"]
    answer = page.post(needs, "accept")
    assert answer.status_code == 422 and "No box" in answer.json()["error"]["found"]
    right = {"box": [1, 2, 3, 4], "class": "1", "from": None}
    for change in (
        {"box": [1, 2, 3]}, {"box": [1, 2, 3, "4"]}, {"box": [3, 2, 1, 4]}, {"class": "nine"}, {"from": 99},
        {"mask": "x"}, {"box": [1, 2, 3, 1e30]}, {"box": [200, 200, 300, 300]},
    ):  # fmt: skip
        assert page.post(needs, "relabel", boxes=[{**right, **change}]).status_code == 422
    assert page.post(needs, "relabel").status_code == 422
    assert page.post(needs, "relabel", label="1", boxes=[right]).status_code == 422
    assert page.post(needs, "relabel", boxes=[right] * 10_001).status_code in (413, 422)
    assert CorrectionLog(page.run).read() == []
    assert page.say(needs, "reject")["item"]["status"] == "corrected"


def test_pixels_are_accepted_or_rejected_but_not_painted(client):
    page = client("pixels")
    item = page.item(7)
    assert item["size"] == [96, 96] and len(item["segments"]) == len(item["members"])
    total = sum(int(coco.area(segment["mask"])) for segment in item["segments"])
    assert total == 96 * 96
    assert page.say(7, "accept")["item"]["status"] == "corrected"
    assert page.say(8, "reject")["item"]["status"] == "corrected"
    for more in ({"label": "1"}, {"boxes": []}, {}):
        assert page.post(9, "relabel", **more).status_code == 422
    one = CorrectionLog(page.run).read()[0]
    assert (one.action, one.label, one.boxes) == ("accept", None, None)


def test_thumbnails_are_small_and_pictures_bounded():
    wide = Image.fromarray(np.zeros((900, 4100, 3), np.uint8))
    for made, side in ((thumbnail(wide, "wide"), SIDE), (large(wide, "wide"), LARGEST)):
        assert media_type(made) == "image/jpeg"
        assert Image.open(io.BytesIO(made)).size == (side, round(side * 900 / 4100))
    tall = Image.fromarray(np.zeros((3000, 2), np.uint8))
    assert Image.open(io.BytesIO(thumbnail(tall, "tall"))).size == (1, SIDE)


def test_a_picture_is_never_given_as_it_was_found():
    """A file that is also a page is encoded anew."""
    written = io.BytesIO()
    Image.new("RGB", (40, 40)).save(written, "GIF", comment=b"<script>alert(1)</script>")
    assert b"<script>" in written.getvalue()
    made = large(written.getvalue(), "both")
    assert media_type(made) == "image/png" and b"<script>" not in made


def test_thumbnails_are_kept_up_to_the_bound():
    kept, made = Thumbnails(limit=100), []

    def make(key, size=40):
        return kept.get(key, lambda: made.append(key) or bytes(size))

    for key in ("a", "b", "a", "c", "a", "b"):
        assert make(key) == bytes(40)
        assert kept.bytes <= 100
    assert made == ["a", "b", "c", "b"]  # b was asked for longest ago when c came.
    make("huge", 101)
    assert "".join(made).endswith("bhuge") and kept.bytes <= 100 and len(kept) == 2


def test_doubt_falls_with_sureness():
    assert (
        class_doubt(digit_labels(200, sure=0.0)).mean()
        > class_doubt(digit_labels(200, sure=5.0)).mean()
    )
