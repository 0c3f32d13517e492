"""Every route of the page, asked as the page asks it."""

import io
import json
import threading

import numpy as np
import pytest
from PIL import Image

from leaven.labels import LabelStore
from leaven.labels.corrections import CorrectionLog
from leaven.review import desk as desk_module
from leaven.review.desk import Desk, StaleError
from leaven.review.lists import Wanted


def log_of(client):
    return CorrectionLog(client.run).read()


def test_the_page_and_its_files_are_there_and_point_nowhere_else(client):
    page = client("classes")
    from leaven.review.routes import PAGE

    for path, (_, kind) in PAGE.items():
        answer = page.get(path)
        assert answer.status_code == 200 and answer.headers["content-type"] == kind
        text = answer.text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text and "https://" not in text and "innerHTML" not in text


def test_what_a_run_is(client):
    about = client("classes").json("api/run")
    assert (about["task"], about["round"], about["items"]) == ("classification", 1, 60)
    assert about["classes"] == [str(k) for k in range(10)]
    assert about["counts"]["given"] == 10
    assert sum(about["counts"].values()) == 60
    assert all(sort["missing"] == "" for sort in about["sorts"])


def test_one_round_has_no_change(client):
    page = client("one")
    missing = {sort["name"] for sort in page.json("api/run")["sorts"] if sort["missing"]}
    assert missing == {"change", "disagreement"}
    assert page.get("api/items", sort="change").status_code == 422


def test_a_list_is_sorted_filtered_and_counted(client):
    page = client("classes")
    doubts = [item["doubt"] for item in page.json("api/items", count=500)["items"]]
    assert doubts == sorted(doubts, reverse=True) and len(doubts) == 60
    turned = [item["doubt"] for item in page.json("api/items", reverse=True, count=500)["items"]]
    assert turned == sorted(doubts)
    needs = page.json("api/items", status=["needs"], count=500)
    assert {item["status"] for item in needs["items"]} == {"needs"}
    assert needs["total"] == page.json("api/run")["counts"]["needs"]
    threes = page.json("api/items", label=3, count=500)["items"]
    assert threes and {item["label"] for item in threes} == {3}
    sure = page.json("api/items", low=0.5, high=0.9, count=500)["items"]
    assert sure and all(0.5 <= item["confidence"] <= 0.9 for item in sure)
    named = page.json("api/items", search="TS/001", count=500)["items"]
    assert {item["name"] for item in named} == {f"digits/001{k}" for k in range(10)}


def test_paging_gives_each_item_once(client):
    page = client("classes")
    first = page.json("api/items", sort="gain", count=7)
    seen = [item["number"] for item in first["items"]]
    for start in range(7, 70, 7):
        part = page.json("api/items", cursor=first["cursor"], start=start, count=7)
        seen += [item["number"] for item in part["items"]]
    assert sorted(seen) == list(range(60))


def test_corrections_do_not_shift_an_open_list_not_even_for_a_new_server(client):
    page = client("classes")
    first = page.json("api/items", status="needs", count=5)
    order = [item["number"] for item in page.json("api/items", status="needs", count=99)["items"]]
    for number in order[:5]:
        page.say(number, "relabel", label="7")
    for server in (page, page.again()):
        rest = server.json("api/items", cursor=first["cursor"], start=5, count=99)
        assert [item["number"] for item in rest["items"]] == order[5:]
        assert rest["corrected"] == 5 and rest["total"] == len(order)
    fresh = page.json("api/items", status="needs", count=99)
    assert [item["number"] for item in fresh["items"]] == order[5:]


def test_an_item_and_its_pictures(client):
    page = client("classes")
    item = page.item(12)
    assert item["name"] == "digits/0012" and item["version"] == 0 and item["said"] is None
    assert item["candidates"][0][0] == item["label"]
    assert sum(sure for _, sure in item["candidates"]) == pytest.approx(1, abs=1e-3)
    assert item["given"] is None  # The labels were hidden: the page must not tell.
    for name in ("picture", "thumbnail"):
        answer = page.get(f"api/rounds/1/items/12/{name}")
        assert answer.headers["content-type"] == "image/png"
        assert Image.open(io.BytesIO(answer.content)).size == (8, 8)


def test_what_is_said_is_in_the_log_and_on_the_page(client):
    page = client("classes")
    believed = page.item(20)["label"]
    first = page.say(20, "accept")
    assert first["item"]["status"] == "corrected" and first["counts"]["corrected"] == 1
    page.say(20, "relabel", first["recorded"], label="4")
    page.say(21, "reject")
    page.say(22, "skip")
    assert [(one.item, one.action, one.label, one.round, one.by) for one in log_of(page)] == [
        ("digits/0020", "accept", str(believed), 1, "review"),
        ("digits/0020", "relabel", "4", 1, "review"),
        ("digits/0021", "reject", str(page.item(21)["label"]), 1, "review"),
        ("digits/0022", "skip", None, 1, "review"),
    ]
    assert page.item(20)["label"] == 4
    assert page.json("api/items", label=4, search="0020")["total"] == 1
    counts = page.json("api/run")["counts"]
    assert (counts["corrected"], counts["skipped"]) == (2, 1)


