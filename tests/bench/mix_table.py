"""Mixed vectors as an embeddings table with groups of uneven sizes, and a table of neighbours as rows of vectors."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import mix
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import SparkSession
from pyspark.sql.types import StringType, StructField, StructType

from lookalike.spark import parquet, schemas
from lookalike.warehouse.shared_files import ON_DISK

GROUP = "category"
SCHEMA = StructType([*schemas.EMBEDDINGS, StructField(GROUP, StringType())])

# Rows a batch that leaves a Python worker: 4 MB.
BATCH = 500

# A prime that divides no number of items below it: every place is taken once, and rows of a group are far apart.
STRIDE = 7_368_787

_EMBEDDED = datetime(2026, 1, 1, tzinfo=UTC)
_NAMED = ("item_id", "similar_item_id")


def write(spark: SparkSession, source: Path, sizes: list[int], path: Path) -> None:
    """Write the first vectors of the mix at `source`, a task a block, in groups of `sizes`, whatever they show."""

    def vectors(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        mixed = mix.Mix.load(source)
        for batch in batches:
            for number in batch["id"].to_pylist():
                yield from block(mixed, number, sizes)

    blocks = -(-sum(sizes) // mix.BLOCK)
    parquet.write(spark.range(blocks, numPartitions=blocks).mapInArrow(vectors, SCHEMA), path, ON_DISK)


def block(mixed: mix.Mix, number: int, sizes: list[int]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of one block of the mix."""
    start = number * mix.BLOCK
    vectors = mixed.block(number)[: sum(sizes) - start]
    for first in range(0, len(vectors), BATCH):
        part = vectors[first : first + BATCH]
        yield as_batch(part, np.arange(start + first, start + first + len(part)), sizes)


def zipf_sizes(items: int, groups: int, largest: int) -> list[int]:
    """Return sizes that add up to `items`: the n-th largest is largest / n**s, with the s that fits."""
    ranks = np.arange(1, groups + 1)
    low, high = 0.0, 20.0
    for _ in range(60):
        s = (low + high) / 2
        low, high = (s, high) if (largest / ranks**s).sum() > items else (low, s)
    edges = np.rint(np.cumsum(largest / ranks**low)).astype(int)
    edges[-1] = items
    return np.diff(edges, prepend=0).tolist()


def groups(numbers: NDArray[np.int64], sizes: list[int]) -> list[str]:
    """Return the group of each row, so that the groups have these `sizes`."""
    places = numbers * STRIDE % sum(sizes)
    return [f"group-{number:03d}" for number in np.searchsorted(np.cumsum(sizes), places, side="right")]


def item_ids(numbers: NDArray[np.int64]) -> list[str]:
    """Return ids that ascend with the rows."""
    return [f"item-{row:07d}" for row in numbers]


def rows(ids: NDArray[np.bytes_]) -> NDArray[np.int32]:
    """Return the rows that ids name, in an array of the same shape."""
    return np.char.replace(ids, b"item-", b"").astype(np.int32)


def neighbours(table: Path, items: int, k: int) -> NDArray[np.int32]:
    """Return a similar_items table as rows [n, k], -1 where an item has fewer."""
    found = pq.read_table(table, columns=["item_id", "rank", "similar_item_id"])
    of, named = (rows(np.array(found[name].cast(pa.binary()).to_pylist(), dtype=np.bytes_)) for name in _NAMED)
    best = np.full((items, k), -1, dtype=np.int32)
    best[of, found["rank"].to_numpy() - 1] = named
    return best


def as_batch(vectors: mix.Vectors, numbers: NDArray[np.int64], sizes: list[int], night: int = 0) -> pa.RecordBatch:
    """The rows `numbers` with their vectors, and with pictures of their own each night."""
    count, dimensions = vectors.shape
    ids = item_ids(numbers)
    pictures = [f"{name}-{night}" for name in ids]
    side = pa.array(np.full(count, 224, dtype=np.int32))
    columns = {
        "item_id": ids,
        "image_path": [f"images/{name}.jpg" for name in pictures],
        "fingerprint": pictures,
        "image_hash": pictures,
        "model_id": ["mixed"] * count,
        "embedding": pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32) * dimensions, vectors.ravel()),
        "norm": pa.array(np.ones(count, dtype=np.float32)),
        "width": side,
        "height": side,
        "fixes": pa.array([[]] * count, pa.list_(pa.string())),
        "embedded_at": pa.array([_EMBEDDED] * count, pa.timestamp("us", tz="UTC")),
        GROUP: groups(numbers, sizes),
    }
    return pa.record_batch(columns)
