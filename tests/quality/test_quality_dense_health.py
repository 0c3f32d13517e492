"""The health of runs on pixels and boxes: the faults that their users report, provoked."""

import copy

import pytest
import torch

from leaven.quality import Health

NAMES = ["road", "sky", "pole", "sign"]
PRIOR = torch.tensor([60.0, 30.0, 8.0, 2.0])


def codes(findings):
    return [finding.code for finding in findings]


def pixels(seed, **changes):
    """A healthy step of 4 label maps, with changes."""
    generator = torch.Generator().manual_seed(seed)
    shares = (PRIOR / PRIOR.sum()).expand(4, -1)
    proposed = torch.multinomial(shares, 80 * 80, replacement=True, generator=generator)
    proposed = proposed.view(4, 80, 80)
    confidence = 0.5 + 0.5 * torch.rand(proposed.shape, generator=generator)
    return {
        "weight": (confidence > 0.6).float(),
        "proposed": proposed,
        "confidence": confidence,
        "student": proposed,
        "losses": {"supervised": torch.tensor(0.4), "unlabelled": torch.tensor(0.3)},
        "threshold": 0.6,
    } | changes


def boxes(seed, pictures=8, each=6, threshold=0.7, **changes):
    """A healthy step of 8 pictures with 6 detections each, with changes."""
    generator = torch.Generator().manual_seed(seed)
    total = pictures * each
    confidence = torch.rand(total, generator=generator)
    weight = (confidence > threshold).float()
    shares = PRIOR / PRIOR.sum()
    return {
        "weight": weight,
        "proposed": torch.multinomial(shares, total, replacement=True, generator=generator),
        "confidence": confidence,
        "losses": {"supervised": torch.tensor(0.4), "boxes": torch.tensor(0.3)},
        "threshold": threshold,
        "boxes": weight.view(pictures, each).sum(1).long(),
        "detections": torch.full((pictures,), each),
    } | changes


def feed(watch, make, steps, start=0, **changes):
    news = []
    for i in range(start, start + steps):
        watch.observe(**make(i, **changes))
        news += watch.check(i + 1)
    return news


def pixel_health(window=10):
    return Health(4, PRIOR, NAMES, window=window)


def box_health(window=10, typical=2.0):
    return Health(4, PRIOR, NAMES, window=window, boxes_per_picture=typical)


def nothing(pictures=8):
    """What is observed of pictures in which the teacher detects nothing."""
    none = torch.zeros(0)
    return {
        "weight": none,
        "proposed": none.long(),
        "confidence": none,
        "boxes": torch.zeros(pictures, dtype=torch.int64),
        "detections": torch.zeros(pictures, dtype=torch.int64),
    }


def test_healthy_runs_have_no_findings():
    for watch, make in ((pixel_health(), pixels), (box_health(), boxes)):
        assert feed(watch, make, 80) == []
        assert watch.check(80, final=True) == []
        assert watch.findings() == []


def test_pixels_are_counted_like_items():
    by_pixel, by_item = pixel_health(), pixel_health()
    changes = {"weight": torch.zeros(4, 80, 80)}
    for i in range(20):
        step = pixels(i, **changes)
        flat = {
            name: value.flatten() if isinstance(value, torch.Tensor) else value
            for name, value in step.items()
        }
        by_pixel.observe(**step)
        by_item.observe(**flat)
        assert by_pixel.check(i) == by_item.check(i)
    assert codes(by_pixel.findings()) == ["nothing-accepted"]


def test_disagreement_leaves_out_pixels_without_a_proposal():
    proposed = pixels(0)["proposed"].clone()
    student = proposed.clone()
    proposed[:, :60] = -1
    student[:, 60:] = (student[:, 60:] + 1) % 4
    news = feed(pixel_health(), pixels, 60, proposed=proposed, student=student)
    assert "On 100% of the unlabelled" in {n.code: n.text for n in news}["disagreement"]
    student = pixels(0)["proposed"].clone()
    student[:, :60] = 3
    news = feed(pixel_health(), pixels, 60, proposed=proposed, student=student)
    assert "disagreement" not in codes(news)


