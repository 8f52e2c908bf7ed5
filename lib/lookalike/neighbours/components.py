"""Connected components of pairs of ids: the items that show one picture, directly or through others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from lookalike.knn.duplicate_pairs import connect
from lookalike.spark import parquet
from lookalike.topk.items import as_ids, as_text
from lookalike.warehouse.shared_files import SharedFiles

# Pairs that the driver takes, some 40 bytes each. On Spark each round is two queries, and few pairs take two rounds and
# more: of 278 items in small groups, these were half of the time of the search.
ON_DRIVER = 500_000


def connected_components(pairs: DataFrame, folder: Path, shared: SharedFiles) -> DataFrame:
    """Return item_id and component (the smallest item_id in it) of every item in a pair (a, b).

    Few pairs are connected on the driver, more on Spark, which writes into `folder`.
    """
    few = pairs.where("a != b").select("a", "b").limit(ON_DRIVER + 1).toArrow()
    if len(few) > ON_DRIVER:
        return _connect_on_spark(pairs, folder, shared)
    ids, ends = np.unique(np.concatenate([as_ids(few["a"]), as_ids(few["b"])]), return_inverse=True)
    found = connect(len(ids), *np.split(ends, 2))
    return pairs.sparkSession.createDataFrame(pa.table({"item_id": as_text(ids), "component": as_text(ids[found])}))


def _connect_on_spark(pairs: DataFrame, folder: Path, shared: SharedFiles) -> DataFrame:
    """Alternating large-star and small-star steps: Kiveris et al., Connected Components in MapReduce and Beyond (2014).

    Each round at most doubles the distance that an item sees, so that a chain of a thousand takes some ten.
    """
    edges, before, number = parquet.write_and_read(_downwards(pairs).distinct(), folder / "0", shared), None, 0
    while (now := _digest(edges)) != before:
        before, number = now, number + 1
        edges = parquet.write_and_read(_small_star(_large_star(edges)), folder / str(number), shared)
    ends = edges.select(F.col("a").alias("item_id"), F.col("b").alias("component"))
    return ends.unionByName(edges.select(F.col("b").alias("item_id"), F.col("b").alias("component")).distinct())


def _downwards(pairs: DataFrame) -> DataFrame:
    """The pairs from the greater id to the smaller."""
    return pairs.select(F.greatest("a", "b").alias("a"), F.least("a", "b").alias("b")).where("a != b")


def _large_star(edges: DataFrame) -> DataFrame:
    """Connect every greater neighbour of an item with the smallest of its neighbours and itself."""
    both = edges.unionByName(edges.select(F.col("b").alias("a"), F.col("a").alias("b")))
    least = F.least(F.col("a"), F.min("b").over(Window.partitionBy("a")))
    tied = both.select("a", "b", least.alias("least")).where("b > a").select(F.col("b").alias("a"), "least")
    return tied.withColumnRenamed("least", "b").distinct()


def _small_star(edges: DataFrame) -> DataFrame:
    """Connect every smaller neighbour of an item, and the item, with the smallest of them."""
    least = F.min("b").over(Window.partitionBy("a"))
    stars = edges.select("a", "b", least.alias("least"))
    tied = stars.select("b", "least").unionByName(stars.select(F.col("a").alias("b"), "least"))
    return tied.where("b != least").select(F.col("b").alias("a"), F.col("least").alias("b")).distinct()


def _digest(edges: DataFrame) -> tuple[int, int]:
    """Their number and a hash, which no longer change once all components are found."""
    found = edges.agg(F.count("*").alias("rows"), F.expr("bit_xor(xxhash64(a, b))").alias("hash")).first()
    assert found is not None  # an aggregate without keys has one row
    return found["rows"], found["hash"]
