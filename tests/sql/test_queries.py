"""The queries to paste run as they are, in Spark and in DuckDB."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest
from pyspark.sql import SparkSession

from lookalike.sql import queries
from lookalike.sql.dialects import DUCKDB, SPARK
from lookalike.sql.views import LiveCatalogue

KEPT = "item_id string, colour string, eligible boolean, image_path string"
SIMILAR = "item_id string, rank int, similar_item_id string, score float, release_id string"


@pytest.mark.parametrize("ids", ["int", "string"])
def test_both_queries_give_the_neighbours_with_the_columns_asked_for(
    spark: SparkSession, tmp_path: Path, ids: str
) -> None:
    folder = tmp_path / "it's a `ware`house"
    catalogue = tmp_path / "catalogue"
    items = spark.createDataFrame([(1, "shoes"), (2, "bags"), (3, None)], f"sku {ids}, `a b` string")
    items.write.parquet(str(catalogue))
    write_similar(spark, folder, [("1", 2, "3", 0.5), ("1", 1, "2", 0.75), ("2", 1, "1", 0.75)])
    join = queries.Join(folder, LiveCatalogue(str(catalogue), "sku"), ("a b",), "1")

    expected = [("1", 1, "2", 0.75, "bags"), ("1", 2, "3", 0.5, None)]
    assert [tuple(row) for row in spark.sql(queries.join(join, SPARK).rstrip(";")).collect()] == expected
    assert duckdb.sql(queries.join(join, DUCKDB)).fetchall() == expected


@pytest.mark.parametrize("item_id", ["it's", 'a "b"', r"back\slash", "`tick`"])
def test_neighbours_that_left_the_catalogue_are_dropped_for_any_id_and_folder(
    spark: SparkSession, tmp_path: Path, item_id: str
) -> None:
    folder = tmp_path / "a [x]*{y}? 100%20 'ware`house"
    catalogue = tmp_path / "catalogue"
    spark.createDataFrame([(item_id,), ("c",), ("d",)], "`the``id` string").write.parquet(str(catalogue))
    write_similar(spark, folder, [(item_id, 1, "b", 0.75), (item_id, 2, "c", 0.5), ("c", 1, item_id, 0.5)])
    join = queries.Join(folder, LiveCatalogue(str(catalogue), "the`id"), (), item_id)

    expected = [(item_id, 1, "c", 0.5, "r")]
    assert [tuple(row) for row in spark.sql(queries.live(join, 2, SPARK).rstrip(";")).collect()] == expected
    assert duckdb.sql(queries.live(join, 2, DUCKDB)).fetchall() == expected


@pytest.mark.parametrize("kind", ["csv", "json", "delta", "iceberg", "pictures"])
def test_catalogue_that_sql_does_not_read_is_what_the_release_has_of_it(
    spark: SparkSession, tmp_path: Path, kind: str
) -> None:
    """DuckDB reads CSV and JSON in place, Spark JSON; item b has left the catalogue since the run."""
    write_similar(spark, tmp_path, [("a", 1, "b", 0.75), ("a", 2, "c", 0.5)])
    kept = spark.createDataFrame([(one, "x", True, f"{one}.jpg") for one in "abc"], KEPT)
    kept.write.parquet(str(tmp_path / "current" / "embeddings"))
    path = tmp_path / f"items.{kind}"
    if kind == "csv":
        path.write_text("sku,stock,colour,picture\na,1,x,a.jpg\nc,1,x,c.jpg\n")
    elif kind == "json":
        lines = [json.dumps({"sku": one, "stock": 1, "colour": "x", "picture": f"{one}.jpg"}) for one in "ac"]
        path.write_text("\n".join(lines))
    join = queries.Join(tmp_path, LiveCatalogue(str(path), "sku", "stock = '1'", kind), ("colour",), "a", "picture")

    for dialect, in_place in ((SPARK, ("json",)), (DUCKDB, ("csv", "json"))):
        known = ["c"] if kind in in_place else ["b", "c"]
        for query in (queries.join(join, dialect), queries.live(join, 2, dialect)):
            text = query.rstrip(";")
            found = spark.sql(text).collect() if dialect is SPARK else duckdb.sql(text).fetchall()
            assert [row[2] for row in found] == known
            assert query != queries.join(join, dialect) or [row[-1] for row in found] == [f"{one}.jpg" for one in known]


@pytest.mark.parametrize("name", ["items.csv.bz2", "items.jsonl.XZ", "items.json.zst"])
def test_catalogue_that_not_every_engine_unpacks_is_not_read_in_place(name: str) -> None:
    assert [dialect.catalogue(f"/data/{name}", "json") for dialect in (SPARK, DUCKDB)] == [None, None]
    assert DUCKDB.catalogue("/data/items.json.gz", "json") is not None


def test_query_names_a_table_of_the_catalog_as_it_is() -> None:
    join = queries.Join(Path("/warehouse"), LiveCatalogue("shop.products", "item_id"), (), "a")
    assert "JOIN shop.products AS c" in queries.join(join, SPARK)


def write_similar(spark: SparkSession, warehouse: Path, rows: list[tuple[str, int, str, float]]) -> None:
    similar = spark.createDataFrame([(*row, "r") for row in rows], SIMILAR)
    similar.write.parquet(str(warehouse / "current" / "similar_items"))
