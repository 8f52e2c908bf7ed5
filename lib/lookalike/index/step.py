"""The index step on Spark: every shard is built by one task, in parallel on the executors, and listed in a manifest.

A shard's task also leaves its unit vectors as `<shard>.npy` in the work folder: the neighbour search reads them.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, LongType, StringType, StructField, StructType

from lookalike import config
from lookalike.errors import ManifestError, ShardError
from lookalike.index import annoy as annoy_index
from lookalike.index import manifest
from lookalike.index.layout import IndexLayout
from lookalike.index.sharding import PlannedShard, plan_shards
from lookalike.spark import schemas
from lookalike.storage import files
from lookalike.warehouse.release import ReleaseFolder, Staged

_BUILT = StructType(
    [
        StructField("number", LongType()),
        StructField("items", LongType()),
        StructField("candidates", LongType()),
        StructField("dimensions", LongType()),
        StructField("bytes", LongType()),
        StructField("sha256", StringType()),
        StructField("golden", StringType()),  # JSON: of an empty list, Arrow would not know the type
        StructField("content", StringType()),
        StructField("ids_sha256", StringType()),
        StructField("taken_over", BooleanType()),
    ]
)


@dataclass(frozen=True)
class BuiltShard:
    """A shard and its file; `content` is the SHA-256 of its ids and vectors, `ids_sha256` of the ids alone.

    `candidates` is how many of its items may be recommended.
    """

    shard: PlannedShard
    file: annoy_index.ShardFile
    content: str
    ids_sha256: str
    candidates: int
    taken_over: bool  # from the previous release, rather than built


@dataclass(frozen=True)
class BuiltIndex:
    """What the index step left: the items it was made of, its shards, and where their files are."""

    items: DataFrame
    shards: list[BuiltShard]
    folders: IndexLayout

    @property
    def dimensions(self) -> int:
        """Of all its vectors; 1 where there are none."""
        return self.shards[0].file.dimensions if self.shards else 1


@dataclass(frozen=True)
class ShardCounts:
    """How many shards were built, and how many taken over from the current release."""

    built: int
    taken_over: int

    @classmethod
    def of(cls, shards: list[BuiltShard]) -> ShardCounts:
        """Count them."""
        taken_over = sum(shard.taken_over for shard in shards)
        return cls(len(shards) - taken_over, taken_over)


def reuse_index(previous: ReleaseFolder, staged: Staged) -> ShardCounts:
    """The index of another release as this one's."""
    staged.link_folder(previous.index)
    return ShardCounts(0, len(list(staged.index.glob("*.ann"))))


def plan(embeddings: DataFrame, settings: config.Settings) -> list[PlannedShard]:
    """The shards for these embeddings."""
    column = settings.similar.group_by
    if column is None:
        return plan_shards([(None, embeddings.count())], settings.index.shard_items)
    counts = embeddings.groupBy(schemas.group(column)).count().collect()
    return plan_shards([(row["group"], row["count"]) for row in counts], settings.index.shard_items)


def build(
    items: DataFrame,
    shards: list[PlannedShard],
    folders: IndexLayout,
    settings: config.Settings,
    previous: ReleaseFolder | None = None,
) -> list[BuiltShard]:
    """Build every shard into `folders` and write index.json; shards that no item fell into are left out.

    `items` are embeddings with the columns of rules.py, and whatever else the neighbour search needs of a row.
    A shard whose items and vectors are those of one of the release `previous` takes over its files.
    """
    folders.index.mkdir(parents=True, exist_ok=True)
    folders.work.mkdir(parents=True, exist_ok=True)
    names = {shard.number: shard.name for shard in shards}
    builder = _ShardBuilder(folders, settings.index.trees, settings.index.seed, _known_shards(previous, settings))

    def build_shard(rows: pa.Table) -> pa.Table:
        number = rows["shard"][0].as_py()
        made = {"number": number, **builder.build(names[number], rows)}
        return pa.Table.from_pylist([made]).select(_BUILT.names)

    wanted = ["embedding", *(name for name in items.columns if name in schemas.ROW_COLUMNS)]
    rows = with_shard(items, shards, settings.similar.group_by, wanted)
    # A fixed number of partitions is not coalesced by adaptive execution, which would judge by bytes, not by work.
    tasks = min(max(1, len(shards)), 16 * items.sparkSession.sparkContext.defaultParallelism)
    built = rows.repartition(tasks, "shard").groupBy("shard").applyInArrow(build_shard, _BUILT).collect()
    by_number = {shard.number: shard for shard in shards}
    result = [
        BuiltShard(
            by_number[row["number"]],
            _file(row),
            row["content"],
            row["ids_sha256"],
            row["candidates"],
            row["taken_over"],
        )
        for row in sorted(built, key=lambda row: row["number"])
    ]
    manifest.write(_manifest(result, settings), folders.index)
    return result


def _file(row: Row) -> annoy_index.ShardFile:
    golden = json.loads(row["golden"])
    question = annoy_index.GoldenQuery(golden["position"], tuple(golden["neighbours"]), tuple(golden["distances"]))
    return annoy_index.ShardFile(row["items"], row["dimensions"], row["bytes"], row["sha256"], question)


