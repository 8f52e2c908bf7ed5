"""The SQL views of Spark's catalog, which need a session."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from pyspark.sql import SparkSession

from lookalike import config
from lookalike.sinks.base import Sink
from lookalike.sql import metastore
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder

OpenSpark = Callable[[], AbstractContextManager[SparkSession]]


class Views(Sink):
    """The views of one database."""

    def __init__(self, warehouse: Warehouse, settings: config.Settings, open_spark: OpenSpark) -> None:
        self.name = f"views of the database {settings.publish.catalog}"
        self._warehouse, self._settings, self._open_spark = warehouse, settings, open_spark

    def publish(self, release: ReleaseFolder) -> None:
        """Point the views to the release."""
        with self._open_spark() as spark:
            metastore.point_to(spark, self._warehouse, release, self._settings)
