"""A catalogue of Parquet files: agree on their columns, and open those in use as a DataFrame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_type
from pyspark.sql.types import StructField, StructType

from lookalike import config
from lookalike.catalogue import checks, eligible, scan
from lookalike.catalogue.arrow_types import common_of_ids
from lookalike.catalogue.columns import Columns
from lookalike.catalogue.files import DataFile
from lookalike.catalogue.footers import Footer
from lookalike.spark.tasks import run_tasks
from lookalike.warehouse.shared_files import ON_DISK, SharedFiles


@dataclass(frozen=True)
class CatalogueFiles:
    """The files of a catalogue with their footers, and their columns."""

    files: list[DataFile]
    footers: list[Footer]
    columns: Columns
    shared: SharedFiles = ON_DISK

    def check(self, settings: config.Settings) -> None:
        """Check that the columns in use are there, in one readable type each; raises CatalogueError."""
        source = settings.catalogue
        for name in (source.item_id_column, source.image_path_column):
            self.columns.check_required(name)
        self.columns.kind(source.item_id_column, common_of_ids)
        checks.check_columns(self.columns.offered(checks.columns_in_use(settings)), settings)

    def frame(self, spark: SparkSession, columns: Sequence[tuple[str, str]]) -> DataFrame:
        """Return all rows with `columns`, each the name in the frame and the name in the files."""
        tasks, schema = self.tasks(columns, spark.sparkContext.defaultParallelism)
        fields = StructType([StructField(field.name, from_arrow_type(field.type)) for field in schema])
        shared = self.shared
        return run_tasks(spark, len(tasks), lambda number: scan.read_rows(tasks[number], schema, shared), fields)

    def tasks(self, columns: Sequence[tuple[str, str]], cores: int) -> tuple[list[list[scan.FilePart]], pa.Schema]:
        """Return what each task reads to give `columns`, and the schema of that."""
        parts = [
            (file, footer, tuple(self.columns.source(name, file, footer) for _, name in columns))
            for file, footer in zip(self.files, self.footers, strict=True)
        ]
        schema = pa.schema([(alias, self.columns.kind(name)) for alias, name in columns])
        return scan.plan_tasks(parts, cores), schema

    def predicate_columns(self, spark: SparkSession, predicate: str) -> list[str]:
        """Return the columns that a predicate reads; raises CatalogueError if it is none."""
        offered = spark.createDataFrame([], self.columns.offered())
        with self.names_as_written(spark):
            eligible.check_predicate(offered, predicate)
            found = offered.select(F.expr(predicate))._jdf.queryExecution().analyzed().references().toSeq()
        return [found.apply(number).name() for number in range(found.size())]

    @contextmanager
    def names_as_written(self, spark: SparkSession) -> Iterator[None]:
        """Let Spark tell names apart by their capitals, where the files do."""
        key = "spark.sql.caseSensitive"
        before = spark.conf.get(key, "false") or "false"
        spark.conf.set(key, "true" if self.columns.capitals_matter else before)
        try:
            yield
        finally:
            spark.conf.set(key, before)
