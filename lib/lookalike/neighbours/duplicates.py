"""Items that show the same picture: pairs by cosine, the groups that they form, and the item that represents each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from lookalike import config
from lookalike.index.built import BuiltIndex
from lookalike.index.step import index_items
from lookalike.knn import blocks, planner
from lookalike.knn.duplicate_groups import ShardFiles, score_duplicates, write_groups
from lookalike.knn.duplicate_pairs import PairSearch, find_pairs
from lookalike.neighbours.components import connected_components
from lookalike.neighbours.groups import connected_groups
from lookalike.neighbours.incremental import MAX_CHANGED
from lookalike.spark import parquet, schemas
from lookalike.spark.tasks import run_tasks
from lookalike.topk.exact import QUERY_ROWS
from lookalike.topk.items import Ids, as_ids, as_text
from lookalike.warehouse.release import Staged

_PAIRS = "a string, b string"
_SCORED = "item_id string, representative_item_id string, score float"


@dataclass(frozen=True)
class Duplicates:
    """The table of duplicates, and the items of groups that changed, ascending; None: all were compared with all."""

    table: DataFrame
    touched: Ids | None


def write_duplicates(
    spark: SparkSession, index: BuiltIndex, settings: config.Settings, staged: Staged, previous: DataFrame | None
) -> Duplicates:
    """Write the release's duplicates, and the duplicate groups into the items of each shard where they differ.

    With the duplicates of the `previous` release, the items that changed, and those that shared a group with one of
    them, are compared with all items; all other pairs stay.
    """
    items = index_items(spark, index)
    before = _previous_pairs(previous, index.changed)
    located = items.select("item_id", "shard", "position")
    compared = _positions(located, before.compared) if before else None
    found = _find_pairs(spark, index, settings.similar, compared)
    pairs = parquet.write_and_read(found, staged.work / "pairs")
    if before is not None:
        pairs = pairs.unionByName(before.pairs)
    components = connected_components(pairs, staged.work / "components")
    members = parquet.write_and_read(items.join(components, on="item_id", how="inner"), staged.work / "members")
    _write_groups(members, index, 1 + len(settings.similar.group_fallback))
    table = _write_table(_representatives(members, index), staged)
    return Duplicates(table, np.union1d(before.compared, _groups_of(members, before.compared)) if before else None)


def reuse_duplicates(previous: DataFrame, staged: Staged) -> DataFrame:
    """Write the duplicates of another release as those of this one; returns the table."""
    return _write_table(previous.drop("release_id"), staged)


def _write_table(rows: DataFrame, staged: Staged) -> DataFrame:
    rows = schemas.select("duplicates", rows.withColumn("release_id", F.lit(staged.release_id)), schemas.DUPLICATES)
    parquet.write(rows.coalesce(1).sortWithinPartitions("item_id"), staged.duplicates)
    return parquet.read(rows.sparkSession, staged.duplicates, schema=schemas.DUPLICATES)


@dataclass(frozen=True)
class _PreviousPairs:
    """The duplicates of the previous release: pairs that stay, and the items to compare with all others."""

    pairs: DataFrame
    compared: Ids


def _previous_pairs(known: DataFrame | None, changed: Ids | None) -> _PreviousPairs | None:
    """None where all items are to be compared with all."""
    if known is None or changed is None:
        return None
    pairs = known.select(F.col("item_id").alias("a"), F.col("representative_item_id").alias("b"))
    ids = _frame(known.sparkSession, changed).select(F.col("item_id").alias("id"))
    touched = pairs.join(F.broadcast(ids), on=F.col("id").isin(F.col("a"), F.col("b")), how="left_semi")
    touched = touched.select("b").distinct()
    broken = pairs.join(F.broadcast(touched), on="b", how="left_semi")
    members = broken.select(F.explode(F.array("a", "b")).alias("id")).distinct().toArrow()["id"]
    return _PreviousPairs(
        pairs.join(F.broadcast(touched), on="b", how="left_anti").select("a", "b"),
        np.union1d(changed, as_ids(members)) if len(members) else changed,
    )


def _frame(spark: SparkSession, ids: Ids) -> DataFrame:
    return spark.createDataFrame(pa.table({"item_id": as_text(ids)}))


def _positions(located: DataFrame, ids: Ids) -> dict[int, NDArray[np.int64]]:
    """The positions of some items in each shard that has any; those that left have none."""
    some = located.join(F.broadcast(_frame(located.sparkSession, ids)), on="item_id", how="left_semi")
    found = some.select("shard", "position").toArrow()
    shards, positions = (found[name].to_numpy() for name in ("shard", "position"))
    return {number: np.sort(positions[shards == number]).astype(np.int64) for number in np.unique(shards).tolist()}


def _find_pairs(
    spark: SparkSession,
    index: BuiltIndex,
    similar: config.SimilarSettings,
    compared: Mapping[int, NDArray[np.int64]] | None,
) -> DataFrame:
    """Rows of _PAIRS that connect the items of one picture, directly or through others: fewer than all close pairs."""
    assert similar.duplicate_cosine is not None
    groups = connected_groups(spark, index, similar)
    block_rows = planner.block_rows(index.dimensions, similar.task_memory)
    chunk_rows = planner.chunk_rows(index.dimensions, similar.task_memory, QUERY_ROWS)
    tasks = blocks.pack_tasks(groups, block_rows, spark.sparkContext.defaultParallelism)
    search = PairSearch(index.layout, index.names, _lists_of(index), similar.duplicate_cosine, chunk_rows, compared)
    shared = spark.sparkContext.broadcast((tasks, search))

    def find(number: int) -> Iterator[pa.RecordBatch]:
        tasks, search = shared.value
        for block in tasks[number]:
            yield from find_pairs(block, search)

    return run_tasks(spark, len(tasks), find, _PAIRS)


def _lists_of(index: BuiltIndex) -> dict[int, str | None]:
    """For each shard, the name of the shard with the centroids of its group."""
    return {
        shard.number: group.names[0] if group.lists > 1 else None for group in index.groups for shard in group.shards
    }


def _write_groups(members: DataFrame, index: BuiltIndex, levels: int) -> None:
    """Write the duplicate group of each member into its shard's items, and whether it represents it at each level."""
    represents = F.array(*(_represents(level) for level in range(levels)))
    group = F.xxhash64(F.lit("duplicate"), "component")
    found = members.select("shard", "position", group.alias("group"), represents.alias("represents"))
    names, layout = index.names, index.layout

    def write(rows: pa.Table) -> pa.Table:
        write_groups(layout, names[rows["shard"][0].as_py()], rows.filter(pc.is_valid(rows["position"])))
        return rows.select(["shard"]).slice(0, 1)

    # Every shard has a row, since one without duplicates may have had some.
    every = pa.table({"shard": pa.array(names, pa.int32())})
    all_shards = members.sparkSession.createDataFrame(every)
    rows = found.unionByName(all_shards, allowMissingColumns=True)
    rows.groupBy("shard").applyInArrow(write, "shard int").collect()


