"""Which items differ from those of the release before: the rows of the table `changes` that are of kind `item`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lookalike.catalogue.delta import Delta
from lookalike.embedding.tables import EmbedRun, broadcast_small, going, read_embeddings, schema_of
from lookalike.spark import arrow_files, parquet, schemas
from lookalike.spark.release_tables import ReleaseTables
from lookalike.spark.tasks import map_tasks
from lookalike.warehouse.item_columns import compared_columns
from lookalike.warehouse.release import Staged
from lookalike.warehouse.shared_files import SharedFiles

# Ids of 20 bytes: a task sorts 10 MB of them.
ROWS_PER_FILE = 500_000


def write_item_changes(delta: Delta, resolved: DataFrame, rewritten: Sequence[Path], run: EmbedRun) -> None:
    """Write which items a copy of the release before has to take over, and which it has to drop.

    `resolved` has the items that needed a new row, and `rewritten` are the files of embeddings with those that got one.
    Without a release before, or where it has other columns, that are all items of this one.
    """
    staged, before = run.staged, run.since
    compared = _compared(before, staged, resolved.sparkSession)
    rows = delta.rewritten + delta.dropped if compared is not None else delta.in_catalogue + delta.dropped
    parts = -(-max(rows, 1) // ROWS_PER_FILE)
    if compared is None:
        found = _all(read_embeddings(resolved, run), before).repartition(parts, "item_id")
    else:
        new = parquet.read_placed(resolved.sparkSession, staged.shared, rewritten, schema_of(resolved, run))
        found = _of_rewritten(new, compared, delta, parts)
    parquet.write_part(found.sortWithinPartitions("item_id"), staged.changes, staged, schemas.CHANGES)


def _compared(before: ReleaseTables | None, staged: Staged, spark: SparkSession) -> list[str] | None:
    """Return the columns by which an item that has a new row is told to be the same, None where none is."""
    if before is None:
        return None
    stored = [(staged.shared, staged.paths("embeddings")), (before.release.shared, before.sound_files("embeddings"))]
    return compared_columns(*map_tasks(spark, stored, lambda table: _schema(*table)))


def _schema(shared: SharedFiles, paths: Sequence[Path]) -> pa.Schema:
    """Return the columns of a table, which are those of its first file, as for all its readers.

    In a task: of a store, the file is fetched for it, and the driver carries no vectors.
    """
    first = min(paths, key=lambda path: path.name, default=None)
    return arrow_files.read_schema(shared.fetch(first)) if first else pa.schema([])


def _all(items: DataFrame, before: ReleaseTables | None) -> DataFrame:
    upserts = _changes(items, F.lit("upsert"))
    if before is None:
        return upserts
    gone = before.embeddings.join(items, on="item_id", how="left_anti")
    return upserts.unionByName(_changes(gone, F.lit("delete")))


def _of_rewritten(new: DataFrame, compared: Sequence[str], delta: Delta, parts: int) -> DataFrame:
    """Compare the rows that were written to those of the release before that they take the place of.

    An item may get a row that is as it was: its picture was touched, and has the same bytes.
    """
    assert delta.before is not None
    goes = broadcast_small(going(delta).select("item_id"), delta.dropped)
    old = delta.before.embeddings.join(goes, on="item_id", how="left_semi")
    # As in the delta: the shuffles come first, and what is no bare column after them.
    now, then = (
        frame.select("item_id", *(f"`{name}`" for name in compared))
        .repartition(parts, "item_id")
        .select("item_id", _state(new, compared).alias(alias))
        for frame, alias in ((new, "new"), (old, "old"))
    )
    changed = now.join(then, on="item_id", how="full_outer").where("NOT new <=> old")
    return _changes(changed, F.when(F.col("new").isNull(), "delete").otherwise("upsert"))


def _changes(items: DataFrame, change: Column) -> DataFrame:
    return items.select(F.lit("item").alias("kind"), change.alias("change"), "item_id")


def _state(table: DataFrame, names: Sequence[str]) -> Column:
    """Return columns as one that Spark can compare."""
    columns = (schemas.comparable(F.col(f"`{name}`"), table.schema[name].dataType) for name in names)
    return F.struct(*(column.alias(f"c{at}") for at, column in enumerate(columns)))
