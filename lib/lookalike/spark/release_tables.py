"""A release opened as DataFrames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from lookalike.spark import failed_items, parquet, release_check, schemas
from lookalike.spark.failed_items import FailedReason
from lookalike.spark.failures import named_errors
from lookalike.spark.release_check import Damage
from lookalike.warehouse import release_files
from lookalike.warehouse.record import ReleaseRecord
from lookalike.warehouse.release import ReleaseFolder
from lookalike.warehouse.release_files import ReleaseFiles


@dataclass(frozen=True)
class ReleaseTables:
    """The tables of a release: of one in the warehouse, or of one in the making."""

    release: ReleaseFolder
    embeddings: DataFrame
    failures: DataFrame
    similar_items: DataFrame
    duplicates: DataFrame | None = None  # only with similar.duplicate_cosine
    neighbours: DataFrame | None = None  # of a release in the warehouse: what the next refresh updates
    damaged: Sequence[Damage] = ()  # files of a release in the warehouse that these tables do without

    def is_damaged(self, part: str) -> bool:
        """Whether files of a table are damaged, gone or foreign, so that its folder is not reused as it is."""
        return any(one.part == part for one in self.damaged)

    @cached_property
    def failed(self) -> list[FailedReason]:
        """The failures by reason, the most common one first; read once, for the gates and the page."""
        return failed_items.by_reason(self.failures)

    @cached_property
    def record(self) -> ReleaseRecord:
        """What release.json says; raises WarehouseError, also for a release in the making, which has none yet."""
        return self.release.record()


def open_tables(spark: SparkSession, release: ReleaseFolder) -> ReleaseTables:
    """Return the tables of a release in the warehouse; raises WarehouseError when it is damaged."""
    with named_errors(release.root):
        release_check.need_sound_tables(spark, release)
        return _open(spark, release, ())


def open_to_refresh(spark: SparkSession, release: ReleaseFolder, damaged: Sequence[Damage]) -> ReleaseTables:
    """Return the tables of the current release without its damaged files, for a run that replaces them.

    What was in them counts as new. Raises WarehouseError when release.json or files.json is damaged.
    """
    with named_errors(release.root):
        return _open(spark, release, damaged)


def _open(spark: SparkSession, release: ReleaseFolder, damaged: Sequence[Damage]) -> ReleaseTables:
    open_ = _Opener(spark, release, release.files(), damaged)
    lists_stay = not {"embeddings", "neighbours", "duplicates"} & {one.part for one in damaged}
    return ReleaseTables(
        release,
        _widened(open_.table(release.embeddings, schemas.EMBEDDINGS), schemas.EMBEDDINGS),
        _widened(open_.table(release.failures, schemas.FAILURES), schemas.FAILURES),
        open_.table(release.similar_items, schemas.SIMILAR_ITEMS),
        open_.table(release.duplicates, schemas.DUPLICATES) if release.duplicates.is_dir() else None,
        open_.table(release.neighbours, schemas.NEIGHBOURS) if release.neighbours.is_dir() and lists_stay else None,
        damaged,
    )


@dataclass(frozen=True)
class _Opener:
    spark: SparkSession
    release: ReleaseFolder
    listed: ReleaseFiles | None
    damaged: Sequence[Damage]

    def table(self, folder: Path, schema: StructType) -> DataFrame:
        """Return the table in a folder, of its sound files alone."""
        names = {one.name for one in self.damaged}
        fixed = None if schema in (schemas.EMBEDDINGS, schemas.FAILURES) else schema  # these may hold other columns
        if not any(one.part == folder.name for one in self.damaged):
            return parquet.read(self.spark, folder, schema=fixed or parquet.stored_schema(folder))
        sound = [self.release.root / name for name in self._names(folder) if not {name, folder.name} & names]
        return parquet.read(self.spark, *sound, schema=fixed) if sound else self.spark.createDataFrame([], schema)

    def _names(self, folder: Path) -> list[str]:
        if self.listed:
            return [file.name for file in self.listed.of_part(folder.name)]
        return [f"{folder.name}/{name}" for name in release_files.table_files(folder)] if folder.is_dir() else []


def _widened(frame: DataFrame, schema: StructType) -> DataFrame:
    """Return the table with nulls for the columns that the release was made without."""
    missing = [field for field in schema if field.name not in frame.columns]
    return frame.select("*", *(F.lit(None).cast(field.dataType).alias(field.name) for field in missing))
