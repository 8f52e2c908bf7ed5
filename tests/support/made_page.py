"""Pages of releases that no run has made: their contents by hand, with pictures and names that are hostile."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from PIL import Image

from lookalike import config
from lookalike.quality import lists
from lookalike.report import page
from lookalike.report.contents import Changes, Contents, Scores, ShownList
from lookalike.report.samples import LabelledItem
from lookalike.spark.failed_items import FailedItem, FailedReason
from lookalike.spark.hubs import Hub
from lookalike.warehouse.record import LabelPrecision, ReleaseRecord
from support import staging
from support.small_release import HOSTILE, make_record, make_settings

# What a catalogue may hold: markup, quotes, a text that is read backwards, no end, and signs beyond 16 bits.
NAMES = (HOSTILE, "\"'><img src=x onerror=alert(1)>", "\u202egpj.exe\u202c", "x" * 10_000, "👗🩴 Größe 38")
LABELS = ("style='color:red'", "</style><h1>", "\u2067left\u2069", "y" * 10_000, "🟥")

NONE = Contents(
    kept_columns=(),
    failed=(),
    hubs=(),
    chosen=(),
    unknown=(),
    sampled=(),
    lowest=(),
    shortest=(),
    changes=Changes(),
    scores=Scores([0] * lists.BINS, [0] * lists.BINS),
    labels=(),
    items={},
)


def hostile(folder: Path) -> Contents:
    """The contents of a release with a part of each kind; the last item has no picture."""
    items = {}
    for number, (name, label) in enumerate(zip(NAMES, LABELS, strict=True)):
        path = folder / f"{number}.png"
        if number < len(NAMES) - 1:
            Image.new("RGB", (40 + 20 * number, 60), (40 * number, 90, 160)).save(path)
        items[name] = LabelledItem(name, str(path), (label, "red", ""))
    first, *others = NAMES
    shown = [
        ShownList(first, [(other, 0.9 - place / 10) for place, other in enumerate(others)]),
        ShownList(others[0], []),
    ]
    now, then = [(others[0], 0.9), (others[1], 0.8)], [(others[0], 0.9), (others[2], 0.7)]
    return Contents(
        kept_columns=("category", HOSTILE, "colour"),
        failed=[FailedReason("not_found", 1_234, [FailedItem(name, f"images/{name}", f"no {name}") for name in NAMES])],
        hubs=[Hub(name, 40 - place) for place, name in enumerate(NAMES)],
        chosen=shown[:1],
        unknown=NAMES[1:],
        sampled=shown,
        lowest=shown[:1],
        shortest=shown[1:],
        changes=Changes(2_000, 31, [ShownList(first, now, then, frozenset(NAMES[2:4]))]),
        scores=Scores([0] * 60 + list(range(20)), [0] * 50 + list(range(30))),
        labels=[_precision("category", 0.91), _precision(HOSTILE, 1.0)],
        items=items,
    )


def _precision(column: str, share: float) -> LabelPrecision:
    return LabelPrecision(column=column, k=10, precision=share, chance=0.1, items=2_000)


def write(contents: Contents, folder: Path, nights: int = 14, title: str = "", **sections: Any) -> str:
    """Write the page of a release of `make_record` with these sections, after some `nights`; return the HTML."""
    settings = make_settings(folder)
    settings = settings.model_copy(update={"report": config.ReportSettings(title=title)})
    record = make_record(folder, **sections)
    record = record.model_copy(update={"counts": record.counts.model_copy(update={"labels": tuple(contents.labels)})})
    staged = staging.stage(folder, "20260102T030405Z-abc123")
    page.write(page.collected(contents, settings), record, page.Past(*_past(record, nights)), settings, staged)
    return staged.report.read_text(encoding="utf-8")


def _past(record: ReleaseRecord, nights: int) -> tuple[ReleaseRecord | None, Sequence[ReleaseRecord]]:
    earlier = [
        record.model_copy(
            update={"created_at": record.created_at - timedelta(days=night), "release_id": f"before-{night}"}
        )
        for night in range(nights, 0, -1)
    ]
    return (earlier[-1] if earlier else None), earlier
