"""What the jobs share: arguments, the Spark session, how they print, and how a failure leaves the process."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from lookalike import config, config_file
from lookalike.errors import LookalikeError
from lookalike.progress import say
from lookalike.sql import metastore
from lookalike.warehouse import mirrored
from lookalike.warehouse.local import Warehouse

SESSION: dict[str, bool | float | int | str | None] = {
    # Timestamps in the tables mean the same on every machine.
    "spark.sql.session.timeZone": "UTC",
    # Embeddings are 8 KiB a row: by rows alone, Spark's default of 10,000 makes 80 MiB batches in every Python
    # worker.
    "spark.sql.execution.arrow.maxBytesPerBatch": "16m",
    # A worker's threads read whole pictures. Without this, glibc keeps what they give back in an arena for each.
    "spark.executorEnv.MALLOC_ARENA_MAX": "2",
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


_FULL = os.strerror(errno.ENOSPC)

Job = Callable[[SparkSession, config.Settings, argparse.Namespace], None]
Command = Callable[[config.Settings, argparse.Namespace], None]


def run(job: Job, parser: argparse.ArgumentParser) -> int:
    """Run `job` in a session of its own, and otherwise as `run_command` does."""

    def command(settings: config.Settings, options: argparse.Namespace) -> None:
        with session(Path(parser.prog).stem, settings) as spark:
            job(spark, settings, options)

    return run_command(command, parser)


def run_command(command: Command, parser: argparse.ArgumentParser, words: Sequence[str] | None = None) -> int:
    """Run what needs no Spark, or opens a session itself; the exit code: 0 done, 2 bad input, 3 refused by a gate.

    Anything else is a defect of ours or of the cluster, and keeps its stack trace. `words` are in place of those of
    the command line.
    """
    options = parser.parse_args(words)
    stopped: list[int] = []
    try:
        settings = config_file.load(options.config, options.set)
        with _listening(stopped):
            command(settings, options)
    except LookalikeError as error:
        say(f"{type(error).__name__}: {' '.join(str(error).split())}")
        return error.exit_code
    except BaseException as error:
        if not stopped and _FULL in str(error):  # of the driver, a Python worker or the JVM
            say(f"{_FULL}: where the warehouse or Spark's scratch folder lies; free some and run again")
            return 1
        if not stopped:
            raise
    if stopped:  # also where the JVM, which got the signal too, was gone before Python noticed
        say(f"stopped by {signal.Signals(stopped[0]).name}")
        return 128 + stopped[0]
    return 0


@contextmanager
def session(name: str, settings: config.Settings) -> Iterator[SparkSession]:
    """A Spark session for one job; master and resources are spark-submit's to say, and so is a metastore."""
    ours = signal.getsignal(signal.SIGINT)
    spark = (
        SparkSession.builder.appName(f"lookalike-{name}").config(map={**SESSION, **_catalog(settings)}).getOrCreate()
    )
    signal.signal(signal.SIGINT, ours)  # Spark has put its own in the place
    if settings.publish.catalog:
        metastore.without_log(spark)
    logging.getLogger("py4j").setLevel(logging.CRITICAL + 1)  # it logs a stack for the connection that is gone
    logging.getLogger().addFilter(_not_of_py4j)  # and, past its own logger, one for an interrupted call
    try:
        yield spark
    finally:
        with suppress(Py4JError, ConnectionError):  # the JVM may have got the signal that stopped us
            spark.stop()


def _catalog(settings: config.Settings) -> dict[str, str]:
    """What makes the session keep views: nothing unless some are wanted, or where it has a metastore already."""
    if not settings.publish.catalog:
        return {}
    SparkContext._ensure_initialized()  # else SparkConf knows nothing of what spark-submit was given
    has_one = SparkConf().get("spark.sql.catalogImplementation") == "hive"
    return {} if has_one else metastore.session_settings(Warehouse(str(mirrored.folder(settings.warehouse))))


def _not_of_py4j(record: logging.LogRecord) -> bool:
    return record.module != "java_gateway"


def section(title: str, lines: Iterable[str]) -> None:
    """Print lines under a title."""
    # Control characters of an id or a label must not reach the terminal.
    safe = ("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line) for line in lines)
    print(title, *(f"  {line}" for line in safe), "", sep="\n", flush=True)


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows of cells as lines, each column as wide as its widest cell; a row may be short."""
    columns = max(map(len, rows), default=0)
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(columns)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


@contextmanager
def _listening(stopped: list[int]) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the job as an exception does, so that what it staged is removed."""

    def stop(number: int, _frame: object) -> None:
        stopped.append(number)
        for name in former:
            signal.signal(name, signal.SIG_IGN)  # the clean-up is under way
        raise KeyboardInterrupt

    former = {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for name, handler in former.items():
            signal.signal(name, handler)
