"""Corrections as the evidence of a round."""

from dataclasses import replace

import pytest
import torch

from leaven.data import Data, ImageSet
from leaven.data.open_annotated import open_boxes, open_maps
from leaven.data.pixels import MemoryPixels
from leaven.errors import RunError
from leaven.job.corrections import Evidence, gathered, taken
from leaven.labels import (
    VOID,
    BoxLabels,
    ClassLabels,
    CorrectionLog,
    LabelStore,
    Masks,
    PixelLabels,
    Source,
)
from leaven.labels.correction_fields import encoded
from leaven.methods import Fitted
from leaven.train.found import found_pixels, found_rows

CLASSES = ("cat", "dog", "eel")


def classes_data(labels: list[int]) -> Data:
    n = len(labels)

    def images(numbers: range, given: list[int]) -> ImageSet:
        return ImageSet(
            MemoryPixels(torch.zeros(len(numbers), 1, 8, 8, dtype=torch.uint8)),
            torch.tensor(given),
            torch.zeros(len(numbers), dtype=torch.int64),
            [f"{number}.png" for number in numbers],
        )

    test = images(range(n, n + 2), [0, 1])
    return Data("zoo", CLASSES, images(range(n), labels), test=test)


@pytest.fixture
def log(tmp_path):
    return CorrectionLog(tmp_path)


def evidence(data: Data, log: CorrectionLog, task: str = "classification") -> Evidence:
    return taken(data, task, gathered(log.read()), LabelStore(log.path.parent / "labels"))


def round_of_classes(log: CorrectionLog, number: int, classes: list[int]) -> None:
    labels = ClassLabels.from_probs(torch.nn.functional.one_hot(torch.tensor(classes), 3).float())
    names = [f"{item}.png" for item in range(len(classes))]
    LabelStore(log.path.parent / "labels").write(number, names, labels, CLASSES)


def test_what_is_accepted_relabelled_rejected_and_skipped(log):
    round_of_classes(log, 0, [0, 1, 2, 0, 1])
    round_of_classes(log, 1, [2, 2, 2, 2, 2])
    log.append("1.png", "accept", round=0)
    log.append("2.png", "relabel", label="cat")
    log.append("3.png", "reject", label="dog")
    log.append("4.png", "skip")
    found = evidence(classes_data([0, -1, -1, -1, -1]), log)
    assert found.data.train.labels.tolist() == [0, 1, 0, -1, -1]
    assert found.given.tolist() == [False, True, True, False, False]
    assert found.rejected.tolist() == [False, False, False, True, False]
    assert found.drawn.tolist() == [True, False, False, False, False]
    assert found.ruled_out is not None and found.ruled_out.nonzero().tolist() == [[3, 1]]
    assert found.counts == {"accept": 1, "relabel": 1, "reject": 1}
    assert found.to_train(found.data).train.names == ["0.png", "1.png", "2.png", "4.png"]
    assert found.notes == ()


def test_labels_that_were_given_are_corrected_too(log):
    log.append("0.png", "relabel", label="eel")
    log.append("1.png", "reject", label="dog")
    found = evidence(classes_data([0, 1, -1]), log)
    assert found.data.train.labels.tolist() == [2, -1, -1]
    assert found.drawn.tolist() == [True, False, False]


def test_what_a_person_corrected_is_no_longer_a_models(log):
    log.append("0.png", "relabel", label="eel")
    data = classes_data([0, 1, -1])
    sure = torch.tensor([0.9, 0.8, torch.nan])
    found = evidence(data.with_train(replace(data.train, model_confidence=sure)), log)
    assert found.data.train.by_person.tolist() == [True, False, False]
    assert found.data.train.by_model.tolist() == [False, True, False]


def test_rejects_add_up_until_something_is_given(log):
    round_of_classes(log, 0, [0, 0])
    round_of_classes(log, 1, [1, 1])
    for item in ("0.png", "1.png"):
        log.append(item, "reject", round=0)
        log.append(item, "reject", round=1)
    found = evidence(classes_data([-1, -1]), log)
    assert found.ruled_out is not None
    assert found.ruled_out.tolist() == [[True, True, False]] * 2
    log.append("0.png", "relabel", label="eel")
    log.append("0.png", "reject", label="eel")
    log.append("1.png", "undo", undoes=2 + 1)
    found = evidence(classes_data([-1, -1]), log)
    assert found.ruled_out is not None
    assert found.ruled_out.tolist() == [[False, False, True], [False, True, False]]


