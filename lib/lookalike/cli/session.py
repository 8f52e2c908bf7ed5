"""The Spark session of one command: started by spark-submit, or by the command itself with the project's settings."""

from __future__ import annotations

import atexit
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pyspark
from py4j.protocol import Py4JError, Py4JJavaError
from pyspark import SparkConf, SparkContext
from pyspark.core import broadcast
from pyspark.errors import PySparkRuntimeError
from pyspark.logger import PySparkLogger
from pyspark.sql import SparkSession

import lookalike.spark
from lookalike import config
from lookalike.cli import utf8
from lookalike.errors import SessionError
from lookalike.spark import names, parallelism, shared_folder
from lookalike.sql import metastore
from lookalike.warehouse import opening
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder

SESSION: dict[str, bool | float | int | str | None] = {
    # Timestamps in the tables mean the same on every machine.
    "spark.sql.session.timeZone": "UTC",
    # Spark's own, INT96, is nanoseconds in most readers: 9999-12-31 was 1816-03-29 in pandas.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # Embeddings are 8 KiB a row: by rows alone, Spark's default of 10,000 makes 80 MiB batches in every Python
    # worker.
    "spark.sql.execution.arrow.maxBytesPerBatch": "16m",
    # A worker's threads read whole pictures. Without this, glibc keeps what they give back in an arena for each.
    "spark.executorEnv.MALLOC_ARENA_MAX": "2",
    # pandas writes timestamps in nanoseconds, which Spark otherwise refuses, even in a column nobody asked for.
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    # As in a query's workers: else those of a job that is none would be others, which import everything again.
    "spark.executorEnv.SPARK_SIMPLIFIED_TRACEBACK": "1",
    # Jobs that run at the same time share the cores, see spark.tasks.beside.
    "spark.scheduler.mode": "FAIR",
    # Whatever the locale of a worker, its names of files are UTF-8.
    "spark.executorEnv.PYTHONUTF8": "1",
    # More than 32 files or folders are listed by a job, else of a task each: 150 took 1.6 s on two cores, 8 tasks 0.1.
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "32",
    # Else each operation on a column asks Java four times, to tell in an error which line of ours it came from: a third
    # of the driver's Python in a small night.
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    "spark.sql.dataFrameQueryContext.enabled": "false",
    # An item id in a folder's name, item_id=01, is not the number 1.
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
}

# Spark's settings of this project; its spark-env.sh finds the Java.
SPARK_CONF = Path(lookalike.spark.__path__[0], "conf")


@contextmanager
def session(command: str, settings: config.Settings) -> Iterator[SparkSession]:
    """Start a Spark session for one command, and stop it; raises SessionError when Spark does not start.

    spark-submit decides about master, resources and metastore, where it has started this process.
    """
    _refuse_connect()
    if "PYSPARK_GATEWAY_PORT" not in os.environ:  # else spark-submit has started us
        set_environment()
    silence_stacks()
    ours = signal.getsignal(signal.SIGINT)
    spark = _start(command, settings)
    signal.signal(signal.SIGINT, ours)  # Spark has put its own in the place
    if settings.publish.catalog:
        metastore.silence_derby(spark)
    # It prints a stack when the JVM is gone.
    spark.sparkContext._accumulatorServer.handle_error = lambda *_: None  # type: ignore[method-assign]
    try:
        _check_names(spark, settings)
        yield spark
    finally:
        with suppress(Py4JError, ConnectionError):  # the JVM may have got the signal that stopped us
            spark.stop()


@contextmanager
def reading_session(command: str, settings: config.Settings, release: ReleaseFolder) -> Iterator[SparkSession]:
    """Start a session that reads a release; raises WarehouseError for a machine of a cluster that does not see it."""
    seen = {} if release.shared.in_store else {"warehouse.path": str(release.root)}
    with session(command, settings) as spark, shared_folder.all_machines(spark, None, seen) as check_executors:
        check_executors()
        yield spark


