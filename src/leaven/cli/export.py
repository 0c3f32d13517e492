"""``leaven export``."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leaven.cli.export_tools import Shown, write_tools
from leaven.cli.output import print_json, stderr, stdout, words
from leaven.errors import DataError, LeavenError, MissingExtraError, ModelError, RunError
from leaven.plain import counted

if TYPE_CHECKING:
    from leaven.data import Data, ImageSet
    from leaven.job.export_folder import ExportFolder


class Form(StrEnum):
    """What the labelled data set is written as."""

    folder = "folder"
    csv = "csv"
    parquet = "parquet"
    coco = "coco"
    voc = "voc"
    yolo = "yolo"
    masks = "masks"
    instances = "instances"
    label_studio = "label-studio"
    cvat = "cvat"


ONNX = "model.onnx"

_NAMES = {Form.folder: "pictures", Form.csv: "labels.csv", Form.parquet: "labels.parquet"}

FORMS = {
    "classification": (Form.folder, Form.csv, Form.parquet, Form.label_studio, Form.cvat),
    "segmentation": (Form.masks, Form.coco, Form.label_studio, Form.cvat),
    "detection": (Form.coco, Form.voc, Form.yolo, Form.label_studio, Form.cvat),
    "instance": (Form.coco, Form.voc, Form.yolo, Form.instances, Form.label_studio, Form.cvat),
}
"""The forms that hold the labels of each task."""

TOOLS = (Form.label_studio, Form.cvat)
"""The forms of labelling tools; they are written when they are asked for."""

SEEN = 0.25
"""The confidence from which boxes that are not accepted are shown to a person."""


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    onnx: Annotated[bool, typer.Option("--onnx", help="The model as ONNX.")] = False,
    labels: Annotated[
        list[Form] | None,
        typer.Option(
            "--labels",
            help="The labelled data set in this form; may be repeated. Classes: folder, csv, "
            "parquet. Pixels: masks, coco. Boxes: coco, voc, yolo. Masks of things: coco, voc, "
            "yolo, instances. Any, for people to correct: label-studio, cvat.",
            show_choices=False,
            metavar="FORM",
        ),
    ] = None,
    accepted_only: Annotated[
        bool | None,
        typer.Option(
            "--accepted-only/--all",
            help="Leave out what is not accepted. Without it, classification keeps such items "
            "and marks them; pixels, boxes and masks that are not accepted are left out "
            "unless --all is given.",
        ),
    ] = None,
    doubtful_only: Annotated[
        bool,
        typer.Option(
            "--doubtful-only",
            help="For label-studio and cvat: only pictures that need a person, in which "
            "something is not accepted, with all that is believed of them.",
        ),
    ] = False,
    score: Annotated[
        float | None,
        typer.Option(
            "--score",
            min=0,
            max=1,
            help="For label-studio and cvat: leave out boxes that are not accepted and have a "
            f"lower confidence. [default: {SEEN:g} with --doubtful-only, else 0]",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Where the pictures are now, if they were moved."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The folder to write to.", show_default="RUN/export"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write the model as ONNX and the labelled data set as files.

    Without --onnx and --labels: model.onnx, compared with the outputs of
    torch; and every form of the labels that the task has, but for those of
    labelling tools. For classes: pictures/ with a folder for each class,
    labels.csv, and labels.parquet with the pictures inside. For pixels, boxes
    and masks: a folder in each form, with copies of the pictures. The data
    set is that of the training items. Held-out pictures are not in it, but for
    labels.csv and labels.parquet, which have them with their split.
    A later export takes the place of an earlier one, by what export.json says;
    what was changed since, and a folder of anything else, is refused.
    `leaven run` reads every form again but label-studio and cvat (csv with
    --labels, beside the pictures): these are for their tools, and what people
    correct there comes back with `leaven corrections`.

    \b
    Examples:
        leaven export runs/mine
        leaven export runs/mine --labels folder --accepted-only --out dataset/
        leaven export runs/mine --onnx --labels csv --data /new/place/
        leaven export runs/cells --labels coco --labels yolo
        leaven export runs/cells --labels cvat --doubtful-only --out to-correct/
    """
    task = _task_of(run)
    forms = list(dict.fromkeys(labels or ()))
    _check_forms(forms, task)
    if doubtful_only or score is not None:
        _check_for_people(forms, doubtful_only, accepted_only)
    everything = not onnx and not forms
    target = _target(run, out)
    chosen = [form for form in FORMS[task] if form not in TOOLS] if everything else forms
    with_onnx = onnx or everything
    target.check(([ONNX] if with_onnx else []) + [_NAMES.get(form, form.value) for form in chosen])
    written: dict[str, Any] = {}
    try:
        if with_onnx:
            _write_onnx(run, target, written, optional=everything)
        tools = [form for form in chosen if form in TOOLS]
        others = [form for form in chosen if form not in TOOLS]
        keep_all = accepted_only is False
        if others and task == "classification":
            _write_labels(run, target, others, data, bool(accepted_only), written)
        elif others:
            _write_places(run, target, others, data, keep_all, written)
        if tools:
            shown = Shown(
                every=keep_all or doubtful_only or score is not None,
                score=(SEEN if doubtful_only else 0.0) if score is None else score,
                doubtful_only=doubtful_only,
                accepted_only=bool(accepted_only),
            )
            write_tools(run, target, tools, data, task, shown, written)
    except LeavenError:
        _tell(written, json=False, show=lambda text: stderr().print(text))
        raise
    _tell(written, json=json, show=lambda text: stdout().print(text))


