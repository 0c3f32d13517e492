"""How far each proposal is trusted: a weight in [0, 1]."""

from leaven.select.thresholds import (
    fixed_threshold,
    percentile_schedule,
    percentile_threshold,
    top_percentile,
)

__all__ = ["fixed_threshold", "percentile_schedule", "percentile_threshold", "top_percentile"]
