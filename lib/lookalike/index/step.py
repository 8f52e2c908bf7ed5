"""The index step on Spark: built from nothing, or refreshed from that of the release before.

Shards are written by tasks, in parallel on the executors, and listed in a manifest.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lookalike import config
from lookalike.index import manifest
from lookalike.index.building import ShardsBuild, copy_vectors
from lookalike.index.built import BuiltIndex, IndexGroup
from lookalike.index.changes import IndexChanges, IndexInputs, find_changes, read_positions
from lookalike.index.constraints import item_rows
from lookalike.index.items import read_array, read_items, write_items
from lookalike.index.layout import IndexLayout, shard_name
from lookalike.index.manifest import Manifest, ManifestGroup, ManifestShard
from lookalike.index.marks import marks_of
from lookalike.index.refresh import RefreshPlan, in_order, plan_refresh, rows_to_move
from lookalike.index.sharding import ShardPlan
from lookalike.index.vectors import VectorFiles
from lookalike.spark import transfers
from lookalike.spark.release_tables import ReleaseTables
from lookalike.spark.tasks import map_tasks
from lookalike.storage import files
from lookalike.warehouse.record import ShardsRecord
from lookalike.warehouse.release import Staged
from lookalike.warehouse.release_files import StoredFile
from lookalike.warehouse.shared_files import SharedFiles


def reuse_index(spark: SparkSession, previous: ReleaseTables, staged: Staged) -> ShardsRecord:
    """Link the index of another release into this one."""
    transfers.link_files(spark, staged, previous.files["index"])
    return ShardsRecord(reused=sum(file.name.endswith(".ann") for file in staged.part("index")))


def build_index(inputs: IndexInputs, staged: Staged, settings: config.Settings) -> BuiltIndex:
    """Write the index of `inputs.embeddings`: what is as it was in the release before is linked."""
    copies = staged.work / "vectors"
    changes = find_changes(inputs, staged.shared, settings)
    vectors = VectorFiles.of(staged, copies)
    if changes is None:
        made = _build_all(inputs, vectors, staged, settings)
    else:
        vectors = replace(vectors, before=changes.folder, dimensions=changes.dimensions)
        made = _refresh(inputs, changes, vectors, staged, settings)
    files.remove_tree(staged.shared.here(copies))
    return made


def index_items(spark: SparkSession, index: BuiltIndex) -> DataFrame:
    """Return item_id, group, shard, position, place and the constraints of the live items of an index."""
    return read_positions(spark, index.layout.shared, index.layout.index, index.shards)


def _build_all(inputs: IndexInputs, vectors: VectorFiles, staged: Staged, settings: config.Settings) -> BuiltIndex:
    rows = item_rows(inputs.embeddings, settings.similar)
    plan = RefreshPlan(settings, 0)
    # While it copies, a few bytes an item are read and counted.
    with ThreadPoolExecutor(1, thread_name_prefix="copy") as pool:
        copying = pool.submit(copy_vectors, rows.sparkSession, vectors)
        counted = rows.groupBy("group").agg(F.count("*").alias("items"), F.count_if("eligible").alias("candidates"))
        for row in sorted(counted.collect(), key=lambda row: in_order(row["group"])):
            plan.add_base(row["group"], row["items"], row["candidates"])
        copying.result()
    built = _build(plan, rows.withColumn("origin", F.lit(-1).cast("long")), vectors, staged)
    return _finish(plan, built, vectors.dimensions, staged, None)


def _refresh(
    inputs: IndexInputs, changes: IndexChanges, vectors: VectorFiles, staged: Staged, settings: config.Settings
) -> BuiltIndex:
    assert inputs.before is not None
    spark = inputs.embeddings.sparkSession
    plan = plan_refresh(changes, settings)
    with ThreadPoolExecutor(1, thread_name_prefix="mark") as pool:
        same_rules = inputs.before.record.config.same(settings, "similar")
        marking = pool.submit(_keep, spark, plan, changes, staged, same_rules)
        built = _build(plan, _rows_to_build(spark, staged.shared, changes, plan.merged), vectors, staged)
        plan.stay = marking.result()
    return _finish(plan, built, vectors.dimensions, staged, changes)


def _build(plan: RefreshPlan, rows: DataFrame, vectors: VectorFiles, staged: Staged) -> list[ManifestShard]:
    """Build the new shards of a plan."""
    index, similar = plan.settings.index, plan.settings.similar
    return ShardsBuild(staged, vectors, plan.builds, index, similar.task_memory).run(rows)


def _rows_to_build(
    spark: SparkSession, shared: SharedFiles, changes: IndexChanges, merged: Sequence[ManifestShard]
) -> DataFrame:
    """The rows of what came, and the live rows of the shards that are built again."""
    moved = rows_to_move(changes, merged)
    columns = [column.combine_chunks() for column in moved.columns]  # in one chunk each: Spark refuses none
    rows = spark.createDataFrame(pa.table(columns, moved.column_names))
    if not merged:
        return rows
    changed = spark.createDataFrame(pa.table({"origin": changes.places[changes.places >= 0]}))
    old = read_positions(spark, shared, changes.folder, merged).withColumnsRenamed(
        {"place": "origin", "position": "row"}
    )
    old = old.join(F.broadcast(changed), on="origin", how="left_anti")
    source = F.format_string("shard-%05d.ann", "shard")
    return rows.unionByName(old.withColumn("source", source).select(*rows.columns))


def _keep(
    spark: SparkSession, plan: RefreshPlan, changes: IndexChanges, staged: Staged, same_rules: bool
) -> list[ManifestShard]:
    """Link the files of the shards that stay, or write their items with their marks; return them as they are now."""
    based = {shard.group for shard in plan.stay if not shard.delta}
    marks = marks_of(changes, plan.stay, every=not same_rules)
    names = [group.centroids_file for group in changes.before.groups if group.group in based]
    for shard in plan.stay:
        names += [shard.file, *(() if shard.number in marks else (shard.items_file,))]
    transfers.link_files(spark, staged, [changes.folder / name for name in names if name])
    marked, layout, shared = (
        [shard for shard in plan.stay if shard.number in marks],
        IndexLayout.of(staged),
        staged.shared,
    )

    def mark(shard: ManifestShard) -> tuple[dict[str, Any], StoredFile]:
        before = read_items(shared.fetch(changes.folder / shard.items_file))
        items = marks[shard.number].apply(before, keep_duplicates=same_rules)
        path = layout.index / shard.items_file
        write_items(shared.here(path), items)
        live = pc.invert(items["deleted"])
        counts = {"live": pc.sum(live).as_py(), "candidates": pc.sum(pc.and_(live, items["eligible"])).as_py()}
        return counts, staged.save(path)

    found = map_tasks(spark, marked, mark)
    staged.add(file for _, file in found)
    counts = {shard.number: counts for shard, (counts, _) in zip(marked, found, strict=True)}
    return [shard.model_copy(update=counts.get(shard.number)) for shard in plan.stay]


def _finish(
    plan: RefreshPlan,
    built: Sequence[ManifestShard],
    dimensions: int,
    staged: Staged,
    changes: IndexChanges | None,
) -> BuiltIndex:
    """Write index.json, and return the index."""
    layout = IndexLayout.of(staged)
    shards = sorted((*plan.stay, *built), key=lambda shard: (in_order(shard.group), shard.number))
    groups = _groups(shards, plan.builds, changes, layout)
    index, similar = plan.settings.index, plan.settings.similar
    manifest.write(
        Manifest(
            dimensions=dimensions if shards else None,
            trees=index.trees,
            seed=index.seed,
            group_by=similar.group_by,
            next_shard=plan.next_shard,
            groups=tuple(groups),
            shards=tuple(shards),
        ),
        staged.shared.here(layout.index / manifest.NAME).parent,
    )
    staged.add([staged.save(layout.index / manifest.NAME)])
    staged.check_there("index")
    numbers = frozenset(shard.number for shard in built)
    groups_of = ((name, tuple(mine)) for name, mine in groupby(shards, key=attrgetter("group")))
    return BuiltIndex(
        [
            IndexGroup(
                group.group,
                mine,
                group.lists,
                changes is None or group.group in changes.groups,
                changes.live_by_group.get(group.group, 0) if changes else sum(shard.live for shard in mine),
                numbers.intersection(shard.number for shard in mine),
            )
            for group, (_, mine) in zip(groups, groups_of, strict=True)
        ],
        replace(layout, dimensions=dimensions),
        changes.ids if changes else None,
    )


def _groups(
    shards: Sequence[ManifestShard], builds: Sequence[ShardPlan], changes: IndexChanges | None, layout: IndexLayout
) -> list[ManifestGroup]:
    """The inverted file of each group: of this run where its base shards are, else as it was."""
    known = {group.group: group for group in changes.before.groups} if changes else {}
    for build in builds:
        if build.trains:
            path = layout.centroids(shard_name(build.first))
            lists = len(read_array(layout.shared.fetch(path), mapped=True))
            known[build.group] = ManifestGroup(group=build.group, centroids_file=path.name, lists=lists)
        elif not build.delta:
            known[build.group] = ManifestGroup(group=build.group, centroids_file=None, lists=1)
    return [known[name] for name, _ in groupby(shards, key=attrgetter("group"))]
