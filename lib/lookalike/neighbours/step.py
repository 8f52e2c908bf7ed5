"""The neighbours step on Spark: it searches for the neighbours of every item by the plan of its group.

A task takes blocks of queries and reads the candidates of their groups a chunk at a time. So it holds one block, one
chunk (memory-mapped) and the scores of a few hundred rows, however large the catalogue is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from lookalike import config
from lookalike.index.constraints import with_constraints
from lookalike.index.step import BuiltIndex
from lookalike.knn import blocks, planner, task
from lookalike.knn.search_job import SearchJob
from lookalike.neighbours.groups import shard_sizes
from lookalike.neighbours.incremental import NeighbourChanges
from lookalike.neighbours.plans import SearchPlans, plan_searches
from lookalike.progress import Progress, say_detail
from lookalike.spark import parquet, schemas
from lookalike.spark.release_tables import ReleaseTables
from lookalike.spark.tasks import run_tasks
from lookalike.topk.items import as_text
from lookalike.warehouse.record import NeighboursRecord, PlanRecord
from lookalike.warehouse.release import Staged

# Rows a file of the table: about 100 MB of ids and scores.
ROWS_PER_FILE = 5_000_000

# A reader that asks for one item reads the row groups with its id in their range. 250,000 items with 20 neighbours
# each: pyarrow takes 6 ms with 64 groups of 1 MB, 60 with 4 MB, 300 with Spark's 128 MB, which is one group; the file
# has 37 MB in any case.
ROW_GROUP_BYTES = 1 << 20


@dataclass(frozen=True)
class NeighbourTables:
    """The release's similar_items and neighbours, how its groups were searched, and for how many items."""

    similar_items: DataFrame
    neighbours: DataFrame  # rows of schemas.NEIGHBOURS
    searched: int  # items for which all candidates were searched, not only those that changed
    since_full: int  # releases since all lists were searched
    plans: Sequence[PlanRecord]

    @property
    def are_exact(self) -> bool:
        """Whether every pair of candidates was compared, so that no neighbour can be missing."""
        return _are_exact(self.plans)

    def items_that_may_differ(
        self, before: ReleaseTables | None, changes: NeighbourChanges | None, settings: config.Settings
    ) -> DataFrame | None:
        """Return the items (item_id) with a reason to have another list than in the release `before`.

        None where any list may differ: with other settings, after an upgrade or an approximate search, and where it is
        not known which variant or duplicate groups changed.
        """
        similar = settings.similar
        if before is None or not before.record.of_this_version:
            return None
        if not self.are_exact or not _are_exact(before.record.neighbours.plans):
            return None
        if not before.record.config.same(settings, "similar"):
            return None
        if changes is None:
            has_groups = similar.variant_of is not None or similar.duplicate_cosine is not None
            return None if has_groups or similar.group_fallback else self.neighbours.select("item_id").limit(0)
        changed = self.neighbours.sparkSession.createDataFrame(pa.table({"item_id": as_text(changes.ids)}))
        with_fallback = self.neighbours.where("from_fallback").unionByName(changes.lists.where("from_fallback"))
        return changed.unionByName(with_fallback.select("item_id")).distinct()

    def record(self) -> NeighboursRecord:
        """Return the section of release.json."""
        return NeighboursRecord(searched=self.searched, since_full=self.since_full, plans=tuple(self.plans))


def _are_exact(plans: Sequence[PlanRecord]) -> bool:
    return all(plan.kind == "exact" for plan in plans)


def with_search_columns(
    embeddings: DataFrame, similar: config.SimilarSettings, changes: NeighbourChanges | None
) -> DataFrame:
    """Return the embeddings with schemas.SEARCH_COLUMNS: the constraints and, in a refresh, the previous lists."""
    items = with_constraints(embeddings, similar)
    if changes is None:
        return items
    previous = (F.col(name).alias(f"search_previous_{name}") for name in schemas.PREVIOUS)
    return items.join(changes.lists.select("item_id", *previous), on="item_id", how="left")


