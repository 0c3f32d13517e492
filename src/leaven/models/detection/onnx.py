"""Detectors as ONNX: what the network says of every place, before suppression."""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from leaven.atomic import replacing
from leaven.errors import ModelError
from leaven.models.detection.conv_instance import ConvInstance
from leaven.models.detection.detector import Detector
from leaven.models.detection.two_stage import TwoStage
from leaven.models.onnx import TOLERANCE, need_packages, sample_pictures, write_graph

_NAMES = ("scores", "boxes")
_INSTANCE_NAMES = (*_NAMES, "kernels", "quality", "features")


def export_detector(model: Detector, path: Path | str, *, check: bool = True) -> float:
    """Write ``model`` as ONNX and return the largest difference of its outputs from torch's.

    The graph has the input ``images``, uint8 (batch, C, H, W) with any batch size, and the outputs
    of ``forward``: ``scores`` (batch, N, K) in [0, 1] and ``boxes`` (batch, N, 4) in pixels of all
    anchors, of ``conv-instance-small`` also ``kernels``, ``quality`` and ``features``;
    normalisation is inside, non-maximum suppression is not. With ``check=False`` nothing is
    compared and 0 is returned.

    Raises:
        MissingExtraError: when onnx, onnxscript or onnxruntime is not installed.
        ModelError: of a two-stage detector, whose number of regions depends on the picture; when
            the net cannot be exported or the file written, or a difference is above ``TOLERANCE``
            times the largest value or 1; nothing is written then.
    """
    if isinstance(model, TwoStage):
        raise ModelError(
            f"The model {model.spec.name!r} has two stages and cannot be exported to ONNX.",
            "a one-stage detector",
            "Train 'fcos-small' or another one-stage detector, or use the .safetensors file.",
        )
    need_packages(check)
    still = copy.deepcopy(model).cpu().float().eval()
    still.precision = None
    names = _INSTANCE_NAMES if isinstance(model, ConvInstance) else _NAMES
    try:
        with replacing(Path(path)) as partial:
            write_graph(still, sample_pictures(still, 2), partial, list(names))
            return _difference(still, partial, names) if check else 0.0
    except OSError as error:
        raise ModelError(
            f"The model cannot be written to {path}: {error}.",
            "a folder that can be written, with free space",
            "Choose another path.",
        ) from error


def _difference(model: Detector, path: Path, names: tuple[str, ...]) -> float:
    """Compared at batch sizes other than the one that was traced."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    worst = 0.0
    for size in (1, 3):
        images = sample_pictures(model, size)
        with torch.no_grad():
            expected = model(images)
        found = session.run(list(names), {"images": images.numpy()})
        for name, one, other in zip(names, found, expected, strict=True):
            difference = float((torch.from_numpy(one) - other).abs().max())
            limit = TOLERANCE * max(1.0, float(other.abs().max()))
            if not difference <= limit:
                raise ModelError(
                    f"The exported model {model.spec.name!r} differs from torch by "
                    f"{difference:.2g} in {name}.",
                    f"at most {limit:.2g}",
                    "Use the .safetensors file, and report the model.",
                )
            worst = max(worst, difference)
    return worst
