"""The neighbours step on Spark: it finds the neighbours of every item by the plan of its group.

A task takes blocks of queries and reads the candidates of their groups a chunk at a time. So it holds one block, one
chunk (memory-mapped) and the scores of a few hundred rows, however large the catalogue is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark import TaskContext
from pyspark.accumulators import Accumulator
from pyspark.sql import DataFrame, SparkSession

from lookalike import config
from lookalike.index.built import BuiltIndex
from lookalike.index.items import read_items
from lookalike.knn import blocks, planner, task
from lookalike.knn.neighbour_files import NeighbourFiles, PreviousFiles
from lookalike.knn.search_job import SearchJob
from lookalike.neighbours.groups import by_fallback_value, shard_sizes
from lookalike.neighbours.incremental import NeighbourChanges
from lookalike.neighbours.list_changes import PreviousLists
from lookalike.neighbours.plans import SearchPlans, plan_searches
from lookalike.neighbours.similar_items import PARTS, SimilarItemFiles
from lookalike.progress import Progress, say_detail
from lookalike.spark import parquet, schemas, transfers, worker
from lookalike.spark.release_tables import ReleaseTables
from lookalike.spark.tasks import collect_tasks, map_tasks, run_tasks
from lookalike.topk.items import Ids, as_ids, as_text
from lookalike.warehouse.record import NeighboursRecord, PlanRecord
from lookalike.warehouse.release import Staged
from lookalike.warehouse.release_files import StoredFile

# Rows a file of similar_items: about 20 MB; 2,000,000 rows are sorted and written by two cores.
ROWS_PER_FILE = 1_000_000

# Shards and ids of each that are read to spread the items evenly over the files.
SAMPLED_SHARDS = 32
SAMPLED_IDS = 2_000


@dataclass(frozen=True)
class PreviousRelease:
    """The release before: what changed since, where its lists are repaired, and the tables to compare with."""

    changes: NeighbourChanges | None = None
    tables: ReleaseTables | None = None


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
        lists = self.neighbours if before.neighbours is None else self.neighbours.unionByName(before.neighbours)
        return changed.unionByName(lists.where("from_fallback").select("item_id")).distinct()

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
    before: PreviousRelease = PreviousRelease(),
) -> NeighbourTables:
    """Write the release's neighbours and similar_items, each file of these sorted by item_id and rank; and `changes`.

    Every item has similar.k neighbours and similar.spare more, fewer only where the constraints leave fewer.
    """
    similar, changes = settings.similar, before.changes
    plans = plan_searches(spark, index, settings, changes)
    for line in (*plans.lines(), plans.line(spark.sparkContext.defaultParallelism)):
        say_detail(line)
    previous = PreviousFiles(changes.before.sound_files("neighbours"), staged.inherited) if changes else None
    files = NeighbourFiles(staged, previous)
    ids = changes.ids if changes else None
    largest = max((group.live for group in index.groups), default=0)
    job = SearchJob(index.layout, similar, plans.searches, plans.fallback_shards, files, ids, largest)
    items = sum(group.live for group in index.groups)
    done = spark.sparkContext.accumulator(0)
    bounds = _bounds(spark, index, max(1, -(-items * similar.wanted // ROWS_PER_FILE)))
    lists_before = PreviousLists.of(spark, before.tables) if before.tables else None
    similar_items = SimilarItemFiles(staged, bounds, lists_before)
    parts = _find(spark, _pack_tasks(spark, index, plans, similar), job, similar_items, done)
    with Progress(items, "items", lambda: done.value, lambda: 0):
        count = _write(parts, similar_items)
    if changes is not None:
        say_detail(
            f"{count:,} of {items:,} items searched among all candidates, the neighbours of the others repaired or kept"
        )
    return _tables(spark, staged, count, changes.since_full if changes else 0, plans.records())


def reuse_neighbours(before: ReleaseTables, staged: Staged) -> NeighbourTables:
    """Write the neighbours of another release as those of this one: only the release_id differs."""
    spark, similar_items = before.similar_items.sparkSession, SimilarItemFiles(staged, np.empty(0, np.bytes_))
    transfers.link_files(spark, staged, before.sound_files("neighbours"))
    paths = before.sound_files("similar_items")
    staged.add(collect_tasks(spark, len(paths), lambda number: similar_items.reuse(number, paths[number])))
    was = before.record.neighbours
    return _tables(spark, staged, 0, was.since_full or 0, was.plans)


def _tables(
    spark: SparkSession, staged: Staged, searched: int, since_full: int, plans: Sequence[PlanRecord]
) -> NeighbourTables:
    staged.check_there("similar_items", "neighbours", "changes")
    similar_items = parquet.read(spark, staged.shared, staged.paths("similar_items"), schemas.SIMILAR_ITEMS)
    neighbours = parquet.read(spark, staged.shared, staged.paths("neighbours"), schemas.NEIGHBOURS)
    return NeighbourTables(similar_items, neighbours, searched, since_full, plans)


def _pack_tasks(
    spark: SparkSession, index: BuiltIndex, plans: SearchPlans, similar: config.SimilarSettings
) -> list[list[blocks.QueryBlock]]:
    order = by_fallback_value([one.group for one in plans.groups], plans.fallback_shards)
    chosen = [plans.groups[at] for at in order]
    block_rows = planner.block_rows(index.dimensions, similar.task_memory)
    cores = spark.sparkContext.defaultParallelism
    # Each task reads all shards of a value of a fallback level: not for a few items, which are those of small groups.
    least_rows = block_rows if similar.group_fallback else 0
    sizes, costs = [shard_sizes(one.group) for one in chosen], [one.cost for one in chosen]
    return blocks.pack_tasks(sizes, block_rows, cores, costs, least_rows)


def _find(
    spark: SparkSession,
    tasks: list[list[blocks.QueryBlock]],
    job: SearchJob,
    similar_items: SimilarItemFiles,
    done: Accumulator[int],
) -> DataFrame:
    """Return the lists as PARTS of similar_items; as many Spark tasks also write the table of neighbours."""
    shared = spark.sparkContext.broadcast((tasks, job, similar_items))

    def run(number: int) -> Iterator[pa.RecordBatch]:
        tasks, job, similar_items = shared.value
        for found in task.find_neighbours(tasks[number], job):
            yield from similar_items.parts(found)
            done.add(len(found.rows))

    return run_tasks(spark, len(tasks), run, PARTS)


def _write(parts: DataFrame, similar_items: SimilarItemFiles) -> int:
    """Write each file of similar_items in a task; return how many items were searched among all candidates."""

    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        worker.start_task()
        task, written = TaskContext.get(), list[str]()
        assert task  # this runs in one

        def lists() -> Iterator[pa.Buffer]:
            for batch in batches:
                written.extend(batch["written"].flatten().to_pylist())
                yield from (part.as_buffer() for part in batch["lists"].drop_null())

        own, searched = similar_items.write(task.partitionId(), lists())
        files = [*(file.model_dump_json() for file in own), *written]
        yield pa.record_batch([pa.array([searched]), pa.array([files])], ["searched", "files"])

    by_file = parts.repartitionById(len(similar_items.bounds) + 1, "file")
    found = by_file.mapInArrow(write, "searched long, files array<string>").collect()
    similar_items.staged.add(StoredFile.model_validate_json(file) for one in found for file in one["files"])
    return sum(one["searched"] for one in found)


def _bounds(spark: SparkSession, index: BuiltIndex, files: int) -> Ids:
    """Return the ids after which another file of similar_items begins, from those of some shards.

    Spark's own partitioning by ranges would run all tasks twice, to learn the ranges.
    """
    shards, layout = index.shards, index.layout
    chosen = shards[:: -(-len(shards) // SAMPLED_SHARDS)] if files > 1 else []

    def sample(name: str) -> Ids:
        ids = as_ids(read_items(layout.fetch_items(name), "item_id")["item_id"])
        return ids[:: max(1, len(ids) // SAMPLED_IDS)]

    parts = map_tasks(spark, [one.name for one in chosen], sample)
    ids = np.sort(np.concatenate(parts)) if parts else None
    return np.empty(0, np.bytes_) if ids is None else ids[len(ids) * np.arange(1, files) // files]
