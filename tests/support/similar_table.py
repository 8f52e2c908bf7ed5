"""A table of similar items written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

Neighbour = tuple[str, int, str, float]


def write_similar(folder: Path, rows: Sequence[Neighbour]) -> Path:
    names = ("item_id", "rank", "similar_item_id", "score")
    types = (pa.string(), pa.int32(), pa.string(), pa.float32())
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    table = pa.table([pa.array(values, kind) for values, kind in zip(columns, types, strict=True)], list(names))
    folder.mkdir(parents=True)
    release_id = pa.array(["r"] * len(rows), pa.string())
    pq.write_table(table.append_column("release_id", release_id), folder / "part-0.parquet")
    return folder
