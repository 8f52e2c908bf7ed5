"""Items with random vectors, and lists of neighbours as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

from support.brute_force import Neighbours, brute_force
from support.staging import read_table


@dataclass(frozen=True)
class Items:
    """Unit vectors by item id, with their groups."""

    vectors: Mapping[str, np.ndarray]
    groups: Mapping[str, str | None]

    def embeddings(self, spark: SparkSession, partitions: int = 3) -> DataFrame:
        rows = [(item, vector.tolist(), 1.0, self.groups[item]) for item, vector in self.vectors.items()]
        schema = "item_id string, embedding array<float>, norm float, kind string"
        return spark.createDataFrame(rows, schema).repartition(partitions)

    def neighbours(self, k: int) -> Neighbours:
        return brute_force(self.vectors, self.groups, k)

    def score(self, one: str, other: str) -> float:
        return float(self.vectors[one].astype(float) @ self.vectors[other].astype(float))


def random_items(n: int, groups: Sequence[str | None] = (None,), copies: int = 1) -> Items:
    """`n` items over `groups` in turn; each picture occurs `copies` times."""
    vectors = np.random.default_rng(n).normal(size=(n, 16)).astype(np.float32)
    vectors = np.repeat(vectors[: -(-n // copies)], copies, axis=0)[:n]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [f"i{number:03d}" for number in range(n)]
    return Items(dict(zip(ids, vectors, strict=True)), {item: groups[i % len(groups)] for i, item in enumerate(ids)})


def as_table(spark: SparkSession, neighbours: Neighbours) -> DataFrame:
    rows = [
        (item, rank, other, score, "r")
        for item, listed in neighbours.items()
        for rank, (other, score) in enumerate(listed, 1)
    ]
    return spark.createDataFrame(
        rows, "item_id string, rank int, similar_item_id string, score float, release_id string"
    )


def stored(frame: DataFrame, folder: Path, files: int = 3, row_group: int = 7) -> DataFrame:
    """Return the table as it is read from a new folder of Parquet files, with several row groups in each."""
    table, path = frame.toArrow(), Path(mkdtemp(dir=folder))
    size = max(1, -(-len(table) // files))
    for number in range(files):
        pq.write_table(table.slice(number * size, size), path / f"{number}.parquet", row_group_size=row_group)
    return read_table(frame.sparkSession, path, frame.schema)
