"""The report of a run: one HTML file, made from the run folder alone."""

from leaven.report.dense_gallery import write_box_gallery, write_pixel_gallery
from leaven.report.gallery import write_gallery
from leaven.report.page import write_report

__all__ = ["write_box_gallery", "write_gallery", "write_pixel_gallery", "write_report"]
