"""Items that show the same picture: pairs by cosine, the groups that they form, and the item that represents each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from threadpoolctl import threadpool_limits

from lookalike import config
from lookalike.index.built import BuiltIndex
from lookalike.index.layout import DUPLICATES
from lookalike.index.step import index_items
from lookalike.knn import sketches
from lookalike.knn.duplicate_groups import ShardFiles, score_duplicates, write_groups
from lookalike.knn.duplicate_lists import LISTED, LISTED_SPARK, DuplicateLists, Rows
from lookalike.knn.duplicate_pairs import PairSearch, find_pairs
from lookalike.knn.sketches import Sketcher
from lookalike.neighbours.components import connected_components
from lookalike.neighbours.incremental import MAX_CHANGED
from lookalike.progress import say_detail
from lookalike.spark import parquet, schemas, worker
from lookalike.spark.tasks import TASKS_A_CORE, map_tasks, run_tasks
from lookalike.topk.exact import QUERY_ROWS
from lookalike.topk.items import Codes, Ids, Vectors, as_ids, as_text
from lookalike.warehouse.release import Staged
from lookalike.warehouse.release_files import StoredFile

_PAIRS = "a string, b string"
_SCORED = "item_id string, representative_item_id string, score float"

# About so many items are put into lists by a task.
MOST_ITEMS = 16_384

# A task compares about the lists of so many items at least, and so many rows of lists at most: 25 MB.
LEAST_ITEMS = 1_024
MOST_ROWS = 131_072

# Rows a file of the table.
ROWS_PER_FILE = 1_000_000


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
    found = _find_pairs(spark, index, settings, compared)
    pairs = parquet.write_and_read(found, staged.work / "pairs", staged.shared)
    if before is not None:
        pairs = pairs.unionByName(before.pairs)
    components = connected_components(pairs, staged.work / "components", staged.shared)
    joined = items.join(components, on="item_id", how="inner")
    members = parquet.write_and_read(joined, staged.work / "members", staged.shared)
    _write_groups(members, index, 1 + len(settings.similar.group_fallback), staged)
    files = 1 + members.count() // ROWS_PER_FILE
    table = _write_table(_representatives(members, index).repartition(files, "item_id"), staged)
    return Duplicates(table, np.union1d(before.compared, _groups_of(members, before.compared)) if before else None)


def reuse_duplicates(previous: DataFrame, staged: Staged) -> DataFrame:
    """Write the duplicates of another release as those of this one; returns the table."""
    return _write_table(previous.drop("release_id"), staged)


def _write_table(rows: DataFrame, staged: Staged) -> DataFrame:
    rows = schemas.select("duplicates", rows.withColumn("release_id", F.lit(staged.release_id)), schemas.DUPLICATES)
    parquet.write_part(rows.sortWithinPartitions("item_id"), staged.duplicates, staged, schemas.DUPLICATES)
    return parquet.read(rows.sparkSession, staged.shared, staged.paths("duplicates"), schemas.DUPLICATES)


@dataclass(frozen=True)
class _PreviousPairs:
    """The duplicates of the previous release: pairs that stay, and the items to compare with all others."""

    pairs: DataFrame
    compared: Ids


def _previous_pairs(known: DataFrame | None, changed: Ids | None) -> _PreviousPairs | None:
    """None where all items are to be compared with all: without those of the release before, or for too many."""
    if known is None or changed is None:
        return None
    pairs = known.select(F.col("item_id").alias("a"), F.col("representative_item_id").alias("b"))
    ids = _frame(known.sparkSession, changed).select(F.col("item_id").alias("id"))
    # Not one join on either end, which would compare every pair with every id.
    ends = pairs.select(F.explode(F.array("a", "b")).alias("id"), "b")
    touched = ends.join(F.broadcast(ids), on="id", how="left_semi").select("b").distinct()
    broken = pairs.join(F.broadcast(touched), on="b", how="left_semi")
    members = broken.select(F.explode(F.array("a", "b")).alias("id")).distinct().limit(MAX_CHANGED + 1).toArrow()["id"]
    if len(members) > MAX_CHANGED:
        say_detail(f"all items are compared: more than {MAX_CHANGED:,} are in a duplicate group in which one changed")
        return None
    return _PreviousPairs(
        pairs.join(F.broadcast(touched), on="b", how="left_anti").select("a", "b"),
        np.union1d(changed, as_ids(members)) if len(members) else changed,
    )


def _frame(spark: SparkSession, ids: Ids) -> DataFrame:
    return spark.createDataFrame(pa.table({"item_id": as_text(ids)}))


def _positions(located: DataFrame, ids: Ids) -> dict[int, Rows]:
    """The positions of some items in each shard that has any; those that left have none."""
    some = located.join(F.broadcast(_frame(located.sparkSession, ids)), on="item_id", how="left_semi")
    found = some.select("shard", "position").toArrow().sort_by([("shard", "ascending"), ("position", "ascending")])
    shards, positions = (found[name].to_numpy() for name in ("shard", "position"))
    numbers, first = np.unique(shards, return_index=True)
    return dict(zip(numbers.tolist(), np.split(positions.astype(np.int64), first[1:]), strict=False))


def _find_pairs(
    spark: SparkSession, index: BuiltIndex, settings: config.Settings, compared: Mapping[int, Rows] | None
) -> DataFrame:
    """Rows of _PAIRS that connect the items of one picture, directly or through others: fewer than all close pairs.

    Each item goes into the lists of sketches that may hold a duplicate of it, and each list to a task.
    """
    similar, items = settings.similar, sum(shard.items for shard in index.shards)
    assert similar.duplicate_cosine is not None
    if not items:
        return spark.createDataFrame([], _PAIRS)
    files = _files(index)
    search = PairSearch(
        files, similar.duplicate_cosine, compared is None, similar.task_memory // 16 // index.dimensions
    )
    listed, largest = _listed_values(spark, index)
    sketcher = Sketcher.of(_sample(spark, index, files), largest, search.min_cosine, settings.index.seed)
    lists = DuplicateLists(files, sketcher, listed, search.min_cosine, search.all_pairs)
    cores, rows = spark.sparkContext.defaultParallelism, items * (sketcher.rows if search.all_pairs else 1)
    parts = max(1, min(TASKS_A_CORE * cores, items // LEAST_ITEMS), int(rows) // MOST_ROWS)
    shared = spark.sparkContext.broadcast(search)

    def find(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        worker.start_task()
        with threadpool_limits(1, "blas"):  # Spark runs one task a core already
            yield find_pairs(pa.Table.from_batches(batches, LISTED), shared.value)

    in_lists = _list_items(spark, index, lists, compared or {})
    return in_lists.repartition(parts, "value", "list").mapInArrow(find, _PAIRS)


def _files(index: BuiltIndex) -> ShardFiles:
    return ShardFiles(index.layout, {shard.number: (shard.name, shard.items) for shard in index.shards})


def _sample(spark: SparkSession, index: BuiltIndex, files: ShardFiles) -> Vectors:
    """Return vectors from all over the index, as many as sketches are made with."""
    shards = index.shards
    ends = np.cumsum([shard.items for shard in shards])
    rows = np.arange(wanted := sketches.sample_rows(int(ends[-1]))) * int(ends[-1]) // wanted
    of = np.searchsorted(ends, rows, side="right")
    chosen = [(shards[at].number, rows[of == at] - (int(ends[at]) - shards[at].items)) for at in np.unique(of).tolist()]
    found = map_tasks(spark, chosen, lambda one: files.vectors(np.full(len(one[1]), one[0]), one[1]))
    return np.concatenate(found)


def _listed_values(spark: SparkSession, index: BuiltIndex) -> tuple[Codes, int]:
    """Return the codes of the values of the last fallback level with items for several lists, and the most items."""
    none = np.zeros(0, dtype=np.int64)
    if sum(shard.items for shard in index.shards) < sketches.LISTED_ITEMS:
        return none, 0
    value = F.element_at("group_codes", -1).alias("value")
    counted = index_items(spark, index).groupBy(value).count().where(F.col("count") >= sketches.LISTED_ITEMS).toArrow()
    found, items = (counted[name].to_numpy() for name in ("value", "count"))
    return (np.sort(found), int(items.max())) if len(found) else (none, 0)


def _list_items(
    spark: SparkSession, index: BuiltIndex, lists: DuplicateLists, compared: Mapping[int, Rows]
) -> DataFrame:
    """Return rows of LISTED of all items, about a large shard to a task."""
    ends = np.cumsum([shard.items for shard in index.shards])
    of_task = np.unique((ends - 1) // MOST_ITEMS, return_inverse=True)[1]
    numbers = np.split(np.array([shard.number for shard in index.shards]), 1 + np.flatnonzero(np.diff(of_task)))
    shared, none = spark.sparkContext.broadcast((lists, numbers, compared)), np.zeros(0, dtype=np.int64)

    def write(task: int) -> Iterator[pa.RecordBatch]:
        lists, numbers, compared = shared.value
        for number in numbers[task].tolist():
            yield from lists.list_shard(number, compared.get(number, none))

    return run_tasks(spark, len(numbers), write, LISTED_SPARK)


def _write_groups(members: DataFrame, index: BuiltIndex, levels: int, staged: Staged) -> None:
    """Write the duplicate group of each member into its shard's items, and whether it represents it at each level."""
    represents = F.array(*(_represents(level) for level in range(levels)))
    group = F.xxhash64(F.lit("duplicate"), "component")
    found = members.select("shard", "position", group.alias("group"), represents.alias("represents"))
    names, layout = index.names, index.layout

    def write(rows: pa.Table) -> pa.Table:
        worker.start_task()
        path = write_groups(layout, names[rows["shard"][0].as_py()], rows.filter(pc.is_valid(rows["position"])))
        files = [staged.save(path, DUPLICATES).model_dump_json()] if path else []
        return pa.table({"file": pa.array(files, pa.string())})

    # Every shard has a row, since one without duplicates may have had some.
    every = pa.table({"shard": pa.array(names, pa.int32())})
    all_shards = members.sparkSession.createDataFrame(every)
    rows = found.unionByName(all_shards, allowMissingColumns=True)
    written = rows.groupBy("shard").applyInArrow(write, "file string").collect()
    staged.add(StoredFile.model_validate_json(row["file"]) for row in written)


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
    files = _files(index)

    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        worker.start_task()
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
