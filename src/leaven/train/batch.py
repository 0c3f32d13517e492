"""What a step of a loop is given."""

from __future__ import annotations

from dataclasses import dataclass

from leaven.data import Sample


@dataclass
class Batch:
    """The batches of one step, as attributes by the names of their streams.

    ``step`` counts from 0 in this loop; ``progress`` in [0, 1) is the spent share of its budget.
    """

    step: int
    progress: float
    streams: dict[str, Sample]

    def __getattr__(self, name: str) -> Sample:
        streams = self.__dict__.get("streams", {})
        if name not in streams:
            raise AttributeError(f"this loop has no stream {name!r}")
        return streams[name]
