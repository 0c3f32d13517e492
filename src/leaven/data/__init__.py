"""Data: pictures, evidence, batches and views."""

from leaven.data.dataset import Data, ImageSet, View
from leaven.data.pixels import MemoryPixels, Pixels
from leaven.data.streams import Sample, Stream

__all__ = ["Data", "ImageSet", "MemoryPixels", "Pixels", "Sample", "Stream", "View"]
