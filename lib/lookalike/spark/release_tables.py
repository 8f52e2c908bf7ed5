"""A release opened as DataFrames."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from lookalike.errors import WarehouseError
from lookalike.spark import parquet, schemas
from lookalike.warehouse.record import ReleaseRecord
from lookalike.warehouse.release import ReleaseFolder


@dataclass(frozen=True)
class ReleaseTables:
    """The tables of a release: of one in the warehouse, or of one in the making."""

    release: ReleaseFolder
    embeddings: DataFrame
    failures: DataFrame
    similar_items: DataFrame
    duplicates: DataFrame | None = None  # only with similar.duplicate_cosine
    neighbours: DataFrame | None = None  # of a release in the warehouse: what the next refresh updates

    @cached_property
    def record(self) -> ReleaseRecord:
        """What release.json says; raises WarehouseError, also for a release in the making, which has none yet."""
        return self.release.record()


def open_tables(spark: SparkSession, release: ReleaseFolder) -> ReleaseTables:
    """Return the tables of a release in the warehouse; raises WarehouseError when it is damaged."""
    release.record()  # a record that cannot be read is named before any table
    try:
        return ReleaseTables(
            release,
            _widened(parquet.read(spark, release.embeddings), schemas.EMBEDDINGS),
            _widened(parquet.read(spark, release.failures), schemas.FAILURES),
            parquet.read(spark, release.similar_items, schema=schemas.SIMILAR_ITEMS),
            _read_if_there(spark, release.duplicates, schemas.DUPLICATES),
            _read_if_there(spark, release.neighbours, schemas.NEIGHBOURS),
        )
    except (PySparkException, Py4JJavaError) as error:  # a folder that is gone, a file without a Parquet footer
        reason = parquet.condition(error)
        raise WarehouseError(f"{release.root} is damaged ({reason}); roll back to another release") from None


def _read_if_there(spark: SparkSession, folder: Path, schema: StructType) -> DataFrame | None:
    return parquet.read(spark, folder, schema=schema) if folder.is_dir() else None


def _widened(frame: DataFrame, schema: StructType) -> DataFrame:
    """Return the table with nulls for the columns that the release was made without."""
    missing = [field for field in schema if field.name not in frame.columns]
    return frame.select("*", *(F.lit(None).cast(field.dataType).alias(field.name) for field in missing))
