"""The vectors of `embeddings`, read by Arrow from its files next to the small columns, which Spark reads.

Spark's rows of 100,000 vectors take three times as long as Arrow's batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import Column
from pyspark.sql import functions as F

from lookalike.spark import arrow_files
from lookalike.warehouse.shared_files import SharedFiles

Floats = NDArray[np.float32]

_COLUMN = "embedding"

# Of a row group with fewer wanted rows, so many are decoded at a time, up to the last of them: a recall sample of 256
# items has some in nearly all of the row groups of 100,000, and so takes 0.7 of the time.
FEW_AT_ONCE = 64


def place() -> tuple[Column, Column]:
    """Return where a row of `embeddings` is: `file` and `row`, for the rows of a table as it is read from its files."""
    return F.col("_metadata.file_path").alias("file"), F.col("_metadata.row_index").alias("row")


def read_vectors(shared: SharedFiles, batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[pa.Table, Floats]]:
    """Yield all rows of `batches`, which have a `file` and a `row`, with their vectors [n, d].

    Only the row groups that hold some of them are read; rows in any order are right, those in the files' order fast.
    """
    for rows in _by_file(batches):
        yield from _of_file(shared.fetch(arrow_files.path_of(rows["file"][0].as_py())), rows.sort_by("row"))


def _by_file(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield the rows in tables of one file each: the batches have no regard to files and their row groups."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        for run in _runs_of_files(batch):
            if waiting and run["file"][0] != waiting[0]["file"][0]:
                yield pa.Table.from_batches(waiting)
                waiting.clear()
            waiting.append(run)
    if waiting:
        yield pa.Table.from_batches(waiting)


def _runs_of_files(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    codes = pc.dictionary_encode(batch["file"]).indices.to_numpy()
    bounds = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
    for start, end in pairwise(bounds):
        if start < end:
            yield batch.slice(start, end - start)


def _of_file(path: Path, rows: pa.Table) -> Iterator[tuple[pa.Table, Floats]]:
    wanted = rows["row"].to_numpy()
    starts = arrow_files.row_group_starts(path)
    groups = np.searchsorted(starts, wanted, side="right") - 1
    for group in np.unique(groups).tolist():
        first, end = np.searchsorted(groups, [group, group + 1])
        yield from _of_row_group(path, group, rows.slice(first, end - first), wanted[first:end] - starts[group])


def _of_row_group(
    path: Path, group: int, rows: pa.Table, wanted: NDArray[np.int64]
) -> Iterator[tuple[pa.Table, Floats]]:
    """Yield `rows` with their vectors, those at `wanted` of a row group; what follows the last one is not decoded."""
    size = FEW_AT_ONCE if len(wanted) < FEW_AT_ONCE else arrow_files.ROW_GROUP_ROWS
    at, done = 0, 0
    for batch in arrow_files.read_batches(path, [_COLUMN], [group], size):
        end = int(np.searchsorted(wanted, at + len(batch)))
        if done < end:
            vectors: Floats = as_matrix(batch[_COLUMN])
            chosen = wanted[done:end] - at
            yield rows.slice(done, end - done), vectors if len(chosen) == len(batch) else vectors[chosen]
        at, done = at + len(batch), end
        if done == len(wanted):
            return


def as_matrix(lists: pa.Array) -> NDArray[Any]:
    """Return lists of equal length as an array [n, length]."""
    values = lists.flatten().to_numpy(zero_copy_only=False)
    matrix: NDArray[Any] = values.reshape(len(lists), len(values) // max(1, len(lists)))  # no rows: no width
    return matrix


def as_binary(vectors: Floats) -> pa.Array:
    """Return vectors as Spark carries them without a look at each number."""
    data = pa.py_buffer(np.ascontiguousarray(vectors))
    fixed = pa.FixedSizeBinaryArray.from_buffers(pa.binary(vectors.shape[1] * 4), len(vectors), [None, data])
    return fixed.cast(pa.binary())


def of_binary(column: pa.ChunkedArray) -> Floats:
    """Return the vectors of a column that `as_binary` made."""
    values = np.frombuffer(b"".join(column.to_pylist()), dtype=np.float32)
    return values.reshape(len(column), len(values) // max(1, len(column)))


def hash_vectors(vectors: Floats) -> NDArray[np.int64]:
    """Return a 64-bit hash of each vector; equal vectors have equal ones, -0 and 0 being equal.

    A multilinear hash (Carter and Wegman 1979) of the 32-bit words: 100,000 vectors take half a second. Two of 10
    million different vectors have the same hash with a chance of 3 in a million.
    """
    words = (vectors + np.float32(0)).view(np.uint32).astype(np.uint64)
    factors = np.random.default_rng(0).integers(0, 1 << 64, size=words.shape[1], dtype=np.uint64)
    return (words @ factors).view(np.int64)
