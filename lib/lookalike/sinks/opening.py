"""The sinks that the settings name. A library of a sink that is not asked for is not imported."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial

from pyspark.sql import SparkSession

from lookalike import config
from lookalike.sinks.base import Sink
from lookalike.sinks.views import OpenSpark, Views
from lookalike.warehouse.local import Warehouse


def check(settings: config.Settings, warehouse: Warehouse) -> None:
    """Raise ConfigError for a sink that cannot be; nothing is asked yet."""

    def no_session() -> AbstractContextManager[SparkSession]:
        raise AssertionError("a check publishes nothing")

    open_sinks(settings, warehouse, no_session)


def open_sinks(settings: config.Settings, warehouse: Warehouse, open_spark: OpenSpark) -> list[Sink]:
    """Return the sinks in the order in which they are published; raises ConfigError for what cannot be."""
    asked, sinks = settings.publish, list[Sink]()
    if asked.delta:
        from lookalike.sinks.delta import DeltaTables

        sinks.append(DeltaTables())
    if asked.iceberg is not None:
        from lookalike.sinks import iceberg, iceberg_catalog

        found = iceberg_catalog.properties(settings, warehouse)
        opened = partial(iceberg_catalog.open_catalog, found, warehouse)
        namespace, own = iceberg_catalog.namespace(asked.iceberg), iceberg_catalog.is_own(settings)
        sinks.append(iceberg.IcebergTables(warehouse, namespace, opened, own=own))
    if asked.duckdb:
        from lookalike.sinks.duckdb import DuckDBFile

        sinks.append(DuckDBFile(warehouse, settings))
    if asked.catalog:
        sinks.append(Views(warehouse, settings, open_spark))
    if asked.metrics:
        from lookalike.sinks.metrics import Metrics

        sinks.append(Metrics(warehouse, asked.metrics))
    return sinks
