"""Writers of pictures with pixels, boxes or masks in the forms that other programs read.

Each takes an ``AnnotatedListing`` and a folder, writes beside the folder and moves the whole there,
and is read back by ``read_annotated``.
"""

from leaven.data.formats.coco import write_coco
from leaven.data.formats.cvat import write_cvat, write_cvat_classes
from leaven.data.formats.folder import Written
from leaven.data.formats.label_studio import write_label_studio, write_label_studio_classes
from leaven.data.formats.masks import write_instance_maps, write_masks
from leaven.data.formats.voc import write_voc
from leaven.data.formats.yolo import write_yolo

__all__ = [
    "Written",
    "write_coco",
    "write_cvat",
    "write_cvat_classes",
    "write_instance_maps",
    "write_label_studio",
    "write_label_studio_classes",
    "write_masks",
    "write_voc",
    "write_yolo",
]
