"""Documents for every reader that are almost right: a clear error or a right result, and no other.

``python -m tests.safety.fuzz --minutes 10`` goes on for that long with other ones each time.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from tests.safety.hostile import (
    answered,
    changed,
    changes,
    damaged,
    damages,
    png,
    put,
    values,
)

from leaven.data import open_data
from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.formats.brush import brush_runs
from leaven.data.readers import read
from leaven.data.readers.annotated import read_annotated
from leaven.data.readers.drawn import Unusable
from leaven.data.readers.drawn_files import DrawnFile, tool_of
from leaven.data.readers.segments import run_of_segment
from leaven.job.config import RunConfig
from leaven.labels import BoxLabels, ClassLabels, CorrectionLog, LabelStore, Masks, Source
from leaven.labels.pixel_table import PicturePixels
from leaven.labels.runs import check_lengths, lengths_of
from leaven.models import build_model, load_model, save_model
from leaven.models.weights import read_weights
from leaven.report import write_report
from leaven.report.content import content
from leaven.report.folder import read_run
from leaven.train import Checkpoints

SIZE = (6, 8)
PNG = png()
TASKS = st.sampled_from(["detection", "instance", "segmentation"])
RUN_LENGTHS = {"size": [6, 8], "counts": [10, 12, 26]}

COCO = {
    "info": {"description": "x"},
    "images": [
        {"id": 1, "file_name": "a.png", "width": 8, "height": 6},
        {"id": 2, "file_name": "b.png", "width": 8, "height": 6},
    ],
    "annotations": [
        {
            "id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 1, 4, 3], "iscrowd": 0,
            "segmentation": [[1, 1, 5, 1, 5, 4]], "score": 0.5, "weight": 1, "source": "model",
        },
        {"id": 2, "image_id": 1, "category_id": 7, "segmentation": RUN_LENGTHS, "iscrowd": 1},
    ],
    "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
}  # fmt: skip
VOC = """<annotation><filename>a.png</filename><size><width>8</width><height>6</height></size>
<object><name>cat</name><difficult>0</difficult><score>0.5</score><source>model</source>
<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>4</ymax></bndbox></object></annotation>"""
YOLO_YAML = {"path": "/x", "train": "images", "val": ["val.txt"], "nc": 2, "names": ["cat", "dog"]}
INSTANCES = {
    "a.png": {"1": {"class": "cat", "score": 1, "source": "person"}, "2": {"class": "dog"}}
}
SUMMARY = {
    "task": "classification", "method": "x", "data": {"name": "x", "labelled": 3, "classes": ["a"]},
    "metrics": {"accuracy": 0.5}, "baseline": {"accuracy": 0.4}, "seed": 0, "steps": 3,
    "labels": {"accepted": 1, "accepted_share": 0.5, "accuracy": None, "corrected": 1},
    "health": [{"level": "info", "code": "x", "text": "y"}], "environment": {"a": [1, {"b": 2}]},
    "per_class": {"iou": [0.5]}, "seconds": 1.5,
    "reliability": {"edges": [0, 1], "count": [2], "accuracy": [0.5], "confidence": [0.6]},
}  # fmt: skip
CORRECTION = {
    "id": 1, "time": "2026-01-01T00:00:00.000+00:00", "item": "a.png", "action": "relabel",
    "label": None, "boxes": [{"box": [1, 2, 3, 4], "class": "cat", "mask": None}], "round": 0,
    "by": "review", "undoes": None, "token": "x",
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """What is fuzzed: the inputs, and what is done with one in a new folder."""

    inputs: st.SearchStrategy[Any]
    check: Callable[[Path, Any], None]
    examples: int


TARGETS: dict[str, Target] = {}


def target(inputs: st.SearchStrategy[Any], examples: int) -> Callable[[Any], Any]:
    """Makes a function of a folder and an input one of ``TARGETS``, under its name."""

    def made(check: Callable[[Path, Any], None]) -> Callable[[Path, Any], None]:
        TARGETS[check.__name__] = Target(inputs, check, examples)
        return check

    return made


def check_listing(folder: Path, task: Any, **options: Any) -> None:
    """What is read is right in itself."""
    listing = answered(lambda: read_annotated(folder, task, **options))
    if listing is None:
        return
    assert isinstance(listing, AnnotatedListing)
    count, classes = len(listing), len(listing.classes)
    assert len(set(listing.classes)) == classes and "" not in listing.classes
    "".join([*listing.classes, *listing.names, *listing.notes]).encode()
    for source in listing.sources:
        if isinstance(source, Path):
            assert source.resolve().is_relative_to(folder.resolve())
    if listing.boxes is not None:
        boxes = listing.boxes
        assert len(boxes) == count and bool(boxes.boxes.isfinite().all())
        high = listing.sizes[boxes.pictures].flip(1)
        assert bool((boxes.boxes >= 0).all() and (boxes.boxes[:, 2:] <= high).all())
        assert not len(boxes.classes) or 0 <= int(boxes.classes.min()) <= int(boxes.classes.max())
        assert not len(boxes.classes) or int(boxes.classes.max()) < classes
        assert bool(((boxes.confidence >= 0) & (boxes.confidence <= 1)).all())
        if boxes.masks is not None:
            assert bool((boxes.masks.area() > 0).all())
    if listing.maps is not None:
        for item in range(count):
            one = answered(lambda item=item: listing.maps[item])
            assert one is None or one.shape == tuple(listing.sizes[item].tolist())
            assert one is None or set(np.unique(one)) <= {*range(classes), 255}


@target(st.tuples(TASKS, changes(), damages()), 90)
def coco(folder: Path, given: Any) -> None:
    task, change, damage = given
    put(folder / "images/a.png", PNG)
    put(folder / "images/b.png", PNG)
    text = json.dumps(changed(COCO, change))
    put(folder / "annotations/train.json", damaged(text.encode(), damage))
    check_listing(folder, task)


@target(
    st.tuples(
        st.lists(
            st.tuples(
                st.integers(0, 40), st.sampled_from("trdn"), st.text(max_size=8) | values().map(str)
            ),
            max_size=3,
        ),
        damages(),
        st.booleans(),
    ),
    70,
)
def voc(folder: Path, given: Any) -> None:
    change, damage, entities = given
    root = ElementTree.fromstring(VOC)
    for number, action, text in change:
        nodes = list(root.iter())
        node = nodes[number % len(nodes)]
        if action == "t":
            node.text = text
        elif action == "r":
            node.clear()
        elif action == "d":
            node.append(ElementTree.fromstring(VOC))
        else:
            node.tag = text or "x"
    content = ElementTree.tostring(root, "utf-8", xml_declaration=False)
    if entities:
        content = b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>' + content
    put(folder / "JPEGImages/a.png", PNG)
    put(folder / "Annotations/a.xml", damaged(content, damage))
    check_listing(folder, "detection")


WORDS = st.sampled_from(
    ["0", "1", "2", "-1", "0.5", "0.1", "1.5", "nan", "inf", "1e308", "1e15", "x", "", "0x1", "١"]
)


@target(
    st.tuples(
        st.sampled_from(["detection", "instance"]),
        st.lists(st.lists(WORDS, max_size=9), max_size=3),
        changes() | st.just([]),
        damages(),
        damages(),
        st.booleans(),
    ),
    80,
)
def yolo(folder: Path, given: Any) -> None:
    task, lines, change, label_damage, yaml_damage, whole = given
    text = "0 0.5 0.5 0.25 0.25\n" + "\n".join(" ".join(line) for line in lines)
    put(folder / "images/a.png", PNG)
    put(folder / "labels/a.txt", damaged(text.encode(), label_damage))
    if whole:
        said = yaml.safe_dump(_yamlable(changed(YOLO_YAML, change)), allow_unicode=True)
        put(folder / "data.yaml", damaged(said.encode("utf-8", "replace"), yaml_damage))
    check_listing(folder, task)


def _yamlable(value: Any, depth: int = 0) -> Any:
    """Without what the writer of YAML refuses."""
    if depth > 60:
        return []
    if isinstance(value, dict):
        return {str(key): _yamlable(one, depth + 1) for key, one in value.items()}
    return [_yamlable(one, depth + 1) for one in value] if isinstance(value, list) else value


PIECES = st.sampled_from(
    ["names:", " [a, b]", "\n", " - x", "&a ", "*a", "<<: ", "!!python/object/apply:os.system",
     "!!binary x", "!!set {a}", "0x" + "f" * 9000, "? ", "{", "}", "[", "]", "train: images\n",
     "nc: ", "2", "2001-01-01", "1:2:3", "|", ">", "'", '"', "\t", "---", "...", "%YAML 1.1", "~"]
)  # fmt: skip


@target(st.lists(PIECES, max_size=12).map("".join), 60)
def yaml_text(folder: Path, text: str) -> None:
    put(folder / "images/a.png", PNG)
    put(folder / "labels/a.txt", "0 0.5 0.5 0.25 0.25\n")
    put(folder / "data.yaml", text)
    check_listing(folder, "detection")
    put(folder / "config.yaml", text)
    answered(lambda: RunConfig.read(folder / "config.yaml"))


CELLS = st.one_of(
    st.sampled_from(["cat/1.png", "2.png", "./2.png", "..\\2.png", "../x.png", "cat", "1", "true"]),
    values().map(str).filter(lambda text: len(text) < 6000),
    st.sampled_from(["9" * 5000, "test", "val", "no", '"', "a,b", "\n", "x" * 140_000]),
)


@target(st.tuples(st.lists(st.lists(CELLS, max_size=5), max_size=4), st.booleans(), damages()), 70)
def label_csv(folder: Path, given: Any) -> None:
    rows, header, damage = given
    for name in ("cat/1.png", "2.png"):
        put(folder / name, PNG)
    lines = [["file", "label", "split", "accepted"]] * header + rows
    text = "\n".join(
        ",".join(f'"{cell}"' if "," in cell else cell for cell in row) for row in lines
    )
    put(folder / "labels.csv", damaged(text.encode("utf-8", "surrogatepass"), damage))
    listing = answered(lambda: read(folder))
    if listing is not None:
        assert len(listing.labels) == 2 and int(listing.labels.max()) < len(listing.classes)
        answered(lambda: open_data(folder))


def _columns() -> st.SearchStrategy[pa.Array]:
    """Three rows of any type."""
    three = [
        pa.array([PNG] * 3),
        pa.array([PNG, b"", None]),
        pa.array(["images/a.png", "../x.png", "/etc/passwd"]),
        pa.array(["images/a.png"] * 3),
        pa.array([{"bytes": PNG, "path": "../x"}, {"bytes": None, "path": "../x"}, None]),
        pa.array([{"bytes": PNG, "path": None}] * 3),
        pa.array([{"bytes": 1, "path": 2}] * 3),
        pa.array([0, 1, None]),
        pa.array([0, 1, 2**64 - 1], pa.uint64()),
        pa.array([0.0, math.nan, 1e300]),
        pa.array([True, False, None]),
        pa.array(["cat", "dog", ""]),
        pa.array(["cat", "dog", "9" * 5000]),
        pa.array([b"\xff\xfe", b"a", b"b"]).view(pa.string()),
        pa.array(["cat", "dog", None]).dictionary_encode(),
        pa.nulls(3),
        pa.array([1, 2, 3], pa.timestamp("s")),
        pa.array([2**50, 2, 3], pa.timestamp("s")),
        pa.array([1, 2, 3], pa.decimal128(20, 2)),
        pa.array([[[0, 0, 4, 4]], [], None]),
        pa.array([[[0.0, 0, 4, 4]], [[1, 1, math.nan, 3]], []]),
        pa.array([[["cat"]], [["dog"]], []]),
        pa.array([["cat"], ["dog", "x"], None]),
        pa.array([[0], [1], []]),
        pa.array([[2**63], [1], []], pa.list_(pa.uint64())),
        pa.array([[None], [1], []]),
        pa.array([{"bbox": [[0, 0, 2, 2]], "category": [0]}] * 3),
        pa.array([[{"bbox": [0, 0, 2, 2], "category": 1}], [], None]),
        pa.array([{"bbox": 1, "category": {"a": []}}] * 3),
        pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int32())),
        pa.array([PNG, png(mode="L"), png((9, 9), "L")]),
    ]
    return st.sampled_from(three)


METADATA = st.one_of(
    st.just({}),
    st.sampled_from(
        [["cat", "dog"], ["a", "a"], [1, 2], {"a": 1}, "ab", None, [], [[]], ["\ud800"]]
    ).map(lambda said: {"classes": json.dumps(said)}),
    st.sampled_from(["[" * 5000, "{", "NaN", "1" * 5000]).map(lambda text: {"classes": text}),
    values().map(lambda said: {"huggingface": json.dumps({"info": {"features": said}})}),
    values().map(lambda said: {"ignore": json.dumps(said)}),
)


WHOLE = {
    "image": pa.array([PNG] * 3),
    "label": pa.array([0, 1, None]),
    "boxes": pa.array([[[0.0, 0, 4, 4]], [[1.0, 1, 2, 2]], []]),
    "labels": pa.array([[0], [1], []]),
    "mask": pa.array([png(mode="L")] * 3),
    "instances": pa.array([png(mode="L")] * 3),
    "name": pa.array(["a", "b", "c"]),
}


@target(
    st.tuples(
        st.dictionaries(st.sampled_from([*WHOLE, "objects"]), _columns(), max_size=2),
        st.sets(st.sampled_from(["boxes", "name", "mask"]), max_size=1),
        METADATA,
        damages(),
    ),
    110,
)
def parquet(folder: Path, given: Any) -> None:
    replaced, removed, metadata, damage = given
    put(folder / "images/a.png", PNG)
    columns = {key: one for key, one in {**WHOLE, **replaced}.items() if key not in removed}
    table = pa.table(columns, metadata=metadata)
    pq.write_table(table, folder / "train.parquet")
    content = (folder / "train.parquet").read_bytes()
    put(folder / "train.parquet", damaged(content, damage))
    for task in ("detection", "instance", "segmentation"):
        check_listing(folder, task)
    listing = answered(lambda: read(folder))
    if listing is not None:
        assert len(listing.labels) == len(listing.names) == 3
        answered(lambda: open_data(folder))


@target(
    st.tuples(
        st.sampled_from(["L", "P", "1", "RGB", "RGBA", "I;16", "LA"]),
        st.sampled_from([(8, 6), (6, 8), (1, 1)]),
        damages(),
        changes() | st.just([]),
        damages(),
    ),
    70,
)
def mask_files(folder: Path, given: Any) -> None:
    mode, size, damage, change, json_damage = given
    put(folder / "images/a.png", PNG)
    content = damaged(png(size, mode), damage)
    put(folder / "masks/a.png", content)
    listed = json.dumps(
        changed([{"name": "a", "color": [0, 0, 0]}, {"name": "b", "color": [1, 1, 1]}], change)
    )
    put(folder / "classes.json", damaged(listed.encode(), json_damage))
    check_listing(folder, "segmentation")
    (folder / "masks/a.png").rename(folder / "b.png")
    (folder / "b.png").unlink()
    put(folder / "instances/a.png", content)
    put(folder / "classes.json", '["cat", "dog"]')
    details = damaged(json.dumps(changed(INSTANCES, change)).encode(), json_damage)
    put(folder / "instances.json", details)
    check_listing(folder, "instance")


LETTERS = st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=14)


@target(st.one_of(values(), LETTERS.map(lambda t: {"size": [4, 5], "counts": t}),
                  st.lists(st.integers(-3, 25), max_size=5).map(lambda c: {"size": [4, 5], "counts": c}),
                  st.lists(st.lists(st.one_of(st.floats(), st.integers(-9, 9)), max_size=8), max_size=3)), 180)  # fmt: skip
def run_lengths(folder: Path, segment: Any) -> None:
    run = answered(lambda: run_of_segment(segment, (4, 5), "here"))
    if run is not None:
        check_lengths(lengths_of(run), (4, 5))
        assert Masks([run], torch.tensor([[4, 5]])).dense().shape == (1, 4, 5)


@cache
def _round(number: int) -> pa.Table:
    """A round of classes (0), of pixels (1), of boxes with masks (2)."""
    with tempfile.TemporaryDirectory() as made:
        _write_rounds(LabelStore(made))
        return pq.read_table(Path(made) / f"round-{number:03d}.parquet")


def _write_rounds(store: LabelStore) -> None:
    probs = torch.tensor([[0.75, 0.25], [0.5, 0.5]])
    store.write(0, ["a", "b"], ClassLabels.from_probs(probs), ["cat", "dog"], torch.tensor([0, -1]))
    sure = torch.full(SIZE, 0.5)
    classes = torch.zeros(SIZE, dtype=torch.uint8)
    classes[2:] = 1
    picture = PicturePixels("a", classes, sure, sure, Source.MODEL, 0.5)
    store.write_pixels(1, iter([picture]), ["cat", "dog"])
    mask = Masks.from_dense(torch.ones(1, *SIZE, dtype=torch.bool))
    boxes = BoxLabels.from_person([torch.tensor([[1.0, 1, 4, 4]])], [torch.tensor([1])], masks=mask)
    store.write_boxes(2, ["a"], boxes, torch.tensor([SIZE]), ["cat", "dog"])


def _other_values(column: pa.ChunkedArray) -> list[pa.Array]:
    """Values that a column of a round should not have."""
    count = len(column)
    run = {"size": [6, 8], "counts": "0"}
    return [
        pa.nulls(count),
        pa.nulls(count, column.type),
        pa.array([-7] * count, pa.int32()),
        pa.array([2**31 - 1] * count, pa.int32()),
        pa.array([math.nan] * count, pa.float32()),
        pa.array([math.inf] * count, pa.float32()),
        pa.array(["x"] * count),
        pa.array([b"\xff"] * count).view(pa.string()),
        pa.array([[1, 2]] * count),
        pa.array([run] * count, _RUNS),
        pa.array([{"size": [2**31 - 1, 2**31 - 1], "counts": "0"}] * count, _RUNS),
        pa.array([{"size": None, "counts": None}] * count, _RUNS),
        pa.array([[{"class": "cat", "label": 9, "confidence": 2.0, "mask": run}]] * count, _SEGMENTS),
        pa.array([[None]] * count, _SEGMENTS),
        pa.array([[{"class": None, "label": None, "confidence": None, "mask": None}]] * count, _SEGMENTS),
    ]  # fmt: skip


def _other_column(column: pa.ChunkedArray, kind: int) -> pa.Array:
    """Mostly one of the same type."""
    wrong = _other_values(column)
    alike = [one for one in wrong if one.type == column.type]
    return wrong[kind] if kind < 4 else alike[kind % len(alike)]


_RUNS = pa.struct([("size", pa.list_(pa.int32(), 2)), ("counts", pa.string())])
_SEGMENTS = pa.list_(
    pa.struct(
        [
            ("class", pa.string()),
            ("label", pa.int32()),
            ("confidence", pa.float32()),
            ("mask", _RUNS),
        ]
    )
)


@target(
    st.tuples(st.integers(0, 2), st.lists(st.tuples(st.integers(0, 20), st.integers(0, 14)), max_size=2),
              METADATA | st.none(), damages()), 130,
)  # fmt: skip
def label_store(folder: Path, given: Any) -> None:
    number, replaced, metadata, damage = given
    file = folder / f"round-{number:03d}.parquet"
    table = _round(number)
    for place, kind in replaced:
        place %= table.num_columns
        column = _other_column(table.column(place), kind)
        table = table.set_column(place, table.column_names[place], column)
    if metadata is not None:
        table = table.replace_schema_metadata(metadata)
    pq.write_table(table, file)
    put(file, damaged(file.read_bytes(), damage))
    store = LabelStore(folder)
    if number == 0:
        found = answered(lambda: store.read(0))
        if found is not None:
            _, labels, classes, _ = found
            assert len(labels) == 2 and int(labels.classes.max()) < len(classes)
            assert bool((labels.weight >= 0).all()) and bool((labels.confidence <= 1).all())
    elif number == 1:
        maps = answered(lambda: store.read_pixels(1))
        if maps is not None and answered(lambda: maps.picture(0)) is not None:
            picture = maps.picture(0)
            assert set(picture.classes.unique().tolist()) <= {*range(len(maps.classes)), 255}
    else:
        boxes = answered(lambda: store.read_boxes(2))
        if boxes is not None and boxes.labels.masks is not None:
            assert len(boxes.labels.masks.area()) == len(boxes.labels.boxes)


@target(st.tuples(changes(), changes(), damages()), 60)
def report(folder: Path, given: Any) -> None:
    change, config, damage = given
    put(folder / "summary.json", damaged(json.dumps(changed(SUMMARY, change)).encode(), damage))
    put(folder / "config.yaml", json.dumps(changed({"data": "x", "set": {"a": [1]}}, config)))
    lines = [{"step": 1, "loss": 0.5, "accuracy": 0.5}, {"step": 2, "loss": 0.4, "phase": "x"}]
    put(folder / "metrics.jsonl", "\n".join(json.dumps(changed(line, change)) for line in lines))
    answered(lambda: content(read_run(folder)))


@target(st.tuples(changes(), changes(), damages()), 6)
def report_page(folder: Path, given: Any) -> None:
    report(folder, given)
    answered(lambda: write_report(folder))


@target(st.tuples(changes(), damages(), st.integers(0, 3)), 80)
def corrections(folder: Path, given: Any) -> None:
    change, damage, repeated = given
    line = json.dumps(changed(CORRECTION, change)).encode() + b"\n"
    whole = json.dumps(CORRECTION).encode() + b"\n"
    put(folder / "corrections.jsonl", damaged(whole + line * repeated, damage))
    log = CorrectionLog(folder / "corrections.jsonl", classes=["cat"])
    answered(log.read)
    answered(log.standing)


TASKS_OF_LABEL_STUDIO = [
    {
        "id": 1,
        "data": {"image": "/data/local-files/?d=images/a.png", "name": "a.png", "round": 1},
        "annotations": [
            {
                "id": 5, "was_cancelled": False, "ground_truth": True,
                "updated_at": "2026-01-01T00:00:00Z",
                "result": [
                    {
                        "id": "x", "type": "rectanglelabels", "original_width": 8,
                        "original_height": 6, "from_name": "label", "to_name": "image",
                        "value": {"x": 10, "y": 10, "width": 50, "height": 50, "rotation": 20,
                                  "rectanglelabels": ["cat"]},
                        "meta": {"crowd": True},
                    },
                    {
                        "id": "y", "type": "brushlabels", "original_width": 8, "original_height": 6,
                        "value": {"format": "rle", "rle": brush_runs(np.ones(SIZE, bool)),
                                  "brushlabels": ["dog"]},
                    },
                    {
                        "id": "z", "type": "polygonlabels", "original_width": 8,
                        "original_height": 6,
                        "value": {"points": [[0, 0], [50, 0], [50, 50]], "polygonlabels": ["cat"]},
                    },
                    {
                        "id": "e", "type": "ellipselabels", "original_width": 8,
                        "original_height": 6,
                        "value": {"x": 50, "y": 50, "radiusX": 9, "radiusY": 9, "rotation": 0,
                                  "ellipselabels": ["cat"]},
                    },
                    {"id": "c", "type": "choices", "value": {"choices": ["cat"]}},
                ],
            }
        ],
    }
]  # fmt: skip
CVAT = """<annotations><version>1.1</version><meta><task><labels><label><name>cat</name></label>
</labels><updated>2026</updated></task></meta><image id="0" name="a.png" width="8" height="6">
<box label="cat" xtl="1" ytl="1" xbr="4" ybr="4" z_order="0" rotation="10"/>
<polygon label="cat" points="1,1;5,1;5,4"/><ellipse label="cat" cx="4" cy="3" rx="2" ry="1"/>
<mask label="cat" rle="1,2,3" left="0" top="0" width="2" height="3"/><tag label="cat"/>
</image></annotations>"""


def check_drawn(file: Path, by: str) -> None:
    """What is said of each picture has places in it, or is told to be of no use."""
    answered(lambda: tool_of(file))
    read = answered(DrawnFile(file, by).read)
    for picture in read[0] if read is not None else ():
        for shape in picture.shapes:
            try:
                placed = shape.place(SIZE)
            except Unusable as problem:
                assert problem.reason and len(problem.detail) < 1000
                continue
            if placed is not None:
                x1, y1, x2, y2 = placed.box
                assert 0 <= x1 < x2 <= 8 and 0 <= y1 < y2 <= 6
                assert placed.run is None or check_lengths(lengths_of(placed.run), SIZE) is None


@target(st.tuples(changes(), damages()), 80)
def label_studio(folder: Path, given: Any) -> None:
    change, damage = given
    text = json.dumps(changed(TASKS_OF_LABEL_STUDIO, change))
    put(folder / "tasks.json", damaged(text.encode(), damage))
    check_drawn(folder / "tasks.json", "label-studio")


ATTRIBUTES = st.one_of(
    st.sampled_from(["0", "-1", "1e308", "nan", "inf", "", "9" * 5000, "0000000001" + "9" * 20, "1,2",
                     "1,-2,7", ",", ";", "1,2;3", "99999999999,1", "../x", "x" * 9]),
    st.text(max_size=4),
)  # fmt: skip


@target(st.tuples(st.lists(st.tuples(st.integers(0, 60), ATTRIBUTES), max_size=3), damages()), 80)
def cvat(folder: Path, given: Any) -> None:
    change, damage = given
    root = ElementTree.fromstring(CVAT)
    places = [(node, name) for node in root.iter() for name in node.attrib]
    for number, text in change:
        node, name = places[number % len(places)]
        node.set(name, text)
    put(folder / "annotations.xml", damaged(ElementTree.tostring(root, "utf-8"), damage))
    check_drawn(folder / "annotations.xml", "cvat")


@target(changes(), 15)
def model_description(folder: Path, change: Any) -> None:
    model = build_model("cnn-small", ("a", "b"), (1, 8, 8), mean=(0.5,), std=(0.5,))
    save_model(model, folder)
    said = json.loads((folder / "model.json").read_text("utf-8"))
    put(folder / "model.json", json.dumps(changed(said, change)))
    answered(lambda: load_model(folder, torch.nn.Module))


@target(st.tuples(st.booleans(), damages()), 90)
def weights(folder: Path, given: Any) -> None:
    safe, damage = given
    state = {"a.weight": torch.arange(6.0), "a.bias": torch.zeros(2, 3)}
    if safe:
        from safetensors.torch import save_file

        save_file(state, folder / "w.safetensors")
    else:
        torch.save({"state_dict": state}, folder / "w.pt")
    file = folder / ("w.safetensors" if safe else "w.pt")
    put(file, damaged(file.read_bytes(), damage))
    answered(lambda: read_weights(file))
    checkpoints = Checkpoints(folder / "checkpoints")
    path = checkpoints.write(1, {"step": 1, "state": state})
    put(path, damaged(path.read_bytes(), damage))
    answered(checkpoints.newest)


def run_target(name: str, *, examples: int | None = None, number: int | None = None) -> None:
    """Runs one target: always the same inputs, or those of the seed ``number``."""
    chosen = TARGETS[name]

    @settings(
        max_examples=examples or chosen.examples,
        derandomize=number is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
    )
    @given(chosen.inputs)
    def go(value: Any) -> None:
        with tempfile.TemporaryDirectory() as made, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            chosen.check(Path(made), value)

    (go if number is None else seed(number)(go))()


def main() -> None:
    """Runs the targets in turn, until the time is over or one fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", choices=TARGETS, action="append")
    chosen = parser.parse_args()
    latest, number = time.monotonic() + 60 * chosen.minutes, chosen.seed
    while time.monotonic() < latest:
        for name in chosen.only or TARGETS:
            print(f"{name}, seed {number}", flush=True)
            run_target(name, examples=200, number=number)
        number += 1


if __name__ == "__main__":
    main()
