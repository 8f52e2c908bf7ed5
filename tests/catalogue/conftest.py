"""Fixtures of the catalogue's tests."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql.types import StringType

from lookalike.catalogue.read import read_catalogue
from lookalike.catalogue.rows import check_rows
from support.items_table import Build, Items, Read


@pytest.fixture
def read(spark: SparkSession, settings: Build, tmp_path: Path) -> Read:
    """Return a function that reads a table as the catalogue, with these settings, and returns its rows by id."""

    def run(source: pa.Table, similar: dict[str, object] | None = None, **keys: object) -> Items:
        path = tmp_path / "items.parquet"
        pq.write_table(source, path)
        chosen = settings(catalogue={"path": str(path), **keys}, similar=similar or {})
        items = read_catalogue(spark, chosen)
        check_rows(items, chosen)
        assert items.schema["item_id"].dataType == StringType()
        assert items.schema["image_path"].dataType == StringType()
        return [row.asDict() for row in items.orderBy("item_id").collect()]

    return run
