"""Export to ONNX, checked against torch."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from leaven.atomic import replacing
from leaven.errors import MissingExtraError, ModelError
from leaven.models.classifier import Classifier
from leaven.models.segmentation.segmenter import Segmenter

if TYPE_CHECKING:
    from leaven.models.detection.detector import Detector

TOLERANCE = 1e-3
"""The largest difference of a logit from torch's, relative to the largest logit or 1."""


def export_onnx(model: Classifier | Segmenter, path: Path | str, *, check: bool = True) -> float:
    """Write ``model`` as ONNX and return the largest difference of its logits from torch's.

    The graph has the input ``images``, uint8 (batch, C, H, W) with any batch size, and the output
    ``logits``, float32 (batch, K), of a segmenter (batch, K, H, W); normalisation is inside.
    Pictures as float in [0, 1] are turned into uint8 by ``round(255 * images)``. The weights are
    inside the one file. With ``check=False`` nothing is compared and 0 is returned.

    Raises:
        MissingExtraError: when onnx, onnxscript or onnxruntime is not installed.
        ModelError: when the net cannot be exported or the file written, or a difference is above
            ``TOLERANCE * max(1, largest logit)``; nothing is written then.
    """
    need_packages(check)
    path = Path(path)
    still = copy.deepcopy(model).cpu().float().eval()
    still.precision = None
    images = sample_pictures(still, 2)
    try:
        with replacing(path) as partial:
            write_graph(still, images, partial, ["logits"])
            return _difference(still, partial) if check else 0.0
    except OSError as error:
        raise ModelError(
            f"The model cannot be written to {path}: {error}.",
            "a folder that can be written, with free space",
            "Choose another path.",
        ) from error


def write_graph(
    model: Classifier | Segmenter | Detector, images: Tensor, path: Path, outputs: list[str]
) -> None:
    """``model`` traced on ``images``, with any batch size and the names of its ``outputs``.

    The file's metadata are ``model``, the name of the network, ``classes``, a JSON list in the order
    of their indices, and ``shape``, "C,H,W" of the pictures.

    Raises:
        ModelError: when it cannot be exported.
    """
    batch = torch.export.Dim("batch", min=1)
    try:
        with quiet(), torch.no_grad():
            torch.onnx.export(
                model,
                (images,),
                str(path),
                input_names=["images"],
                output_names=outputs,
                dynamic_shapes={"images": {0: batch}},
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:
        raise ModelError(
            f"The model {model.spec.name!r} cannot be exported: {str(error)[:300]}.",
            "a net made of operations that ONNX has",
            "Use another model, or the .safetensors file.",
        ) from error
    _tell(model, path)


def _tell(model: Classifier | Segmenter | Detector, path: Path) -> None:
    """Writes the metadata into the file."""
    import onnx

    spec = model.spec
    graph = onnx.load(path)
    onnx.helper.set_model_props(
        graph,
        {
            "model": spec.name,
            "classes": json.dumps(list(spec.classes), ensure_ascii=False),
            "shape": ",".join(map(str, spec.shape)),
        },
    )
    onnx.save(graph, path)


def _difference(model: Classifier | Segmenter, path: Path) -> float:
    """Compared at batch sizes other than the one that was traced."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    worst, scale = 0.0, 1.0
    for size in (1, 5):
        images = sample_pictures(model, size)
        with torch.no_grad():
            expected = model(images)
        (found,) = session.run(["logits"], {"images": images.numpy()})
        worst = max(worst, float((torch.from_numpy(found) - expected).abs().max()))
        scale = max(scale, float(expected.abs().max()))
    if not worst <= TOLERANCE * scale:
        raise ModelError(
            f"The exported model {model.spec.name!r} differs from torch by {worst:.2g} in a logit.",
            f"at most {TOLERANCE * scale:.2g}",
            "Use the .safetensors file, and report the model.",
        )
    return worst


def sample_pictures(model: Classifier | Segmenter | Detector, size: int) -> Tensor:
    """``size`` pictures of noise as ``model`` takes them, always the same."""
    generator = torch.Generator().manual_seed(size)
    shape = (size, *model.spec.shape)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def need_packages(check: bool) -> None:
    """A ``MissingExtraError`` where a package for the export, or the check of it, is missing."""
    for package in ("onnx", "onnxscript", *(("onnxruntime",) if check else ())):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtraError(package, "onnx", "the export to ONNX") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The exporter reports its own progress; what goes wrong is raised."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