def with_shard(items: DataFrame, shards: list[PlannedShard], group_by: str | None, columns: Sequence[str]) -> DataFrame:
    """item_id, some columns, and the number of the item's shard: first of its group, plus a hash of the id."""
    firsts = [(shard.group, shard.number, shard.buckets) for shard in shards if shard.bucket == 0]
    table = items.sparkSession.createDataFrame(firsts, "group string, first int, buckets int")
    rows = items.select("item_id", *columns, schemas.group(group_by))
    return rows.join(F.broadcast(table), rows["group"].eqNullSafe(table["group"]), how="inner").select(
        "item_id",
        *columns,
        (F.col("first") + F.pmod(F.xxhash64("item_id"), F.col("buckets"))).cast("int").alias("shard"),
    )


@dataclass(frozen=True)
class _ShardBuilder:
    """Builds shards inside a task, or takes over those of `known`: content -> (.ann file, its facts)."""

    folders: IndexLayout
    trees: int
    seed: int
    known: dict[str, tuple[Path, annoy_index.ShardFile]]

    def build(self, name: str, rows: pa.Table) -> dict[str, Any]:
        """Write the shard's four files, whole or not at all: a task may run twice, and at the same time.

        Gives a row of _BUILT, but for the number.
        """
        order = pc.sort_indices(rows["item_id"])
        ids = rows["item_id"].combine_chunks().take(order)
        lists = rows["embedding"].combine_chunks()
        vectors = lists.flatten().to_numpy().reshape(len(lists), -1)[order.to_numpy()]
        content = _content(ids, vectors)
        attempt = self.folders.work / f"{name}.{secrets.token_hex(4)}"
        attempt.mkdir()
        annoy_part, items_part, vectors_part, rows_part = (
            attempt / part for part in ("ann", "items.parquet", "vectors.npy", "rows.parquet")
        )
        file = self._take_over(content, annoy_part)
        taken_over = file is not None
        if file is None:
            file = annoy_index.build(annoy_part, vectors, self.trees, self.seed)
            annoy_index.load(annoy_part, file).unload()  # it opens and is whole
        # Written anew always: it is small, and no digest would tell that the previous one is damaged.
        columns = rows.select([name for name in schemas.ROW_COLUMNS if name in rows.column_names]).take(order)
        pq.write_table(columns, rows_part, compression="zstd")
        eligible = _eligible(columns, len(ids))
        pq.write_table(_items(ids, eligible), items_part, compression="zstd")
        np.save(vectors_part, vectors)
        os.replace(annoy_part, self.folders.annoy(name))
        os.replace(items_part, self.folders.items(name))
        os.replace(vectors_part, self.folders.vectors(name))
        os.replace(rows_part, self.folders.rows(name))
        shutil.rmtree(attempt)  # a rename onto another link of the same file leaves both
        golden, ids_sha256 = json.dumps(asdict(file.golden)), manifest.ids_digest(ids.to_pylist())
        return {
            **asdict(file),
            "golden": golden,
            "content": content,
            "ids_sha256": ids_sha256,
            "candidates": int(eligible.sum()),
            "taken_over": taken_over,
        }

    def _take_over(self, content: str, annoy_part: Path) -> annoy_index.ShardFile | None:
        if content not in self.known:
            return None
        annoy_file, file = self.known[content]
        try:
            annoy_index.load(annoy_file, file).unload()
        except (ShardError, OSError):  # damaged since: built anew
            return None
        files.link_or_copy(annoy_file, annoy_part)
        return file


def _eligible(columns: pa.Table, items: int) -> np.ndarray:
    """Whether each item may be recommended; all may where nobody says who."""
    if "rule_eligible" not in columns.column_names:
        return np.ones(items, dtype=bool)
    flags: np.ndarray = columns["rule_eligible"].to_numpy(zero_copy_only=False).astype(bool)
    return flags


def _items(ids: pa.Array, eligible: np.ndarray) -> pa.Table:
    """Ids by position; with the column `eligible` where some item is not."""
    table = pa.table({"position": pa.array(np.arange(len(ids), dtype=np.int32)), "item_id": ids})
    return table if eligible.all() else table.append_column("eligible", pa.array(eligible))


def _content(ids: pa.Array, vectors: np.ndarray) -> str:
    digest = hashlib.sha256(repr(vectors.shape).encode())
    digest.update("\0".join(ids.to_pylist()).encode())  # an id holds no NUL
    digest.update(np.ascontiguousarray(vectors).data)
    return digest.hexdigest()


def _known_shards(
    previous: ReleaseFolder | None, settings: config.Settings
) -> dict[str, tuple[Path, annoy_index.ShardFile]]:
    """The shards of the release `previous` by content; none when they were built otherwise."""
    if previous is None:
        return {}
    try:
        known = manifest.read(previous.index)
    except ManifestError:  # damaged, or of another version: all are built anew
        return {}
    if (known.trees, known.seed) != (settings.index.trees, settings.index.seed):
        return {}
    return {shard.content: (previous.index / shard.file, known.file(shard)) for shard in known.shards}


def _manifest(built: list[BuiltShard], settings: config.Settings) -> manifest.Manifest:
    return manifest.Manifest(
        dimensions=built[0].file.dimensions if built else None,
        trees=settings.index.trees,
        seed=settings.index.seed,
        group_by=settings.similar.group_by,
        shards=tuple(
            manifest.ManifestShard(
                file=f"{b.shard.name}.ann",
                items_file=f"{b.shard.name}.items.parquet",
                group=b.shard.group,
                items=b.file.items,
                bytes=b.file.bytes,
                sha256=b.file.sha256,
                content=b.content,
                ids_sha256=b.ids_sha256,
                golden=b.file.golden,
            )
            for b in built
        ),
    )
