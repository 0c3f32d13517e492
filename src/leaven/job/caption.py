"""``leaven.caption``: dense captions of pictures, written by a model, and how much they name."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from leaven.data.captioned_listing import CaptionedListing, tidy
from leaven.data.embedded_scenes import SCENES, listed_scenes
from leaven.data.files import PictureError, decode, pool
from leaven.data.readers.captioned import read_captioned
from leaven.errors import ModelError, RunError
from leaven.job.caption_folder import (
    CLEANED,
    JOURNAL,
    RAW,
    SUMMARY,
    WRITTEN,
    CaptionJournal,
    CaptionOptions,
    Entry,
    caption_folder,
    check_captions,
    check_texts,
    export_texts,
    prepare_captions,
    print_of,
    remove_empty,
)
from leaven.job.folder import write_text
from leaven.labels.caption_table import CaptionRound
from leaven.labels.captions import Captions
from leaven.labels.classes import Source
from leaven.labels.described import Described
from leaven.labels.store import LabelStore
from leaven.models.captioners import Captioner, load_captioner
from leaven.models.generation.fingerprint import fingerprint
from leaven.propose.captions import shown, write_captions
from leaven.quality.caption_findings import caption_findings
from leaven.quality.concept_density import concept_density, tagged_nouns
from leaven.quality.health import Finding
from leaven.refine.caption_cleaning import clean_caption
from leaven.report.caption_page import write_caption_page
from leaven.train.journal import Bar
from leaven.train.settings import find_precision, find_processes
from leaven.version import __version__

log = logging.getLogger(__name__)

SHOWN = 48
"""Pictures on the page, at equal distances."""

SIDE = 320
"""The longer side of a picture on the page."""


@dataclass(frozen=True)
class CaptionResult:
    """What a caption job gives.

    Attributes:
        names: of the n pictures that were looked at.
        texts: n captions as they were written; empty where there is none.
        summary: the content of ``captions.json``.
        folder: where the files are.
    """

    names: list[str]
    texts: list[str]
    summary: dict[str, Any]
    folder: Path


def caption(
    options: CaptionOptions,
    *,
    out: Path | str | None = None,
    resume: bool = False,
    txt: Path | str | None = None,
    show: bool = False,
) -> CaptionResult:
    """Writes a dense caption of every picture, in batches that are on the disk when they are done.

    In the folder: ``written.jsonl`` (the journal), ``labels/`` (rounds 0 raw, 1 written, 2 cleaned;
    ``LabelStore.read_captions``), ``captions.json`` (figures and findings), ``captions.html``.

    What is drawn for a picture depends on the seed and its name alone. So a job that was killed
    goes on with the captions that the whole job would have written, up to the rounding of logits
    in batches of another composition.

    Args:
        options: see ``CaptionOptions``.
        out: the folder; ``captions/DATA-CAPTIONER`` when None.
        resume: go on in a folder that is there.
        txt: also write each caption as ``ITEM.txt`` below this folder.
        show: draw a progress bar.

    Raises:
        LeavenError: something that the user can put right; says what to do.
    """
    began = time.monotonic()
    tagged_nouns("a word")  # Before anything long begins.
    options = options.whole_paths()
    folder = caption_folder(options.data, options.captioner) if out is None else Path(out)
    check_captions(folder, options, resume=resume)
    listing = read_pictures(options.data, options.labels, options.raw_column)
    if resume:
        listing = _as_begun(listing, folder)
    count = min(len(listing.names), options.limit or len(listing.names))
    if txt is not None:
        check_texts(Path(txt), listing.names[:count])
    captioner = _captioner(options)
    prints = {
        "pictures_are": print_of(listing.names, listing.said.texts),
        # One captioner in every precision: a job may go on with another one.
        "weights_are": fingerprint(captioner.model, rounded=torch.bfloat16),
    }
    prepare_captions(folder, options, prints)
    try:
        with CaptionJournal(folder / JOURNAL) as journal:
            before = len(journal.entries)
            _write(captioner, options, listing, journal, show)
            entries = journal.entries
    except BaseException:
        remove_empty(folder)
        raise
    rows = [row for row in range(count) if listing.names[row] in entries]
    done = [entries[listing.names[row]] for row in rows]
    raw = [listing.said.texts[row] for row in rows]
    _store(folder, done, raw, options.captioner)
    summary = {
        **_summary(options, listing, captioner, done, raw),
        "before": before,
        "seconds": round(time.monotonic() - began, 2),
    }
    if txt is not None:
        said = [(entry.item, entry.text) for entry in done if entry.text]
        summary["txt"] = {"folder": str(txt), "files": export_texts(Path(txt), said)}
    write_caption_page(folder / "captions.html", summary, _cards(listing, rows, done, raw))
    # Last, because it says that the others are there.
    write_text(folder / SUMMARY, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return CaptionResult(
        [entry.item for entry in done], [entry.text for entry in done], summary, folder
    )


def read_pictures(data: str, labels: str | None, column: str | None) -> CaptionedListing:
    """The pictures to write captions for, with the raw captions that there are.

    Raises:
        DataError: there are no pictures.
    """
    if data == SCENES and not Path(data).exists():
        found = listed_scenes("detection")
        said = Described.of([""] * len(found.names))
        return CaptionedListing(found.name, found.sources, found.names, found.splits, said)
    return read_captioned(
        Path(data).expanduser(), None if labels is None else Path(labels), column,
        need_captions=False,
    )  # fmt: skip


def _as_begun(listing: CaptionedListing, folder: Path) -> CaptionedListing:
    """The pictures with the raw captions that they had when the job in ``folder`` began: texts that
    it laid beside them since are none."""
    store = LabelStore(folder / "labels")
    if RAW not in store.rounds():
        return listing
    found = store.read_captions(RAW)
    before = dict(zip(found.names, found.labels.texts, strict=True))
    journal = CaptionJournal(folder / JOURNAL)
    journal.read()
    raw = list(listing.said.texts)
    for row, name in enumerate(listing.names):
        if name in before and name in journal.entries:
            (written,), _ = tidy([journal.entries[name].text])
            raw[row] = before[name] if raw[row] == written else raw[row]
    return replace(listing, said=Described.of(raw))


def _captioner(options: CaptionOptions) -> Captioner:
    _, device = find_processes(options.device)
    return load_captioner(
        options.captioner,
        device=device,
        dtype=find_precision(options.precision, device) or torch.float32,
        temperature=options.temperature,
        max_tokens=options.max_tokens,
    )


def _write(
    captioner: Captioner,
    options: CaptionOptions,
    listing: CaptionedListing,
    journal: CaptionJournal,
    show: bool,
) -> None:
    """Writes what is not in the journal yet."""
    count = min(len(listing.names), options.limit or len(listing.names))
    todo = [row for row in range(count) if listing.names[row] not in journal.entries]
    began, done = time.monotonic(), 0
    with Bar("captions", show) as bar:
        for rows, pictures in _opened(listing, todo, options.batch):
            given = [listing.said.texts[row] if options.use_raw else "" for row in rows]
            names = [listing.names[row] for row in rows]
            entries = _entries(captioner, options.seed, names, pictures, given)
            if not journal.entries and all(entry.unreadable for entry in entries):
                raise RunError(
                    f"None of the first {len(entries)} pictures has got a caption; the first: "
                    f"{entries[0].unreadable}",
                    "pictures that can be read, and a captioner that takes them",
                    "look at the pictures with `leaven audit`, or use another captioner",
                )
            journal.add(entries)
            done += len(rows)
            bar.show(
                done / max(1, len(todo)),
                done / max(1e-9, time.monotonic() - began),
                f"{done} of {len(todo)}",
            )


def _opened(
    listing: CaptionedListing, rows: list[int], size: int
) -> Iterator[tuple[list[int], list[Image.Image | str]]]:
    """Batches of decoded pictures, or why there is none; the next one is decoded meanwhile."""
    chunks = [rows[first : first + size] for first in range(0, len(rows), size)]

    def begun(chunk: list[int]) -> list[Future[Image.Image | str]]:
        return [pool().submit(_picture, listing, row) for row in chunk]

    ahead = begun(chunks[0]) if chunks else []
    for number, chunk in enumerate(chunks):
        now = ahead
        ahead = begun(chunks[number + 1]) if number + 1 < len(chunks) else []
        yield chunk, [one.result() for one in now]


def _picture(listing: CaptionedListing, row: int) -> Image.Image | str:
    try:
        pixels = decode(listing.sources[row], None, 3, listing.names[row])
    except PictureError as error:
        return error.reason
    return shown(Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))))


def _entries(
    captioner: Captioner,
    seed: int,
    names: Sequence[str],
    pictures: Sequence[Image.Image | str],
    raw: Sequence[str],
) -> list[Entry]:
    """What the journal is to hold of a batch."""
    made = [
        Entry(name, unreadable=picture if isinstance(picture, str) else None)
        for name, picture in zip(names, pictures, strict=True)
    ]
    there = [row for row, entry in enumerate(made) if entry.unreadable is None]
    if not there:
        return made
    whole = [picture for picture in pictures if not isinstance(picture, str)]
    kept_names, kept_raw = [names[row] for row in there], [raw[row] for row in there]
    try:
        written = write_captions(captioner, whole, kept_names, kept_raw, seed)
    except (torch.OutOfMemoryError, ValueError) as error:
        # Without its traceback, which would hold the tensors of the batch while the halves are tried.
        problem = error.with_traceback(None)
    else:
        for row, one in zip(there, written, strict=True):
            made[row] = Entry(names[row], one.text, one.tokens, one.cut, one.raw_cut)
        return made
    # A picture that the captioner's own preparation refuses is not to stop the others.
    if len(there) > 1:
        half = (len(names) + 1) // 2
        first, second = slice(0, half), slice(half, None)
        return [
            *_entries(captioner, seed, names[first], pictures[first], raw[first]),
            *_entries(captioner, seed, names[second], pictures[second], raw[second]),
        ]
    if isinstance(problem, torch.OutOfMemoryError):
        raise ModelError(
            "The memory does not hold the captioner with a single picture.",
            "a device with more memory, or a smaller captioner",
            "choose another --captioner or --device, or --precision bf16",
        ) from problem
    made[there[0]] = Entry(kept_names[0], unreadable=str(problem).split("\n")[0][:200])
    return made


def _store(folder: Path, done: Sequence[Entry], raw: list[str], captioner: str) -> None:
    """The three rounds of the label store."""
    store, names = LabelStore(folder / "labels"), [entry.item for entry in done]
    written = [entry.text for entry in done]
    nobody = [""] * len(names)
    store.write_captions(RAW, CaptionRound(names, Captions.of(raw), raw, nobody))
    for number, texts in ((WRITTEN, written), (CLEANED, [clean_caption(text) for text in written])):
        by = [captioner if text else "" for text in texts]
        labels = Captions.of(texts, Source.MODEL)
        store.write_captions(number, CaptionRound(names, labels, raw, by))


def _summary(
    options: CaptionOptions,
    listing: CaptionedListing,
    captioner: Captioner,
    done: Sequence[Entry],
    raw: list[str],
) -> dict[str, Any]:
    readable = [row for row, entry in enumerate(done) if entry.unreadable is None]
    texts = [done[row].text for row in readable]
    given = [raw[row] for row in readable]
    density = {"written": concept_density(texts, more_than=options.more_than).as_dict()}
    if any(given):
        density["raw"] = concept_density(given, more_than=options.more_than).as_dict()
    findings = caption_findings(
        texts, [done[row].cut for row in readable], given if any(given) else None
    )
    used = options.use_raw and captioner.follows
    findings += _about_raw(options, used, given, [done[row].raw_cut for row in readable])
    emptied = sum(bool(text) and not clean_caption(text) for text in texts)
    unreadable = [(entry.item, entry.unreadable) for entry in done if entry.unreadable]
    return {
        "leaven": __version__,
        "data": {"name": listing.name, "source": options.data, "pictures": len(listing.names)},
        "captioner": options.captioner,
        "raw_used": used,
        "temperature": options.temperature,
        "max_tokens": options.max_tokens,
        "seed": options.seed,
        "looked_at": len(done),
        "captions": sum(map(bool, texts)),
        "raw_captions": sum(map(bool, given)),
        "tokens": sum(entry.tokens for entry in done),
        "emptied_by_cleaning": emptied,
        "more_than": options.more_than,
        "density": density,
        "findings": [one.as_dict() for one in findings],
        "unreadable": [{"item": item, "reason": reason} for item, reason in unreadable],
        "notes": list(listing.notes),
    }


def _about_raw(
    options: CaptionOptions, used: bool, given: list[str], cut: list[bool]
) -> list[Finding]:
    """What people should know about the raw captions."""
    found = []
    there = sum(map(bool, given))
    if there and options.use_raw and not used:
        text = f"The captioner takes no words: {there} raw captions were not shown to it."
        found.append(Finding("info", "raw-not-used", text, step=0))
    if any(cut):
        text = (
            f"{sum(cut)} raw captions were shortened so that prompt and answer fit the context of "
            "the captioner."
        )
        found.append(Finding("info", "raw-cut", text, step=0))
    return found


def _cards(
    listing: CaptionedListing, rows: list[int], done: Sequence[Entry], raw: list[str]
) -> list[dict[str, Any]]:
    """Pictures for the page as PNG with both captions."""
    places = np.unique(np.linspace(0, max(0, len(rows) - 1), SHOWN).round().astype(int))
    cards = []
    for place in places.tolist() if rows else []:
        picture = _picture(listing, rows[place])
        if isinstance(picture, str):
            continue
        entry = done[place]
        card = {"item": entry.item, "png": _png(picture), "raw": raw[place], "text": entry.text}
        cards.append({**card, "cut": entry.cut})
    return cards


def _png(picture: Image.Image) -> bytes:
    scale = SIDE / max(picture.size)
    size = [max(1, round(scale * side)) for side in picture.size]
    smooth = Image.Resampling.BILINEAR if scale < 1 else Image.Resampling.NEAREST
    written = io.BytesIO()
    picture.resize((size[0], size[1]), smooth).save(written, "PNG", optimize=True)
    return written.getvalue()
