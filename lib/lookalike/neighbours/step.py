"""The neighbours step on Spark: the search of every item's neighbours, as planned for its group, and the table of them.

A task takes blocks of queries and walks over the candidates of their groups a chunk at a time, so that it holds one
block, one chunk (memory-mapped) and the scores of a few hundred rows, however large the catalogue is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from lookalike import config
from lookalike.index.step import BuiltIndex
from lookalike.knn import blocks, planner
from lookalike.knn import task as search
from lookalike.neighbours import constraints, plans
from lookalike.neighbours.incremental import NeighbourChanges
from lookalike.progress import Progress, say_detail
from lookalike.spark import parquet, schemas
from lookalike.spark import tasks as spark_tasks
from lookalike.spark.release_tables import ReleaseTables
from lookalike.topk.items import as_text
from lookalike.warehouse.record import NeighboursRecord, PlanRecord
from lookalike.warehouse.release import ReleaseFolder, Staged

# Rows a file of the table: about 100 MB of ids and scores.
ROWS_PER_FILE = 5_000_000

# Whoever asks for one item reads the row groups whose range its id is in. 250,000 items with 20 neighbours each:
# pyarrow takes 6 ms with 64 groups of 1 MB, 60 with 4 MB, 300 with Spark's 128 MB, which is one group; the file has
# 37 MB in any case.
ROW_GROUP_BYTES = 1 << 20


@dataclass(frozen=True)
class NeighbourTables:
    """The release's similar_items, read back; how its groups were searched, and for how many items from scratch."""

    similar_items: DataFrame
    neighbours: DataFrame  # rows of schemas.NEIGHBOURS
    duplicates: DataFrame | None
    searched: int
    since_full: int  # releases since all lists were computed
    plans: Sequence[PlanRecord]

    def restless(
        self, before: ReleaseTables | None, changes: NeighbourChanges | None, settings: config.Settings
    ) -> DataFrame | None:
        """Items whose lists may differ from the current release's for a reason; None where any list may.

        That is so with other settings, after an approximate search, and where it is not known whose slot has changed.
        """
        similar, lists = settings.similar, self.neighbours
        if before is None or not self.exact or not all(plan.kind == "exact" for plan in before.record.neighbours.plans):
            return None
        if not before.record.config.same(settings, "similar"):
            return None
        if changes is None:
            shares_slots = similar.variant_of is not None or similar.duplicate_cosine is not None
            return None if shares_slots or similar.group_fallback else lists.select("item_id").limit(0)
        changed = lists.sparkSession.createDataFrame(pa.table({"item_id": as_text(changes.ids)}))
        wide = lists.where("wide").unionByName(changes.lists.where("wide")).select("item_id")
        return changed.unionByName(wide).distinct()

    def record(self) -> NeighboursRecord:
        """Return the section of release.json."""
        return NeighboursRecord(searched=self.searched, since_full=self.since_full, plans=tuple(self.plans))

    @property
    def exact(self) -> bool:
        """Whether no neighbour was left to an approximation."""
        return all(plan.kind == "exact" for plan in self.plans)


def with_lists(embeddings: DataFrame, settings: config.Settings, changes: NeighbourChanges | None) -> DataFrame:
    """The embeddings with what the search has to know of each: the rules' columns, and the list that it had."""
    items = constraints.with_rules(embeddings, settings.similar)
    if changes is None:
        return items
    old = changes.lists.select(
        "item_id", *(F.col(name).alias(f"rule_old_{name}") for name in ("ids", "scores", "whole", "wide"))
    )
    return items.join(old, on="item_id", how="left")


def write_table(
    built: BuiltIndex, settings: config.Settings, staged: Staged, changes: NeighbourChanges | None = None
) -> NeighbourTables:
    """Write the release's neighbours and similar_items, each file sorted by item_id and rank.

    The items are those of `with_lists`. Every item has similar.k neighbours and similar.spare more, fewer only where
    the rules leave fewer.
    """
    spark = built.items.sparkSession
    planned = plans.plan_groups(built, settings)
    for line in planned.lines():
        say_detail(line)
    job = search.SearchJob(
        built.folders, settings.similar, planned.by_shard, planned.wider, changes.ids if changes else None
    )
    items = sum(one.file.items for one in built.shards)
    searched = _search(spark, _tasks(built, planned, settings.similar), job, staged)
    if changes is not None:
        say_detail(f"{searched:,} of {items:,} lists computed anew, the others mended")
    lists = parquet.read(spark, staged.neighbours, schema=schemas.NEIGHBOURS)
    found = _write_in_order(_table(lists, settings.similar, staged), items * settings.similar.wanted, staged)
    return NeighbourTables(
        found,
        lists,
        _duplicates(spark, staged),
        searched,
        changes.since_full if changes else 0,
        planned.records(),
    )


