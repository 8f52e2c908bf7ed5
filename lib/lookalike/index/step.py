"""The index step on Spark: built from nothing, or refreshed from that of the release before.

Shards are written by tasks, in parallel on the executors, and listed in a manifest.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lookalike import config
from lookalike.errors import CountError
from lookalike.index import manifest
from lookalike.index.building import ShardPlan, ShardsBuild, copy_vectors
from lookalike.index.built import POSITION_BITS, BuiltIndex, IndexGroup, IndexShard, ShardCounts
from lookalike.index.changes import IndexChanges, IndexInputs, find_changes, read_positions
from lookalike.index.constraints import item_rows
from lookalike.index.items import read_items, write_items
from lookalike.index.layout import IndexLayout, shard_name
from lookalike.index.manifest import Manifest, ManifestGroup, ManifestShard
from lookalike.index.marks import marks_of
from lookalike.index.refresh import RefreshPlan, in_order, plan_refresh, rows_to_move
from lookalike.index.shard_builder import ShardBuilder, WrittenShard
from lookalike.index.vectors import VectorFiles
from lookalike.spark.tasks import collect_tasks
from lookalike.storage import files
from lookalike.warehouse.release import ReleaseFolder, Staged

_COPIES = "vectors"  # the folder in `work`

_ROWS = pa.schema(
    {
        "item_id": pa.string(),
        "group": pa.string(),
        "variant_group": pa.int64(),
        "eligible": pa.bool_(),
        "group_codes": pa.list_(pa.int64()),
        "source": pa.string(),
        "row": pa.int64(),
        "origin": pa.int64(),
    }
)


def reuse_index(previous: ReleaseFolder, staged: Staged) -> ShardCounts:
    """Link the index of another release into this one."""
    staged.link_folder(previous.index)
    return ShardCounts(0, len(list(staged.index.glob("*.ann"))))


def build_index(inputs: IndexInputs, layout: IndexLayout, settings: config.Settings) -> BuiltIndex:
    """Write the index of `inputs.embeddings`: what is as it was in the release before is linked."""
    for folder in (layout.index, layout.work):
        folder.mkdir(parents=True, exist_ok=True)
    changes = find_changes(inputs, settings)
    made = _build_all(inputs, layout, settings) if changes is None else _refresh(inputs, changes, layout, settings)
    shutil.rmtree(layout.work / _COPIES, ignore_errors=True)
    return made


def index_items(spark: SparkSession, index: BuiltIndex) -> DataFrame:
    """Return item_id, group, shard, position and the constraints of the live items of an index."""
    return read_positions(spark, index.layout.index, manifest.read(index.layout.index).shards)


def _build_all(inputs: IndexInputs, layout: IndexLayout, settings: config.Settings) -> BuiltIndex:
    rows = item_rows(inputs.embeddings, settings.similar)
    names = sorted(path.name for path in inputs.folder.glob("*.parquet"))
    vectors = VectorFiles.of(inputs.folder, names, layout.work / _COPIES, None)
    plan = RefreshPlan(settings, 0)
    with ThreadPoolExecutor(
        1, thread_name_prefix="copy"
    ) as pool:  # beside it, a few bytes an item are read and counted
        copying = pool.submit(copy_vectors, rows, vectors, vectors.row_groups())
        counted = rows.groupBy("group").agg(F.count("*").alias("items"), F.count_if("eligible").alias("candidates"))
        for row in sorted(counted.collect(), key=lambda row: in_order(row["group"])):
            plan.add_base(row["group"], row["items"], row["candidates"])
        copying.result()
    written = _build(plan, rows.withColumn("origin", F.lit(-1).cast("long")), vectors, layout, refresh=False)
    return _finish(plan, written, vectors.dimensions, layout, None)


def _refresh(inputs: IndexInputs, changes: IndexChanges, layout: IndexLayout, settings: config.Settings) -> BuiltIndex:
    assert inputs.before is not None
    assert changes.before.dimensions is not None
    plan = plan_refresh(changes, settings)
    moved = rows_to_move(changes, plan.merged)
    sources, rows = moved["source"].to_pylist(), moved["row"].to_numpy()
    names = {name for name in sources if not name.endswith(".ann")}
    vectors = VectorFiles.of(inputs.folder, sorted(names), layout.work / _COPIES, changes.folder)
    vectors = replace(vectors, dimensions=changes.before.dimensions)
    copy_vectors(inputs.embeddings, vectors, vectors.row_groups_of(sources, rows))
    with ThreadPoolExecutor(1, thread_name_prefix="mark") as pool:
        same_rules = inputs.before.record.config.same(settings, "similar")
        marking = pool.submit(_keep, inputs.embeddings.sparkSession, plan, changes, layout, same_rules)
        to_build = _rows_to_build(inputs.embeddings.sparkSession, changes, plan.merged, moved)
        written = _build(plan, to_build, vectors, layout, refresh=True)
        plan.stay = marking.result()
    return _finish(plan, written, vectors.dimensions, layout, changes)


def _build(
    plan: RefreshPlan, rows: DataFrame, vectors: VectorFiles, layout: IndexLayout, *, refresh: bool
) -> dict[int, WrittenShard]:
    """Build the new shards of a plan; return what was written by their numbers."""
    settings = plan.settings
    builder = ShardBuilder(layout, vectors, settings.index.trees, settings.index.seed, with_origin=refresh)
    return ShardsBuild(builder, plan.builds, settings.similar.task_memory).run(rows)


def _rows_to_build(
    spark: SparkSession, changes: IndexChanges, merged: Sequence[ManifestShard], moved: pa.Table
) -> DataFrame:
    """The rows of what came, and the live rows of the shards that are built again."""
    whole = {name: column.combine_chunks() for name, column in zip(_ROWS.names, moved.cast(_ROWS).columns, strict=True)}
    rows = spark.createDataFrame(pa.table(whole, schema=_ROWS))  # in one chunk each: Spark refuses none
    if not merged:
        return rows
    place = F.shiftleft(F.col("shard").cast("long"), POSITION_BITS) + F.col("position")
    changed = spark.createDataFrame(pa.table({"origin": changes.places[changes.places >= 0]}))
    old = read_positions(spark, changes.folder, merged).withColumn("origin", place)
    old = old.join(F.broadcast(changed), on="origin", how="left_anti")
    source = F.format_string("shard-%05d.ann", "shard")
    return rows.unionByName(
        old.withColumn("source", source).withColumn("row", F.col("position").cast("long")).select(*_ROWS.names)
    )


def _keep(
    spark: SparkSession, plan: RefreshPlan, changes: IndexChanges, layout: IndexLayout, same_rules: bool
) -> list[ManifestShard]:
    """Link the files of the shards that stay, or write their items with their marks; return them as they are now."""
    for group in changes.before.groups:
        if group.centroids_file and any(shard.group == group.group and not shard.delta for shard in plan.stay):
            files.link_or_copy(changes.folder / group.centroids_file, layout.index / group.centroids_file)
    marks = marks_of(changes, plan.stay, every=not same_rules)
    for shard in plan.stay:
        for name in (shard.file, *(() if shard.number in marks else (shard.items_file,))):
            files.link_or_copy(changes.folder / name, layout.index / name)
    marked = [shard for shard in plan.stay if shard.number in marks]

    def mark(number: int) -> dict[str, Any]:
        shard = marked[number]
        items = marks[shard.number].apply(read_items(changes.folder / shard.items_file), keep_duplicates=same_rules)
        write_items(layout.index / shard.items_file, items)
        live = pc.invert(items["deleted"])
        return {"live": pc.sum(live).as_py(), "candidates": pc.sum(pc.and_(live, items["eligible"])).as_py()}

    found = dict(zip((shard.number for shard in marked), collect_tasks(spark, len(marked), mark), strict=True))
    return [shard.model_copy(update=found.get(shard.number)) for shard in plan.stay]


def _finish(
    plan: RefreshPlan,
    written: dict[int, WrittenShard],
    dimensions: int,
    layout: IndexLayout,
    changes: IndexChanges | None,
) -> BuiltIndex:
    """Write index.json, and return the index."""
    new = [
        _listed(build, number, written[number]) for build in plan.builds for number in build.numbers & written.keys()
    ]
    check_files([shard_name(number) for number in sorted(written)], layout)
    shards = sorted((*plan.stay, *new), key=lambda shard: (in_order(shard.group), shard.number))
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
        layout.index,
    )
    trained = {build.group for build in plan.builds if build.trains}
    groups_of = ((name, list(mine)) for name, mine in groupby(shards, key=attrgetter("group")))
    built = [
        IndexGroup(
            group.group,
            tuple(_index_shard(shard, built=shard.number in written) for shard in mine),
            group.lists,
            group.group in trained,
            changes is None or group.group in changes.groups,
            changes.live_by_group.get(group.group, 0) if changes else sum(shard.live for shard in mine),
        )
        for group, (_, mine) in zip(groups, groups_of, strict=True)
    ]
    return BuiltIndex(built, replace(layout, dimensions=dimensions), dimensions, changes.ids if changes else None)


def _groups(
    shards: Sequence[ManifestShard], builds: Sequence[ShardPlan], changes: IndexChanges | None, layout: IndexLayout
) -> list[ManifestGroup]:
    """The inverted file of each group: of this run where its base shards are, else as it was."""
    known = {group.group: group for group in changes.before.groups} if changes else {}
    for build in builds:
        if build.trains:
            path = layout.centroids(shard_name(build.first))
            lists = len(np.load(path, mmap_mode="r"))
            known[build.group] = ManifestGroup(group=build.group, centroids_file=path.name, lists=lists)
        elif not build.delta:
            known[build.group] = ManifestGroup(group=build.group, centroids_file=None, lists=1)
    return [known[name] for name, _ in groupby(shards, key=attrgetter("group"))]


def _listed(build: ShardPlan, number: int, written: WrittenShard) -> ManifestShard:
    """What the manifest says of a new shard."""
    name, file = shard_name(number), written.file
    return ManifestShard(
        file=f"{name}.ann",
        items_file=f"{name}.items.parquet",
        group=build.group,
        delta=build.delta,
        items=file.items,
        live=file.items,
        candidates=written.candidates,
        bytes=file.bytes,
        sha256=file.sha256,
        ids_sha256=written.ids_sha256,
        golden=file.golden,
    )


def _index_shard(shard: ManifestShard, *, built: bool) -> IndexShard:
    return IndexShard(shard.number, shard.group, shard.items, shard.live, shard.candidates, shard.delta, built)


def check_files(shards: Sequence[str], layout: IndexLayout) -> None:
    """Raise CountError unless the files of all shards are where the driver and the other workers look for them."""
    there = set(layout.index.iterdir())  # one listing, not a stat each
    lost = [path for name in shards for path in (layout.annoy(name), layout.items(name)) if path not in there]
    if lost:
        raise CountError(
            f"{len(lost):,} files of {len(shards):,} shards are not there though they were written, such as {lost[0]}; "
            "every worker must see this folder: check the mounts and the disk, and run again"
        )
