"""Pictures so close that they are the same: pairs, what they join up to, and who stands for whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from lookalike import config
from lookalike.index.sharding import PlannedShard
from lookalike.index.step import BuiltIndex, with_shard
from lookalike.knn import blocks, duplicate_pairs, planner
from lookalike.knn.candidates import open_shard
from lookalike.neighbours import plans
from lookalike.neighbours.incremental import NeighbourChanges
from lookalike.spark import parquet, schemas
from lookalike.spark import tasks as spark_tasks
from lookalike.topk import exact
from lookalike.topk.exact import score_pairs
from lookalike.topk.items import Ids, as_ids, as_text
from lookalike.warehouse.release import Staged

_EDGES = "a string, b string"


def write_table(
    built: BuiltIndex, settings: config.Settings, staged: Staged, changes: NeighbourChanges | None
) -> NeighbourChanges | None:
    """Write the release's duplicates, and into the work folder what the neighbour search has to know of them.

    Gives the changes, with the items whose duplicates are others than they were. A refresh compares the items that
    changed, and those that were joined to one of them, with all; what else was joined stays so.
    """
    spark, similar = built.items.sparkSession, settings.similar
    assert similar.duplicate_cosine is not None
    before = _before(spark, staged, changes)
    looked_at = None if before is None else before.looked_at
    pairs = parquet.write_and_read(_pairs(built, settings, looked_at), staged.work / "pairs")
    if before is not None:
        pairs = pairs.unionByName(before.pairs)
    members = _components(pairs, staged.work / "components")
    _write_twins(built, members, settings)
    rows = _rows(built.items, members).withColumn("release_id", F.lit(staged.release_id))
    in_order = schemas.select("duplicates", rows, schemas.DUPLICATES).coalesce(1).sortWithinPartitions("item_id")
    parquet.write(in_order, staged.duplicates)
    if changes is None or looked_at is None:
        return changes
    return changes.with_ids(np.union1d(looked_at, _joined_to(members, looked_at)))


@dataclass(frozen=True)
class _PreviousPairs:
    """The duplicates of the current release: pairs that stay, and the items to be compared anew."""

    pairs: DataFrame
    looked_at: Ids


def _before(spark: SparkSession, staged: Staged, changes: NeighbourChanges | None) -> _PreviousPairs | None:
    """None where all items are to be compared with all."""
    if changes is None or staged.parent is None or not staged.parent.duplicates.is_dir():
        return None
    known = parquet.read(spark, staged.parent.duplicates, schema=schemas.DUPLICATES)
    pairs = known.select(F.col("item_id").alias("a"), F.col("representative_item_id").alias("b"))
    changed = spark.createDataFrame(pa.table({"id": as_text(changes.ids)}))
    moved = pairs.join(F.broadcast(changed), on=F.col("id").isin(F.col("a"), F.col("b")), how="left_semi")
    moved = moved.select("b").distinct()
    broken = pairs.join(F.broadcast(moved), on="b", how="left_semi")
    members = broken.select(F.explode(F.array("a", "b")).alias("id")).distinct().toArrow()["id"]
    return _PreviousPairs(
        pairs.join(F.broadcast(moved), on="b", how="left_anti").select("a", "b"),
        np.union1d(changes.ids, as_ids(members)) if len(members) else changes.ids,
    )


def _pairs(built: BuiltIndex, settings: config.Settings, looked_at: Ids | None) -> DataFrame:
    """Rows of _EDGES that join up what is close, itself or through others: fewer than there are close pairs."""
    spark, similar = built.items.sparkSession, settings.similar
    names = {one.shard.number: one.shard.name for one in built.shards}
    block_rows = planner.block_rows(built.dimensions, similar.task_memory)
    groups = plans.pools(built, similar)
    tasks = blocks.pack_tasks(groups, block_rows, spark.sparkContext.defaultParallelism)
    look = duplicate_pairs.PairSearch(
        built.folders,
        names,
        float(similar.duplicate_cosine or 1),
        planner.chunk_rows(built.dimensions, similar.task_memory, exact.QUERY_ROWS),
        looked_at,
    )
    shared = spark.sparkContext.broadcast((tasks, look))

    def find(number: int) -> Iterator[pa.RecordBatch]:
        tasks, look = shared.value
        for block in tasks[number]:
            yield from duplicate_pairs.pairs(block, look)

    return spark_tasks.over_numbers(spark, len(tasks), find, _EDGES)


def _components(pairs: DataFrame, folder: Path) -> DataFrame:
    """item_id and component (its smallest item_id) of every item that is in a pair.

    Alternating large-star and small-star steps: Kiveris et al., Connected Components in MapReduce and Beyond (2014).
    Each round at most doubles what an item sees, so that a chain of a thousand takes some ten.
    """
    edges, before, number = parquet.write_and_read(_downwards(pairs).distinct(), folder / "0"), None, 0
    while (now := _digest(edges)) != before:
        before, number = now, number + 1
        edges = parquet.write_and_read(_small_star(_large_star(edges)), folder / str(number))
    ends = edges.select(F.col("a").alias("item_id"), F.col("b").alias("component"))
    return ends.unionByName(edges.select(F.col("b").alias("item_id"), F.col("b").alias("component")).distinct())


def _downwards(pairs: DataFrame) -> DataFrame:
    """From the greater id to the smaller."""
    return pairs.select(F.greatest("a", "b").alias("a"), F.least("a", "b").alias("b")).where("a != b")


def _large_star(edges: DataFrame) -> DataFrame:
    """Every greater neighbour of an item is tied to the smallest of all its neighbours and itself."""
    both = edges.unionByName(edges.select(F.col("b").alias("a"), F.col("a").alias("b")))
    least = F.least(F.col("a"), F.min("b").over(Window.partitionBy("a")))
    tied = both.select("a", "b", least.alias("least")).where("b > a").select(F.col("b").alias("a"), "least")
    return tied.withColumnRenamed("least", "b").distinct()


def _small_star(edges: DataFrame) -> DataFrame:
    """Every smaller neighbour of an item, and the item, is tied to the smallest of them."""
    least = F.min("b").over(Window.partitionBy("a"))
    stars = edges.select("a", "b", least.alias("least"))
    tied = stars.select("b", "least").unionByName(stars.select(F.col("a").alias("b"), "least"))
    return tied.where("b != least").select(F.col("b").alias("a"), F.col("least").alias("b")).distinct()


def _digest(edges: DataFrame) -> tuple[int, int]:
    found = edges.agg(F.count("*").alias("rows"), F.expr("bit_xor(xxhash64(a, b))").alias("hash")).first()
    assert found is not None  # an aggregate without keys has one row
    return found["rows"], found["hash"]


def _write_twins(built: BuiltIndex, members: DataFrame, settings: config.Settings) -> None:
    """Of each shard that holds duplicates: which are of one picture, and who of them stands for it in each ring."""
    names: dict[int, str] = {one.shard.number: one.shard.name for one in built.shards}
    plan: list[PlannedShard] = [one.shard for one in built.shards]
    folders = built.folders
    found = built.items.drop("embedding").join(members, on="item_id", how="inner")
    rings = 1 + len(settings.similar.group_fallback)
    firsts = [
        (
            F.row_number().over(
                Window.partitionBy("component", F.col("rule_levels")[ring]).orderBy(F.desc("rule_eligible"), "item_id")
            )
            == 1
        )
        for ring in range(rings)
    ]
    found = found.withColumn("represents", F.array(*firsts))
    found = found.withColumn("twin", F.xxhash64(F.lit("twin"), "component"))
    located = with_shard(found, plan, settings.similar.group_by, ("twin", "represents"))

    def write(rows: pa.Table) -> pa.Table:
        name = names[rows["shard"][0].as_py()]
        shard = open_shard(folders, name)
        twins, represents = shard.rows.duplicate_groups.copy(), shard.represents.copy()
        at = np.searchsorted(shard.rows.ids, as_ids(rows["item_id"]))
        twins[at] = rows["twin"].to_numpy()
        represents[at] = pc.list_flatten(rows["represents"]).to_numpy(zero_copy_only=False).reshape(len(at), -1)
        np.savez(folders.twins(name), twins=twins, represents=represents)
        return rows.select(["shard"]).slice(0, 1)

    located.groupBy("shard").applyInArrow(write, "shard int").collect()


def _rows(items: DataFrame, members: DataFrame) -> DataFrame:
    """item_id, representative_item_id and their cosine."""
    of = Window.partitionBy("component").orderBy(F.desc("rule_eligible"), "item_id")
    known = members.join(items.select("item_id", "rule_eligible"), on="item_id", how="inner")
    named = known.select("item_id", F.first("item_id").over(of).alias("representative_item_id"))
    mine = items.select("item_id", F.col("embedding").alias("mine"))
    others = items.select(F.col("item_id").alias("representative_item_id"), F.col("embedding").alias("theirs"))
    pairs = (
        named.where("item_id != representative_item_id")
        .join(mine, on="item_id", how="inner")
        .join(others, on="representative_item_id", how="inner")
    )

    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            width = len(batch["mine"].flatten()) // max(1, len(batch))
            mine, theirs = (batch[name].flatten().to_numpy().reshape(-1, max(1, width)) for name in ("mine", "theirs"))
            each = np.arange(len(batch))
            scores = score_pairs(mine, each, theirs, each)
            yield pa.record_batch(
                {
                    "item_id": batch["item_id"],
                    "representative_item_id": batch["representative_item_id"],
                    "score": pa.array(scores, pa.float32()),
                }
            )

    return pairs.mapInArrow(score, "item_id string, representative_item_id string, score float")


def _joined_to(members: DataFrame, looked_at: Ids) -> Ids:
    """Everybody who now shares a picture with one of them."""
    spark = members.sparkSession
    some = spark.createDataFrame(pa.table({"item_id": as_text(looked_at)}))
    components = members.join(F.broadcast(some), on="item_id", how="left_semi").select("component").distinct()
    found = members.join(components, on="component", how="left_semi").select("item_id").toArrow()["item_id"]
    return as_ids(found) if len(found) else looked_at[:0]
