"""Tables of files in a store, read by tasks: each fetches its files, and Arrow reads them.

So the cluster needs no connector of Spark to the store. Vectors are read only where a query asks for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import arrow_udf
from pyspark.sql.types import LongType, StringType, StructField, StructType

from lookalike.errors import WarehouseError
from lookalike.spark import arrow_files, schemas
from lookalike.spark.tasks import TASKS_A_CORE, run_tasks
from lookalike.warehouse.shared_files import SharedFiles

# Columns of kilobytes a row.
_LARGE = ("embedding",)

_PLACE = StructType(
    [
        StructField("file_path", StringType()),
        StructField("file_name", StringType()),
        StructField("row_index", LongType()),
    ]
)

# Rows of a batch without the large columns.
_BATCH_ROWS = 8192


def read(
    spark: SparkSession, shared: SharedFiles, paths: Sequence[Path], schema: StructType, *, skip_damaged: bool
) -> DataFrame:
    """Return the rows of the files, with a column `_metadata`: where each row lies."""
    small = StructType([field for field in schema if field.name not in _LARGE])
    files = _Files(shared, tuple(paths), small, skip_damaged)
    tasks = min(len(paths), TASKS_A_CORE * spark.sparkContext.defaultParallelism)
    rows = run_tasks(spark, tasks, lambda number: files.read(number, tasks), placed(small))
    for field in (field for field in schema if field.name in _LARGE):
        column = _column_of(shared, field)(
            F.col(f"{schemas.METADATA}.file_path"), F.col(f"{schemas.METADATA}.row_index")
        )
        rows = rows.withColumn(field.name, column)
    return rows.select(*(f"`{name}`" for name in schema.names), schemas.METADATA)


def placed(schema: StructType) -> StructType:
    """Return the schema with the place of each row."""
    return StructType([*schema, StructField(schemas.METADATA, _PLACE)])


@dataclass(frozen=True)
class _Files:
    shared: SharedFiles
    paths: tuple[Path, ...]
    schema: StructType
    skip_damaged: bool

    def read(self, number: int, tasks: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the files of one of the tasks."""
        for path in self.paths[number::tasks]:
            try:
                yield from self._read_file(path)
            except (OSError, WarehouseError):
                if not self.skip_damaged:
                    raise

    def _read_file(self, path: Path) -> Iterator[pa.RecordBatch]:
        types = schemas.as_arrow(self.schema)
        copy, start = self.shared.fetch(path), 0
        batches = arrow_files.read_batches(copy, self.schema.names, size=_BATCH_ROWS)
        # All of a file or nothing: a row of a damaged one is not to be trusted.
        for batch in list(batches) if self.skip_damaged else batches:
            columns = [_column(batch, field) for field in types]
            place = _places(path, start, len(batch))
            yield pa.RecordBatch.from_arrays([*columns, place], names=[*types.names, schemas.METADATA])
            start += len(batch)


def _column(batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
    """Return a column with its type; nulls where files of an older release lack it."""
    if field.name not in batch.schema.names:
        return pa.nulls(len(batch), field.type)
    return pc.cast(batch[field.name], field.type, safe=False)


def _places(path: Path, start: int, rows: int) -> pa.StructArray:
    columns = [
        pa.repeat(f"file://{quote(str(path))}", rows),  # as Spark names files
        pa.repeat(path.name, rows),
        pa.array(np.arange(start, start + rows)),
    ]
    return pa.StructArray.from_arrays(columns, names=_PLACE.names)


def _column_of(shared: SharedFiles, field: StructField):  # type: ignore[no-untyped-def]
    """Return a function of Spark that reads a column at places; a query that does not use it leaves it out."""
    arrow_type = schemas.as_arrow(StructType([field])).field(0).type

    def read_column(batches: Iterator[tuple[pa.Array, pa.Array]]) -> Iterator[pa.Array]:
        for files, rows in batches:
            yield _values(shared, files, rows, field.name, arrow_type)

    return arrow_udf(read_column, field.dataType)  # type: ignore[call-overload]


def _values(shared: SharedFiles, files: pa.Array, rows: pa.Array, name: str, kind: pa.DataType) -> pa.Array:
    if not len(files):
        return pa.array([], kind)
    coded, wanted = files.dictionary_encode(), rows.to_numpy()
    codes = coded.indices.to_numpy()
    found: list[pa.Array] = []
    at = np.empty(len(files), dtype=np.int64)
    for code, file in enumerate(coded.dictionary.to_pylist()):
        here = np.flatnonzero(codes == code)
        at[here] = sum(len(one) for one in found) + np.arange(len(here))
        copy = shared.fetch(arrow_files.path_of(file))
        found.append(arrow_files.take_rows(copy, name, wanted[here]))
    return pc.cast(pa.concat_arrays(found).take(pa.array(at)), kind)
