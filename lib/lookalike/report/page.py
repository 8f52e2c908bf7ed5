"""The page of a release: one HTML file that needs no other.

The template engine escapes all that comes from the catalogue, and the page forbids the browser to load or run anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lookalike import config
from lookalike.images.thumbnails import SIDE
from lookalike.pages import plots, templates, timings, words
from lookalike.pages.cards import Card, PictureRow
from lookalike.pages.failed import FailedItem, FailureGroup
from lookalike.report import contents
from lookalike.report.contents import Contents
from lookalike.report.pictures import Album
from lookalike.report.summary import embedded, pictures_per_second
from lookalike.spark import failed_items
from lookalike.spark.release_tables import ReleaseTables
from lookalike.warehouse.record import ReleaseRecord
from lookalike.warehouse.release import ReleaseFolder, Staged


@dataclass(frozen=True)
class Past:
    """The release before this one, where there is one, and the records of the last releases, the oldest first."""

    before: ReleaseRecord | None
    records: Sequence[ReleaseRecord] = ()

    @classmethod
    def of(cls, before: ReleaseTables | None, releases: Sequence[ReleaseFolder]) -> Past:
        """Return what came before a release; `releases` are those in the warehouse, the oldest first."""
        return cls(before.record if before else None, timings.last_records(releases))


@dataclass(frozen=True)
class Pictures:
    """The rows of pictures, by the part of the page."""

    chosen: list[PictureRow]
    sampled: list[PictureRow]
    lowest: list[PictureRow]
    shortest: list[PictureRow]
    changed: list[PictureRow]
    hubs: list[Card]


@dataclass(frozen=True)
class Collected:
    """What of the page is known before the gates: all that is read of the tables, and the pictures."""

    contents: Contents
    pictures: Pictures
    scores: str  # the plot


@contextmanager
def reading(
    tables: ReleaseTables, before: ReleaseTables | None, settings: config.Settings
) -> Iterator[Future[Collected] | None]:
    """Read what the page shows while the gates measure: small queries, which Spark mostly plans; None for no page."""
    with ThreadPoolExecutor(1, thread_name_prefix="page") as pool:
        yield pool.submit(collect, tables, before, settings) if settings.report.enabled else None


def collect(tables: ReleaseTables, before: ReleaseTables | None, settings: config.Settings) -> Collected:
    """Read from the tables of a release in the making what its page shows; it needs no figure of the release.

    `before` is the release before, where its tables are sound.
    """
    return collected(contents.collect(tables, before, settings), settings)


def collected(found: Contents, settings: config.Settings) -> Collected:
    """Make the pictures and the plot of some contents: all that takes long, while the gates measure."""
    return Collected(found, _pictures(found, settings), plots.scores(found.scores.best, found.scores.last))


def write(
    read: Collected, record: ReleaseRecord, past: Past, settings: config.Settings, staged: Staged
) -> ReleaseRecord:
    """Write the page of a release in the making; return its record with the label precision."""
    shown, times = read.contents, timings.of(record, past.records)
    record = record.model_copy(update={"counts": record.counts.model_copy(update={"labels": tuple(shown.labels)})})
    page = (
        templates.environment("lookalike.report")
        .get_template("report.html")
        .render(
            record=record,
            before=past.before,
            title=settings.report.title,
            counts=words.counts(record, past.before),
            gates=words.gates(record.gates),
            shown=shown,
            pictures=read.pictures,
            failures=failures(shown.failed),
            labels=words.label_words(record.counts.labels, past.before),
            times=times,
            plots={"scores": read.scores, "seconds": plots.seconds(times.names, times.seconds)},
            settings=dict(dotted(settings.model_dump(mode="json"))),
            embedded=embedded(record),
            rate=words.rate(pictures_per_second(record)),
            neighbours=contents.NEIGHBOURS,
            side=SIDE,
        )
    )
    staged.shared.here(staged.report).write_text(page, encoding="utf-8")
    staged.add([staged.save(staged.report)])
    return record


def _pictures(found: Contents, settings: config.Settings) -> Pictures:
    """Return the rows of pictures, with each picture read and made small."""
    album = Album(found, settings)
    return Pictures(
        chosen=album.rows(found.chosen),
        sampled=album.rows(found.sampled),
        lowest=album.rows(found.lowest),
        shortest=album.rows(found.shortest),
        changed=album.rows(found.changes.shown),
        hubs=[album.hub(hub) for hub in found.hubs],
    )


def failures(failed: Sequence[failed_items.FailedReason]) -> list[FailureGroup]:
    """Return every reason with its count and its examples, the most common reason first."""
    return [
        FailureGroup(
            one.reason,
            one.count,
            [FailedItem.of(item.item_id, item.image_path, one.reason, item.detail) for item in one.examples],
        )
        for one in failed
    ]


def dotted(sections: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the settings as (key, JSON text), with keys as `--set` takes them."""
    for name, value in sections.items():
        if isinstance(value, dict):
            yield from dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value, ensure_ascii=False)
