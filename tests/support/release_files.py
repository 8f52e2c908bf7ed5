"""The tables of a release, written without Spark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.warehouse.release import ReleaseFolder

LIST = ("item_id", "rank", "similar_item_id", "score")


def write(folder: Path, columns: Mapping[str, Sequence[Any]], types: Mapping[str, pa.DataType]) -> None:
    folder.mkdir(parents=True)
    schema = pa.schema([(name, types.get(name, pa.string())) for name in columns])
    pq.write_table(pa.table(dict(columns), schema=schema), folder / "part-0.parquet")


def fill(
    release: ReleaseFolder,
    pictures: Mapping[str, str] | None = None,
    lists: Mapping[str, str] | None = None,
    failed: Mapping[str, str] | None = None,
) -> None:
    """The tables: item -> its picture's hash, item -> its neighbours' one-letter ids, item -> why it failed."""
    pictures, lists, failed = pictures or {}, lists or {}, failed or {}
    write(release.embeddings, {"item_id": list(pictures), "image_hash": list(pictures.values())}, {})
    nobody = [None] * len(failed)
    write(release.failures, {"item_id": list(failed), "image_hash": nobody, "reason": list(failed.values())}, {})
    rows = [(item, rank, other, 0.5) for item, others in lists.items() for rank, other in enumerate(others, 1)]
    columns = dict(zip(LIST, zip(*rows, strict=True) if rows else [()] * len(LIST), strict=True))
    write(release.similar_items, columns, {"rank": pa.int32(), "score": pa.float32()})
