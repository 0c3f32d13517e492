"""What is wrong with a data set: labels, copies, leaks, foreign and broken pictures."""

from leaven.quality.audit.balance import Balance, class_balance
from leaven.quality.audit.box_errors import BoxFault, box_errors
from leaven.quality.audit.duplicates import Pairs, connected, duplicate_pairs
from leaven.quality.audit.findings import KINDS, AuditFinding, findings_table, ordered
from leaven.quality.audit.folds import fold_numbers
from leaven.quality.audit.foreign import folded_share, neighbour_distance, share_as_far
from leaven.quality.audit.label_errors import LabelErrors, label_errors, wrong_at_most
from leaven.quality.audit.pictures import Looks, PictureFault, look_at, picture_faults
from leaven.quality.audit.pixel_errors import MapFault, pixel_errors

__all__ = [
    "KINDS",
    "AuditFinding",
    "Balance",
    "BoxFault",
    "LabelErrors",
    "Looks",
    "MapFault",
    "Pairs",
    "PictureFault",
    "box_errors",
    "class_balance",
    "connected",
    "duplicate_pairs",
    "findings_table",
    "fold_numbers",
    "folded_share",
    "label_errors",
    "look_at",
    "neighbour_distance",
    "ordered",
    "picture_faults",
    "pixel_errors",
    "share_as_far",
    "wrong_at_most",
]