def reuse_tables(spark: SparkSession, previous: ReleaseFolder, staged: Staged) -> NeighbourTables:
    """The neighbours of another release as this one's: all that differs is release_id."""
    rows = parquet.read(spark, previous.similar_items).withColumn("release_id", F.lit(staged.release_id))
    staged.link_folder(previous.neighbours)
    if previous.duplicates.is_dir():
        again = parquet.read(spark, previous.duplicates).withColumn("release_id", F.lit(staged.release_id))
        parquet.write(schemas.select("duplicates", again, schemas.DUPLICATES).coalesce(1), staged.duplicates)
    found = _write_in_order(schemas.select("similar_items", rows, schemas.SIMILAR_ITEMS), rows.count(), staged)
    was = previous.record().neighbours
    lists = parquet.read(spark, staged.neighbours, schema=schemas.NEIGHBOURS)
    return NeighbourTables(found, lists, _duplicates(spark, staged), 0, was.since_full or 0, was.plans)


def _duplicates(spark: SparkSession, staged: Staged) -> DataFrame | None:
    if not staged.duplicates.is_dir():
        return None
    return parquet.read(spark, staged.duplicates, schema=schemas.DUPLICATES)


def _tasks(
    built: BuiltIndex, planned: plans.SearchPlans, similar: config.SimilarSettings
) -> list[list[blocks.QueryBlock]]:
    groups = [[(one.shard.number, one.file.items) for one in group.shards] for group in planned.groups]
    block_rows = planner.block_rows(built.dimensions, similar.task_memory)
    cores = built.items.sparkSession.sparkContext.defaultParallelism
    return blocks.pack_tasks(groups, block_rows, cores, [group.share for group in planned.groups])


def _search(spark: SparkSession, tasks: list[list[blocks.QueryBlock]], job: search.SearchJob, staged: Staged) -> int:
    """Write rows of schemas.NEIGHBOURS, computed by as many tasks as there are; how many were not mended."""
    done = spark.sparkContext.accumulator(0)
    shared = spark.sparkContext.broadcast((tasks, job))

    def run(number: int) -> Iterator[pa.RecordBatch]:
        tasks, job = shared.value
        for rows in search.run(tasks[number], job):
            yield rows
            done.add(rows.num_rows)

    counts = Observation("lists")  # while they are written: a look at the table would be a job of its own
    lists = spark_tasks.over_numbers(spark, len(tasks), run, schemas.NEIGHBOURS)
    items = sum(block.stop - block.start for blocks in tasks for block in blocks)
    with Progress(items, "items", lambda: done.value, lambda: 0):
        parquet.write(lists.observe(counts, F.count_if("searched").alias("searched")), staged.neighbours)
    return int(counts.get["searched"])


def _table(lists: DataFrame, similar: config.SimilarSettings, staged: Staged) -> DataFrame:
    """The lists as rows, cut to what is published."""
    pairs = F.slice(F.arrays_zip("ids", "scores"), 1, similar.wanted)
    rows = lists.select("item_id", F.posexplode(pairs).alias("place", "pair")).select(
        "item_id",
        (F.col("place") + 1).alias("rank"),
        F.col("pair.ids").alias("similar_item_id"),
        F.col("pair.scores").alias("score"),
        F.lit(staged.release_id).alias("release_id"),
    )
    if similar.min_score is not None:
        rows = rows.where(F.col("score") >= F.lit(similar.min_score).cast("float"))
    return schemas.select("similar_items", rows, schemas.SIMILAR_ITEMS)


def _write_in_order(rows: DataFrame, count: int, staged: Staged) -> DataFrame:
    files = max(1, -(-count // ROWS_PER_FILE))
    in_order = rows.repartitionByRange(files, "item_id").sortWithinPartitions("item_id", "rank")
    return parquet.write_and_read(in_order, staged.similar_items, options={"parquet.block.size": str(ROW_GROUP_BYTES)})
