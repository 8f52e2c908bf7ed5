"""The index step on Spark: every shard is built by one task, in parallel on the executors, and listed in a manifest.

A shard's task also leaves its unit vectors as `<shard>.npy` in the work folder: the neighbour search reads them.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import LongType, StringType, StructField, StructType

from lookalike import annoy_index, config, files, schemas
from lookalike.errors import ConfigError
from lookalike.shards import Shard, plan_shards

# A group is a folder of the shop, not an item: more values than this is the wrong column, and would cost one
# file each.
MAX_GROUPS = 20_000

_BUILT = StructType(
    [
        StructField("number", LongType()),
        StructField("items", LongType()),
        StructField("dimensions", LongType()),
        StructField("bytes", LongType()),
        StructField("sha256", StringType()),
    ]
)


@dataclass(frozen=True)
class BuiltShard:
    """A shard and its file."""

    shard: Shard
    file: annoy_index.ShardFile


@dataclass(frozen=True)
class Folders:
    """Where a shard's files go: `index` is part of the release, `work` lives as long as the run."""

    index: Path
    work: Path

    def annoy(self, name: str) -> Path:
        """The plain Annoy file."""
        return self.index / f"{name}.ann"

    def items(self, name: str) -> Path:
        """Its item ids by position."""
        return self.index / f"{name}.items.parquet"

    def vectors(self, name: str) -> Path:
        """Its unit vectors by position, float32 [n, d]."""
        return self.work / f"{name}.npy"


def plan(embeddings: DataFrame, settings: config.Settings) -> list[Shard]:
    """The shards for these embeddings; raises ConfigError when the group column has far too many values."""
    column = settings.similar.group_by
    if column is None:
        return plan_shards([(None, embeddings.count())], settings.index.shard_items)
    counts = embeddings.groupBy(schemas.group(column)).count().limit(MAX_GROUPS + 1).collect()
    if len(counts) > MAX_GROUPS:
        raise ConfigError(f"similar.group_by: '{column}' has more than {MAX_GROUPS:,} values; choose a coarser column")
    return plan_shards([(row["group"], row["count"]) for row in counts], settings.index.shard_items)


def build(embeddings: DataFrame, shards: list[Shard], folders: Folders, settings: config.Settings) -> list[BuiltShard]:
    """Build every shard into `folders` and write index.json; shards that no item fell into are left out."""
    folders.index.mkdir(parents=True, exist_ok=True)
    folders.work.mkdir(parents=True, exist_ok=True)
    names = {shard.number: shard.name for shard in shards}
    trees, seed = settings.index.trees, settings.index.seed

    def build_shard(rows: pa.Table) -> pa.Table:
        number = rows["shard"][0].as_py()
        file = _build_shard(names[number], rows, folders, trees, seed)
        return pa.Table.from_pylist([{"number": number, **asdict(file)}])

    rows = _with_shard(embeddings, shards, settings.similar.group_by)
    # A fixed number of partitions is not coalesced by adaptive execution, which would judge by bytes, not by work.
    tasks = min(max(1, len(shards)), 16 * embeddings.sparkSession.sparkContext.defaultParallelism)
    built = rows.repartition(tasks, "shard").groupBy("shard").applyInArrow(build_shard, _BUILT).collect()
    by_number = {shard.number: shard for shard in shards}
    result = [
        BuiltShard(
            by_number[row["number"]],
            annoy_index.ShardFile(row["items"], row["dimensions"], row["bytes"], row["sha256"]),
        )
        for row in sorted(built, key=lambda row: row["number"])
    ]
    manifest = json.dumps(_manifest(result, settings), indent=1, ensure_ascii=False)
    files.write_atomic(folders.index / "index.json", manifest.encode())
    return result


def _with_shard(embeddings: DataFrame, shards: list[Shard], column: str | None) -> DataFrame:
    """item_id, embedding and the number of the shard: first of its group, plus a hash of the id."""
    spark = embeddings.sparkSession
    firsts = [(shard.group, shard.number, shard.buckets) for shard in shards if shard.bucket == 0]
    table = spark.createDataFrame(firsts, "group string, first int, buckets int")
    items = embeddings.select("item_id", "embedding", schemas.group(column))
    return items.join(F.broadcast(table), items["group"].eqNullSafe(table["group"]), how="inner").select(
        "item_id",
        "embedding",
        (F.col("first") + F.pmod(F.xxhash64("item_id"), F.col("buckets"))).cast("int").alias("shard"),
    )


def _build_shard(name: str, rows: pa.Table, folders: Folders, trees: int, seed: int) -> annoy_index.ShardFile:
    """Write the shard's three files, whole or not at all: a task may run twice, and at the same time."""
    order = pc.sort_indices(rows["item_id"])
    ids = rows["item_id"].combine_chunks().take(order)
    lists = rows["embedding"].combine_chunks()
    vectors = lists.flatten().to_numpy().reshape(len(lists), -1)[order.to_numpy()]
    attempt = folders.work / f"{name}.{secrets.token_hex(4)}"
    attempt.mkdir()
    annoy_part, items_part, vectors_part = (attempt / part for part in ("ann", "items.parquet", "vectors.npy"))
    file = annoy_index.build(annoy_part, vectors, trees, seed)
    annoy_index.load(annoy_part, file).unload()  # it opens and is whole
    positions = pa.array(np.arange(len(ids), dtype=np.int32))
    pq.write_table(pa.table({"position": positions, "item_id": ids}), items_part, compression="zstd")
    np.save(vectors_part, vectors)
    os.replace(annoy_part, folders.annoy(name))
    os.replace(items_part, folders.items(name))
    os.replace(vectors_part, folders.vectors(name))
    attempt.rmdir()
    return file


def _manifest(built: list[BuiltShard], settings: config.Settings) -> dict[str, Any]:
    return {
        "metric": annoy_index.METRIC,
        "dimensions": built[0].file.dimensions if built else None,
        "trees": settings.index.trees,
        "seed": settings.index.seed,
        "group_by": settings.similar.group_by,
        "shards": [
            {
                "file": f"{b.shard.name}.ann",
                "items_file": f"{b.shard.name}.items.parquet",
                "group": b.shard.group,
                "items": b.file.items,
                "bytes": b.file.bytes,
                "sha256": b.file.sha256,
            }
            for b in built
        ],
    }
