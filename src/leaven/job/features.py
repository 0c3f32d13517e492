"""From pictures to the features of a frozen backbone, once."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from leaven.data import (
    Data,
    JoinedPixels,
    data_fingerprint,
    feature_table,
    on_rows,
    weights_fingerprint,
)
from leaven.data.feature_files import Dtype, Progress
from leaven.data.features import needs_pictures
from leaven.errors import ConfigError
from leaven.job.config import RunConfig
from leaven.methods import Method
from leaven.models import Backbone, load_backbone
from leaven.train.journal import Bar
from leaven.train.settings import find_processes

log = logging.getLogger(__name__)

_BATCH = 256


def on_features(
    data: Data,
    backbone: Backbone,
    file: Path | str,
    *,
    dtype: Dtype = "float32",
    batch: int = _BATCH,
    progress: Progress | None = None,
) -> Data:
    """The same job, learnt from what ``backbone`` says of each picture.

    One pass over all pictures writes ``file``; a second call finds it there, whatever the division
    into train, val and test and the labels are. A file that was made by other weights, from other
    pictures or in another way is made anew. See ``feature_table``.

        backbone = load_backbone("timm:resnet18", data.shape)
        rows = on_features(data, backbone, "features/pets.npy")
        fitted = method.fit(rows, Trainer(rows))
        model = stack(backbone, fitted.model)  # takes pictures

    Args:
        data: pictures with their evidence.
        backbone: on the device to compute on.
        file: the table, ``.npy``.
        dtype: what the features are kept as; float16 takes half the disk.
        batch: pictures at once.
        progress: called with the pictures done and all.

    Raises:
        DataError: features that are not finite.
        OSError: the file cannot be written.
    """
    everything = (data.train, data.val, data.test, data.calibration)
    parts = [part for part in everything if part is not None]
    names = [name for part in parts for name in part.names]
    # By name, so that each division of the same pictures finds the same table.
    order = torch.tensor(sorted(range(len(names)), key=names.__getitem__), dtype=torch.int64)
    table = feature_table(
        file,
        JoinedPixels([part.shown for part in parts], order),
        backbone,
        backbone.num_features,
        {
            "backbone": asdict(backbone.spec),
            "weights": weights_fingerprint(backbone.state_dict()),
            "pictures": data_fingerprint(parts),
        },
        dtype=dtype,
        batch=batch,
        progress=progress,
    )
    rows = torch.empty_like(order)
    rows[order] = torch.arange(len(order))
    train, *rest = (
        on_rows(part, table, own)
        for part, own in zip(parts, rows.split([len(part) for part in parts]), strict=True)
    )
    held = iter(rest)
    val = None if data.val is None else next(held)
    test = None if data.test is None else next(held)
    calibration = None if data.calibration is None else next(held)
    return replace(data, train=train, val=val, test=test, calibration=calibration)


def featured(
    config: RunConfig, folder: Path, data: Data, show: bool
) -> tuple[Data, Backbone, dict[str, Any]]:
    """The data of a run on its features, the backbone, and what the summary says of them."""
    assert config.features is not None
    if config.threads:
        torch.set_num_threads(config.threads)
    _, device = find_processes(config.device)
    backbone = load_backbone(config.features, data.shape, weights=config.weights).to(device)
    file = feature_file(config, folder)
    began = time.monotonic()
    with Bar("features", show) as bar:

        def tell(done: int, count: int) -> None:
            rate = done / max(1e-9, time.monotonic() - began)
            bar.show(done / max(1, count), rate, f"{done} of {count}")

        rows = on_features(data, backbone, file, dtype=config.feature_dtype, progress=tell)
    about = {
        "backbone": backbone.spec.name,
        "width": backbone.num_features,
        "dtype": config.feature_dtype,
        "file": str(file),
        "seconds": round(time.monotonic() - began, 2),
    }
    return rows, backbone, about


def feature_file(config: RunConfig, folder: Path) -> Path:
    """``DATA-BACKBONE.npy`` in the folder of the features: ``features`` beside the run's folder
    when none was given, so that runs on the same data share it."""
    assert config.features is not None
    parts = [Path(config.data.split("@")[0]).stem, *_names(config.features)]
    slug = re.sub(r"[^A-Za-z0-9]+", "-", " ".join(parts)).strip("-").lower()
    return (config.features_to or folder.parent / "features") / f"{slug}.npy"


def check_features(config: RunConfig, method: Method) -> None:
    """Whether the options fit together, before anything is read.

    Raises:
        ConfigError: a method that needs pictures, or options of features without features.
    """
    if config.features is None:
        if config.features_to is not None:
            raise ConfigError(
                "features_to is given without features.",
                "the name of a backbone",
                "add --features NAME, for example --features timm:resnet18",
            )
        return
    if config.estimate_by == "second-opinion":
        raise ConfigError(
            "A second opinion is asked for, with features.",
            "pictures, to which a copy of the model can adapt",
            "leave --estimate-by or --features out",
        )
    if method.needs_views:
        raise needs_pictures(config.method)


def _names(features: str) -> tuple[str, ...]:
    """What tells the backbone: its name, or the last two parts of a path."""
    path = Path(features)
    return path.parts[-2:] if path.is_dir() else (features,)
