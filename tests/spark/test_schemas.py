"""Columns that Spark compares."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    DoubleType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from lookalike.spark import schemas

FIELDS = {"moment": TimestampType(), "local": TimestampNTZType(), "size": DoubleType()}
MAP = MapType(StringType(), StructType([StructField(name, kind) for name, kind in FIELDS.items()]))
TIMES = [datetime(2026, 11, 1, 2, 15, 0, microsecond) for microsecond in (0, 123456, 123457)]  # noqa: DTZ001


def test_maps_are_equal_where_all_their_values_are(spark: SparkSession) -> None:
    """Also times that differ by a microsecond, and nulls."""
    moments: list[Any] = [{"a": (time, None, None)} for time in TIMES]
    local: list[Any] = [{"a": (None, time, None)} for time in TIMES]
    sizes: list[Any] = [{"a": (None, None, size)} for size in (None, 0.1, float("nan"))]
    values = [None, {}, {"a": None}, *moments, *local, *sizes]
    rows = spark.createDataFrame([(one,) for one in 2 * values], StructType([StructField("value", MAP)]))
    compared = rows.select(schemas.comparable(F.col("value"), MAP)).collect()
    assert compared[: len(values)] == compared[len(values) :]
    assert len(set(compared)) == len(values)
