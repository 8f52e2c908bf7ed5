"""Run a function of a number on Spark, in one task for each number."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType
from threadpoolctl import threadpool_limits

from lookalike.spark import worker


def run_tasks(
    spark: SparkSession, count: int, work: Callable[[int], Iterable[pa.RecordBatch]], schema: StructType | str
) -> DataFrame:
    """Return the rows that `work` yields for each number below `count`, in one task for each number."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        worker.without_pandas()
        with threadpool_limits(1, "blas"):  # Spark runs one task a core already
            for batch in batches:
                for number in batch["id"].to_pylist():
                    yield from work(number)

    return spark.range(0, count, numPartitions=max(1, count)).mapInArrow(run, schema)


def collect_tasks(spark: SparkSession, count: int, work: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the results of `work` for each number below `count`, in order; they come to the driver as JSON."""
    if not count:
        return []

    def found(number: int) -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"number": pa.array([number]), "found": pa.array([json.dumps(work(number))])})

    rows = run_tasks(spark, count, found, "number long, found string").collect()
    return [json.loads(row["found"]) for row in sorted(rows, key=lambda row: row["number"])]


def count_tasks(pictures: int, per_task: int, cores: int) -> int:
    """Return the number of tasks for about `per_task` pictures each: a multiple of the cores, to end together."""
    rounds = max(1, round(pictures / (per_task * cores)))
    return max(1, min(pictures, rounds * cores))
