"""Data: pictures, evidence, batches and views."""

from leaven.data.dataset import Data, ImageSet, View
from leaven.data.evidence import flip_labels, hide_labels, long_tail
from leaven.data.evidence_boxes import flipped_classes, jittered_boxes, sparse_boxes
from leaven.data.evidence_dense import (
    interior_points,
    map_tags,
    mask_boxes,
    point_labels,
    random_radius,
    resized_masks,
    stratified_pictures,
)
from leaven.data.evidence_scribbles import scribble_labels
from leaven.data.feature_files import data_fingerprint, feature_table, weights_fingerprint
from leaven.data.features import FeaturePixels, JoinedPixels, feature_rows, on_rows
from leaven.data.files import FilePixels, PictureError, decode
from leaven.data.open import open_data
from leaven.data.pairs import PairedPictures
from leaven.data.partition import label_share, partition
from leaven.data.pixels import MemoryPixels, Pixels
from leaven.data.rare_classes import RareClassStream, class_pixels, rare_class_probs
from leaven.data.sources import Sources
from leaven.data.streams import Sample, Stream
from leaven.data.writers import write_csv, write_folder, write_parquet

__all__ = [
    "Data",
    "FeaturePixels",
    "FilePixels",
    "ImageSet",
    "JoinedPixels",
    "MemoryPixels",
    "PairedPictures",
    "PictureError",
    "Pixels",
    "RareClassStream",
    "Sample",
    "Sources",
    "Stream",
    "View",
    "class_pixels",
    "data_fingerprint",
    "decode",
    "feature_rows",
    "feature_table",
    "flip_labels",
    "flipped_classes",
    "hide_labels",
    "interior_points",
    "jittered_boxes",
    "label_share",
    "long_tail",
    "map_tags",
    "mask_boxes",
    "on_rows",
    "open_data",
    "partition",
    "point_labels",
    "random_radius",
    "rare_class_probs",
    "resized_masks",
    "scribble_labels",
    "sparse_boxes",
    "stratified_pictures",
    "weights_fingerprint",
    "write_csv",
    "write_folder",
    "write_parquet",
]
