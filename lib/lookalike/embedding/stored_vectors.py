"""Give rows the vectors that lie in Parquet files, by file and row: read by Arrow where they are used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lookalike.embedding.carry import ROWS_PER_FILE
from lookalike.spark import arrow_files, schemas
from lookalike.warehouse.shared_files import SharedFiles

# Of a row that gets its vector: the kept columns are packed, since they may have any names.
PLACED = ("item_id", "image_path", "fingerprint", "image_hash", "kept", "file", "row_index")
VECTOR_COLUMNS = ("embedding", "norm", "width", "height", "fixes", "embedded_at")


def place() -> list[Column]:
    """Return where a row of a Parquet table lies: the columns `file` and `row_index`."""
    return [F.col("_metadata.file_path").alias("file"), F.col("_metadata.row_index").alias("row_index")]


def spread(rows: DataFrame, count: int) -> DataFrame:
    """Return `count` rows with `file` and `row_index` in that order, in partitions of one file of a table each."""
    parts = -(-count // ROWS_PER_FILE)
    placed = rows.repartitionByRange(parts, "file", "row_index") if parts > 1 else rows.coalesce(1)
    return placed.sortWithinPartitions("file", "row_index", "item_id")


@dataclass(frozen=True)
class WithVectors:
    """Add the VECTOR_COLUMNS, which lie at `file` and `row_index`, and the `model_id` to batches of rows.

    The rows are PLACED, the result has the columns of `schema`; inside a task, so that no vector passes through Java.
    """

    shared: SharedFiles
    model_id: str
    schema: pa.Schema

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the rows with their vectors, a row group at a time."""
        for batch in batches:
            start = 0
            for file, rows in groupby(batch["file"].to_pylist()):
                count = len(list(rows))
                mine = batch.slice(start, count)
                start += count
                yield from self._of_file(self.shared.fetch(arrow_files.path_of(file)), mine)

    def _of_file(self, path: Path, rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Yield rows of one file, ascending, with what it has of them."""
        numbers, done, start = rows["row_index"].to_numpy(), 0, 0
        for batch in arrow_files.read_batches(path, VECTOR_COLUMNS):
            start += len(batch)
            high = int(np.searchsorted(numbers, start))
            if high > done:
                found = batch.take(pa.array(numbers[done:high] - (start - len(batch))))
                yield self._joined(rows.slice(done, high - done), found)
                done = high
            if done == len(numbers):
                return

    def _joined(self, rows: pa.RecordBatch, found: pa.RecordBatch) -> pa.RecordBatch:
        known = {name: rows[name] for name in PLACED} | {name: found[name] for name in VECTOR_COLUMNS}
        known["model_id"] = pa.repeat(self.model_id, len(rows))
        own = [known[name] for name in schemas.EMBEDDINGS.names]
        kept = [rows["kept"].field(number) for number in range(len(self.schema) - len(own))]
        columns = [pc.cast(one, field.type, safe=False) for one, field in zip([*own, *kept], self.schema, strict=True)]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)
