"""Whether a release's table `changes` is what a comparison of its tables with those of the release before says."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.feeds.changes import Changes
from lookalike.warehouse.release import ReleaseFolder

Rows = Counter[tuple[str, str, str]]


def told(release: ReleaseFolder) -> Rows:
    """The rows of the table."""
    return _rows(pq.read_table(release.changes))


def compared(release: ReleaseFolder, since: ReleaseFolder | None) -> Rows:
    """What `lookalike changes --since` finds; without a release before, all that the release has."""
    if since is not None:
        return sum((_rows(batch) for batch in Changes(since, release, vectors=False).batches()), Rows())
    parts = {"item": release.embeddings, "list": release.similar_items}
    return Rows({(kind, "upsert", one) for kind, part in parts.items() for one in _ids(pq.read_table(part))})


def assert_told(release: ReleaseFolder) -> None:
    """Check the table of a release, and what release.json says of it."""
    record = release.record()
    assert record.changes_table is not None
    since = record.changes_table.since
    assert since in (None, record.parent)
    found = told(release)
    assert found == compared(release, ReleaseFolder(release.root.parent / since) if since else None)
    counts = Counter(f"{kind}_{change}s" for kind, change, _ in found.elements())
    assert record.changes_table.model_dump(exclude={"since"}) == {
        f"{kind}_{change}s": counts[f"{kind}_{change}s"] for kind in ("item", "list") for change in ("upsert", "delete")
    }


def _rows(table: pa.Table | pa.RecordBatch) -> Rows:
    return Rows(zip(*(table[name].to_pylist() for name in ("kind", "change", "item_id")), strict=True))


def _ids(table: pa.Table) -> list[str]:
    ids: list[str] = table["item_id"].to_pylist()
    return ids
