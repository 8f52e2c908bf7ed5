"""The neighbours step on Spark: it finds the neighbours of every item by the plan of its group.

A task takes blocks of queries and reads the candidates of their groups a chunk at a time. So it holds one block, one
chunk (memory-mapped) and the scores of a few hundred rows, however large the catalogue is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.accumulators import Accumulator
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from lookalike import config
from lookalike.index.built import BuiltIndex
from lookalike.index.items import read_items
from lookalike.knn import blocks, lists, planner, task
from lookalike.knn.neighbour_files import NeighbourFiles
from lookalike.knn.search_job import SearchJob
from lookalike.neighbours.groups import shard_sizes
from lookalike.neighbours.incremental import NeighbourChanges
from lookalike.neighbours.plans import SearchPlans, plan_searches
from lookalike.progress import Progress, say_detail
from lookalike.spark import parquet, schemas
from lookalike.spark.release_tables import ReleaseTables
from lookalike.spark.tasks import run_tasks
from lookalike.topk.items import Ids, as_ids, as_text
from lookalike.warehouse.record import NeighboursRecord, PlanRecord
from lookalike.warehouse.release import Staged

# Rows a file of similar_items: about 20 MB; 2,000,000 rows are sorted and written by two cores.
ROWS_PER_FILE = 1_000_000

# Shards and ids of each that are read to spread the items evenly over the files.
SAMPLED_SHARDS = 32
SAMPLED_IDS = 2_000

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
        with_fallback = self.neighbours.where("from_fallback").unionByName(
            changes.previous_lists.where("from_fallback")
        )
        return changed.unionByName(with_fallback.select("item_id")).distinct()

    def record(self) -> NeighboursRecord:
        """Return the section of release.json."""
        return NeighboursRecord(searched=self.searched, since_full=self.since_full, plans=tuple(self.plans))


def _are_exact(plans: Sequence[PlanRecord]) -> bool:
    return all(plan.kind == "exact" for plan in plans)


def write_neighbours(
    spark: SparkSession,
    index: BuiltIndex,
    settings: config.Settings,
    staged: Staged,
    changes: NeighbourChanges | None = None,
) -> NeighbourTables:
    """Write the release's neighbours and similar_items, each file of these sorted by item_id and rank.

    Every item has similar.k neighbours and similar.spare more, fewer only where the constraints leave fewer.
    """
    similar = settings.similar
    plans = plan_searches(spark, index, settings, changes)
    for line in plans.lines():
        say_detail(line)
    files = NeighbourFiles(staged.neighbours, staged.work, staged.release_id, changes.lists if changes else None)
    staged.neighbours.mkdir(parents=True, exist_ok=True)
    ids = changes.ids if changes else None
    job = SearchJob(index.layout, similar, plans.searches, plans.fallback_shards, files, ids)
    items = sum(group.live for group in index.groups)
    done = spark.sparkContext.accumulator(0)
    found = _find(spark, _pack_tasks(spark, index, plans, similar), job, done)
    in_files = _by_file(found, index, items * similar.wanted)
    searched = Observation("searched")  # counted while they are written: reading the table would be a job of its own
    with Progress(items, "items", lambda: done.value, lambda: 0):
        rows = _as_rows(in_files.observe(searched, F.count_if("searched").alias("searched")))
        similar_items = _write_similar_items(rows, staged)
    count = int(searched.get["searched"])
    if changes is not None:
        say_detail(
            f"{count:,} of {items:,} items searched among all candidates, the neighbours of the others repaired or kept"
        )
    table = parquet.read(spark, staged.neighbours, schema=schemas.NEIGHBOURS)
    return NeighbourTables(similar_items, table, count, changes.since_full if changes else 0, plans.records())


def reuse_neighbours(before: ReleaseTables, staged: Staged) -> NeighbourTables:
    """Write the neighbours of another release as those of this one: only the release_id differs."""
    staged.link_folder(before.release.neighbours)
    rows = before.similar_items.drop("release_id")
    files = max(1, -(-rows.count() // ROWS_PER_FILE))
    in_order = rows.repartitionByRange(files, "item_id").sortWithinPartitions("item_id", "rank")
    similar_items = _write_similar_items(in_order, staged)
    lists = parquet.read(rows.sparkSession, staged.neighbours, schema=schemas.NEIGHBOURS)
    was = before.record.neighbours
    return NeighbourTables(similar_items, lists, 0, was.since_full or 0, was.plans)


def _pack_tasks(
    spark: SparkSession, index: BuiltIndex, plans: SearchPlans, similar: config.SimilarSettings
) -> list[list[blocks.QueryBlock]]:
    groups = [shard_sizes(one.group) for one in plans.groups]
    block_rows = planner.block_rows(index.dimensions, similar.task_memory)
    cores = spark.sparkContext.defaultParallelism
    return blocks.pack_tasks(groups, block_rows, cores, [one.cost for one in plans.groups])


def _find(
    spark: SparkSession, tasks: list[list[blocks.QueryBlock]], job: SearchJob, done: Accumulator[int]
) -> DataFrame:
    """Return rows of lists.FOUND from as many Spark tasks, which also write the table of neighbours."""
    shared = spark.sparkContext.broadcast((tasks, job))

    def run(number: int) -> Iterator[pa.RecordBatch]:
        tasks, job = shared.value
        for rows in task.find_neighbours(tasks[number], job):
            yield rows
            done.add(rows.num_rows)

    return run_tasks(spark, len(tasks), run, lists.FOUND)


def _by_file(found: DataFrame, index: BuiltIndex, rows: int) -> DataFrame:
    """Return the lists in a partition for each file of about ROWS_PER_FILE rows, sorted by item_id.

    Spark's own partitioning by ranges would run all tasks twice, to learn the ranges.
    """
    bounds = [bound.decode() for bound in _bounds(index, max(1, -(-rows // ROWS_PER_FILE))).tolist()]
    file = sum(((F.col("item_id") > bound).cast("int") for bound in bounds), F.lit(0))
    return found.repartitionById(len(bounds) + 1, file).sortWithinPartitions("item_id")


def _bounds(index: BuiltIndex, files: int) -> Ids:
    """Return the ids after which another file begins, from those of some shards."""
    shards = index.shards
    chosen = shards[:: -(-len(shards) // SAMPLED_SHARDS)] if files > 1 else []
    parts = [as_ids(read_items(index.layout.items(one.name), "item_id")["item_id"]) for one in chosen]
    ids = np.sort(np.concatenate([some[:: max(1, len(some) // SAMPLED_IDS)] for some in parts])) if parts else None
    return np.empty(0, np.bytes_) if ids is None else ids[len(ids) * np.arange(1, files) // files]


def _as_rows(found: DataFrame) -> DataFrame:
    """Return the lists as rows, which stay in order."""
    pairs = F.arrays_zip("similar_item_ids", "scores")
    return found.select("item_id", F.posexplode(pairs).alias("place", "pair")).select(
        "item_id",
        (F.col("place") + 1).alias("rank"),
        F.col("pair.similar_item_ids").alias("similar_item_id"),
        F.col("pair.scores").alias("score"),
    )


def _write_similar_items(in_order: DataFrame, staged: Staged) -> DataFrame:
    """Write the rows, which are in files and in order; returns the table."""
    named = in_order.withColumn("release_id", F.lit(staged.release_id))
    table = schemas.select("similar_items", named, schemas.SIMILAR_ITEMS)
    return parquet.write_and_read(table, staged.similar_items, options={"parquet.block.size": str(ROW_GROUP_BYTES)})
