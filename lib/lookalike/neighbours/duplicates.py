"""Items that show the same picture: pairs by cosine, the groups that they form, and the item that represents each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from lookalike import config
from lookalike.index.step import BuiltIndex, with_shard
from lookalike.knn import blocks, planner
from lookalike.knn.candidates import open_shard
from lookalike.knn.duplicate_pairs import PairSearch, find_pairs
from lookalike.neighbours.components import connected_components
from lookalike.neighbours.groups import connected_groups
from lookalike.neighbours.incremental import MAX_CHANGED, NeighbourChanges, with_variants
from lookalike.spark import parquet, schemas
from lookalike.spark.tasks import run_tasks
from lookalike.topk.exact import QUERY_ROWS, score_pairs
from lookalike.topk.items import Ids, as_ids, as_text
from lookalike.warehouse.release import Staged

_PAIRS = "a string, b string"


@dataclass(frozen=True)
class Duplicates:
    """The table of duplicates, the index with its duplicate groups, and the changes with the groups that changed."""

    table: DataFrame
    index: BuiltIndex
    changes: NeighbourChanges | None


def write_duplicates(
    index: BuiltIndex, settings: config.Settings, staged: Staged, changes: NeighbourChanges | None
) -> Duplicates:
    """Write the release's duplicates, and the duplicate groups of each shard as work files.

    A refresh compares the items that changed, and those that shared a group with one of them, with all items; all
    other pairs are those of the previous release. Items of a group that changed are added to the changes, and so are
    the variants of these: where an item no longer represents its picture, a variant of it takes its place in lists.
    """
    before = _previous_pairs(changes)
    compared = before.compared if before else None
    pairs = parquet.write_and_read(_find_pairs(index, settings, compared), staged.work / "pairs")
    if before is not None:
        pairs = pairs.unionByName(before.pairs)
    members = connected_components(pairs, staged.work / "components")
    shards = _write_groups(index, members, settings)
    known = replace(index, layout=replace(index.layout, with_duplicates=shards))
    table = _write_table(_representatives(index.items, members), staged)
    if changes is None or compared is None:
        return Duplicates(table, known, changes)
    touched = np.union1d(compared, _groups_of(members, compared))
    if settings.similar.variant_of is not None and len(touched) > len(changes.ids):
        touched = with_variants(index.items, touched)
    return Duplicates(table, known, changes.with_ids(touched))


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


def _previous_pairs(changes: NeighbourChanges | None) -> _PreviousPairs | None:
    """None where all items are to be compared with all."""
    if changes is None or changes.previous_duplicates is None:
        return None
    known = changes.previous_duplicates
    pairs = known.select(F.col("item_id").alias("a"), F.col("representative_item_id").alias("b"))
    changed = known.sparkSession.createDataFrame(pa.table({"id": as_text(changes.ids)}))
    touched = pairs.join(F.broadcast(changed), on=F.col("id").isin(F.col("a"), F.col("b")), how="left_semi")
    touched = touched.select("b").distinct()
    broken = pairs.join(F.broadcast(touched), on="b", how="left_semi")
    members = broken.select(F.explode(F.array("a", "b")).alias("id")).distinct().toArrow()["id"]
    return _PreviousPairs(
        pairs.join(F.broadcast(touched), on="b", how="left_anti").select("a", "b"),
        np.union1d(changes.ids, as_ids(members)) if len(members) else changes.ids,
    )


def _find_pairs(index: BuiltIndex, settings: config.Settings, compared: Ids | None) -> DataFrame:
    """Rows of _PAIRS that connect the items of one picture, directly or through others: fewer than all close pairs."""
    spark, similar = index.items.sparkSession, settings.similar
    assert similar.duplicate_cosine is not None
    block_rows = planner.block_rows(index.dimensions, similar.task_memory)
    groups = connected_groups(index, similar)
    tasks = blocks.pack_tasks(groups, block_rows, spark.sparkContext.defaultParallelism)
    chunk_rows = planner.chunk_rows(index.dimensions, similar.task_memory, QUERY_ROWS)
    search = PairSearch(index.layout, index.names, similar.duplicate_cosine, chunk_rows, compared)
    shared = spark.sparkContext.broadcast((tasks, search))

    def find(number: int) -> Iterator[pa.RecordBatch]:
        tasks, search = shared.value
        for block in tasks[number]:
            yield from find_pairs(block, search)

    return run_tasks(spark, len(tasks), find, _PAIRS)


def _write_groups(index: BuiltIndex, members: DataFrame, settings: config.Settings) -> frozenset[str]:
    """Write the duplicate groups of each shard that has any, and the item that represents each group at each level.

    Returns the names of these shards.
    """
    names, layout = index.names, index.layout
    found = index.items.drop("embedding").join(members, on="item_id", how="inner")
    represents = [_represents(level) for level in range(1 + len(settings.similar.group_fallback))]
    found = found.withColumn("represents", F.array(*represents))
    found = found.withColumn("duplicate_group", F.xxhash64(F.lit("duplicate"), "component"))
    plan = [one.shard for one in index.shards]
    located = with_shard(found, plan, settings.similar.group_by, ("duplicate_group", "represents"))

    def write(rows: pa.Table) -> pa.Table:
        name = names[rows["shard"][0].as_py()]
        shard = open_shard(layout, name)
        groups, represents = shard.items.duplicate_groups.copy(), shard.represents.copy()
        at = np.searchsorted(shard.items.ids, as_ids(rows["item_id"]))
        groups[at] = rows["duplicate_group"].to_numpy()
        represents[at] = pc.list_flatten(rows["represents"]).to_numpy(zero_copy_only=False).reshape(len(at), -1)
        np.savez(layout.duplicates(name), groups=groups, represents=represents)
        return rows.select(["shard"]).slice(0, 1)

    written = located.groupBy("shard").applyInArrow(write, "shard int").collect()
    return frozenset(names[row["shard"]] for row in written)


def _represents(level: int) -> Column:
    """Whether an item is the first of its component among those of the same value at a level; eligible items first."""
    same_value = Window.partitionBy("component", F.col("search_group_codes")[level])
    return F.row_number().over(same_value.orderBy(F.desc("search_eligible"), "item_id")) == 1


def _representatives(items: DataFrame, members: DataFrame) -> DataFrame:
    """item_id, representative_item_id and their cosine, of every item that another one represents."""
    of = Window.partitionBy("component").orderBy(F.desc("search_eligible"), "item_id")
    known = members.join(items.select("item_id", "search_eligible"), on="item_id", how="inner")
    named = known.select("item_id", F.first("item_id").over(of).alias("representative_item_id"))
    mine = items.select("item_id", F.col("embedding").alias("mine"))
    others = items.select(F.col("item_id").alias("representative_item_id"), F.col("embedding").alias("theirs"))
    pairs = (
        named.where("item_id != representative_item_id")
        .join(mine, on="item_id", how="inner")
        .join(others, on="representative_item_id", how="inner")
    )
    return pairs.mapInArrow(_score_batches, "item_id string, representative_item_id string, score float")


def _score_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Replace the vectors `mine` and `theirs` by their cosine."""
    for batch in batches:
        mine, theirs = (_vectors(batch[name]) for name in ("mine", "theirs"))
        each = np.arange(len(batch))
        scores = pa.array(score_pairs(mine, each, theirs, each), pa.float32())
        columns = ("item_id", "representative_item_id")
        yield pa.record_batch({**{name: batch[name] for name in columns}, "score": scores})


def _vectors(column: pa.Array) -> NDArray[np.float32]:
    width = len(column.flatten()) // max(1, len(column))
    vectors: NDArray[np.float32] = column.flatten().to_numpy().reshape(-1, max(1, width))
    return vectors


def _groups_of(members: DataFrame, ids: Ids) -> Ids:
    """The items that now share a component with one of `ids`; at most MAX_CHANGED + 1."""
    some = members.sparkSession.createDataFrame(pa.table({"item_id": as_text(ids)}))
    components = members.join(F.broadcast(some), on="item_id", how="left_semi").select("component").distinct()
    of_components = members.join(components, on="component", how="left_semi").select("item_id")
    found = of_components.limit(MAX_CHANGED + 1).toArrow()["item_id"]
    return as_ids(found) if len(found) else ids[:0]