def test_pixels_of_which_no_map_is_known_may_be_all_but_background():
    def mostly_road(road):
        maps = torch.zeros(4, 80, 80, dtype=torch.int64)
        maps.flatten()[int(road * maps.numel()) :] = 1
        return {"proposed": maps, "student": maps}

    def unknown():
        return Health(4, class_names=NAMES, window=10)

    assert "collapse" not in codes(feed(unknown(), pixels, 40, **mostly_road(0.97)))
    known = feed(pixel_health(), pixels, 40, **mostly_road(0.97))
    assert "collapse" in codes(known)
    news = feed(unknown(), pixels, 40, **mostly_road(1.0))
    assert "collapse" in codes(news)
    assert "'road' 100%, out of 4" in next(one.text for one in news if one.code == "collapse")


def test_a_vanished_class_of_pixels_is_named_when_it_goes():
    watch = pixel_health(window=40)
    assert feed(watch, pixels, 40) == []
    for i in range(40, 80):
        step = pixels(i)
        step["weight"][step["proposed"] == 2] = 0
        watch.observe(**step)
    news = watch.check(80)
    assert codes(news) == ["vanished-class"]
    assert "'pole' 0% (labelled: 8%)" in news[0].text and "'sign'" not in news[0].text
    over = feed(watch, pixels, 40, 80)
    assert codes(over) == ["vanished-class"] and over[0].recovered == 120


def test_a_class_that_never_came_is_judged_late():
    watch, step = pixel_health(window=40), pixels(0)
    step["proposed"][step["proposed"] == 2] = 0
    step["student"] = step["proposed"]
    for progress in (0.1, 0.3, 0.5):
        for _ in range(40):
            watch.observe(**step)
        news = watch.check(40, progress=progress)
        assert codes(news) == (["vanished-class"] if progress == 0.5 else [])
    assert "'pole'" in news[0].text


def test_a_rare_class_may_be_missing():
    """Two of a hundred labels: too few are expected in a window to miss them."""
    watch = box_health()
    for i in range(60):
        step = boxes(i)
        step["proposed"][step["proposed"] == 3] = 0
        watch.observe(**step)
        assert watch.check(i) == []


def test_a_vanished_class_of_boxes():
    watch = box_health(window=40)
    assert feed(watch, boxes, 40) == []
    for i in range(40, 80):
        step = boxes(i)
        step["weight"][step["proposed"] == 1] = 0
        watch.observe(**step)
    news = watch.check(80)
    assert "vanished-class" in codes(news)
    assert "'sky' 0% (labelled: 30%)" in news[codes(news).index("vanished-class")].text


def test_no_pseudo_boxes_is_said_then_grave_then_over():
    watch = box_health()
    changes = {"threshold": 0.9, "confidence": torch.full((48,), 0.31)}
    none = {"weight": torch.zeros(48), "boxes": torch.zeros(8, dtype=torch.int64)}
    first = feed(watch, boxes, 10, **changes, **none)
    assert codes(first) == ["no-pseudo-boxes"] and first[0].level == "warning"
    for words in ("No pseudo-box in 10 steps", "0.31", "0.90", "lower the threshold"):
        assert words in first[0].text
    second = feed(watch, boxes, 10, 10, **changes, **none)
    assert second[0].level == "error" and "in 20 steps" in second[0].text
    assert feed(watch, boxes, 10, 20)[0].recovered == 30


def test_steps_on_labels_alone_are_not_counted_among_those_without_boxes():
    watch = box_health()
    for _ in range(6):
        watch.observe(losses={"supervised": torch.tensor(1.0)})
    none = {"weight": torch.zeros(48), "boxes": torch.zeros(8, dtype=torch.int64)}
    news = feed(watch, boxes, 4, 6, threshold=0.9, confidence=torch.full((48,), 0.31), **none)
    assert codes(news) == ["no-pseudo-boxes"]
    assert "No pseudo-box in 4 steps" in news[0].text