def _tell(written: dict[str, Any], *, json: bool, show: Callable[[Any], None]) -> None:
    if json:
        print_json(written)
        return
    for name, what in written.items():
        show(words(f"{name}: {what['path']} ({what['note']})"))


def _task_of(run: Path) -> str:
    """The task of a finished run.

    Raises:
        DataError: it has made no labels.
    """
    import json

    _check_finished(run)
    task = json.loads((run / "summary.json").read_text(encoding="utf-8")).get("task")
    if task is not None and task not in FORMS:
        raise DataError(
            f"{run} is a run for {task}.",
            "a run that labels pictures: " + ", ".join(FORMS),
            f"use its pictures, samples.png and what `leaven generate {run}` makes.",
        )
    return str(task or "classification")


def _check_forms(forms: list[Form], task: str) -> None:
    foreign = [form for form in forms if form not in FORMS[task]]
    if foreign:
        raise DataError(
            f"Labels for {task} cannot be written as {foreign[0]}.",
            "one of: " + ", ".join(FORMS[task]),
            "choose one of these forms.",
        )


def _check_for_people(forms: list[Form], doubtful_only: bool, accepted_only: bool | None) -> None:
    others = [form for form in forms if form not in TOOLS]
    if not forms or others:
        raise DataError(
            "--doubtful-only and --score were given"
            + (f" with the form {others[0]}." if others else " without a form."),
            "the forms for people to correct: " + " or ".join(TOOLS),
            "add --labels label-studio or --labels cvat, or leave the option out.",
        )
    if doubtful_only and accepted_only:
        raise DataError(
            "--doubtful-only and --accepted-only were both given.", "one of them", "choose one."
        )


def _write_onnx(
    run: Path, target: ExportFolder, written: dict[str, Any], *, optional: bool
) -> None:
    from torch import nn

    from leaven.models import Classifier, Segmenter, export_onnx, load_model
    from leaven.models.detection import Detector, export_detector

    model = load_model(run / "model", nn.Module)
    try:
        with target.place(ONNX) as path:
            if isinstance(model, Detector):
                difference = export_detector(model, path)
            else:
                assert isinstance(model, Classifier | Segmenter)
                difference = export_onnx(model, path)
    except (MissingExtraError, ModelError) as error:
        if not optional:
            raise
        stderr().print(words(f"no model.onnx: {error.found} {error.do}", style="yellow"))
        return
    written["onnx"] = {
        "path": str(path),
        "difference": difference,
        "note": f"largest difference of an output from torch {difference:.1e}",
    }


