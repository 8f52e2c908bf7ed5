"""A release of items with rules, written without Spark: its tables are those of the naive loop over the rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.config import SimilarSettings
from lookalike.warehouse.release import ReleaseFolder
from support import constraint_items, constraint_oracle, records
from support.constraint_oracle import Item
from support.served import ShardItems, write_release

FAILED = "failed"


def write_ruled_release(
    root: Path, items: Sequence[Item], rules: SimilarSettings, tombstones: Sequence[Item] = ()
) -> Path:
    """Write the release, with one item more, `FAILED`, that has no embedding; and return its folder.

    A shard of its own has the `tombstones`, items as they were before.
    """
    groups = dict.fromkeys(_group(one, rules) for one in items)
    parts = [[one for one in items if _group(one, rules) == group] for group in groups]
    shards = [_shard(part, rules) for part in parts]
    dead = [replace(_shard(tombstones, rules), deleted=[True] * len(tombstones))] if tombstones else []
    write_release(root, *dead, *shards)
    release = ReleaseFolder(root)
    embeddings = constraint_items.embeddings(items, eligible=rules.eligible is not None)
    paths = pa.array([f"{one.item_id}.jpg" for one in items], pa.string())
    _write(release.embeddings, embeddings.add_column(1, "image_path", paths))
    failed = {"item_id": FAILED, "reason": "truncated", "detail": "cut short"}
    _write(release.failures, pa.Table.from_pylist([failed]))
    lists = constraint_oracle.neighbours(items, rules)
    rows = [(item_id, *row) for item_id, listed in lists.items() for row in listed]
    _write(release.similar_items, _table(rows, item_id="string", rank="int32", similar_item_id="string", score="float"))
    if rules.duplicate_cosine is not None:
        same = constraint_oracle.duplicates(items, rules)
        _write(release.duplicates, _table(same, item_id="string", representative_item_id="string", score="float"))
    counts = {**records.COUNTS, "items": len(items) + 1, "embedded": len(items), "failed": 1}
    records.write_record(release, counts=counts, config={"similar": rules.model_dump(mode="json")})
    return root


def _shard(items: Sequence[Item], rules: SimilarSettings) -> ShardItems:
    ids, vectors = [one.item_id for one in items], np.stack([one.vector for one in items])
    return ShardItems(_group(items[0], rules), ids, vectors)


def _group(item: Item, rules: SimilarSettings) -> str | None:
    return None if rules.group_by is None else item.columns[rules.group_by]  # type: ignore[return-value]


def _table(rows: Sequence[tuple[object, ...]], **columns: str) -> pa.Table:
    values = zip(*rows, strict=True) if rows else ((),) * len(columns)
    schema = pa.schema({name: pa.type_for_alias(kind) for name, kind in columns.items()})
    return pa.table(list(values), schema=schema)


def _write(folder: Path, table: pa.Table) -> None:
    folder.mkdir()
    pq.write_table(table, folder / "part-0.parquet", write_page_checksum=True)
