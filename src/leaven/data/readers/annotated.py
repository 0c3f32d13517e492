"""From a place on disk to an ``AnnotatedListing``: finds out which layout it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from leaven.data.annotated_listing import TASKS, AnnotatedListing, Task
from leaven.data.readers import yolo
from leaven.data.readers.annotated_tables import column_names
from leaven.data.readers.archives import refuse_archive, unpack
from leaven.data.readers.box_parquet import read_box_parquet
from leaven.data.readers.coco import coco_files, read_coco
from leaven.data.readers.drawn_files import DrawnFile, tool_of
from leaven.data.readers.drawn_listing import read_drawn
from leaven.data.readers.instance_folders import INSTANCE_FOLDERS, read_instance_folders
from leaven.data.readers.mask_folders import mask_files, read_mask_folders
from leaven.data.readers.mask_parquet import read_instance_parquet, read_mask_parquet
from leaven.data.readers.parquet import split_files
from leaven.data.readers.tree import Tree, lies_in
from leaven.data.readers.voc import MASK_FOLDERS, read_voc
from leaven.data.readers.voc_masks import CLASSES, OBJECTS, read_voc_masks, voc_maps
from leaven.data.readers.yolo import read_yolo
from leaven.data.readers.yolo_yaml import YAML_FILES
from leaven.errors import DataError, nearest

_EXPECTED: dict[str, str] = {
    "segmentation": "images/ with masks/ of the same names, COCO JSON with segmentations, a VOC "
    "folder with SegmentationClass, Parquet with the columns image and mask, or an export of Label "
    "Studio or CVAT",
    "detection": "COCO JSON, a VOC folder with Annotations, images/ with labels/ in YOLO's form, "
    "Parquet with the columns image, boxes and labels, or an export of Label Studio or CVAT",
    "instance": "COCO JSON with segmentations, images/ with labels/ of YOLO polygons, images/ with "
    "instances/ of 16-bit PNG, a VOC folder with SegmentationObject and SegmentationClass, Parquet "
    "with the columns image and instances, or an export of Label Studio or CVAT",
}
_TABLES = (".parquet", ".pq")
_FEW = 32

CONFIG = "label_config.xml"
"""The labelling interface that `leaven export` writes for Label Studio; it says nothing of a
picture."""


def read_annotated(
    path: Path, task: Task, annotations: Path | None = None, *, void: int | None = None
) -> AnnotatedListing:
    """Finds out what lies at ``path`` and lists its pictures with what is said of them.

    Unlabelled are the pictures without an annotation: a picture that a COCO file lists was looked
    at, one that no file lists was not; a picture without a mask, XML or text file was not, one
    whose file names nothing was. Splits are those of folders and files (``val/``, ``train.json``,
    ``instances_val2017.json``, ``ImageSets``, data.yaml), else train. Boxes that leave their
    picture are clipped and boxes without an area are left out; the notes count and name them.
    In exports of Label Studio and CVAT a picture that nobody annotated has no label. What cannot be
    is an error. Links are not followed out of the folder.

    Args:
        path: a folder, a Parquet file, or a COCO JSON file or an export of a labelling tool beside
            its pictures.
        task: "segmentation", "detection" or "instance".
        annotations: where the annotations are, when not at the usual place: a COCO JSON file, an
            export of a labelling tool, or a folder of masks, XML files or YOLO text files.
        void: for segmentation, a further value of masks that says nothing.

    Raises:
        DataError: there is nothing that leaven reads for this task, or something in it is wrong.
    """
    if task not in TASKS:
        raise DataError(f"There is no task {task!r}.", " or ".join(TASKS), nearest(task, TASKS))
    for place in (path, annotations):
        if place is not None and not place.exists():
            raise DataError(
                f"There is no file or folder {place}.", _EXPECTED[task], "check the path."
            )
    if void is not None and task != "segmentation":
        raise DataError(
            f"A void value ({void}) was given with the task {task}.",
            "a void value with masks of classes",
            "leave it out.",
        )
    if path.is_file():
        tool = tool_of(path)
        if (path.suffix.lower() == ".json" or tool is not None) and annotations is None:
            # Next to `annotations/` lie the pictures of the file.
            folder = path.parent
            root = folder.parent if folder.name.lower() == "annotations" else folder
            if tool is not None:
                return read_drawn(Tree.of(root), [DrawnFile(path, tool)], task)
            return read_coco(Tree.of(root), [path], task)
        if path.suffix.lower() in _TABLES and annotations is None:
            return _read_tables(path, task, void)
        refuse_archive(path, _EXPECTED[task])
        raise DataError(f"{path} is a file of unknown kind.", _EXPECTED[task], "give the folder.")
    if annotations is None and split_files(path):
        return _read_tables(path, task, void)
    return _read_folder(Tree.of(path), task, annotations, void)


def _read_tables(path: Path, task: Task, void: int | None) -> AnnotatedListing:
    if task == "segmentation":
        return read_mask_parquet(path, void)
    if task == "instance":
        return read_instance_parquet(path)
    if "instances" in (there := column_names(path)) and not {"boxes", "objects"} & set(there):
        return read_instance_parquet(path)
    return read_box_parquet(path)


def _read_folder(
    tree: Tree, task: Task, annotations: Path | None, void: int | None
) -> AnnotatedListing:
    if annotations is not None and annotations.is_file():
        refuse_archive(annotations, _EXPECTED[task])
        if (tool := tool_of(annotations)) is not None:
            return read_drawn(tree, [DrawnFile(annotations, tool)], task)
        if annotations.suffix.lower() != ".json":
            raise DataError(
                f"{annotations} is an annotation file of unknown kind.",
                "a COCO JSON file, an export of Label Studio or CVAT, or a folder of masks, XML "
                "files or YOLO text files",
                "give the folder of the annotations.",
            )
        return read_coco(tree, [annotations], task)
    if (
        annotations is not None
        and task != "segmentation"
        and annotations.name.lower() in MASK_FOLDERS
    ):
        # Two folders say it together, each beside the other.
        annotations = annotations.parent
    labels = tree if annotations is None else Tree.of(annotations)
    found = _layouts(tree, labels, task, void)
    if len(found) == 1:
        return next(iter(found.values()))()
    expected, do = _EXPECTED[task], "check the path, or name the annotations with --annotations."
    if found:
        names = " and ".join(found)
        raise DataError(f"{labels.root} has annotations as {names}.", "annotations of one kind", do)
    archive = unpack(labels.files)
    if not archive:
        # Where there is no picture at all, that is what is said.
        tree.photos(labels)
    do = archive or do
    raise DataError(f"{labels.root} has no annotation for {task}.", expected, do)


def _layouts(
    tree: Tree, labels: Tree, task: Task, void: int | None
) -> dict[str, Callable[[], AnnotatedListing]]:
    """The layouts that the files have and the task can use, with what reads them."""
    named = labels.root != tree.root
    found: dict[str, Callable[[], AnnotatedListing]] = {}
    drawn = _drawn(labels)
    for tool, title in (("label-studio", "Label Studio JSON"), ("cvat", "CVAT XML")):
        if exports := [
            DrawnFile(labels.root / name, tool) for name in drawn if drawn[name] == tool
        ]:
            found[title] = partial(read_drawn, tree, exports, task)
    if jsons := [name for name in coco_files(labels) if name not in drawn]:
        files = [labels.root / name for name in jsons]
        found["COCO JSON"] = lambda: read_coco(tree, files, task)
    if task == "segmentation":
        if mask_files(labels, named=named):
            found["mask files"] = lambda: read_mask_folders(tree, labels, void)
        return found
    if task == "detection" and set(labels.ending(".xml")) - set(drawn) - {CONFIG}:
        found["VOC XML"] = lambda: read_voc(tree, labels)
    if yolo.label_files(labels) or set(YAML_FILES) & set(labels.files):
        found["YOLO text files"] = lambda: read_yolo(tree, labels, task)
    maps = [name for name in labels.ending(".png") if lies_in(name, INSTANCE_FOLDERS)]
    voc = "VOC XML" not in found and bool(voc_maps(labels, OBJECTS))
    # A class per pixel alone is refused there, with what is missing.
    half = task == "instance" and not found and not maps and bool(voc_maps(labels, CLASSES))
    if voc or half:
        found["VOC masks"] = lambda: read_voc_masks(tree, labels)
    if maps or (named and labels.ending(".png") and not found):
        found["instance maps"] = lambda: read_instance_folders(tree, labels)
    return found


def _drawn(labels: Tree) -> dict[str, str]:
    """The exports of labelling tools near the top, and which tool each is of."""
    near = [name for name in labels.ending(".json", ".xml") if name.count("/") <= 1]
    folders = Counter(name.rpartition("/")[0] for name in near)
    # Where there is a file for each picture, none of them is about all.
    few = [name for name in near if folders[name.rpartition("/")[0]] <= _FEW]
    tools = {name: tool_of(labels.root / name) for name in few}
    return {name: tool for name, tool in tools.items() if tool is not None}