def test_undo_goes_back_one_by_one(client):
    page = client("classes")
    before = page.item(20)
    one = page.say(20, "relabel", label="4")["recorded"]
    two = page.say(20, "relabel", one, label="5")["recorded"]
    undone = page.say(20, "undo", two)
    assert undone["item"]["label"] == 4 and undone["item"]["said"]["id"] == one
    undone = page.say(20, "undo", undone["item"]["version"])
    assert undone["item"]["label"] == before["label"]
    assert undone["item"]["status"] == before["status"] and undone["item"]["said"] is None
    answer = page.post(20, "undo", undone["item"]["version"])
    assert answer.status_code == 422 and "Nothing was said" in answer.json()["error"]["found"]


def test_a_repeated_request_is_recorded_once(client):
    page = client("classes")
    once = page.say(20, "relabel", token="the-same-token", label="4")
    again = page.say(20, "relabel", token="the-same-token", label="4")
    assert once["recorded"] == again["recorded"] == 1 and len(log_of(page)) == 1
    other = page.again().say(20, "relabel", token="the-same-token", label="4")
    assert other["recorded"] == 1
    foreign = page.post(21, "accept", token="the-same-token")
    assert foreign.status_code == 422 and len(log_of(page)) == 1


def test_a_stale_page_is_refused_and_told_what_is_there(client):
    page = client("classes")
    page.say(20, "relabel", label="4")
    stale = page.post(20, "relabel", 0, label="5")
    assert stale.status_code == 409
    now = stale.json()["item"]
    assert now["label"] == 4 and now["version"] == 1
    assert page.say(20, "relabel", now["version"], label="5")["item"]["label"] == 5
    assert [one.label for one in log_of(page)] == ["4", "5"]


def test_what_another_program_says_is_seen(client):
    page = client("classes")
    CorrectionLog(page.run).append("digits/0020", "relabel", label="4", by="label-studio")
    changes = page.json("api/changes", since=0)
    assert [(item["number"], item["label"]) for item in changes["items"]] == [(20, 4)]
    assert changes["last"] == 1 and page.json("api/changes", since=1)["items"] == []
    assert page.post(20, "accept", 0).status_code == 409


def test_what_another_program_says_of_very_many_is_told_in_parts(client, monkeypatch):
    page = client("classes")
    monkeypatch.setattr(desk_module, "MOST_CHANGES", 4)
    said = [{"item": f"digits/{item:04d}", "action": "accept"} for item in (9, 3, 5, 3, 1, 8, 7, 2)]
    CorrectionLog(page.run).append_all([{**one, "label": "1"} for one in said])
    last, told = 0, []
    for _ in range(3):
        changes = page.json("api/changes", since=last)
        told.append([item["number"] for item in changes["items"]])
        last = changes["last"]
    assert told == [[9, 5, 3, 1], [8, 7, 2], []]
    assert last == 8


def test_many_at_once_record_each_once(client):
    page = client("classes")

    def say(number):
        for _ in range(2):
            page.post(number, "relabel", 0, token=f"thread-{number}", label="1")

    threads = [threading.Thread(target=say, args=(number,)) for number in range(20, 32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.item for one in log_of(page)) == [f"digits/{n:04d}" for n in range(20, 32)]
    assert [one.id for one in log_of(page)] == list(range(1, 13))


def test_two_pages_at_once_only_one_is_first(client):
    page = client("classes")
    answers = []

    def say(label):
        answers.append(page.post(20, "relabel", 0, token=f"tab-number-{label}", label=str(label)))

    threads = [threading.Thread(target=say, args=(label,)) for label in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 5
    assert len(log_of(page)) == 1


BAD = [
    {"action": "explode"},
    {"action": "relabel"},
    {"action": "relabel", "label": "eleven"},
    {"action": "relabel", "label": "\ud800"},
    {"action": "relabel", "label": 4},
    {"action": "accept", "boxes": []},
    {"action": "accept", "version": -1},
    {"action": "accept", "version": "0"},
    {"action": "accept", "version": True},
    {"action": "accept", "token": "short"},
    {"action": "accept", "token": "x" * 5000},
    {"action": "accept", "item": "digits/0001"},
    {"action": "accept", "round": None},
]


@pytest.mark.parametrize("change", BAD)
def test_bad_requests_say_so_and_record_nothing(client, change):
    page = client("classes")
    body = {"version": 0, "round": 1, "token": "a-good-token", **change}
    answer = page.raw.post(
        page.path("api/items/20/say"), content=json.dumps(body), headers=page.kind
    )
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["found"]
    assert log_of(page) == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 200_000, b'{"version": NaN}', b"1e999"]
)
def test_what_is_no_json_object_is_refused(client, body):
    page = client("classes")
    answer = page.raw.post(page.path("api/items/20/say"), content=body, headers=page.kind)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()["error"]["found"] and log_of(page) == []