def test_held_out_items_stay_as_they_are(log):
    log.append("3.png", "relabel", label="eel")
    log.append("0.png", "relabel", label="eel")
    data = classes_data([0, -1])
    found = evidence(data, log)
    assert found.data.test is data.test
    assert found.data.train.labels.tolist() == [2, -1]
    assert "1 corrected picture is held out" in found.notes[0]


def test_what_cannot_be_used_is_said(log):
    data = classes_data([0, -1])
    CorrectionLog(log.path, classes=["owl"]).append("1.png", "relabel", label="owl")
    with pytest.raises(
        RunError, match=r"Correction 1 \(relabel of '1.png'\) names the class 'owl'"
    ):
        evidence(data, log)
    log.append("", "undo", undoes=1)
    log.append("1.png", "relabel", boxes=[])
    with pytest.raises(RunError, match="gives boxes"):
        evidence(data, log)
    log.append("", "undo", undoes=3)
    log.append("1.png", "accept", round=4)
    with pytest.raises(RunError, match="no label file"):
        evidence(data, log)
    log.append("", "undo", undoes=5)
    log.append("gone<b>.png", "accept", label="cat")
    with pytest.raises(RunError, match="1 of 1 corrected pictures are not in zoo"):
        evidence(data, log)


class Predicts:
    """A trainer whose model says ``said`` (n, K) of the items of ``data`` by name."""

    def __init__(self, said: dict[str, list[float]]) -> None:
        self.said = said

    def predict(self, model: object, images: ImageSet) -> torch.Tensor:
        return torch.tensor([self.said[name] for name in images.names])


def test_a_rejected_class_is_in_no_final_label(log):
    for item, label in (("1.png", "cat"), ("2.png", "cat"), ("3.png", "cat"), ("3.png", "dog")):
        log.append(item, "reject", label=label)
    log.append("3.png", "reject", label="eel")
    found = evidence(classes_data([0, -1, -1, -1, -1]), log)
    says = {"1.png": [0.9, 0.09, 0.01], "2.png": [0.9, 0.05, 0.05], "3.png": [0.5, 0.3, 0.2]}
    probs = torch.tensor([[0.8, 0.1, 0.1]])
    fitted = Fitted(torch.nn.Identity(), ClassLabels.from_probs(probs))
    whole = found.completed(fitted, Predicts(says), found.data).labels
    assert whole.classes.tolist()[0] == 1 and whole.classes.tolist()[2:] == [-1, 0]
    assert whole.weight.tolist() == [1, 0, 0, 1]
    torch.testing.assert_close(whole.confidence[:2], torch.tensor([0.9, 0.5]))
    assert whole.probs is not None
    assert whole.probs[:2, 0].tolist() == [0, 0]
    torch.testing.assert_close(whole.probs.sum(1), torch.ones(4))
    assert whole.source.tolist() == [Source.MODEL, Source.MODEL, Source.NOBODY, Source.MODEL]
    nothing = Fitted(torch.nn.Identity(), ClassLabels.from_probs(probs, torch.zeros(1)))
    whole = found.completed(nothing, Predicts(says), found.data).labels
    assert whole.weight.tolist() == [0, 0, 0, 0]
    bare = replace(ClassLabels.from_probs(probs), probs=None)
    whole = found.completed(Fitted(torch.nn.Identity(), bare), Predicts(says), found.data).labels
    assert whole.probs is None and whole.classes.tolist()[2:] == [-1, 0]


