"""A small table of embeddings in groups, for the tests of the index."""

from __future__ import annotations

import numpy as np
from pyspark.sql import DataFrame, SparkSession

DIMENSIONS = 16


def embeddings(spark: SparkSession, groups: list[str | None], seed: int = 3) -> DataFrame:
    """Random unit vectors, one item for each entry of `groups`, in an order that is not the ids'."""
    vectors = np.random.default_rng(seed).normal(size=(len(groups), DIMENSIONS))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = [
        (f"item-{n:03d}", vector.tolist(), group) for n, (vector, group) in enumerate(zip(vectors, groups, strict=True))
    ]
    return spark.createDataFrame(rows[::-1], "item_id string, embedding array<float>, kind string").repartition(3)
