"""The queries to paste run as they are, in Spark and in DuckDB."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from pyspark.sql import SparkSession

from lookalike import queries

SIMILAR = "item_id string, rank int, similar_item_id string, score float"


@pytest.mark.parametrize("ids", ["int", "string"])
def test_both_queries_give_the_neighbours_with_the_columns_asked_for(
    spark: SparkSession, tmp_path: Path, ids: str
) -> None:
    folder = tmp_path / "it's a `ware`house"
    catalogue = tmp_path / "catalogue"
    items = spark.createDataFrame([(1, "shoes"), (2, "bags"), (3, None)], f"sku {ids}, `a b` string")
    items.write.parquet(str(catalogue))
    similar = spark.createDataFrame([("1", 2, "3", 0.5), ("1", 1, "2", 0.75), ("2", 1, "1", 0.75)], SIMILAR)
    similar.write.parquet(str(folder / "current" / "similar_items"))
    join = queries.Join(folder, str(catalogue), "sku", ("a b",), "1")

    expected = [("1", 1, "2", 0.75, "bags"), ("1", 2, "3", 0.5, None)]
    assert [tuple(row) for row in spark.sql(queries.spark_sql(join).rstrip(";")).collect()] == expected
    assert duckdb.sql(queries.duckdb_sql(join)).fetchall() == expected


def test_query_names_a_table_of_the_catalog_as_it_is() -> None:
    join = queries.Join(Path("/warehouse"), "shop.products", "item_id", (), "a")
    assert "JOIN shop.products AS c" in queries.spark_sql(join)
