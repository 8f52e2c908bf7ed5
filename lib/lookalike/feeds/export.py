"""Export a release: its tables, one after the other, then all shown at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lookalike.feeds.destination import Destination
from lookalike.feeds.source import feeds_of
from lookalike.feeds.vectors import ExportedVectors, Reduction, prepare
from lookalike.progress import say, signs_of_life
from lookalike.version import VERSION
from lookalike.warehouse.release import ReleaseFolder

EXPORT_VERSION = 1


@dataclass(frozen=True)
class Exported:
    """What was exported: the content of export.json."""

    record: Mapping[str, Any]

    def line(self) -> str:
        """Return it as a line for people."""
        tables = ", ".join(f"{rows:,} {name}" for name, rows in self.record["tables"].items())
        return f"release {self.record['release_id']}: {tables}"

    def vectors_line(self) -> str:
        """Return what became of the vectors."""
        vectors = self.record["vectors"]
        kept = vectors["recall"]
        recall = "" if kept is None else f", recall@{vectors['recall_k']} {kept:.4f} against the release's own"
        return f"vectors: {vectors['dimensions']:,} x {vectors['precision']}{recall}"


def export(release: ReleaseFolder, destination: Destination, reduction: Reduction) -> Exported:
    """Export a release to a destination; raises ExportError, and what reading the release raises."""
    with destination.open() as writer:
        feeds = feeds_of(release)
        with signs_of_life("export"):
            vectors = prepare(feeds[0], destination.precision, reduction)
            rows = {}
            for feed in feeds:
                say(f"{feed.name}: {feed.rows:,} rows")
                rows[feed.name] = writer.write(feed, vectors)
            record = _record(release, rows, vectors)
            writer.show(record, vectors)
    return Exported(record)


def _record(release: ReleaseFolder, rows: Mapping[str, int], vectors: ExportedVectors) -> dict[str, Any]:
    return {
        "export_version": EXPORT_VERSION,
        "release_id": release.release_id,
        "model_id": release.record().model.model_id,
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "lookalike": VERSION,
        "tables": dict(rows),
        "vectors": vectors.as_json(),
    }
