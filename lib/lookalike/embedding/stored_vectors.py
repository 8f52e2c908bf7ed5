"""Give rows the vectors that lie in Parquet files, by file and row: read by Arrow where they are used."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import arrow_udf
from pyspark.sql.types import StructType

from lookalike.embedding.carry import ROWS_PER_FILE
from lookalike.spark import arrow_files, schemas, worker

_NAMES = ("embedding", "norm", "width", "height", "fixes", "embedded_at")
VECTOR_COLUMNS = StructType([schemas.EMBEDDINGS[name] for name in _NAMES])
_ARROW = schemas.as_arrow(VECTOR_COLUMNS)


def place() -> list[Column]:
    """Return where a row of a Parquet table lies: the columns `file` and `row_index`."""
    return [F.col("_metadata.file_path").alias("file"), F.col("_metadata.row_index").alias("row_index")]


def path_of(file: str) -> Path:
    """Return the local path of a file as Spark names it: by a URI."""
    return Path("/" + unquote(file.removeprefix("file:")).lstrip("/"))


def with_vectors(rows: DataFrame, count: int) -> DataFrame:
    """Replace `file` and `row_index` of `count` rows by the VECTOR_COLUMNS that lie there; a file in each partition."""
    parts = -(-count // ROWS_PER_FILE)
    spread = rows.repartitionByRange(parts, "file", "row_index") if parts > 1 else rows.coalesce(1)
    placed = spread.sortWithinPartitions("file", "row_index")
    with_vector = placed.withColumn("vector", _read_vectors("file", "row_index"))
    return with_vector.drop("file", "row_index").select("*", "vector.*").drop("vector")


@arrow_udf(VECTOR_COLUMNS)  # type: ignore[call-overload,untyped-decorator]
def _read_vectors(batches: Iterator[tuple[pa.Array, pa.Array]]) -> Iterator[pa.Array]:
    worker.start_task()
    for files, numbers in batches:
        start = 0
        for file, rows in groupby(files.to_pylist()):
            count = len(list(rows))
            yield from _rows_of(path_of(file), numbers.slice(start, count).to_numpy())
            start += count


def _rows_of(path: Path, numbers: NDArray[np.int64]) -> Iterator[pa.StructArray]:
    """Yield the rows with these numbers, ascending, of a file, in arrays of at most a row group."""
    start = 0
    for batch in arrow_files.read_batches(path, _NAMES):
        low, high = np.searchsorted(numbers, [start, start + len(batch)])
        start += len(batch)
        if high > low:
            chosen = batch.take(pa.array(numbers[low:high] - (start - len(batch))))
            arrays = [pc.cast(chosen[field.name], field.type, safe=False) for field in _ARROW]
            yield pa.StructArray.from_arrays(arrays, fields=list(_ARROW))
        if high == len(numbers):
            return
