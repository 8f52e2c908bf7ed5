"""Run a function of a number on Spark, in one task for each number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType
from threadpoolctl import threadpool_limits

from lookalike.spark import shared_folder, worker

S = TypeVar("S")
T = TypeVar("T")

# Few enough to cost little, and enough that cores end together when some are slower.
TASKS_A_CORE = 4


@contextmanager
def beside(spark: SparkSession, work: Callable[[], T]) -> Iterator[Future[T]]:
    """Run `work`, which starts jobs, beside what is done in the context; an error of the context ends its jobs.

    Its jobs and those of the context take turns, where Spark otherwise runs first what came first.
    """

    def in_turns() -> T:
        spark.sparkContext.setLocalProperty("spark.scheduler.pool", "beside")  # of this thread
        return work()

    with ThreadPoolExecutor(1, thread_name_prefix="beside") as pool:
        running = pool.submit(in_turns)
        try:
            yield running
        except BaseException:
            while not running.done():  # it may be about to start one
                spark.sparkContext.cancelAllJobs()
                wait([running], 0.1)
            raise


def run_tasks(
    spark: SparkSession, count: int, work: Callable[[int], Iterable[pa.RecordBatch]], schema: StructType | str
) -> DataFrame:
    """Return the rows that `work` yields for each number below `count`, in one task for each number."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        worker.start_task()
        with threadpool_limits(1, "blas"):  # Spark runs one task a core already
            for batch in batches:
                for number in batch["id"].to_pylist():
                    yield from work(number)

    return spark.range(0, count, numPartitions=max(1, count)).mapInArrow(run, schema)


def collect_tasks(spark: SparkSession, count: int, work: Callable[[int], T]) -> list[T]:
    """Return the results of `work` for each number below `count`, in order.

    No query, which would take 0.15 s of a core to plan.
    """
    if not count:
        return []
    expected = shared_folder.of_session(spark)

    def run(number: int) -> T:
        worker.start_task(expected)
        with threadpool_limits(1, "blas"):
            return work(number)

    return spark.sparkContext.parallelize(range(count), count).map(run).collect()


def map_tasks(spark: SparkSession, things: Sequence[S], work: Callable[[S], T]) -> list[T]:
    """Return the results of `work` for each thing, in order: several things to a task, those that follow to others."""
    count = min(len(things), TASKS_A_CORE * spark.sparkContext.defaultParallelism)
    found = collect_tasks(spark, count, lambda number: [work(one) for one in things[number::count]])
    return [found[at % count][at // count] for at in range(len(things))]


def count_tasks(pictures: int, per_task: int, cores: int) -> int:
    """Return the number of tasks for about `per_task` pictures each: a multiple of the cores, to end together."""
    rounds = max(1, round(pictures / (per_task * cores)))
    return max(1, min(pictures, rounds * cores))