@pytest.mark.parametrize("number", [-1, 60, 10**9, 10**30])
def test_item_numbers_out_of_range(client, number):
    page = client("classes")
    for path in ("", "/picture", "/thumbnail"):
        assert page.get(f"api/rounds/1/items/{number}{path}").status_code in (404, 422)
    assert page.post(number, "accept").status_code in (404, 422)
    assert log_of(page) == []


@pytest.mark.parametrize(
    "params",
    [
        {"sort": "__class__"}, {"sort": "key"}, {"status": "bad"}, {"label": 10}, {"label": -2},
        {"low": 2}, {"low": "nan"}, {"count": 501}, {"start": -1}, {"search": "x" * 201},
        {"cursor": "x"}, {"cursor": "../../etc/passwd"}, {"cursor": "e30=%00"}, {"reverse": "perhaps"},
    ],
)  # fmt: skip
def test_bad_lists_say_so(client, params):
    answer = client("classes").get("api/items", **params)
    assert answer.status_code == 422 and answer.json()["error"]["found"]


def test_a_list_that_was_made_up_is_checked(client):
    page = client("classes")
    assert page.get("api/items", cursor=Wanted(round=9).cursor()).status_code == 409
    later = Wanted(round=1, until=10**9).cursor()
    assert page.json("api/items", cursor=later)["total"] == 60


def test_a_new_round_is_shown_after_a_reload_and_stale_pages_are_told(client):
    page = client("classes")
    page.say(20, "relabel", label="4")
    cursor = page.json("api/items")["cursor"]
    store = LabelStore(page.run / "labels")
    names, labels, classes, _ = store.read(1)
    order = list(range(59, -1, -1))
    store.write(2, [names[k] for k in order], labels.select(np.array(order)), classes)
    assert page.json("api/changes")["round"] == 1
    assert page.json("api/run")["round"] == 2
    for answer in (
        page.get("api/items", cursor=cursor),
        page.get("api/rounds/1/items/20"),
        page.get("api/rounds/1/items/20/picture"),
        page.get("api/rounds/1/items/20/thumbnail"),
        page.post(21, "accept", round=1),
    ):
        assert answer.status_code == 409 and "reload" in answer.json()["error"]["do"]
    moved = page.json("api/rounds/2/items/39")
    assert moved["name"] == "digits/0020" and moved["label"] == 4 and moved["version"] == 1
    assert len(log_of(page)) == 1


def test_a_list_that_is_being_given_is_of_one_round(copied, monkeypatch):
    """Another tab that is loaded meanwhile, and opens a newer round, waits."""
    run = copied("classes")
    desk = Desk(run)
    store = LabelStore(run / "labels")
    names, labels, classes, _ = store.read(1)
    order = list(range(59, -1, -1))
    store.write(2, [names[k] for k in order], labels.select(np.array(order)), classes)
    other = threading.Thread(target=desk.about)
    real = desk_module.summary

    def slow(*given):
        if not other.ident:
            other.start()
            other.join(0.5)
        return real(*given)

    monkeypatch.setattr(desk_module, "summary", slow)
    wanted = desk.newest(Wanted(sort="name"))
    given = desk.list_items(wanted, 0, 5)
    other.join()
    assert [one["name"] for one in given["items"]] == names[:5]
    assert desk.index.number == 2
    for look in (desk.detail, desk.picture, desk.thumbnail):
        with pytest.raises(StaleError, match="shows round 1"):
            look(1, 20)


def test_a_log_that_cannot_be_written_says_so(client):
    page = client("classes")
    (page.run / "corrections.jsonl").mkdir()
    answer = page.post(20, "accept")
    assert answer.status_code == 503 and "corrections.jsonl" in answer.json()["error"]["found"]


def test_nothing_believed_is_nothing_to_accept(client, tmp_path):
    page = client("one")
    store = LabelStore(page.run / "labels")
    names, labels, classes, _ = store.read(0)
    labels.classes[20], labels.probs[20] = -1, 0.1
    store.write(0, names, labels, classes)
    page = page.again()
    assert page.item(20)["label"] == -1 and page.item(20)["doubt"] == 1
    for action in ("accept", "reject"):
        assert page.post(20, action, round=0).status_code == 422
    assert page.say(20, "relabel", round=0, label="2")["item"]["label"] == 2