def test_what_a_person_corrected_is_not_doubted(log):
    log.append("1.png", "relabel", label="eel")
    found = evidence(classes_data([0, -1, 1]), log)
    believed = ClassLabels.from_probs(torch.eye(3)[[1, 1, 1]])
    fitted = Fitted(torch.nn.Identity(), ClassLabels.from_probs(torch.zeros(0, 3)), given=believed)
    given = found.completed(fitted, Predicts({}), found.data).given
    assert given is not None
    assert given.classes.tolist() == [1, 2, 1]
    assert given.source.tolist() == [Source.MODEL, Source.PERSON, Source.MODEL]
    assert given.probs is not None and given.probs[1].tolist() == [0, 0, 1]


@pytest.fixture(scope="module")
def boxes_data():
    return open_boxes("scenes", labelled=4, image_size=64, test_share=0.9)


@pytest.fixture(scope="module")
def masks_data():
    return open_boxes("scenes", masks=True, labelled=4, image_size=64, test_share=0.9)


@pytest.fixture(scope="module")
def maps_data():
    return open_maps("scenes", labelled=4, image_size=64, test_share=0.9)


def unlabelled_names(data, count):
    return [data.unlabelled.names[number] for number in range(count)]


def rows_of(data, names):
    return [data.train.names.index(name) for name in names]


def write_boxes(log, data, labels):
    merged, sizes = found_rows(data.train, labels)
    store = LabelStore(log.path.parent / "labels")
    store.write_boxes(0, data.train.names, merged, sizes, data.classes)


def proposals(data, masks=False):
    """Two boxes in every unlabelled picture, the second of which is not accepted."""
    count = len(data.unlabelled)
    boxes = torch.tensor([[4.0, 4, 20, 24], [30, 30, 50, 60]]).repeat(count, 1)
    drawn = None
    if masks:
        dense = torch.zeros(2 * count, 64, 64, dtype=torch.bool)
        dense[0::2, 4:24, 4:20] = dense[1::2, 30:60, 30:50] = True
        drawn = Masks.from_dense(dense)
    labels = BoxLabels.from_model(
        boxes, torch.tensor([0, 1]).repeat(count), torch.full((2 * count,), 0.9),
        torch.full((count,), 2), drawn,
    )  # fmt: skip
    return labels.with_weight(torch.tensor([1.0, 0]).repeat(count))


def test_boxes_that_are_accepted_relabelled_and_rejected(log, boxes_data):
    data = boxes_data
    write_boxes(log, data, proposals(data))
    accepted, relabelled, empty, rejected = unlabelled_names(data, 4)
    given = data.labelled.names[0]
    height, width = data.train.sizes[0].tolist()
    name = data.classes[2]
    drawn = {"box": [0, 0, width / 2, height * 9], "class": name, "mask": None}
    beside = {"box": [width + 1, 0, width + 5, 4], "class": name, "mask": None}
    log.append(accepted, "accept", round=0)
    log.append(relabelled, "relabel", boxes=[drawn, beside])
    log.append(empty, "relabel", boxes=[])
    log.append(rejected, "reject")
    log.append(given, "reject")
    found = evidence(data, log, "detection")
    rows = rows_of(data, [accepted, relabelled, empty, rejected, given])
    some = found.data.train.labels.select(torch.tensor(rows))
    assert some.known.tolist() == [True, True, True, False, False]
    assert some.counts.tolist() == [1, 1, 0, 0, 0]
    assert some.classes.tolist() == [0, 2]
    assert (some.source == Source.PERSON).all() and (some.weight == 1).all()
    torch.testing.assert_close(some.boxes[0], torch.tensor([4.0, 4, 20, 24]), atol=1e-3, rtol=0)
    part = torch.tensor([32.0, 64]) if height == width else None
    assert part is None or torch.allclose(some.boxes[1, 2:], part, atol=0.1)
    others = torch.ones(len(data.train), dtype=torch.bool)
    others[rows] = False
    assert torch.equal(
        found.data.train.labels.select(others).boxes, data.train.labels.select(others).boxes
    )
    assert len(found.to_train(found.data).train) == len(data.train) - 2
    left = proposals(data).select(torch.arange(len(data.unlabelled)) < len(data.unlabelled) - 3)
    made = proposals(data).select(torch.arange(2))

    class Labels:
        def label(self, model, images):
            assert list(images.names) == [
                name for name in data.train.names if name in (rejected, given)
            ]
            return made

    fitted = Fitted(torch.nn.Identity(), left.select(torch.arange(len(left) - 1)))
    assert len(fitted.labels) == len(data.unlabelled) - 4
    whole = found.completed(fitted, Labels(), found.data)
    assert len(whole.labels) == len(found.data.unlabelled)
    place = [found.data.unlabelled.names.index(name) for name in (rejected, given)]
    assert not whole.labels.select(torch.tensor(place)).accepted.any()
    assert int(whole.labels.accepted.sum()) == len(whole.labels) - 2


