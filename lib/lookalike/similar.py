"""The neighbours step on Spark: exact cosine top-k of every item among the items of its group.

A task takes a block of queries and walks over the shards of the group one at a time, so that it holds one block,
one shard (memory-mapped) and the scores of a few hundred rows, however large the catalogue is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.accumulators import Accumulator
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from threadpoolctl import threadpool_limits

from lookalike import config, schemas, shards, tables, vectors
from lookalike.index import BuiltShard, Folders
from lookalike.progress import Progress
from lookalike.release import Release, Staged

# Query rows a block: 4,096 x 2,048 float32 are 32 MiB, and a shard of 16,384 is read once for all of them.
BLOCK_ROWS = 4096

# Rows a file of the table: about 100 MB of ids and scores.
ROWS_PER_FILE = 5_000_000

# Whoever asks for one item reads the row groups whose range its id is in. 250,000 items with 20 neighbours each:
# pyarrow takes 6 ms with 64 groups of 1 MB, 60 with 4 MB, 300 with Spark's 128 MB, which is one group; the file has
# 37 MB in any case.
ROW_GROUP_BYTES = 1 << 20

_NEIGHBOURS = "item_id string, rank int, similar_item_id string, score float"


def write_table(
    spark: SparkSession, built: list[BuiltShard], folders: Folders, settings: config.Settings, staged: Staged
) -> DataFrame:
    """Write the release's similar_items, each file sorted by item_id and rank; gives it, read back.

    Every item has k neighbours, fewer only where its group is smaller.
    """
    k, items = settings.similar.k, sum(b.file.items for b in built)
    done = spark.sparkContext.accumulator(0)
    found = _neighbours(spark, built, folders, k, done).withColumn("release_id", F.lit(staged.release_id))
    # Written as found, then put in order: to find the ranges, a repartition would run the search a second time.
    unsorted = staged.work / "similar_items"
    with Progress(items, "items", lambda: done.value, lambda: 0):
        tables.write(schemas.select("similar_items", found, schemas.SIMILAR_ITEMS), unsorted)
    return _write_in_order(tables.read(spark, unsorted), items * k, staged)


def take_over(spark: SparkSession, previous: Release, staged: Staged) -> DataFrame:
    """The neighbours of another release as this one's: all that differs is release_id."""
    rows = tables.read(spark, previous.similar_items).withColumn("release_id", F.lit(staged.release_id))
    return _write_in_order(schemas.select("similar_items", rows, schemas.SIMILAR_ITEMS), rows.count(), staged)


def _write_in_order(rows: DataFrame, count: int, staged: Staged) -> DataFrame:
    files = max(1, -(-count // ROWS_PER_FILE))
    in_order = rows.repartitionByRange(files, "item_id").sortWithinPartitions("item_id", "rank")
    tables.write(in_order, staged.similar_items, options={"parquet.block.size": str(ROW_GROUP_BYTES)})
    return tables.read(rows.sparkSession, staged.similar_items)


def _neighbours(
    spark: SparkSession, built: list[BuiltShard], folders: Folders, k: int, done: Accumulator[int]
) -> DataFrame:
    """Rows of _NEIGHBOURS, computed by as many tasks as the plan has; adds the queries to `done`."""
    names = {b.shard.number: b.shard.name for b in built}
    tasks = shards.plan_tasks(_by_group(built), BLOCK_ROWS, spark.sparkContext.defaultParallelism)
    plan = spark.sparkContext.broadcast(tasks)

    def search(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with threadpool_limits(1, "blas"):  # Spark runs one task a core already
            for batch in batches:
                for number in batch["id"].to_pylist():
                    for block in plan.value[number]:
                        yield _search(block, folders, names, k)
                        done.add(block.stop - block.start)

    numbers = spark.range(0, len(tasks), numPartitions=max(1, len(tasks)))
    return numbers.mapInArrow(search, _NEIGHBOURS)


def _by_group(built: list[BuiltShard]) -> list[list[tuple[int, int]]]:
    """(shard, items) of each group."""
    groups: dict[str | None, list[tuple[int, int]]] = {}
    for b in built:
        groups.setdefault(b.shard.group, []).append((b.shard.number, b.file.items))
    return list(groups.values())


def _search(block: shards.Block, folders: Folders, names: dict[int, str], k: int) -> pa.RecordBatch:
    rows = slice(block.start, block.stop)
    query_ids = _item_ids(folders, names[block.queries])[rows]
    queries = np.load(folders.vectors(names[block.queries]), mmap_mode="r")[rows]
    best = vectors.no_candidates(len(queries), k, query_ids)
    for shard in block.candidates:
        ids = _item_ids(folders, names[shard])
        candidates = np.load(folders.vectors(names[shard]), mmap_mode="r")
        own = np.arange(block.start, block.stop) if shard == block.queries else np.full(len(queries), -1)
        best = vectors.merge_top_k(best, vectors.exact_top_k(queries, candidates, ids, k, own))
    return _as_batch(query_ids, best)


def _item_ids(folders: Folders, name: str) -> vectors.Ids:
    column = pq.read_table(folders.items(name), columns=["item_id"])["item_id"]
    return np.array(column.cast(pa.binary()).to_pylist(), dtype=np.bytes_)


def _as_batch(query_ids: vectors.Ids, best: vectors.TopK) -> pa.RecordBatch:
    """One row a neighbour, best first."""
    found = np.isfinite(best.scores)
    ranks = np.broadcast_to(np.arange(1, best.scores.shape[1] + 1, dtype=np.int32), found.shape)
    return pa.record_batch(
        {
            "item_id": _text(np.repeat(query_ids, found.sum(axis=1))),
            "rank": pa.array(ranks[found]),
            "similar_item_id": _text(best.ids[found]),
            "score": pa.array(best.scores[found]),
        }
    )


def _text(ids: Iterable[bytes]) -> pa.Array:
    return pa.array(ids, pa.binary()).cast(pa.string())
