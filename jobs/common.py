"""What the jobs share: arguments, the Spark session, and how a failure leaves the process."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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
    try:
        settings = config.load(options.config, options.set)
        with _session(Path(parser.prog).stem) as spark:
            job(spark, settings, options)
    except LookalikeError as error:
        say(f"{type(error).__name__}: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        say("stopped; nothing was published")
        return 130
    return 0


@contextmanager
def _session(name: str) -> Iterator[SparkSession]:
    """A Spark session for one job; master and resources are spark-submit's to say."""
    spark = SparkSession.builder.appName(f"lookalike-{name}").config(map=SESSION).getOrCreate()
    try:
        yield spark
    finally:
        spark.stop()
