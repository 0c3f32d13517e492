"""Data: pictures, evidence, batches and views."""

from leaven.data.dataset import Data, ImageSet, View
from leaven.data.evidence import hide_labels
from leaven.data.files import FilePixels, PictureError, decode
from leaven.data.open import open_data
from leaven.data.pixels import MemoryPixels, Pixels
from leaven.data.sources import Sources
from leaven.data.streams import Sample, Stream
from leaven.data.writers import write_csv, write_folder, write_parquet

__all__ = [
    "Data",
    "FilePixels",
    "ImageSet",
    "MemoryPixels",
    "PictureError",
    "Pixels",
    "Sample",
    "Sources",
    "Stream",
    "View",
    "decode",
    "hide_labels",
    "open_data",
    "write_csv",
    "write_folder",
    "write_parquet",
]
