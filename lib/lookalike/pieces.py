"""Work by the piece on Spark: a function of a number, in a task of its own for each number."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType
from threadpoolctl import threadpool_limits

from lookalike import objects
from lookalike.errors import WarehouseError
from lookalike.progress import say


def over_numbers(
    spark: SparkSession, count: int, work: Callable[[int], Iterable[pa.RecordBatch]], schema: StructType | str
) -> DataFrame:
    """The rows that `work` gives for each number below `count`, a task for each."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with threadpool_limits(1, "blas"):  # Spark runs one task a core already
            for batch in batches:
                for number in batch["id"].to_pylist():
                    yield from work(number)

    return spark.range(0, count, numPartitions=max(1, count)).mapInArrow(run, schema)


def each(spark: SparkSession, count: int, work: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
    """What `work` gives for each number below `count`, in order; all of it comes to the driver, as JSON."""
    if not count:
        return []

    def found(number: int) -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"number": pa.array([number]), "found": pa.array([json.dumps(work(number))])})

    rows = over_numbers(spark, count, found, "number long, found string").collect()
    return [json.loads(row["found"]) for row in sorted(rows, key=lambda row: row["number"])]


def mover(spark: SparkSession) -> objects.Mover:
    """Makes transfers on the executors, so that no table passes through the driver."""

    def move(transfers: Sequence[objects.Transfer]) -> None:
        if not transfers:
            return
        first, size = transfers[0], sum(one.size for one in transfers)
        direction = "to" if first.up else "from"
        say(f"          {len(transfers):,} files, {size / 1e6:,.1f} MB {direction} {first.prefix.uri}")
        cut = max(1, min(len(transfers), 4 * spark.sparkContext.defaultParallelism))
        parts = [list(transfers[start::cut]) for start in range(cut)]
        for found in each(spark, cut, lambda number: _moved(parts[number])):
            if "error" in found:
                raise WarehouseError(found["error"])
        _check_seen([one for one in transfers if not one.up])

    return move


def _moved(transfers: Sequence[objects.Transfer]) -> dict[str, Any]:
    """In a task: what went wrong, if anything, since an error would come back as a stack trace."""
    try:
        _check_seen([one for one in transfers if one.up])
        objects.move(transfers)
    except WarehouseError as error:
        return {"error": str(error)}
    return {}


def _check_seen(transfers: Sequence[objects.Transfer]) -> None:
    for one in transfers:
        if not one.path.is_file():
            raise WarehouseError(
                f"warehouse.mirror: {one.path}, which another machine has written, is not seen on "
                f"{socket.gethostname()}; give a folder that all machines of the cluster share"
            )
