"""From parts of an audit, which count in positions, to findings, which people read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.listing import Listing
from leaven.data.pixel_maps import PixelMaps
from leaven.job.audit_data import Audited
from leaven.labels.boxes import BoxLabels
from leaven.plain import counted
from leaven.quality.audit import AuditFinding, Pairs, PictureFault, class_balance
from leaven.quality.audit.foreign import FALSE_ALARMS

_BATCH = 16
_LEARNED = "train"


def pair_findings(whole: Audited, pairs: Pairs) -> list[AuditFinding]:
    """Copies within a split, and leaks from one split to another."""
    found = []
    for first, second, distance, exact in zip(
        pairs.first.tolist(), pairs.second.tolist(), pairs.distance.tolist(), pairs.exact.tolist()
    ):
        # The copy that is told is the one that is held out, or the later one.
        if whole.splits[second] == _LEARNED and whole.splits[first] != _LEARNED:
            first, second = second, first
        split, other = whole.splits[second], whole.splits[first]
        leak = split != other
        differs, given, suggested = _said(whole, second, first)
        kind = "the same picture as" if exact else "nearly the same picture as"
        text = f"{kind} one in {other}" if leak else kind.replace(" as", " twice")
        if differs:
            text += f"; the labels differ{f': {given} here, {suggested} there' if given else ''}"
        found.append(
            AuditFinding(
                "leak" if leak else "duplicate",
                whole.names[second],
                split,
                max(0.0, 1 - distance),
                text,
                fault="exact" if exact else "near",
                given=given,
                suggested=suggested if differs else None,
                other=whole.names[first],
                other_split=other,
                contradicts=differs,
            )
        )
    return found


def foreign_findings(
    whole: Audited, items: Tensor, share: Tensor, labelled: int
) -> list[AuditFinding]:
    """Unlabelled pictures that at most 1 % of the labelled ones lie as far as.

    With fewer than 99 labelled ones that is farther than every one of them.
    """
    assert whole.images is not None
    limit = max(FALSE_ALARMS, 1 / (labelled + 1))
    found = []
    for item, part in zip(items.tolist(), share.tolist()):
        if part > limit + 1e-12:
            continue
        row = int(whole.rows[item])
        text = f"farther from the labelled pictures than {100 * (1 - part):.1f} % of these are"
        found.append(AuditFinding("foreign", whole.names[row], whole.splits[row], 1 - part, text))
    return found


def balance_findings(whole: Audited) -> list[AuditFinding]:
    """Classes with fewer than a fifth of an equal share of the labels, and classes of which a
    held-out split has labels and train has none."""
    counts = class_counts(whole)
    if not len(whole.classes) or not int(counts.sum()):
        return []
    balance = class_balance(counts.sum(0))
    total, severity = balance.counts.tolist(), balance.severity.tolist()
    equal = sum(total) / len(total)
    found = [
        AuditFinding(
            "imbalance",
            whole.classes[label],
            None,
            severity[label],
            f"{counted(total[label], 'label')}, where an equal share is {equal:.0f}",
            given=whole.classes[label],
        )
        for label in balance.rare.nonzero().squeeze(1).tolist()
    ]
    held_out = counts[1:].sum(0)
    for label in ((counts[0] == 0) & (held_out > 0)).nonzero().squeeze(1).tolist():
        text = f"{counted(int(held_out[label]), 'held-out label')} and none to learn from"
        found.append(
            AuditFinding(
                "imbalance", whole.classes[label], "train", 1.0, text, given=whole.classes[label]
            )
        )
    return found


def broken_findings(whole: Audited, faults: Sequence[PictureFault]) -> list[AuditFinding]:
    """Pictures that cannot be used; of those that no list holds the split is not known."""
    unlisted = [
        AuditFinding("broken", name, None, 1.0, f"cannot be read: {reason}", fault="unreadable")
        for name, reason in whole.unlisted
    ]
    return unlisted + [
        AuditFinding(
            "broken",
            whole.names[fault.item],
            whole.splits[fault.item],
            fault.score,
            fault.text,
            fault=fault.kind,
        )
        for fault in faults
    ]


def class_counts(whole: Audited) -> Tensor:
    """(3, K) int64: pictures, things or pixels of each class that are labelled in train, val, test;
    those of broken pictures are not counted."""
    number = {"train": 0, "val": 1, "test": 2}
    count = len(whole.classes)
    counts = torch.zeros(3, count, dtype=torch.int64)
    listing = whole.listing
    splits = torch.tensor([number[split] for split in whole.splits], dtype=torch.int64)
    if isinstance(listing, Listing):
        known = (listing.labels >= 0) & whole.sound
        cell = splits[known] * count + listing.labels[known]
        return torch.bincount(cell, minlength=3 * count).view(3, count)
    if listing.boxes is not None:
        boxes = listing.boxes.keep(~listing.boxes.crowd & whole.sound[listing.boxes.pictures])
        cell = splits[boxes.pictures] * count + boxes.classes
        return torch.bincount(cell, minlength=3 * count).view(3, count)
    labels: Any = None if whole.images is None else whole.images.labels
    if isinstance(labels, PixelMaps):
        for start in range(0, len(labels), _BATCH):
            index = torch.arange(start, min(start + _BATCH, len(labels)))
            for row, classes in zip(whole.rows[index].tolist(), labels[index]):
                seen = torch.bincount(classes.flatten() + 1, minlength=count + 1)
                counts[splits[row]] += seen[1:]
    return counts


def _said(whole: Audited, item: int, other: int) -> tuple[bool | None, str | None, str | None]:
    """Whether what is said of two pictures differs, None where it is not said of both; and the
    classes, where pictures have one each."""
    listing = whole.listing
    if isinstance(listing, Listing):
        own, its = int(listing.labels[item]), int(listing.labels[other])
        name = None if own < 0 else whole.classes[own]
        if own < 0 or its < 0:
            return None, name, None
        return own != its, name, whole.classes[its]
    both = bool(listing.known[item] & listing.known[other])
    if not both or listing.boxes is None:
        return None, None, None
    return _content(listing, item) != _content(listing, other), None, None


def _content(listing: AnnotatedListing, item: int) -> list[int]:
    """The classes of the things in a picture, sorted."""
    assert isinstance(listing.boxes, BoxLabels)
    return listing.boxes.select(torch.tensor([item])).classes.sort().values.tolist()
