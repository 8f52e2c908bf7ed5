"""Changes as JSON Lines, CSV or Parquet."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq

from lookalike.feeds import json_lines, json_values
from lookalike.feeds.source import Batch


def write_parquet(batches: Iterable[pa.RecordBatch], schema: pa.Schema, file: BinaryIO) -> None:
    """Write all changes as one Parquet file."""
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


def write_lines(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, put: Callable[[bytes], object], *, csv: bool
) -> None:
    """Write each change as a line of JSON, or of CSV, where lists and items are JSON."""
    if csv:
        put(_csv(schema.empty_table(), header=True))
    for batch in batches:
        put(_csv(pa.Table.from_batches([batch]), header=False) if csv else _json(batch))


def _json(batch: pa.RecordBatch) -> bytes:
    """Return lines with the keys that each change has: the rows of a batch are of one kind."""
    there = [name for name in batch.schema.names if batch[name].null_count < batch.num_rows]
    return json_lines.encode(Batch(batch.select(there)))


def _csv(rows: pa.Table, *, header: bool) -> bytes:
    file = io.BytesIO()
    flat = {name: _flat(rows[name]) for name in rows.column_names}
    pc_csv.write_csv(pa.table(flat), file, pc_csv.WriteOptions(include_header=header))
    return file.getvalue()


def _flat(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    if not pa.types.is_nested(column.type):
        return column
    return pa.array([None if one is None else json_values.text(one) for one in column.to_pylist()], pa.string())