def test_no_pseudo_boxes_in_spite_of_high_scores_looks_elsewhere():
    none = {"weight": torch.zeros(48), "boxes": torch.zeros(8, dtype=torch.int64)}
    news = feed(box_health(), boxes, 10, **none)
    assert "not the score that stops them" in news[0].text


@pytest.mark.parametrize("losses", [{"boxes": torch.tensor(0.0)}, {"boxes": torch.tensor(0.2)}])
def test_an_empty_teacher(losses):
    watch = box_health()
    news = feed(watch, boxes, 10, **nothing(), losses=losses)
    dead = ["dead-unlabelled-loss"] if losses["boxes"] == 0 else []
    assert codes(news) == ["empty-teacher", "no-pseudo-boxes", *dead]
    assert "before any threshold" in news[0].text and "See empty-teacher" in news[1].text
    if dead:
        assert "see no-pseudo-boxes" in news[2].text
    grave = feed(watch, boxes, 10, 10, **nothing(), losses=losses)
    assert [n.level for n in grave if n.code == "empty-teacher"] == ["error"]
    over = feed(watch, boxes, 10, 20)
    assert {n.code for n in over if n.recovered == 30} == {
        "empty-teacher",
        "no-pseudo-boxes",
        *dead,
    }


def test_dead_loss_with_boxes():
    news = feed(box_health(), boxes, 10, losses={"boxes": torch.tensor(0.0)})
    assert codes(news) == ["dead-unlabelled-loss"]
    assert "labels were accepted" in news[0].text


def test_box_avalanche():
    many = torch.full((8,), 9)
    news = feed(box_health(), boxes, 30, boxes=many)
    assert codes(news) == ["box-avalanche"] and news[0].step == 20
    assert "9.0 pseudo-boxes" in news[0].text and "have 2.0" in news[0].text
    assert feed(box_health(typical=3.0), boxes, 30, boxes=many) == []
    assert feed(box_health(typical=None), boxes, 30, boxes=many) == []
    # Hardly a box per labelled picture: up to four are no avalanche.
    assert feed(box_health(typical=0.1), boxes, 30, boxes=torch.full((8,), 4)) == []
    assert feed(box_health(typical=0.1), boxes, 30, boxes=torch.full((8,), 5)) != []


def test_boxes_without_weights_or_classes():
    watch = box_health()
    for i in range(10):
        watch.observe(boxes=torch.zeros(4, dtype=torch.int64))
        news = watch.check(i + 1)
    assert codes(news) == ["no-pseudo-boxes"]


def test_not_finite_losses_of_boxes_are_caught():
    watch = box_health()
    watch.observe(**boxes(0, **nothing(), losses={"boxes": torch.tensor(float("nan"))}))
    watch.skipped(1, ["boxes"])
    assert codes(watch.check(1)) == ["non-finite-loss"]
    assert "'boxes' (1)" in watch.findings()[0].text


@pytest.mark.parametrize(("make", "health"), [(pixels, pixel_health), (boxes, box_health)])
def test_a_saved_state_goes_on_as_if_never_stopped(make, health):
    def lose(i):
        step = make(i)
        step["weight"][step["proposed"] == 1] = 0
        return step

    whole, first = health(window=40), health(window=40)
    for watch in (whole, first):
        feed(watch, make, 45)
    saved = first.state_dict()
    kept = copy.deepcopy(saved)
    feed(first, make, 3, 45)
    torch.testing.assert_close(saved["sums"]["counts"], kept["sums"]["counts"])
    torch.testing.assert_close(saved["seen"], kept["seen"])
    second = health(window=40)
    second.load_state_dict(saved)
    assert feed(second, lose, 75, 45) == feed(whole, lose, 75, 45)
    assert second.findings() == whole.findings()
    assert "vanished-class" in codes(whole.findings())


def test_over_confident_pixels():
    watch = pixel_health()
    watch.calibration({"pixel_accuracy": 0.7, "confidence": 0.95, "ece": 0.25}, 5)
    assert codes(watch.check(5)) == ["over-confident"]
