"""The page of a release: one HTML file that needs no other.

The template engine escapes all that comes from the catalogue, and the page forbids the browser to load or run anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from lookalike import config
from lookalike.images.thumbnails import SIDE, Thumbnail, make
from lookalike.redaction import redacted, redacted_uri
from lookalike.report import samples
from lookalike.report.summary import interval, pictures_per_second
from lookalike.safe_text import escaped, shortened
from lookalike.spark import failed_items, schemas
from lookalike.spark.release_tables import ReleaseTables
from lookalike.storage.image_reader import ImageReader
from lookalike.warehouse.record import ReleaseRecord
from lookalike.warehouse.release import Staged

# 12 x 7 pictures at most: a page that opens at once, on a phone too.
ITEMS = 12
NEIGHBOURS = 6

_LONGEST_PATH = 200


@dataclass(frozen=True)
class Headline:
    """One figure at the top of the page."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Bar:
    """A step's seconds, and its `share` of the longest, in percent."""

    name: str
    seconds: float
    share: float


@dataclass(frozen=True)
class FailedItem:
    """An item without a vector."""

    item_id: str
    image_path: str
    detail: str


@dataclass(frozen=True)
class FailureGroup:
    """The failures of one reason, with a few examples."""

    reason: str
    count: int
    examples: list[FailedItem]


@dataclass(frozen=True)
class Card:
    """A picture with its caption; the sampled item itself has no score."""

    item: samples.LabelledItem
    thumbnail: Thumbnail
    score: float | None = None


@dataclass(frozen=True)
class Contents:
    """What the page shows of the tables: examples of each reason, rows of pictures, and the columns that label them."""

    examples: dict[str, list[FailedItem]]
    cards: list[list[Card]]
    kept_columns: list[str]


def collect(tables: ReleaseTables, settings: config.Settings) -> Contents:
    """Read from the tables of a release in the making what its page shows; it needs no figure of the release."""
    shown = cards(samples.draw(tables, ITEMS, NEIGHBOURS), settings)
    return Contents(examples_of(tables.failed), shown, schemas.kept_columns(tables.embeddings))


def write(contents: Contents, record: ReleaseRecord, settings: config.Settings, staged: Staged) -> None:
    """Write the page of a release in the making."""
    page = _template().render(
        record=record,
        headlines=headlines(record),
        bars=bars(record.seconds),
        failures=failures(contents.examples, record.counts.failed_by_reason),
        settings=dict(dotted(settings.model_dump(mode="json"))),
        cards=contents.cards,
        kept_columns=contents.kept_columns,
        neighbours=NEIGHBOURS,
        side=SIDE,
    )
    staged.shared.here(staged.report).write_text(page, encoding="utf-8")
    staged.add([staged.save(staged.report)])


def headlines(record: ReleaseRecord) -> list[Headline]:
    """Return the figures at the top of the page."""
    counts, fidelity = record.counts, record.model.fidelity
    failed = counts.failed / counts.items
    return [
        Headline("items", f"{counts.items:,}", "in the catalogue"),
        Headline("embedded", f"{counts.embedded:,}", f"{1 - failed:.1%} of the items"),
        Headline("failed", f"{counts.failed:,}", f"{failed:.2%} of the items"),
        Headline("pictures/s", f"{pictures_per_second(record):,.0f}", "the whole embed step"),
        Headline("recall", f"{counts.recall:.4f}", f"{interval(counts)}, on {counts.recall_sample:,} items"),
        Headline("fidelity", f"{fidelity.mean_cosine:.4f}", "cosine of int8 to float32")
        if fidelity
        else Headline("fidelity", "none", "measured of int8 only"),
    ]


def bars(seconds: dict[str, float]) -> list[Bar]:
    """Return a bar for each step, in the order of the run."""
    longest = max(seconds.values(), default=0) or 1
    return [Bar(name, took, round(100 * took / longest, 1)) for name, took in seconds.items()]


def failures(examples: dict[str, list[FailedItem]], counts: dict[str, int]) -> list[FailureGroup]:
    """Return every reason with its count and its examples, the most common reason first."""
    by_count = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [FailureGroup(reason, count, examples.get(reason, [])) for reason, count in by_count]


def examples_of(failed: Sequence[failed_items.FailedReason]) -> dict[str, list[FailedItem]]:
    """Return the first failures of each reason, by item_id."""
    return {one.reason: [_failed_item(item) for item in one.examples] for one in failed}


def _failed_item(item: failed_items.FailedItem) -> FailedItem:
    path = shortened(redacted_uri(item.image_path or ""), _LONGEST_PATH)
    return FailedItem(item.item_id, path, redacted(item.detail or ""))


def cards(chosen: list[samples.ItemWithNeighbours], settings: config.Settings) -> list[list[Card]]:
    """Return a row for each sampled item: its own card, then those of its neighbours, best first."""
    reader = ImageReader.of(settings)

    def card(item: samples.LabelledItem, score: float | None = None) -> Card:
        return Card(item, make(item.image_path, reader), score)

    return [[card(sample.item), *(card(found.item, found.score) for found in sample.neighbours)] for sample in chosen]


def dotted(sections: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the settings as (key, JSON text), with keys as `--set` takes them."""
    for name, value in sections.items():
        if isinstance(value, dict):
            yield from dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value, ensure_ascii=False)


def _safe(value: Any) -> Any:
    """Return what the page shows of a text: no secrets, and no characters that move what stands around them."""
    if not isinstance(value, str) or hasattr(value, "__html__"):  # the page's own: a thumbnail
        return value
    return escaped(redacted(value, queries=False))


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("lookalike.report"),
        autoescape=True,
        finalize=_safe,
        undefined=StrictUndefined,  # a wrong name is an error, not a gap in the page
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")