def write_neighbours(
    index: BuiltIndex, settings: config.Settings, staged: Staged, changes: NeighbourChanges | None = None
) -> NeighbourTables:
    """Write the release's neighbours and similar_items, each file sorted by item_id and rank.

    The items of the index are those of `with_search_columns`. Every item has similar.k neighbours and similar.spare
    more, fewer only where the constraints leave fewer.
    """
    spark, similar = index.items.sparkSession, settings.similar
    plans = plan_searches(index, settings)
    for line in plans.lines():
        say_detail(line)
    job = SearchJob(index.layout, similar, plans.searches, plans.fallback_shards, changes.ids if changes else None)
    items = sum(one.items for one in index.shards)
    searched = _write_lists(spark, _pack_tasks(index, plans, similar), job, staged)
    if changes is not None:
        say_detail(f"{searched:,} of {items:,} lists searched, the others updated in place")
    lists = parquet.read(spark, staged.neighbours, schema=schemas.NEIGHBOURS)
    similar_items = _write_similar_items(_as_rows(lists, similar), items * similar.wanted, staged)
    return NeighbourTables(similar_items, lists, searched, changes.since_full if changes else 0, plans.records())


def reuse_neighbours(before: ReleaseTables, staged: Staged) -> NeighbourTables:
    """Write the neighbours of another release as those of this one: only the release_id differs."""
    staged.link_folder(before.release.neighbours)
    rows = before.similar_items.drop("release_id")
    similar_items = _write_similar_items(rows, rows.count(), staged)
    lists = parquet.read(rows.sparkSession, staged.neighbours, schema=schemas.NEIGHBOURS)
    was = before.record.neighbours
    return NeighbourTables(similar_items, lists, 0, was.since_full or 0, was.plans)


def _pack_tasks(
    index: BuiltIndex, plans: SearchPlans, similar: config.SimilarSettings
) -> list[list[blocks.QueryBlock]]:
    groups = [shard_sizes(group.shards) for group in plans.groups]
    block_rows = planner.block_rows(index.dimensions, similar.task_memory)
    cores = index.items.sparkSession.sparkContext.defaultParallelism
    return blocks.pack_tasks(groups, block_rows, cores, [group.cost for group in plans.groups])


def _write_lists(spark: SparkSession, tasks: list[list[blocks.QueryBlock]], job: SearchJob, staged: Staged) -> int:
    """Write rows of schemas.NEIGHBOURS, found by as many Spark tasks; returns for how many items all was searched."""
    done = spark.sparkContext.accumulator(0)
    shared = spark.sparkContext.broadcast((tasks, job))

    def run(number: int) -> Iterator[pa.RecordBatch]:
        tasks, job = shared.value
        for rows in task.find_neighbours(tasks[number], job):
            yield rows
            done.add(rows.num_rows)

    counts = Observation("lists")  # counted while they are written: reading the table would be a job of its own
    lists = run_tasks(spark, len(tasks), run, schemas.NEIGHBOURS)
    items = sum(block.stop - block.start for blocks in tasks for block in blocks)
    with Progress(items, "items", lambda: done.value, lambda: 0):
        parquet.write(lists.observe(counts, F.count_if("searched").alias("searched")), staged.neighbours)
    return int(counts.get["searched"])


def _as_rows(lists: DataFrame, similar: config.SimilarSettings) -> DataFrame:
    """Return the lists as rows, cut to what is published."""
    pairs = F.slice(F.arrays_zip("neighbour_ids", "scores"), 1, similar.wanted)
    return lists.select("item_id", F.posexplode(pairs).alias("place", "pair")).select(
        "item_id",
        (F.col("place") + 1).alias("rank"),
        F.col("pair.neighbour_ids").alias("similar_item_id"),
        F.col("pair.scores").alias("score"),
    )


def _write_similar_items(rows: DataFrame, count: int, staged: Staged) -> DataFrame:
    """Write about `count` rows, in files of ROWS_PER_FILE; returns the table."""
    named = rows.withColumn("release_id", F.lit(staged.release_id))
    table = schemas.select("similar_items", named, schemas.SIMILAR_ITEMS)
    files = max(1, -(-count // ROWS_PER_FILE))
    in_order = table.repartitionByRange(files, "item_id").sortWithinPartitions("item_id", "rank")
    return parquet.write_and_read(in_order, staged.similar_items, options={"parquet.block.size": str(ROW_GROUP_BYTES)})
