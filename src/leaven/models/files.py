"""A model in a folder: ``model.safetensors`` and ``model.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from leaven.atomic import replacing
from leaven.errors import LeavenError, ModelError
from leaven.models.build import build_model
from leaven.models.classifier import Classifier, ModelSpec
from leaven.models.generation.build import maker_of
from leaven.models.generation.maker import GENERATION, PictureMaker
from leaven.models.segmentation.build import segmenter_of
from leaven.models.segmentation.segmenter import Segmenter
from leaven.models.weights import load_into, read_weights
from leaven.plain import read_json
from leaven.version import __version__

if TYPE_CHECKING:
    from leaven.models.detection.detector import Detector

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
Model = TypeVar("Model", bound=nn.Module)


def save_model(
    model: Classifier | Segmenter | Detector | PictureMaker,
    folder: Path | str,
    extra: dict[str, Any] | None = None,
) -> Path:
    """Write ``model`` into ``folder`` and return the folder.

    ``model.json`` holds the version of leaven, the ``spec`` and what is in ``extra`` (JSON
    values), and is enough to build the net again. Each file is written beside its place and
    moved there. Tensors that share memory are written under each of their names.

    Raises:
        ModelError: when the files cannot be written.
    """
    folder = Path(folder)
    values = {"leaven": __version__, "spec": model.spec.to_json(), "extra": extra or {}}
    # A copy of each tensor, because safetensors takes neither shared nor channels-last memory.
    state = {
        name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, value in model.state_dict().items()
    }
    description = json.dumps(values, indent=2, ensure_ascii=False)
    try:
        with replacing(folder / WEIGHTS) as partial:
            save_file(state, partial, metadata={"format": "pt", "leaven": __version__})
        with replacing(folder / DESCRIPTION) as partial:
            partial.write_text(description, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"The model cannot be written to {folder}: {error}.",
            "a folder that can be written, with free space",
            "Free space or change permissions, and save again.",
        ) from error
    return folder


@overload
def load_model(folder: Path | str) -> Classifier: ...


@overload
def load_model(folder: Path | str, kind: type[Model]) -> Model: ...


def load_model(folder: Path | str, kind: type[nn.Module] = Classifier) -> nn.Module:
    """The model in ``folder``, on the CPU and in evaluation mode.

    The state of torch's random generator is left as it was.

    Args:
        folder: what ``save_model`` wrote.
        kind: ``Classifier``, ``Segmenter``, ``Detector`` or ``PictureMaker``; ``nn.Module`` takes whatever is there.

    Raises:
        ModelError: when a file is missing or damaged, the two do not fit each other, or the model
            is not of the ``kind``.
        MissingExtraError: when the net needs a package that is not installed.
    """
    folder = Path(folder)
    spec = _read_spec(folder / DESCRIPTION)
    if not (folder / WEIGHTS).is_file():
        raise _missing(folder / WEIGHTS)
    state = read_weights(folder / WEIGHTS)
    with torch.random.fork_rng(devices=[]):
        model = _built(spec, folder / DESCRIPTION)
    if not isinstance(model, kind):
        raise ModelError(
            f"The model in {folder} is for {spec.task}: {spec.name!r}.",
            f"a {kind.__name__.lower()}",
            "Give the folder of a model for this task.",
        )
    load_into(model, state, folder / WEIGHTS)
    return model.eval()


def _built(spec: ModelSpec, path: Path) -> nn.Module:
    """A model of the spec in the file ``path``, with random start values."""
    # A description from anywhere may ask for what no net is, which brings errors of any type.
    try:
        return _of_spec(spec)
    except LeavenError:
        raise
    except Exception as error:
        raise ModelError(
            f"{path} describes a model that cannot be built: {str(error)[:300]}.",
            "the JSON that leaven writes beside the weights",
            "Copy the folder again, or save the model again.",
        ) from error


def _of_spec(spec: ModelSpec) -> nn.Module:
    if spec.task == "segmentation":
        return segmenter_of(spec)
    if spec.task in ("detection", "instance"):
        # Only here, because torchvision's detectors take a second to import.
        from leaven.models.detection.build import detector_of

        return detector_of(spec)
    if spec.task in GENERATION:
        return maker_of(spec)
    return build_model(
        spec.name,
        spec.classes,
        spec.shape,
        mean=spec.mean,
        std=spec.std,
        dropout=spec.dropout,
        options=spec.options,
        head=spec.head,
    )


def _read_spec(path: Path) -> ModelSpec:
    try:
        return ModelSpec.from_json(read_json(path.read_text(encoding="utf-8"))["spec"])
    except FileNotFoundError as error:
        raise _missing(path) from error
    except LeavenError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path} is damaged: {error}.",
            "the JSON that leaven writes beside the weights",
            "Copy the folder again, or save the model again.",
        ) from error


def _missing(path: Path) -> ModelError:
    return ModelError(
        f"There is no {path}.",
        f"a folder with {WEIGHTS} and {DESCRIPTION}",
        "Give the folder 'model' of a run, or wait until the run has saved its model.",
    )
