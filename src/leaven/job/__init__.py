"""One whole run: from data to labels, a model, a summary and a report."""

from leaven.job.config import RunConfig
from leaven.job.run import Result, load_result, run

__all__ = ["Result", "RunConfig", "load_result", "run"]
