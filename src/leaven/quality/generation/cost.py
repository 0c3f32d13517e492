"""What it costs to train a generator in stages: days of a GPU from pictures per second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leaven.errors import ConfigError

SECONDS_PER_DAY = 86_400

V100_PER_A100 = 2.2
"""Days of a V100 in a day of an A100, by the paper."""


@dataclass(frozen=True, slots=True)
class TrainingStage:
    """A stage of a plan.

    Attributes:
        name: for people.
        steps: of the optimizer.
        batch: pictures of a step, of all GPUs together.
        images_per_second: of one GPU, measured.
    """

    name: str
    steps: int
    batch: int
    images_per_second: float

    def __post_init__(self) -> None:
        if min(self.steps, self.batch) < 1 or not 0 < self.images_per_second < float("inf"):
            raise ConfigError(
                f"The stage {self.name!r} has {self.steps} steps of {self.batch} pictures at "
                f"{self.images_per_second} pictures per second.",
                "a step, a picture and a rate above 0",
                "Measure the rate with benchmarks/diffusion_training.py, or read it in a run.",
            )

    @property
    def images(self) -> int:
        """Pictures that go through."""
        return self.steps * self.batch

    @property
    def gpu_days(self) -> float:
        """``steps batch / (images_per_second 86400)``."""
        return self.images / (self.images_per_second * SECONDS_PER_DAY)


@dataclass(frozen=True, slots=True)
class PublishedStage:
    """A row of the published schedule.

    Attributes:
        name: what is learnt, and on how many pixels.
        steps, batch: of the optimizer, on all GPUs.
        pixels: of a side.
        v100_days: as published.
    """

    name: str
    steps: int
    batch: int
    pixels: int
    v100_days: int

    @property
    def images_per_second(self) -> float:
        """Pictures per second of one V100 that the published days mean."""
        return self.steps * self.batch / (self.v100_days * SECONDS_PER_DAY)

    def at(self, images_per_second: float) -> TrainingStage:
        """The same steps on a GPU of another speed."""
        return TrainingStage(self.name, self.steps, self.batch, images_per_second)


PIXART_ALPHA = (
    PublishedStage("pixels of classes", 300_000, 128 * 8, 256, 88),
    PublishedStage("text and picture", 150_000, 178 * 64, 256, 672),
    PublishedStage("aesthetics", 90_000, 178 * 64, 256, 416),
    PublishedStage("aesthetics", 100_000, 40 * 64, 512, 320),
    PublishedStage("aesthetics, all aspects", 16_000, 12 * 32, 1024, 160),
)
"""The three stages of PixArt-alpha; the last is in three sizes.

The sum is 1656 days of a V100, 753 of an A100. The first version of the paper and its abstract say
675, which these rows do not give. Captions of the second stage took 64 more V100 a day.

Source: Chen et al., PixArt-alpha, ICLR 2024. Used by: 001.
"""


def gpu_days(stages: Sequence[TrainingStage]) -> float:
    """Days of one GPU for all stages."""
    return sum(stage.gpu_days for stage in stages)


def published_days(schedule: Sequence[PublishedStage] = PIXART_ALPHA) -> tuple[int, float]:
    """Days of a V100, and of an A100 by the factor of the paper."""
    days = sum(stage.v100_days for stage in schedule)
    return days, days / V100_PER_A100


def cost_table(schedule: Sequence[PublishedStage] = PIXART_ALPHA) -> str:
    """The schedule as a table in Markdown, with the rates that its days mean."""
    rows = [
        "| stage | px | steps | batch | pictures, M | V100 days | pictures per second of a V100 |",
        "|---|---|---|---|---|---|---|",
    ]
    for stage in schedule:
        images = stage.steps * stage.batch / 1e6
        rows.append(
            f"| {stage.name} | {stage.pixels} | {stage.steps:,} | {stage.batch:,} | {images:.0f} "
            f"| {stage.v100_days} | {stage.images_per_second:.1f} |"
        )
    days, a100 = published_days(schedule)
    seen = sum(stage.steps * stage.batch for stage in schedule) / 1e6
    rows.append(f"| all | | | | {seen:.0f} | {days} (A100: {a100:.0f}) | |")
    return "\n".join(rows)