def test_masks_are_drawn_as_they_were_given(log, masks_data):
    data = masks_data
    write_boxes(log, data, proposals(data, masks=True))
    accepted, relabelled = unlabelled_names(data, 2)
    height, width = data.train.sizes[0].tolist()
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[: height // 2, : width // 4] = True
    box = {"box": [0, 0, width / 4, height / 2], "class": data.classes[1], "mask": encoded(mask)}
    plain = {"box": [0, 0, width / 2, height / 2], "class": data.classes[1], "mask": None}
    log.append(accepted, "accept", round=0)
    log.append(relabelled, "relabel", boxes=[box, plain])
    found = evidence(data, log, "instance")
    rows = torch.tensor(rows_of(data, [accepted, relabelled]))
    some = found.data.train.labels.select(rows)
    assert some.masks is not None and found.data.train.labels.masks is not None
    assert some.counts.tolist() == [1, 2]
    assert abs(some.masks.area()[0].item() - 16 * 20) <= 8
    first, second = some.masks.one(1), some.masks.one(2)
    assert first.shape == (64, 64) and abs(int(first.sum()) * 2 - int(second.sum())) <= 64
    wrong = {**box, "mask": encoded(mask[1:])}
    log.append(relabelled, "relabel", boxes=[wrong])
    with pytest.raises(RunError, match="cannot be drawn: A mask of"):
        evidence(data, log, "instance")


def test_maps_that_are_accepted_painted_over_and_rejected(log, maps_data):
    data = maps_data
    count, classes = len(data.unlabelled), torch.zeros(len(data.unlabelled), 64, 64)
    classes[:, :32] = 1
    labels = PixelLabels.from_model(
        classes.to(torch.uint8), torch.full((count, 64, 64), 0.9).half(),
        torch.zeros(count, 64, 64).half(),
    )  # fmt: skip
    store = LabelStore(log.path.parent / "labels")
    store.write_pixels(0, found_pixels(data.train, labels), data.classes)
    accepted, painted, rejected = unlabelled_names(data, 3)
    given = data.labelled.names[0]
    height, width = data.train.sizes[0].tolist()
    region = torch.zeros(height, width, dtype=torch.bool)
    region[:, : width // 2] = True
    box = {"box": [0, 0, width // 2, height], "class": data.classes[2], "mask": encoded(region)}
    corner = {"box": [0, 0, width // 4, height // 4], "class": data.classes[3], "mask": None}
    log.append(accepted, "accept", round=0)
    log.append(painted, "relabel", boxes=[box, corner])
    log.append(rejected, "reject")
    log.append(given, "reject")
    found = evidence(data, log, "segmentation")
    rows = torch.tensor(rows_of(data, [accepted, painted, rejected, given]))
    maps = found.data.train.labels.stored(rows)
    assert found.data.train.known[rows].tolist() == [True, True, False, False]
    assert torch.equal(maps[0], classes[0].to(torch.uint8))
    expected = classes[0].clone()
    expected[:, :32], expected[:16, :16] = 2, 3
    assert (maps[1] != expected).float().mean() < 0.02
    assert (maps[2:] == VOID).all()
    others = torch.ones(len(data.train), dtype=torch.bool)
    others[rows] = False
    index = others.nonzero().squeeze(1)
    assert torch.equal(found.data.train.labels.stored(index), data.train.labels.stored(index))
    log.append(painted, "relabel", label=data.classes[1])
    with pytest.raises(RunError, match="a class for the whole picture"):
        evidence(data, log, "segmentation")