def _refuse_connect() -> None:
    """Raise SessionError where PySpark would start a session of Spark Connect."""
    if "SPARK_REMOTE" in os.environ:
        raise SessionError(
            "Spark Connect cannot run this job, which uses RDDs; unset SPARK_REMOTE, and submit the job to a master of "
            "Spark classic with spark-submit"
        )


def set_environment() -> None:
    """Set what Spark's scripts read, where the user has not: the project's Spark settings, and this Python for workers.

    A Spark of the user's own, SPARK_HOME, keeps its own settings.
    """
    if "SPARK_HOME" not in os.environ:
        os.environ["SPARK_HOME"] = pyspark.__path__[0]
        os.environ.setdefault("SPARK_CONF_DIR", str(_without_blanks(SPARK_CONF)))
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    utf8.set_locale()


def silence_stacks() -> None:
    """Keep the loggers of Spark's Python from printing stacks: what went wrong is told by the command, in one line."""
    logging.getLogger("py4j").setLevel(logging.CRITICAL + 1)  # it logs a stack for the connection that is gone
    logging.getLogger().addFilter(_not_of_py4j)  # and, past its own logger, one for an interrupted call
    # It prints a stack when the disk is full, and raises the same error.
    setattr(broadcast, "print_exec", lambda _stream: None)  # noqa: B010 - the module does not export it
    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):  # for a wrong predicate, 6 KB of JSON
        PySparkLogger.getLogger(name).setLevel(logging.CRITICAL + 1)


def _without_blanks(folder: Path) -> Path:
    """Return the folder, or a link to it where its path has a blank, which Spark's load-spark-env.sh does not quote."""
    if not re.search(r"\s", str(folder)):
        return folder
    link = Path(tempfile.mkdtemp(prefix="lookalike-"), "conf")
    atexit.register(shutil.rmtree, link.parent, ignore_errors=True)
    link.symlink_to(folder)
    return link


def _start(command: str, settings: config.Settings) -> SparkSession:
    try:
        SparkContext._ensure_initialized()  # else SparkConf knows nothing of what spark-submit was given
        given = dict(SparkConf().getAll())
        own = {**SESSION, **parallelism.session_settings(given), **_metastore(settings, given)}
        return SparkSession.builder.appName(f"lookalike-{command}").config(map=own).getOrCreate()
    except KeyboardInterrupt as error:
        _kill_what_started(error)
        raise
    except (PySparkRuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise SessionError(
            f"Spark does not start ({reason}); it needs Java 17, 21 or 25 and, where SPARK_HOME is set, "
            f"Spark {pyspark.__version__} there"
        ) from None
    except Py4JJavaError as error:  # one of its settings is wrong, or the master does not answer
        reason = " ".join(str(error.java_exception.getMessage()).split())
        raise SessionError(
            f"Spark does not start: {reason}; correct that setting of spark-submit or, where the cluster's master does "
            "not answer, its address"
        ) from None


def _kill_what_started(error: BaseException) -> None:
    """End the JVM that was starting when a signal came: Spark forgets it, and without its parent it stays for ever."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        for value in frame.f_locals.values():
            if isinstance(value, subprocess.Popen):
                value.kill()


def _check_names(spark: SparkSession, settings: config.Settings) -> None:
    """Refuse a warehouse that Java cannot name: its names of files follow the locale that it was started with."""
    folder = str(opening.folder(settings.warehouse))
    encoding = names.java_encoding(spark)
    if not folder.isascii() and not names.is_utf8(encoding):
        raise SessionError(
            f"Java reads names of files as {encoding}, which cannot be {folder}; start the job with LC_ALL=C.UTF-8, or "
            "set warehouse.path, or warehouse.cache, to a folder with an ASCII name"
        )


def _metastore(settings: config.Settings, given: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a metastore for the views; none without views, or where Spark has a metastore already."""
    if not settings.publish.catalog or given.get("spark.sql.catalogImplementation") == "hive":
        return {}
    return metastore.session_settings(Warehouse(str(opening.folder(settings.warehouse))))


def _not_of_py4j(record: logging.LogRecord) -> bool:
    return record.module != "java_gateway"
