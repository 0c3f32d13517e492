"""What is corrected in Label Studio and CVAT comes back: round trips, changes, and bad files."""

from __future__ import annotations

import copy
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.data.annotated_cases import CLASSES, NAMES, SIZES, pictures, random_boxes

from leaven.data import formats
from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.dataset import Data, ImageSet
from leaven.data.pixel_maps import PixelMaps
from leaven.data.pixels import MemoryPixels
from leaven.errors import DataError, RunError
from leaven.job.corrected_places import corrected_maps
from leaven.job.labelled import RoundMaps
from leaven.job.tool_corrections import import_corrections
from leaven.labels import BoxLabels, Captions, ClassLabels, LabelStore, Masks, Source
from leaven.labels.caption_table import CaptionRound
from leaven.labels.corrections import CorrectionLog
from leaven.labels.pixel_table import PicturePixels

LATER = "2030-01-01T00:00:00Z"
STREET = ("background", "cat", "dög")


def run_folder(base: Path, task: str) -> Path:
    (base / "labels").mkdir(parents=True)
    (base / "config.yaml").write_text(f"task: {task}\n", "utf-8")
    return base


def classes_run(base: Path) -> tuple[Path, ImageSet, ClassLabels]:
    """Four pictures: sure, doubtful, of unknown class, said by a person."""
    labels = ClassLabels(
        torch.tensor([0, 1, -1, 2]),
        torch.tensor([0.9, 0.4, 0.0, 1.0]),
        torch.tensor([1.0, 0.0, 0.0, 1.0]),
        torch.tensor(
            [int(Source.MODEL), int(Source.MODEL), int(Source.NOBODY), int(Source.PERSON)]
        ),
    )
    run = run_folder(base, "classification")
    LabelStore(run / "labels").write(3, NAMES, labels, CLASSES)
    pixels = torch.randint(0, 255, (4, 3, 8, 10), dtype=torch.uint8)
    images = ImageSet(MemoryPixels(pixels), labels.classes, labels.classes, list(NAMES))
    return run, images, labels


def boxes_run(base: Path, seed: int = 0, *, masks: bool) -> tuple[Path, AnnotatedListing]:
    """Four pictures; the second is empty, and everything is known and accepted."""
    labels = random_boxes(seed, masks=masks, whole=masks)
    labels = replace(
        labels, known=torch.ones(4).bool(), crowd=torch.zeros(len(labels.boxes)).bool()
    )
    labels = labels.with_weight(torch.ones(len(labels.boxes)))
    run = run_folder(base, "instance" if masks else "detection")
    LabelStore(run / "labels").write_boxes(1, NAMES, labels, torch.tensor(SIZES), CLASSES)
    return run, listing_of(labels)


def listing_of(labels: BoxLabels) -> AnnotatedListing:
    return AnnotatedListing(
        "four", pictures(), NAMES, ("train",) * 4, CLASSES, torch.tensor(SIZES), labels.known,
        boxes=labels,
    )  # fmt: skip


def maps_run(
    base: Path, classes: tuple[str, ...] = STREET, *, accepted_only: bool = False, share: float = 1
) -> tuple[Path, AnnotatedListing, list[PicturePixels]]:
    """Four pictures with a class for each pixel, of which a share is accepted; some void."""
    generator = np.random.default_rng(3)
    believed = []
    for name, size in zip(NAMES, SIZES):
        values = generator.choice([*range(len(classes)), 255], size).astype(np.uint8)
        weight = torch.from_numpy((generator.random(size) < share).astype(np.float32))
        sure = torch.from_numpy(generator.random(size).astype(np.float32))
        believed.append(PicturePixels(name, torch.from_numpy(values), sure, weight, Source.MODEL))
    run = run_folder(base, "segmentation")
    store = LabelStore(run / "labels")
    store.write_pixels(0, iter(believed), classes)
    maps = RoundMaps(store.read_pixels(), accepted_only)
    listing = AnnotatedListing(
        "four", pictures(), NAMES, ("train",) * 4, classes, torch.tensor(SIZES),
        torch.ones(4).bool(), maps=maps,
    )  # fmt: skip
    return run, listing, believed


