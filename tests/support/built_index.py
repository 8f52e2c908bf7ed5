"""The index of a table of embeddings, as a run builds it from nothing or from that of a release."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lookalike import config
from lookalike.index.built import BuiltIndex
from lookalike.index.changes import IndexInputs
from lookalike.index.step import build_index
from lookalike.spark import parquet
from lookalike.spark.release_tables import ReleaseTables
from lookalike.warehouse.release import Staged


def build(
    embeddings: DataFrame, settings: config.Settings, staged: Staged, before: ReleaseTables | None = None
) -> BuiltIndex:
    """Build it in the folders of the release in the making, which gets the table first if it has none."""
    if not staged.embeddings.is_dir():
        embeddings = as_files(embeddings, staged)
    return build_index(IndexInputs(embeddings, before), staged, settings)


def as_files(embeddings: DataFrame, staged: Staged) -> DataFrame:
    """Write the table of a release, and read it; what it lacks becomes one model, and pictures by their vectors."""
    missing = {"image_hash": F.sha2(F.col("embedding").cast("string"), 256), "model_id": F.lit("feed5eed")}
    columns = {name: column for name, column in missing.items() if name not in embeddings.columns}
    table = embeddings.withColumns(columns)
    paths = parquet.write_part(table, staged.embeddings, staged, table.schema)
    return parquet.read_placed(table.sparkSession, staged.shared, paths, table.schema)
