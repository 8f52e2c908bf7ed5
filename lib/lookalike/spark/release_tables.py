"""A release opened as DataFrames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from lookalike.spark import failed_items, hubs, parquet, release_check, schemas
from lookalike.spark.failed_items import FailedReason
from lookalike.spark.failures import named_errors
from lookalike.spark.hubs import ListCounts
from lookalike.spark.release_check import Damage
from lookalike.warehouse.record import ReleaseRecord
from lookalike.warehouse.release import ReleaseFolder
from lookalike.warehouse.shared_files import names_in


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
    files: Mapping[str, Sequence[Path]] = field(default_factory=dict)  # of such a release: the sound ones of each part

    def sound_files(self, part: str) -> list[Path]:
        """Return the sound Parquet files of a table of a release in the warehouse."""
        return names_in(self.files.get(part, ()))

    def is_damaged(self, part: str) -> bool:
        """Whether files of a table are damaged, gone or foreign, so that its folder is not reused as it is."""
        return any(one.part == part for one in self.damaged)

    @property
    def can_be_compared(self) -> bool:
        """Whether all its items and lists are there, so that it can be told what changed since."""
        return not (self.is_damaged("embeddings") or self.is_damaged("similar_items"))

    @cached_property
    def failed(self) -> list[FailedReason]:
        """The failures by reason, the most common one first; read once, for the gates and the page."""
        return failed_items.by_reason(self.failures)

    @cached_property
    def lists(self) -> ListCounts:
        """How many lists there are, and what most of them recommend; read once, for the gates and the page."""
        return hubs.count_lists(self.similar_items)

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
    open_ = _Opener.of(spark, release, damaged)
    lists_stay = not {"embeddings", "neighbours", "duplicates"} & {one.part for one in damaged}
    return ReleaseTables(
        release,
        _widened(open_.table_as_stored("embeddings", schemas.EMBEDDINGS), schemas.EMBEDDINGS),
        _widened(open_.table_as_stored("failures", schemas.FAILURES), schemas.FAILURES),
        open_.table("similar_items", schemas.SIMILAR_ITEMS),
        open_.table("duplicates", schemas.DUPLICATES) if "duplicates" in open_.parts else None,
        open_.table("neighbours", schemas.NEIGHBOURS) if "neighbours" in open_.parts and lists_stay else None,
        damaged,
        open_.files,
    )


@dataclass(frozen=True)
class _Opener:
    spark: SparkSession
    release: ReleaseFolder
    files: Mapping[str, Sequence[Path]]  # the sound files of each part

    @classmethod
    def of(cls, spark: SparkSession, release: ReleaseFolder, damaged: Sequence[Damage]) -> _Opener:
        """Find the files of a release, by files.json or, where it has none, by listing it."""
        bad = {one.name for one in damaged}
        if (listed := release.files()) is not None:
            names = [file.name for file in listed.files]
        else:
            names = [path.relative_to(release.root).as_posix() for path in release.shared.sizes(release.root)]
        files: dict[str, list[Path]] = {}
        for name in names:
            sound = files.setdefault(name.partition("/")[0], [])
            if not {name, name.partition("/")[0]} & bad:
                sound.append(release.root / name)
        return cls(spark, release, files)

    @property
    def parts(self) -> set[str]:
        """The tables and other parts that the release has."""
        return set(self.files)

    def table(self, part: str, schema: StructType) -> DataFrame:
        """Return a table of its sound files alone."""
        return parquet.read(self.spark, self.release.shared, names_in(self.files.get(part, ())), schema)

    def table_as_stored(self, part: str, schema: StructType) -> DataFrame:
        """Return one that may hold other columns than `schema`, with the place of each row."""
        shared, paths = self.release.shared, names_in(self.files.get(part, ()))
        found = parquet.stored_schema(shared.fetch(paths[0])) if paths else schema
        return parquet.read_placed(self.spark, shared, paths, found)


def _widened(frame: DataFrame, schema: StructType) -> DataFrame:
    """Return the table with nulls for the columns that the release was made without."""
    missing = [field for field in schema if field.name not in frame.columns]
    return frame.select("*", *(F.lit(None).cast(field.dataType).alias(field.name) for field in missing))