def _write_labels(
    run: Path,
    target: ExportFolder,
    forms: list[Form],
    moved: Path | None,
    accepted_only: bool,
    written: dict[str, Any],
) -> None:
    from leaven.data import write_csv, write_folder, write_parquet
    from leaven.job.labelled import held_out_parts
    from leaven.labels import LabelStore

    tables = {Form.csv: write_csv, Form.parquet: write_parquet}
    names, labels, classes, _ = LabelStore(run / "labels").read()
    images, data = _pictures(run, names, moved)
    held_out = held_out_parts(run, data, names, classes)
    spared = sum(len(part.labels) for part in held_out)
    if accepted_only:
        accepted = labels.accepted
        images, labels = images.subset(accepted), labels.select(accepted)
    for form in forms:
        count = int(labels.accepted.sum())
        note = f"{counted(len(labels), 'item')}, {count} with an accepted label"
        with target.place(_NAMES[form]) as path:
            if form is Form.folder:
                write_folder(path, images, labels, classes)
            else:
                tables[form](path, images, labels, classes, held_out)
        if spared and form is not Form.folder:
            note += f", and {spared} that were held out, with the labels of people"
        written[form.value] = {
            "path": str(path),
            "items": len(labels),
            "accepted": count,
            "note": note,
        }


def _write_places(
    run: Path,
    target: ExportFolder,
    forms: list[Form],
    moved: Path | None,
    keep_all: bool,
    written: dict[str, Any],
) -> None:
    """Writes labels with places: each form is a folder with copies of the pictures."""
    from leaven.data import formats
    from leaven.job.labelled import labelled_listing

    listing = labelled_listing(run, moved, accepted_only=not keep_all)
    for form in forms:
        with target.place(form.value) as path:
            if form == Form.masks:
                done = formats.write_masks(path, listing)
            else:
                writers = {
                    Form.coco: formats.write_coco,
                    Form.voc: formats.write_voc,
                    Form.yolo: formats.write_yolo,
                    Form.instances: formats.write_instance_maps,
                }
                done = writers[form](path, listing, every=keep_all)
        note = f"{done.pictures} pictures, {done.labelled} labelled, {done.rows} labels"
        written[form.value] = {
            "path": str(path),
            "pictures": done.pictures,
            "labelled": done.labelled,
            "rows": done.rows,
            "note": " ".join([note, *done.notes]),
        }


def _target(run: Path, out: Path | None) -> ExportFolder:
    """Where the files go; they take the place of those of an earlier export, and of nothing else.

    Raises:
        RunError: the folder holds something else, is a file, or cannot be written.
    """
    from leaven.job.export_folder import ExportFolder

    return ExportFolder(_own_folder(run) if out is None else out, run, own=out is None)


def _own_folder(run: Path) -> Path:
    """``RUN/export``, which a run of somebody else may have made a link to another place.

    Raises:
        RunError: it is one.
    """
    target = run / "export"
    if target.is_symlink():
        raise RunError(
            f"{target} is a link to {target.resolve()}.",
            "a folder of the run itself to write to",
            "name the folder that is meant with --out, or remove the link",
        )
    return target


def _check_finished(run: Path) -> None:
    if not (run / "summary.json").exists():
        raise RunError(
            f"There is no finished run in {run}.",
            "a run folder with summary.json",
            f"finish it with `leaven run --resume --out {run}`, or check the path",
        )


def _pictures(run: Path, names: list[str], moved: Path | None) -> tuple[ImageSet, Data]:
    """The pictures of a run by the names of its items, and all that there are.

    They are read from where the run read them, or from ``moved``.

    Raises:
        RunError: they are gone, or some of them are.
    """
    import torch

    from leaven.data import open_data
    from leaven.job import RunConfig
    from leaven.job.labelled import put_back, rows_of_names

    config = RunConfig.read(run / "config.yaml")
    source = config.data if moved is None else str(moved)
    try:
        # Nothing is held out or decoded here: the items are found by their names.
        data = open_data(
            source,
            labels=config.labels,
            label_column=config.label_column,
            truth_column=config.truth_column,
            test_share=0,
            max_unreadable=1,
            memory_limit=0,
        )
    except DataError as error:
        raise RunError(
            f"The pictures of the run {run} cannot be opened: {error.found}",
            error.expected,
            put_back(run),
        ) from error
    rows = rows_of_names(data.train.names, names, run, source)
    return data.train.subset(torch.tensor(rows)), data
