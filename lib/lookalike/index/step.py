"""The index step on Spark: each shard is built by one task, in parallel on the executors, and listed in a manifest.

The task also writes the shard's unit vectors as `<shard>.npy` into the work folder: the neighbour search reads them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, LongType, StringType, StructField, StructType

from lookalike import config
from lookalike.errors import CountError
from lookalike.index import manifest
from lookalike.index.annoy import GoldenQuery, ShardFile
from lookalike.index.layout import IndexLayout
from lookalike.index.shard_builder import ShardBuilder, WrittenShard, known_shards
from lookalike.index.sharding import PlannedShard, plan_shards
from lookalike.spark import schemas
from lookalike.warehouse.release import ReleaseFolder, Staged

# What a task returns of its shard.
_WRITTEN = StructType(
    [
        StructField("number", LongType()),
        StructField("items", LongType()),
        StructField("dimensions", LongType()),
        StructField("bytes", LongType()),
        StructField("sha256", StringType()),
        StructField("golden", StringType()),  # JSON: Arrow cannot tell the type of an empty list
        StructField("content", StringType()),
        StructField("ids_sha256", StringType()),
        StructField("candidates", LongType()),
        StructField("reused", BooleanType()),
    ]
)


@dataclass(frozen=True)
class BuiltShard:
    """A shard of the plan, and what was written for it."""

    shard: PlannedShard
    written: WrittenShard

    @property
    def items(self) -> int:
        """How many items it holds."""
        return self.written.file.items


@dataclass(frozen=True)
class BuiltIndex:
    """The index of a run: the items that it was built from, its shards, and the paths of their files."""

    items: DataFrame
    shards: list[BuiltShard]
    layout: IndexLayout

    @property
    def dimensions(self) -> int:
        """Of all vectors; 1 where there are none."""
        return self.shards[0].written.file.dimensions if self.shards else 1

    @property
    def names(self) -> dict[int, str]:
        """The names of the shards by their numbers."""
        return {one.shard.number: one.shard.name for one in self.shards}


@dataclass(frozen=True)
class ShardCounts:
    """How many shards were built, and how many reused from the current release."""

    built: int
    reused: int

    @classmethod
    def of(cls, index: BuiltIndex) -> ShardCounts:
        """Count the shards of an index."""
        reused = sum(one.written.reused for one in index.shards)
        return cls(len(index.shards) - reused, reused)


def reuse_index(previous: ReleaseFolder, staged: Staged) -> ShardCounts:
    """Link the index of another release into this one."""
    staged.link_folder(previous.index)
    return ShardCounts(0, len(list(staged.index.glob("*.ann"))))


def plan_index(embeddings: DataFrame, settings: config.Settings) -> list[PlannedShard]:
    """Count the embeddings of each group and return the shards for them."""
    column = settings.similar.group_by
    if column is None:
        return plan_shards([(None, embeddings.count())], settings.index.shard_items)
    counts = embeddings.groupBy(schemas.group(column)).count().collect()
    return plan_shards([(row["group"], row["count"]) for row in counts], settings.index.shard_items)


def build_index(
    items: DataFrame,
    shards: list[PlannedShard],
    layout: IndexLayout,
    settings: config.Settings,
    previous: ReleaseFolder | None = None,
) -> BuiltIndex:
    """Build every shard and write index.json; shards without items are left out.

    `items` are embeddings with the columns schemas.SEARCH_COLUMNS. A shard with the items and vectors of a shard of the
    release `previous` reuses its file.
    """
    layout.index.mkdir(parents=True, exist_ok=True)
    layout.work.mkdir(parents=True, exist_ok=True)
    trees, seed = settings.index.trees, settings.index.seed
    builder = ShardBuilder(layout, trees, seed, known_shards(previous.index if previous else None, trees, seed))
    written = _write_shards(items, shards, builder, settings.similar.group_by)
    built = [BuiltShard(shard, written[shard.number]) for shard in shards if shard.number in written]
    check_files([one.shard.name for one in built], layout)
    manifest.write(_manifest(built, settings), layout.index)
    return BuiltIndex(items, built, layout)


def check_files(shards: Sequence[str], layout: IndexLayout) -> None:
    """Raise CountError unless the files of all shards are where the driver and the other workers look for them."""
    there = {
        path for folder in (layout.index, layout.work) for path in folder.iterdir()
    }  # two listings, not a stat each
    lost = [path for name in shards for path in layout.of_shard(name) if path not in there]
    if lost:
        raise CountError(
            f"{len(lost):,} files of {len(shards):,} shards are not there though they were written, such as {lost[0]}; "
            "every worker must see this folder: check the mounts and the disk, and run again"
        )


def _write_shards(
    items: DataFrame, shards: list[PlannedShard], builder: ShardBuilder, group_by: str | None
) -> dict[int, WrittenShard]:
    """Write the files of all shards, each in a task; returns what was written by the numbers of the shards."""
    names = {shard.number: shard.name for shard in shards}

    def write_shard(rows: pa.Table) -> pa.Table:
        number = rows["shard"][0].as_py()
        return pa.Table.from_pylist([_as_row(number, builder.write(names[number], rows))]).select(_WRITTEN.names)

    columns = ["embedding", *(name for name in items.columns if name in schemas.SEARCH_COLUMNS)]
    rows = with_shard(items, shards, group_by, columns)
    # A fixed number of partitions is not coalesced by adaptive execution, which would decide by bytes, not by work.
    tasks = min(max(1, len(shards)), 16 * items.sparkSession.sparkContext.defaultParallelism)
    written = rows.repartition(tasks, "shard").groupBy("shard").applyInArrow(write_shard, _WRITTEN).collect()
    return {row["number"]: _from_row(row) for row in written}


def _as_row(number: int, written: WrittenShard) -> dict[str, Any]:
    """Return a row of _WRITTEN."""
    fields = asdict(written)
    file = fields.pop("file")
    return {"number": number, **fields, **file, "golden": json.dumps(file["golden"])}


def _from_row(row: Row) -> WrittenShard:
    golden = json.loads(row["golden"])
    query = GoldenQuery(golden["position"], tuple(golden["neighbours"]), tuple(golden["distances"]))
    file = ShardFile(row["items"], row["dimensions"], row["bytes"], row["sha256"], query)
    return WrittenShard(file, row["content"], row["ids_sha256"], row["candidates"], row["reused"])


def with_shard(items: DataFrame, shards: list[PlannedShard], group_by: str | None, columns: Sequence[str]) -> DataFrame:
    """Return item_id, some columns, and the number of the item's shard: its group's first, plus a hash of the id."""
    firsts = [(shard.group, shard.number, shard.buckets) for shard in shards if shard.bucket == 0]
    table = items.sparkSession.createDataFrame(firsts, "group string, first int, buckets int")
    rows = items.select("item_id", *columns, schemas.group(group_by))
    return rows.join(F.broadcast(table), rows["group"].eqNullSafe(table["group"]), how="inner").select(
        "item_id",
        *columns,
        (F.col("first") + F.pmod(F.xxhash64("item_id"), F.col("buckets"))).cast("int").alias("shard"),
    )


def _manifest(built: list[BuiltShard], settings: config.Settings) -> manifest.Manifest:
    return manifest.Manifest(
        dimensions=built[0].written.file.dimensions if built else None,
        trees=settings.index.trees,
        seed=settings.index.seed,
        group_by=settings.similar.group_by,
        shards=tuple(_manifest_shard(one.shard, one.written) for one in built),
    )


def _manifest_shard(shard: PlannedShard, written: WrittenShard) -> manifest.ManifestShard:
    return manifest.ManifestShard(
        file=f"{shard.name}.ann",
        items_file=f"{shard.name}.items.parquet",
        group=shard.group,
        items=written.file.items,
        bytes=written.file.bytes,
        sha256=written.file.sha256,
        content=written.content,
        ids_sha256=written.ids_sha256,
        golden=written.file.golden,
    )
