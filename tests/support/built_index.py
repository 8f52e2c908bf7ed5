"""The index of a table of embeddings, as a run builds it from nothing or from that of a release."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lookalike import config
from lookalike.index.built import BuiltIndex
from lookalike.index.changes import IndexInputs
from lookalike.index.layout import IndexLayout
from lookalike.index.step import build_index
from lookalike.spark import parquet
from lookalike.spark.release_tables import ReleaseTables
from lookalike.warehouse.release import Staged


def build(
    embeddings: DataFrame, settings: config.Settings, staged: Staged, before: ReleaseTables | None = None
) -> BuiltIndex:
    """Build it in the folders of the release in the making, which gets the table first if it has none."""
    if not staged.embeddings.is_dir():
        embeddings = as_files(embeddings, staged.embeddings)
    sources = IndexInputs(embeddings, staged.embeddings, before)
    return build_index(sources, IndexLayout(staged.index, staged.work), settings)


def as_files(embeddings: DataFrame, folder: Path) -> DataFrame:
    """Write a table, and read it; what is missing of it becomes one model, and pictures by their vectors."""
    missing = {"image_hash": F.sha2(F.col("embedding").cast("string"), 256), "model_id": F.lit("feed5eed")}
    columns = {name: column for name, column in missing.items() if name not in embeddings.columns}
    return parquet.write_and_read(embeddings.withColumns(columns), folder)
