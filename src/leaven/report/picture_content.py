"""The report's part for models that make pictures: samples, and figures of what is made."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from leaven.report import words
from leaven.report.folder import Record, RunFolder
from leaven.report.grid import read_settings

TASKS = ("text-to-image", "translation")

SAMPLES = "samples.png"

LARGEST = 32 * 2**20
"""Bytes of a picture that is put into the page."""


@dataclass(frozen=True)
class Figure:
    """How a metric is told: its name, what it means, and whether it is a share or has a unit."""

    title: str
    meaning: str
    unit: str = "%"

    def told(self, value: float) -> str:
        """The value for people."""
        if self.unit == "%":
            return f"{100 * value:.1f} %"
        return f"{value:.2f} {self.unit}" if self.unit else f"{value:.4f}"


FIGURES: dict[str, Figure] = {
    "conditional_accuracy": Figure(
        "show their caption", "of made pictures, read by a machine that knows real digits"
    ),
    "real_accuracy": Figure("the same of real pictures", "what that machine can read at all"),
    "denoising_error": Figure(
        "error of the noise", "of held-out pictures with their captions; less is better", ""
    ),
    "denoising_error_without_captions": Figure(
        "the same without captions", "the difference is what captions tell", ""
    ),
    "fid": Figure(
        "Fréchet distance (FID)", "of features of made and real pictures; less is better", ""
    ),
    "kid": Figure("kernel distance (KID)", "of the same; less is better, 0 is the best", ""),
    "kid_std": Figure("spread of the kernel distance", "between subsets of the pictures", ""),
    "precision": Figure("precision", "of made pictures, near a real one"),
    "recall": Figure("recall", "of real pictures, near a made one"),
    "density": Figure(
        "density", "real neighbourhoods around a made picture; 1 is as many as expected", ""
    ),
    "coverage": Figure("coverage", "of real pictures with a made one among their nearest"),
    "l1": Figure("difference", "mean difference of pixels from the real pictures; less is better"),
    "psnr": Figure("PSNR", "of the real pictures' signal to the difference; more is better", "dB"),
    "gradient_distance": Figure(
        "difference in sharpness",
        "how far gradients would have to grow or shrink for made pictures to be as sharp as real ones",
    ),
    "colour_overlap": Figure(
        "overlap of colours", "of lightness, a and b (CIELAB), between made and real pictures"
    ),
    "fcn_miou": Figure(
        "FCN score, mean IoU",
        "a segmenter of real pictures looks in made ones for the label maps they were made from",
    ),
    "fcn_pixel_accuracy": Figure("FCN score, pixels right", "as above"),
    "fcn_mean_accuracy": Figure("FCN score, mean over classes", "as above"),
    "fcn_real_miou": Figure(
        "the same of real pictures, mean IoU", "what the segmenter can find at all"
    ),
    "miou": Figure("mean IoU", "of the made label maps with the true ones"),
    "pixel_accuracy": Figure("pixels right", "of the made label maps"),
    "mean_accuracy": Figure("mean over classes", "of the pixels of each class that are right"),
}
"""The metrics that are known here, in the order in which they are told."""


def told_figures(metrics: Mapping[str, object]) -> list[tuple[str, str, str]]:
    """Title, value and meaning of each metric that there is a value of; others by their names."""
    order = [*FIGURES, *(name for name in metrics if name not in FIGURES)]
    rows = []
    for name in order:
        value = words.number(metrics.get(name))
        if value is None:
            continue
        figure = FIGURES.get(name) or Figure(name.replace("_", " "), "", "")
        rows.append((figure.title, figure.told(value), figure.meaning))
    return rows


def picture_content(run: RunFolder) -> Record | None:
    """The variables of the part for made pictures; None for runs that label pictures."""
    if run.task not in TASKS:
        return None
    metrics = run.summary.get("metrics")
    return {
        "translation": run.task == "translation",
        "src": _samples(run),
        "texts": _texts(run),
        "figures": told_figures(metrics if isinstance(metrics, Mapping) else {}),
    }


def _texts(run: RunFolder) -> list[str]:
    """What the samples were made from, in the order of reading; empty where nothing is said."""
    try:
        texts = read_settings(run.path / SAMPLES).get("texts")
    except (OSError, ValueError, SyntaxError):  # Pillow: a torn PNG
        return []
    return [str(text) for text in texts] if isinstance(texts, list) else []


def _samples(run: RunFolder) -> str | None:
    file = run.path / SAMPLES
    if not file.is_file():
        return None
    if file.stat().st_size > LARGEST:
        run.problems.append(f"{SAMPLES} is too large for the page.")
        return None
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode("ascii")
