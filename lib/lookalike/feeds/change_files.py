"""Changes as JSON Lines, CSV or Parquet."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq

from lookalike.feeds import json_lines, json_values
from lookalike.feeds.source import Batch, matrix

_VECTOR = "embedding"


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
        put(_csv(pa.RecordBatch.from_pylist([], schema), header=True))
    for batch in batches:
        put(_csv(batch, header=False) if csv else _json(batch))


def _json(batch: pa.RecordBatch) -> bytes:
    """Return lines with the keys that each change has: the rows of a batch are of one kind."""
    there = [name for name in batch.schema.names if batch[name].null_count < batch.num_rows]
    if _VECTOR not in there:
        return json_lines.encode(Batch(batch.select(there)))
    there.remove(_VECTOR)
    return json_lines.encode(Batch(batch.select(there), matrix(batch[_VECTOR])))


def _csv(rows: pa.RecordBatch, *, header: bool) -> bytes:
    file = io.BytesIO()
    flat = {name: _flat(name, rows[name]) for name in rows.schema.names}
    pc_csv.write_csv(pa.table(flat), file, pc_csv.WriteOptions(include_header=header))
    return file.getvalue()


def _flat(name: str, column: pa.Array) -> pa.Array:
    """Return a column that CSV can hold."""
    if not pa.types.is_nested(column.type):
        return column
    if column.null_count == len(column):
        return pa.nulls(len(column), pa.string())
    return json_lines.vector_texts(matrix(column)) if name == _VECTOR else json_values.texts(column)