def _represents(level: int) -> Column:
    """Whether an item is the first of its component among those of the same value at a level; eligible items first."""
    same_value = Window.partitionBy("component", F.col("group_codes")[level])
    return F.row_number().over(same_value.orderBy(F.desc("eligible"), "item_id")) == 1


def _representatives(members: DataFrame, index: BuiltIndex) -> DataFrame:
    """item_id, representative_item_id and their cosine, of every item that another one represents."""
    of = Window.partitionBy("component").orderBy(F.desc("eligible"), "item_id")
    place = ("item_id", "shard", "position")
    pairs = members.select(*place, F.first(F.struct(*place)).over(of).alias("of"))
    pairs = pairs.select(*place, *(F.col(f"of.{name}").alias(f"of_{name}") for name in place))
    files = ShardFiles(index.layout, {shard.number: (shard.name, shard.items) for shard in index.shards})

    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for start in range(0, len(batch), QUERY_ROWS):
                yield score_duplicates(batch.slice(start, QUERY_ROWS), files)

    return pairs.where("item_id != of_item_id").mapInArrow(score, _SCORED)


def _groups_of(members: DataFrame, ids: Ids) -> Ids:
    """The items that now share a component with one of `ids`; at most MAX_CHANGED + 1."""
    some = members.join(F.broadcast(_frame(members.sparkSession, ids)), on="item_id", how="left_semi")
    found = members.join(some.select("component").distinct(), on="component", how="left_semi").select("item_id")
    found = found.limit(MAX_CHANGED + 1).toArrow()["item_id"]
    return as_ids(found) if len(found) else ids[:0]
