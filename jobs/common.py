"""What the jobs share: arguments, the Spark session, and how a failure leaves the process."""

from __future__ import annotations

import argparse
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.errors import LookalikeError
from lookalike.progress import say

SESSION: dict[str, bool | float | int | str | None] = {
    # Timestamps in the tables mean the same on every machine.
    "spark.sql.session.timeZone": "UTC",
    # Embeddings are 8 KiB a row: by rows alone, Spark's default of 10,000 makes 80 MiB batches in every Python
    # worker.
    "spark.sql.execution.arrow.maxBytesPerBatch": "16m",
    # pandas writes timestamps in nanoseconds, which Spark otherwise refuses, even in a column nobody asked for.
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    # An item id in a folder's name, item_id=01, is not the number 1.
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
}


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every job has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", required=True, type=Path, help="YAML file of settings, see conf/")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one key of the file, for example --set similar.k=10; may be repeated",
    )
    return parser


Job = Callable[[SparkSession, config.Settings, argparse.Namespace], None]


def run(job: Job, parser: argparse.ArgumentParser) -> int:
    """Run `job` in a session of its own; the exit code: 0 done, 2 bad input, 3 refused by a gate.

    Anything else is a defect of ours or of the cluster, and keeps its stack trace.
    """
    options = parser.parse_args()
    stopped: list[int] = []
    try:
        settings = config.load(options.config, options.set)
        with _session(Path(parser.prog).stem) as spark:
            _listen(stopped)
            job(spark, settings, options)
    except LookalikeError as error:
        say(f"{type(error).__name__}: {' '.join(str(error).split())}")
        return error.exit_code
    except BaseException:
        if not stopped:
            raise
    if stopped:  # also where the JVM, which got the signal too, was gone before Python noticed
        say(f"stopped by {signal.Signals(stopped[0]).name}")
        return 128 + stopped[0]
    return 0


def _listen(stopped: list[int]) -> None:
    """Let SIGINT and SIGTERM end the job as an exception does, so that what it staged is removed."""

    def stop(number: int, _frame: object) -> None:
        stopped.append(number)
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_IGN)  # the clean-up is under way
        raise KeyboardInterrupt

    logging.getLogger("py4j").setLevel(logging.CRITICAL + 1)  # it logs a stack for the connection that is gone
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, stop)


@contextmanager
def _session(name: str) -> Iterator[SparkSession]:
    """A Spark session for one job; master and resources are spark-submit's to say."""
    spark = SparkSession.builder.appName(f"lookalike-{name}").config(map=SESSION).getOrCreate()
    try:
        yield spark
    finally:
        with suppress(Py4JError, ConnectionError):  # the JVM may have got the signal that stopped us
            spark.stop()
