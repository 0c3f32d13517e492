"""The report of a run: one HTML file, made from the run folder alone."""

from leaven.report.gallery import write_gallery
from leaven.report.page import write_report

__all__ = ["write_gallery", "write_report"]