@pytest.mark.parametrize("task", ["translation", "text-to-image"])
def test_a_run_that_makes_pictures_has_nothing_to_correct(tmp_path: Path, task: str) -> None:
    run = run_folder(tmp_path / "run", task)
    said = CaptionRound(list(NAMES), Captions.of([""] * 4), [""] * 4, [""] * 4)
    LabelStore(run / "labels").write_captions(0, said)
    tasks = [{"data": {"name": NAMES[0]}, "annotations": []}]
    with pytest.raises(RunError, match="makes pictures"):
        import_corrections(run, save(tmp_path / "tasks.json", tasks))


def submitted(folder: Path, updated: str = LATER) -> list[dict]:
    """The tasks as Label Studio exports them when every prediction was submitted as it was."""
    tasks = json.loads((folder / "tasks.json").read_text("utf-8"))
    for task in tasks:
        results = copy.deepcopy(task.pop("predictions", [{"result": []}])[0]["result"])
        for result in results:
            result.pop("score")
            result["origin"] = "prediction"
        task["predictions"] = []
        task["annotations"] = [
            {
                "id": 100 + task["id"], "completed_by": 1, "result": results,
                "was_cancelled": False, "ground_truth": False, "created_at": updated,
                "updated_at": updated, "lead_time": 3.5,
            }
        ]  # fmt: skip
    return tasks


def save(path: Path, tasks: object) -> Path:
    path.write_text(json.dumps(tasks), "utf-8")
    return path


def dumped(folder: Path) -> Path:
    """The XML as CVAT writes it: two decimals, and its own entries in ``meta``."""
    tree = ElementTree.parse(folder / "annotations.xml")
    for box in tree.iter("box"):
        for side in ("xtl", "ytl", "xbr", "ybr"):
            box.set(side, f"{float(box.get(side)):.2f}")
    task = tree.find("meta/task")
    ElementTree.SubElement(task, "updated").text = "2030-01-01 00:00:00.000000+00:00"
    file = folder / "dumped.xml"
    tree.write(file, encoding="utf-8", xml_declaration=True)
    return file


def write(form: str, folder: Path, listing: AnnotatedListing, **options: object) -> Path:
    """What the tool exports when nothing was changed."""
    if form == "cvat":
        formats.write_cvat(folder, listing, **options)
        return dumped(folder)
    formats.write_label_studio(folder, listing, **options)
    return save(folder / "project.json", submitted(folder))


FORMS = ("label-studio", "cvat")


