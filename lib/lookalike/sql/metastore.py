"""Point the SQL views to a release: in the session's metastore, or else in a Derby database in the warehouse."""

from __future__ import annotations

import re
from pathlib import Path

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.catalogue.objects import kind_for_sql
from lookalike.errors import ConfigError, ViewsError
from lookalike.sql import views
from lookalike.storage.files import write_atomic
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder

_CONNECTION = "spark.hadoop.javax.jdo.option.ConnectionURL"


def session_settings(warehouse: Warehouse) -> dict[str, str]:
    """Return the Spark settings of a session that uses the warehouse's own metastore; raises ConfigError."""
    if ";" in str(warehouse.path):
        raise ConfigError(
            f"publish.catalog: Derby takes no ';' in the path {warehouse.path}; move the warehouse, or give Spark a "
            "metastore, with spark.sql.catalogImplementation=hive"
        )
    return {
        "spark.sql.catalogImplementation": "hive",
        "spark.sql.warehouse.dir": f"file://{_folder(warehouse) / 'tables'}",
        _CONNECTION: f"jdbc:derby:;databaseName={_folder(warehouse) / 'metastore'};create=true",
        # With Hive's 10 attempts, 2 s apart, a session hangs for a minute when another process has Derby open.
        "spark.hadoop.hive.hmshandler.retry.attempts": "1",
        # Else Hive runs chgrp and chmod on the folder of a database, and takes its name for a pattern.
        "spark.hadoop.hive.warehouse.subdir.inherit.perms": "false",
    }


def silence_derby(spark: SparkSession) -> None:
    """Keep Derby from writing derby.log into the working directory; must be called before it starts."""
    assert spark._jvm is not None
    spark._jvm.java.lang.System.setProperty("derby.stream.error.file", "/dev/null")


def point_to(spark: SparkSession, warehouse: Warehouse, release: ReleaseFolder, settings: config.Settings) -> None:
    """Make the views of `publish.catalog` show the release, which is current; raises ViewsError.

    Needs the lock. A release that the views may show is written down first, so that no clean-up removes it.
    """
    database = settings.publish.catalog
    assert database is not None
    before = warehouse.shown.get(database, [])
    copy = warehouse.fetch(release)
    try:
        warehouse.write_shown(database, [copy.release_id, *before])
        _write_reader_settings(spark, warehouse)
        spark.sql(f"CREATE DATABASE IF NOT EXISTS `{database}`")
        pointer = views.pointer(copy, copy.record().config.similar.k)
        for view in (pointer, *views.readers(database, views.LiveCatalogue.of(settings, kind_for_sql(settings)))):
            spark.sql(view.statement(database))
        warehouse.write_shown(database, [copy.release_id])
    except (PySparkException, Py4JError, OSError) as error:
        reason = _reason(error, warehouse)
        raise ViewsError(f"not all views of the database '{database}' show it: {reason}") from None


def _folder(warehouse: Warehouse) -> Path:
    return warehouse.path / "catalog"


def _write_reader_settings(spark: SparkSession, warehouse: Warehouse) -> None:
    """Write the settings with which another session finds the views: a file for spark-submit and spark-sql."""
    ours = session_settings(warehouse)
    if spark.sparkContext.getConf().get(_CONNECTION) != ours[_CONNECTION]:
        return  # the session's own metastore
    ours[_CONNECTION] = ours[_CONNECTION].removesuffix(";create=true")
    ours["spark.driver.extraJavaOptions"] = "-Dderby.stream.error.file=/dev/null"
    lines = (f"{key} {value.replace(chr(92), 2 * chr(92))}\n" for key, value in ours.items())
    _folder(warehouse).mkdir(exist_ok=True)
    write_atomic(_folder(warehouse) / "spark.conf", "".join(lines).encode())


def _reason(error: Exception, warehouse: Warehouse) -> str:
    """Return what to repair first."""
    # Hive's exception says only that a class has no instance; its stack trace has the cause.
    trace = f"{error} {getattr(error, '_stackTrace', '')}"
    if "XSDB6" in trace:
        return f"another process has the metastore {_folder(warehouse)} open, which lets in one at a time; end it"
    if isinstance(error, PySparkException):
        first = str(error.getMessage() or error).strip().splitlines()[0]
        return re.sub(r"\s*SQLSTATE: \w+$", "", first).rstrip(".")
    if isinstance(error, OSError):
        return f"{error.filename or warehouse.path} cannot be written ({error.strerror})"
    return str(error.java_exception) if isinstance(error, Py4JJavaError) else str(error)
