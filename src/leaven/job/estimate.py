"""How accurate a model is on pictures without labels, and where it is probably wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from leaven.data import ImageSet
from leaven.data.loading import Manner, load
from leaven.data.open import in_classes, read_listing
from leaven.errors import DataError, ModelError, RunError
from leaven.job.config import RunConfig
from leaven.job.estimation import Estimation
from leaven.job.label_accuracy import LEAST_PICTURES, second_opinion, sure_and_right
from leaven.job.learnt import learnt_by
from leaven.methods.classification.second_opinion import SecondOpinion
from leaven.models import Classifier, load_model
from leaven.models.backbone import model_folder
from leaven.plain import counted
from leaven.propose import predict
from leaven.quality import HeldOut, estimate_accuracy
from leaven.quality.accuracy import Shift, shift_between
from leaven.report.folder import read_test
from leaven.train import Settings
from leaven.train.settings import find_processes

log = logging.getLogger(__name__)

LEAST_HELD_OUT = 50


@dataclass(frozen=True)
class Wanted:
    """What is to be estimated, and by what.

    Attributes:
        run: the folder of a run, or of a model.
        data: the pictures, as for a run.
        labels: a CSV file with the columns file and label, where some are known.
        source: labelled pictures of the kind that the model was trained on; the held-out pictures
            of the run when None.
        second: the run of another model of the same classes, or its model folder.
        adapt: whether a copy is adapted to the pictures, which takes as long as a short training.
        set: hyperparameters of ``second-opinion`` by name.
        seed, device, threads: of the computing.
    """

    run: Path
    data: str
    labels: Path | None = None
    source: str | None = None
    second: Path | None = None
    adapt: bool = True
    set: dict[str, Any] | None = None
    seed: int = 0
    device: str = "auto"
    threads: int = 0


def estimate(
    wanted: Wanted,
    *,
    show: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Estimation:
    """Every estimate of the accuracy of a model on pictures that the evidence allows.

    Labels among the data are used to measure the estimates, and for nothing else; those that the
    run has learnt are not used. The pictures of all splits are taken. What cannot be read is left out and named in the notes.

    Args:
        wanted: the model, the pictures and the evidence.
        show: draw a progress bar of the adaptation.
        progress: called with (done, all) while pictures are read.

    Raises:
        LeavenError: something that the user can put right; says what to do.
    """
    method = SecondOpinion.configured(wanted.set or {})
    model = _model(wanted.run)
    _, device = find_processes(wanted.device)
    model = model.to(device)
    images, notes = _pictures(wanted.data, wanted.labels, model, progress)
    probs = predict(model, images.pixels)
    held_out = _held_out(wanted, model)
    second = None if wanted.second is None else _second(wanted, model, device)
    opinions = None
    if wanted.adapt:
        settings = Settings(
            seed=wanted.seed, device=wanted.device, threads=wanted.threads, show=show
        )
        flip = _flip(wanted.run, model)
        opinions = second_opinion(method, model, images, probs, settings, flip=flip)
    found = estimate_accuracy(
        probs,
        held_out=held_out,
        second=second,
        adapted=None if opinions is None else opinions.adapted,
        perturbed=None if opinions is None else opinions.perturbed,
    )
    shift = None if held_out is None else shift_between(held_out.probs, probs)
    likely = None
    if shift is not None and not shift.found:
        bins = sure_and_right(held_out)
        likely = bins.likely(bins.histogram(probs.max(1).values.cpu()), len(probs))
    learnt, said = _learnt(wanted.run, images)
    notes = (*notes, *said, *_doubts(len(images), held_out, shift, wanted))
    return Estimation(
        found, images, model.spec.classes, probs, opinions, notes, learnt, likely, shift
    )


def _model(run: Path) -> Classifier:
    return load_model(_folder(run))


def _folder(run: Path) -> Path:
    folder = model_folder(str(run))
    if folder is None:
        raise RunError(
            f"There is no model in {run}.",
            "the folder of a finished run, or a model folder with model.json",
            "check the path, or finish the run with `leaven run --resume`",
        )
    return folder


def _pictures(
    source: str,
    labels: Path | None,
    model: Classifier,
    progress: Callable[[int, int], None] | None,
) -> tuple[ImageSet[Tensor], tuple[str, ...]]:
    """All pictures there are, in the shape that the model takes."""
    if len(model.spec.shape) != 3:
        raise ModelError(
            f"The model {model.spec.name!r} takes rows of features.",
            "a model that takes pictures",
            "give the folder of a finished run",
        )
    listing = in_classes(read_listing(source, labels, None, need_labels=False), model.spec.classes)
    channels, height, width = model.spec.shape
    manner = Manner(max_unreadable=1.0, progress=progress, channels=channels)
    loaded = load(listing, image_size=(height, width), manner=manner)
    if len(loaded.images) == 0:
        raise DataError(f"{source} has no picture that can be read.", "some", "check the path")
    return loaded.images, loaded.notes


def _held_out(wanted: Wanted, model: Classifier) -> HeldOut | None:
    """The labelled pictures that the model has not learnt from, where there are any."""
    if wanted.source is not None:
        images, _ = _pictures(wanted.source, None, model, None)
        labelled = images.subset(images.known)
        if len(labelled) == 0:
            raise DataError(
                f"No picture of {wanted.source} has a label.",
                "labelled pictures of the kind that the model was trained on",
                "label some, or leave --source out",
            )
        return HeldOut(predict(model, labelled.pixels), labelled.labels)
    path = wanted.run / "test.parquet"
    if not path.is_file():
        return None
    try:
        test = read_test(path)
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, pa.ArrowException) as error:
        raise RunError(
            f"{path} is damaged: {str(error).splitlines()[0] if str(error) else type(error)}",
            "what `leaven run` writes",
            "give labelled pictures with --source in its place",
        ) from error
    if test is None or not bool((test.truth >= 0).any()):
        return None
    known = test.truth >= 0
    if test.probs.shape[1] != model.num_classes:
        raise RunError(
            f"{path} has {test.probs.shape[1]} classes, the model {model.num_classes}.",
            "the file of the run that made the model",
            "give labelled pictures with --source in its place",
        )
    return HeldOut(test.probs[known], test.truth[known])


def _learnt(run: Path, images: ImageSet[Tensor]) -> tuple[Tensor, list[str]]:
    """(n,) bool, the model has learnt the label of the picture; and what to say of it."""
    nothing = torch.zeros(len(images), dtype=torch.bool)
    if not bool((images.truth >= 0).any()):
        return nothing, []
    try:
        learnt = learnt_by(run, images)
    except RunError as error:
        return nothing, [
            f"Whether the model has learnt some of these labels is not known. {error.found}"
        ]
    if not bool(learnt.any()):
        return learnt, []
    count = int(learnt.sum())
    return learnt, [
        f"The model has learnt the labels of {count} of these pictures: "
        f"{'it is' if count == 1 else 'they are'} left out of the true accuracy."
    ]


def _second(wanted: Wanted, model: Classifier, device: torch.device) -> Tensor:
    """(n,) what the second model says of the pictures, in classes of the first."""
    assert wanted.second is not None
    if _folder(wanted.second).resolve() == _folder(wanted.run).resolve():
        raise ModelError(
            f"{wanted.second} is the model that is to be judged, given as the second one too.",
            "a second model that was trained apart: one always agrees with itself",
            "give another run, for example of another seed, or leave --second out",
        )
    other = _model(wanted.second)
    own, others = model.spec.classes, other.spec.classes
    if set(own) != set(others):
        raise ModelError(
            f"The model in {wanted.second} tells {', '.join(others)} apart; the first one "
            f"{', '.join(own)}.",
            "two models of the same classes",
            "give a second run on the same classes, or leave --second out",
        )
    images, _ = _pictures(wanted.data, wanted.labels, other, None)
    place = torch.tensor([own.index(name) for name in others])
    return place[predict(other.to(device), images.pixels).argmax(1)]


def _flip(run: Path, model: Classifier) -> bool:
    """Whether a mirrored picture shows the same: what the run says, else true of colour."""
    path = run / "config.yaml"
    said = RunConfig.read(path).flip if path.is_file() else None
    return model.spec.shape[0] > 1 if said is None else said


def _doubts(count: int, held_out: HeldOut | None, shift: Shift | None, wanted: Wanted) -> list[str]:
    notes = []
    if shift is not None and shift.found:
        notes.append(
            "What the model says of these pictures lies far from what it says of the held-out ones "
            f"(distance {shift.distance:.2f} of 1): they tell no range here, and estimates by them are "
            "rough. Label some of these pictures."
        )
    if count < LEAST_PICTURES:
        notes.append(
            f"{counted(count, 'picture')} {'says' if count == 1 else 'say'} little: the estimate may be off by {100 / count**0.5:.0f} points "
            "by chance alone."
        )
    if held_out is None:
        notes.append(
            "No labelled pictures of the kind that the model was trained on: no threshold (ATC), no "
            "difference of confidences. Give some with --source."
        )
    elif len(held_out.truth) < LEAST_HELD_OUT:
        notes.append(
            f"{len(held_out.truth)} held-out pictures are few for a threshold; the estimates by them "
            "are rough."
        )
    if not wanted.adapt:
        notes.append("No second opinion was asked for, as --no-adapt says.")
    return notes