@pytest.mark.parametrize("form", FORMS)
def test_unchanged_classes_are_accepted(form: str, tmp_path: Path) -> None:
    run, images, labels = classes_run(tmp_path / "run")
    if form == "cvat":
        formats.write_cvat_classes(tmp_path / "out", images, labels, CLASSES)
        file = dumped(tmp_path / "out")
    else:
        formats.write_label_studio_classes(tmp_path / "out", images, labels, CLASSES, round=3)
        file = save(tmp_path / "p.json", submitted(tmp_path / "out"))
    account = import_corrections(run, file)
    assert (account.pictures, account.accepted, account.relabelled) == (4, 3, 0)
    assert account.left_out["no class of the picture"].count == 1
    standing = CorrectionLog(run).standing()
    assert {name: one.label for name, one in standing.items()} == {
        NAMES[0]: CLASSES[0], NAMES[1]: CLASSES[1], NAMES[3]: CLASSES[2]
    }  # fmt: skip
    assert {(one.action, one.by, one.round) for one in standing.values()} == {("accept", form, 3)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("masks", [False, True])
def test_unchanged_boxes_are_accepted_and_recorded_once(
    form: str, masks: bool, tmp_path: Path
) -> None:
    run, listing = boxes_run(tmp_path / "run", masks=masks)
    file = write(form, tmp_path / "out", listing)
    account = import_corrections(run, file)
    assert (account.accepted, account.relabelled, account.unusable) == (4, 0, 0)
    assert [one.boxes for one in CorrectionLog(run).read()] == [None] * 4
    again = import_corrections(run, file)
    assert (again.known, again.recorded) == (4, 0)
    assert len(CorrectionLog(run).read()) == 4


@pytest.mark.parametrize("form", FORMS)
def test_a_group_is_no_thing_of_a_corrected_picture(form: str, tmp_path: Path) -> None:
    run, listing = boxes_run(tmp_path / "run", masks=False)
    whole = listing.boxes
    rows = [row for row, item in enumerate(whole.pictures.tolist()) if item == 0]
    crowd = torch.arange(len(whole.boxes)) == rows[0]
    labels = replace(whole, crowd=crowd)
    store = LabelStore(run / "labels")
    store.write_boxes(1, NAMES, labels, torch.tensor(SIZES), CLASSES)
    account = import_corrections(run, write(form, tmp_path / "same", listing_of(labels)))
    assert (account.accepted, account.relabelled) == (4, 0)
    assert [one.boxes for one in CorrectionLog(run).read()] == [None] * 4
    fewer = labels.keep(torch.arange(len(whole.boxes)) != rows[-1])
    account = import_corrections(run, write(form, tmp_path / "changed", listing_of(fewer)))
    assert account.relabelled == 1
    said = CorrectionLog(run).standing()[NAMES[0]].boxes
    assert [tuple(box["box"]) for box in said] == [
        pytest.approx(whole.boxes[row].tolist(), abs=0.02) for row in rows[1:-1]
    ]
    assert sum(count for note, count in account.notes.items() if "groups" in note) == 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("classes", [STREET, CLASSES])
@pytest.mark.parametrize(("accepted_only", "share"), [(False, 1), (False, 0.6), (True, 0.6)])
def test_unchanged_maps_are_accepted(
    form: str, classes: tuple[str, ...], accepted_only: bool, share: float, tmp_path: Path
) -> None:
    run, listing, believed = maps_run(
        tmp_path / "run", classes, accepted_only=accepted_only, share=share
    )
    account = import_corrections(run, write(form, tmp_path / "out", listing))
    assert (account.accepted, account.relabelled, account.unusable) == (4, 0, 0)
    standing = CorrectionLog(run).standing()
    for picture in believed:
        said = standing[picture.name].boxes
        if share == 1:
            assert said is None
            continue
        wanted = picture.classes.numpy().copy()
        if accepted_only:
            wanted[~picture.accepted.numpy()] = 255
        assert np.array_equal(painted(said, wanted.shape, classes), wanted)


def painted(boxes: object, size: tuple[int, ...], classes: tuple[str, ...]) -> np.ndarray:
    found = np.full(size, 255, np.uint8)
    for box in boxes:
        run = box["mask"]["counts"].encode()
        found[Masks([run], torch.tensor([size])).one(0).numpy()] = classes.index(box["class"])
    return found


corner = st.floats(0, 1, allow_nan=False, width=32)


@given(
    rows=st.lists(st.tuples(corner, corner, corner, corner, st.integers(0, 2)), max_size=6),
    form=st.sampled_from(FORMS),
)
@settings(max_examples=40, deadline=None)
def test_boxes_come_back_to_a_thousandth_of_a_pixel(rows: list, form: str) -> None:
    boxes = []
    for a, b, c, d, label in rows:
        x1, x2, y1, y2 = *sorted((30 * a, 30 * c)), *sorted((20 * b, 20 * d))
        if x2 - x1 > 0.05 and y2 - y1 > 0.05:
            boxes.append((x1, y1, x2, y2, label))
    table = torch.tensor(boxes).reshape(-1, 5)
    found = BoxLabels.from_person(
        [table[:, :4], *[torch.zeros(0, 4)] * 3],
        [table[:, 4].long(), *[torch.zeros(0, dtype=torch.int64)] * 3],
    )
    with tempfile.TemporaryDirectory() as made:
        run, _ = boxes_run(Path(made) / "run", masks=False)
        # The run knows nothing of them, so that they are taken from the file as they stand there.
        folder = Path(made) / "out"
        if form == "cvat":
            formats.write_cvat(folder, listing_of(found))
            file = folder / "annotations.xml"
        else:
            file = write(form, folder, listing_of(found))
        import_corrections(run, file)
        said = CorrectionLog(run).standing()[NAMES[0]].boxes
    assert said is not None
    assert [box["class"] for box in said] == [CLASSES[int(label)] for label in table[:, 4]]
    given_boxes = torch.tensor([box["box"] for box in said]).reshape(-1, 4)
    assert torch.allclose(given_boxes, table[:, :4], atol=1e-3)


# Seed 7 draws the masks of the run, which are accepted and not recorded again.
@given(seed=st.integers(8, 2**31), form=st.sampled_from([*FORMS, "polygons"]))
@settings(max_examples=30, deadline=None)
def test_masks_come_back_as_they_were(seed: int, form: str) -> None:
    with tempfile.TemporaryDirectory() as made:
        run, _ = boxes_run(Path(made) / "run", seed=7, masks=True)
        drawn = random_boxes(seed, masks=True, whole=True)
        drawn = drawn.with_weight(torch.ones(len(drawn.boxes)))
        drawn = replace(drawn, crowd=torch.zeros(len(drawn.boxes)).bool())
        folder = Path(made) / "out"
        polygons = {"polygons": True} if form == "polygons" else {}
        file = write(form, folder, listing_of(drawn), **polygons)
        import_corrections(run, file)
        standing = CorrectionLog(run).standing()
    for item in (0, 3):
        wanted = drawn.select(torch.tensor([item]))
        said = standing[NAMES[item]].boxes
        assert [box["mask"]["counts"].encode() for box in said] == list(wanted.masks.runs)
        assert [box["box"] for box in said] == wanted.boxes.tolist()


def boxes_file(tmp_path: Path) -> tuple[Path, list[dict]]:
    run, listing = boxes_run(tmp_path / "run", masks=False)
    formats.write_label_studio(tmp_path / "out", listing, round=1)
    return run, submitted(tmp_path / "out")


def test_changes_are_relabelled_and_keep_what_was_not_changed(tmp_path: Path) -> None:
    run, tasks = boxes_file(tmp_path)
    rows = LabelStore(run / "labels").read_boxes().labels.select(torch.tensor([0]))
    results = tasks[0]["annotations"][0]["result"]
    added = copy.deepcopy(results[0])
    added["value"].update(x=10, y=20, width=50, height=25, rectanglelabels=["bird"])
    results.append(added)
    account = import_corrections(run, save(tmp_path / "p.json", tasks))
    assert (account.accepted, account.relabelled) == (3, 1)
    said = CorrectionLog(run).standing()[NAMES[0]]
    assert said.action == "relabel"
    assert [box["box"] for box in said.boxes[:-1]] == rows.boxes.tolist()
    assert said.boxes[-1]["box"] == pytest.approx([3, 4, 18, 9])
    assert said.boxes[-1]["class"] == "bird"


def test_everything_deleted_is_an_empty_picture(tmp_path: Path) -> None:
    run, tasks = boxes_file(tmp_path)
    tasks[0]["annotations"][0]["result"] = []
    import_corrections(run, save(tmp_path / "p.json", tasks))
    assert CorrectionLog(run).standing()[NAMES[0]].boxes == ()


def test_rows_that_are_not_accepted_may_be_deleted_or_kept(tmp_path: Path) -> None:
    labels = BoxLabels.from_model(
        torch.tensor([[1.0, 1, 5, 5], [2, 2, 9, 9]]), torch.tensor([0, 1]),
        torch.tensor([0.9, 0.3]), torch.tensor([2, 0, 0, 0]),
    ).with_weight(torch.tensor([1.0, 0.0]))  # fmt: skip
    for name, every, kept in (("kept", True, 2), ("deleted", False, 1)):
        run = run_folder(tmp_path / name, "detection")
        LabelStore(run / "labels").write_boxes(1, NAMES, labels, torch.tensor(SIZES), CLASSES)
        file = write("label-studio", tmp_path / f"{name}-out", listing_of(labels), every=every)
        import_corrections(run, file)
        said = CorrectionLog(run).standing()[NAMES[0]]
        assert said.action == "accept" and len(said.boxes) == kept


def test_only_doubtful_pictures_are_written(tmp_path: Path) -> None:
    labels = BoxLabels.from_model(
        torch.tensor([[1.0, 1, 5, 5], [2, 2, 9, 9], [0, 0, 4, 4]]), torch.tensor([0, 1, 2]),
        torch.tensor([0.9, 0.6, 0.1]), torch.tensor([1, 0, 1, 1]),
    ).with_weight(torch.tensor([1.0, 0.0, 0.0]))  # fmt: skip
    # Whatever is left out, nobody answers for the last picture.
    for number, (score, boxes) in enumerate(((0.0, [1, 1]), (0.25, [1, 0]))):
        listing, wanted = listing_of(labels), [2, 3]
        options = {"every": True, "doubtful_only": True, "score": score}
        formats.write_label_studio(tmp_path / f"ls{number}", listing, **options)
        tasks = json.loads((tmp_path / f"ls{number}/tasks.json").read_text("utf-8"))
        assert [task["data"]["name"] for task in tasks] == [NAMES[item] for item in wanted]
        assert {task["data"]["state"] for task in tasks} == {"doubtful"}
        shown = [task.get("predictions", [{"result": []}])[0]["result"] for task in tasks]
        assert [len(results) for results in shown] == boxes
        done = formats.write_cvat(tmp_path / f"cvat{number}", listing, **options)
        assert done.pictures == len(wanted)
        images = ElementTree.parse(tmp_path / f"cvat{number}/annotations.xml").findall("image")
        assert [image.get("name") for image in images] == [NAMES[item] for item in wanted]
        assert [len(image.findall("box")) for image in images] == boxes
        state = images[0].find("box/attribute[@name='state']")
        assert state is not None and state.text == "doubtful"


def test_cancelled_and_untouched_tasks(tmp_path: Path) -> None:
    run, tasks = boxes_file(tmp_path)
    tasks[0]["annotations"][0]["was_cancelled"] = True
    tasks[1]["annotations"] = []
    account = import_corrections(run, save(tmp_path / "p.json", tasks))
    assert (account.skipped, account.untouched, account.accepted) == (1, 1, 2)
    log = CorrectionLog(run)
    assert {one.item: one.action for one in log.read()}[NAMES[0]] == "skip"
    assert NAMES[0] not in log.standing()


def test_of_several_annotations_one_is_taken(tmp_path: Path) -> None:
    run, tasks = boxes_file(tmp_path)
    first = tasks[0]["annotations"][0]
    older = {**copy.deepcopy(first), "id": 7, "updated_at": "2029-01-01T00:00:00Z", "result": []}
    cancelled = {**older, "id": 8, "updated_at": "2031-01-01T00:00:00Z", "was_cancelled": True}
    tasks[0]["annotations"] = [cancelled, first, older]
    account = import_corrections(run, save(tmp_path / "p.json", tasks))
    assert account.accepted == 4
    assert account.notes["pictures with several annotations, of which one was taken"] == 1
    older["ground_truth"] = True
    account = import_corrections(run, save(tmp_path / "p.json", tasks))
    assert (account.relabelled, account.known) == (1, 3)


def test_a_later_correction_from_elsewhere_stands(tmp_path: Path) -> None:
    run, listing = boxes_run(tmp_path / "run", masks=False)
    formats.write_label_studio(tmp_path / "out", listing)
    CorrectionLog(run).append(NAMES[0], "relabel", boxes=[], round=1, by="review")
    tasks = submitted(tmp_path / "out", updated="2020-01-01T00:00:00Z")
    account = import_corrections(run, save(tmp_path / "p.json", tasks))
    assert (account.older, account.accepted) == (1, 3)
    assert CorrectionLog(run).standing()[NAMES[0]].by == "review"


def test_what_is_undone_stays_undone(tmp_path: Path) -> None:
    run, tasks = boxes_file(tmp_path)
    file = save(tmp_path / "p.json", tasks)
    import_corrections(run, file)
    CorrectionLog(run).append("", "undo", undoes=1)
    assert import_corrections(run, file).recorded == 0
    tasks[0]["annotations"][0]["updated_at"] = "2031-01-01T00:00:00Z"
    assert import_corrections(run, save(file, tasks)).accepted == 1


def test_a_rehearsal_records_nothing(tmp_path: Path) -> None:
    run, tasks = boxes_file(tmp_path)
    account = import_corrections(run, save(tmp_path / "p.json", tasks), record=False)
    assert account.recorded == 4
    assert CorrectionLog(run).read() == []


@pytest.mark.parametrize("form", ["label-studio", "cvat"])
def test_a_picture_of_doubtful_boxes_alone_may_be_left_as_it_is(form: str, tmp_path: Path) -> None:
    labels = BoxLabels.from_model(
        torch.tensor([[1.0, 1, 5, 5]]), torch.tensor([0]), torch.tensor([0.6]),
        torch.tensor([1, 0, 0, 0]),
    ).with_weight(torch.zeros(1))  # fmt: skip
    run = run_folder(tmp_path / "run", "detection")
    unknown = replace(labels, known=torch.zeros(4).bool())
    LabelStore(run / "labels").write_boxes(1, NAMES, unknown, torch.tensor(SIZES), CLASSES)
    shown = listing_of(replace(labels, known=labels.counts > 0))
    file = write(form, tmp_path / "out", shown, every=True)
    assert import_corrections(run, file, record=False, changed_only=True).unchanged == 1
    import_corrections(run, file)
    said = CorrectionLog(run).standing()[NAMES[0]]
    assert said.action == "accept" and len(said.boxes) == 1


def test_unchanged_pictures_may_count_as_not_looked_at(tmp_path: Path) -> None:
    run, listing = boxes_run(tmp_path / "run", masks=False)
    file = write("cvat", tmp_path / "out", listing)
    tree = ElementTree.parse(file)
    tree.findall("image")[0].clear()
    tree.findall("image")[0].attrib.update(name=NAMES[0], width="30", height="20")
    tree.write(file)
    account = import_corrections(run, file, changed_only=True)
    assert (account.relabelled, account.unchanged, account.recorded) == (1, 3, 1)


def test_bad_pictures_are_left_out_and_counted(tmp_path: Path) -> None:
    run, tasks = boxes_file(tmp_path)
    tasks[0]["annotations"][0]["result"][0]["value"]["rectanglelabels"] = ["unicorn"]
    for result in tasks[3]["annotations"][0]["result"]:
        result["original_width"] = 999
    strange = copy.deepcopy(tasks[1])
    strange["data"] = {"image": "/data/upload/1/other.png"}
    account = import_corrections(run, save(tmp_path / "p.json", [*tasks, strange]))
    assert account.accepted == 2 and account.unusable == 3
    reasons = {reason: one.first for reason, one in account.left_out.items()}
    assert "unicorn" in reasons["a class that the run does not have"]
    assert "999x12" in reasons["drawn on a picture of another size"]
    assert "other.png" in reasons["a picture that is not of this data"]
    assert len(CorrectionLog(run).read()) == 2


def test_two_classes_of_a_picture_are_none(tmp_path: Path) -> None:
    run, images, labels = classes_run(tmp_path / "run")
    formats.write_label_studio_classes(tmp_path / "out", images, labels, CLASSES)
    tasks = submitted(tmp_path / "out")[:2]
    tasks[0]["annotations"][0]["result"][0]["value"]["choices"] = list(CLASSES[:2])
    tasks[1]["annotations"][0]["result"][0]["value"]["choices"] = [CLASSES[2]]
    account = import_corrections(run, save(tmp_path / "p.json", tasks))
    assert account.left_out["several classes of one picture"].count == 1
    assert CorrectionLog(run).standing()[NAMES[1]].label == CLASSES[2]


def test_an_export_of_another_project_is_refused(tmp_path: Path) -> None:
    run, _ = boxes_run(tmp_path / "run", masks=False)
    tasks = [{"id": 1, "data": {"image": "/x/y.png"}, "annotations": []}]
    with pytest.raises(DataError, match="None of the 1 pictures"):
        import_corrections(run, save(tmp_path / "p.json", tasks))


def test_there_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run"):
        import_corrections(tmp_path, tmp_path / "p.json")
    run_folder(tmp_path / "run", "detection")
    with pytest.raises(RunError, match="no labels"):
        import_corrections(tmp_path / "run", tmp_path / "p.json")


def test_erased_pixels_are_background(tmp_path: Path) -> None:
    run, listing, believed = maps_run(tmp_path / "run")
    formats.write_label_studio(tmp_path / "out", listing)
    tasks = submitted(tmp_path / "out")
    results = tasks[0]["annotations"][0]["result"]
    tasks[0]["annotations"][0]["result"] = [
        one for one in results if one["value"]["brushlabels"] != ["cat"]
    ]
    import_corrections(run, save(tmp_path / "p.json", tasks))
    wanted = believed[0].classes.numpy().copy()
    wanted[wanted == 1] = 0
    said = CorrectionLog(run).standing()[NAMES[0]]
    assert said.action == "relabel"
    assert np.array_equal(painted(said.boxes, wanted.shape, STREET), wanted)


def test_nothing_is_said_of_pixels_drawn_as_void(tmp_path: Path) -> None:
    run, listing, believed = maps_run(tmp_path / "run")
    file = write("cvat", tmp_path / "out", listing)
    tree = ElementTree.parse(file)
    cat = next(m for m in tree.findall("image")[0].iter("mask") if m.get("label") == "cat")
    cat.set("label", "void")
    tree.write(file)
    import_corrections(run, file)
    wanted = believed[0].classes.numpy().copy()
    wanted[wanted == 1] = 255
    said = CorrectionLog(run).standing()[NAMES[0]]
    assert said.action == "relabel"
    assert np.array_equal(painted(said.boxes, wanted.shape, STREET), wanted)


def test_names_that_differ_in_their_ending_alone_come_back(tmp_path: Path) -> None:
    names = ["a.jpg", "a.png", "b/a.png"]
    labels = ClassLabels.from_person(torch.tensor([0, 1, 2]))
    run = run_folder(tmp_path / "run", "classification")
    LabelStore(run / "labels").write(0, names, labels, CLASSES)
    images = ImageSet(
        MemoryPixels(torch.zeros(3, 3, 8, 8, dtype=torch.uint8)), labels.classes, labels.classes,
        names,
    )  # fmt: skip
    formats.write_cvat_classes(tmp_path / "out", images, labels, CLASSES, items=[1, 2])
    with Image.open(tmp_path / "out/images/a-2.png") as copied:
        assert copied.size == (8, 8)
    assert import_corrections(run, tmp_path / "out" / "annotations.xml").accepted == 2
    assert {one.item: one.label for one in CorrectionLog(run).read()} == {
        "a.png": CLASSES[1], "b/a.png": CLASSES[2]
    }  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_pixels_that_nobody_saw_are_not_learnt_from(form: str, tmp_path: Path) -> None:
    run, listing, believed = maps_run(tmp_path / "run", CLASSES, accepted_only=True, share=0.5)
    import_corrections(run, write(form, tmp_path / "out", listing))
    pixels = torch.zeros(1, 3, *SIZES[0], dtype=torch.uint8)
    maps = PixelMaps(
        MemoryPixels(torch.full((1, 1, *SIZES[0]), 255, dtype=torch.uint8)), torch.tensor([False])
    )
    train = ImageSet(MemoryPixels(pixels), maps, maps, [NAMES[0]])
    data = Data("one", CLASSES, train)
    said = {0: CorrectionLog(run).standing()[NAMES[0]]}
    store = LabelStore(run / "labels")
    taught, _ = corrected_maps(data, said, torch.tensor([False]), store)
    wanted = believed[0].classes.long().masked_fill(~believed[0].accepted, 255)
    wanted = wanted.masked_fill(wanted == 255, -1)
    assert torch.equal(taught[torch.tensor([0])][0], wanted)
