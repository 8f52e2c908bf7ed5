"""The columns and the predicate that the constraints of neighbours name: read as they are, or refused by their key."""

from __future__ import annotations

import datetime
import decimal
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from lookalike import config, pipeline
from lookalike.catalogue.read import read_catalogue
from lookalike.catalogue.rows import check_rows
from lookalike.errors import CatalogueError, LookalikeError

Build = Callable[..., config.Settings]


Read = Callable[..., list[dict[str, Any]]]


def line(error: LookalikeError) -> str:
    """What the user reads."""
    text = str(error)
    assert len(text.splitlines()) == 1
    assert len(text) < 500
    assert not any(word in text for word in ("JVM", "Traceback", "SQLSTATE", "org.apache"))
    assert error.exit_code == 2
    return text


@pytest.fixture
def read(spark: SparkSession, settings: Build, tmp_path: Path) -> Read:
    """Read the items of three rows with the given columns, by the given settings of the section similar."""

    def run(columns: dict[str, Any], keep: Sequence[str] = (), **similar: Any) -> list[dict[str, Any]]:
        path = tmp_path / "items.parquet"
        pq.write_table(pa.table({"item_id": list("abc"), "image_path": ["p"] * 3, **columns}), path)
        chosen = settings(catalogue={"path": str(path), "keep_columns": keep}, similar=similar)
        items = read_catalogue(spark, chosen)
        check_rows(items, chosen)
        return sorted((row.asDict() for row in items.collect()), key=lambda row: row["item_id"])

    return run


STOCK = {"stock": [3, 0, None], "sold out": [False, True, None], "state": ["new", "old", None]}


PREDICATES = [
    ("stock > 0", [True, False, False]),
    ("not coalesce(`sold out`, false) and state <> 'old' or item_id = 'c'", [True, False, True]),
    ("STOCK IS NULL", [False, False, True]),
    ("true", [True, True, True]),
    ("null > 1", [False, False, False]),
    ("state <> 'rand()' AND state NOT IN ('uuid()', 'x AS y')", [True, True, False]),
    ("exists(array(1, 2), x -> x < stock)", [True, False, False]),
    ("coalesce(stock, 0) BETWEEN 1 AND 9 AND current_date() > DATE '2020-01-01'", [True, False, False]),
    ("stock\n  > 0 -- there is one", [True, False, False]),
]


@pytest.mark.parametrize(("predicate", "expected"), PREDICATES)
def test_predicate_is_sql_over_the_catalogue_and_null_is_no(read: Read, predicate: str, expected: list[bool]) -> None:
    rows = read(STOCK, eligible=predicate)
    assert [row["eligible"] for row in rows] == expected
    assert set(rows[0]) == {"item_id", "image_path", "fingerprint", "eligible"}


def test_predicate_may_be_a_column_named_eligible(read: Read) -> None:
    rows = read({"eligible": [True, False, None]}, eligible="eligible")
    assert [row["eligible"] for row in rows] == [True, False, False]


def test_column_named_eligible_is_kept_like_any_other_without_a_predicate(read: Read) -> None:
    assert [row["eligible"] for row in read({"eligible": ["no", None, "?"]}, keep=["eligible"])] == ["no", None, "?"]


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(CatalogueError) as refused:
        action()
    text = line(refused.value)
    assert text.startswith("similar.")
    return text


REFUSED = {
    "no SQL": ("stock >", []),
    "an open quote": ("state = 'new", []),
    "two statements": ("stock > 0; drop table items", []),
    "another language": ("stock > 0 && state == 'new'", []),
    "a column that is not there": ("stok > 0", ["stok", "stock"]),
    "a function that is not there": ("in_stock(stock)", ["in_stock"]),
    "a number": ("stock", ["bigint"]),
    "a text": ("state", ["string"]),
    "null": ("null", []),
    "two columns": ("stock > 0, state = 'new'", []),
    "all columns": ("*", []),
    "an aggregate": ("max(stock) > 0", []),
    "rows made of rows": ("explode(array(true, false))", []),
    "over several lines": ("stok\n> 0\nor state = 'new'", ["stok"]),
    "types that do not compare": ("array(stock) > 0", ["data type mismatch"]),
    "a column of other capitals": ("STOKC > 0", ["the column 'STOKC'", "did you mean 'stock'?"]),
    "a name": ("stock > 0 AS ok", ["leave AS"]),
    "a parameter": ("stock > :least", ["parameter"]),
    "a window": ("row_number() OVER (ORDER BY stock) > 1", ["several rows"]),
    "a subquery": ("stock IN (SELECT 3)", ["subquery"]),
    "another subquery": ("stock > 1 OR EXISTS (SELECT 1)", ["subquery"]),
    "chance": ("stock > 0 AND rand() > 0.5", ["calls rand", "each time"]),
    "chance with a seed": ("rand(7) > 0.5", ["calls rand"]),
    "an id by chance": ("uuid() > state", ["calls uuid"]),
    "the number of a row": ("monotonically_increasing_id() > 3", ["calls monotonically_increasing_id"]),
    "the number of a task": ("spark_partition_id() = 0", ["calls spark_partition_id"]),
    "the name of a file": ("input_file_name() LIKE '%new%'", ["calls input_file_name"]),
    "a method of Java": ("java_method('java.lang.System', 'nanoTime') > '0'", ["calls "]),
    "another method of Java": ("try_reflect('java.util.UUID', 'randomUUID') > '0'", ["calls "]),
    "the user": ("current_user() = 'shop'", ["calls current_user", "more than the row"]),
    "the version": ("version() > '4'", ["calls version"]),
    "the database": ("current_schema() = 'shop'", ["calls current_"]),
    "a function of Python": ("by_python(stock)", ["calls "]),
    "a deep one": ("(" * 9_000 + "true" + ")" * 9_000, []),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_predicate_is_refused_with_its_key(spark: SparkSession, read: Read, case: str) -> None:
    predicate, words = REFUSED[case]
    spark.udf.register("by_python", lambda stock: True, "boolean")
    text = refusal(lambda: read(STOCK, eligible=predicate))
    assert "similar.eligible" in text
    assert not re.search(r"[A-Z]+_[A-Z]+|with suggestion", text)  # Spark's names of conditions
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize("predicate", ["1 / stock > 0", "cast(state as int) > 0", "date(state) > '2026-01-01'"])
def test_predicate_that_fails_on_a_row_is_refused_with_its_key(read: Read, predicate: str) -> None:
    """Spark's SQL is ANSI: a division by zero or a cast of a text ends the query, and that would be in a later step."""
    assert "similar.eligible" in refusal(lambda: read(STOCK, eligible=predicate))


@pytest.mark.parametrize("key", ["group_by", "variant_of", "group_fallback"])
def test_missing_column_is_named_with_its_key_and_the_columns_there_are(read: Read, key: str) -> None:
    similar = {"group_by": "kind", "group_fallback": ["dept"]} if key == "group_fallback" else {key: "dept"}
    text = refusal(lambda: read({"kind": ["x"] * 3}, **similar))
    assert f"similar.{key} names 'dept', which the catalogue lacks" in text
    assert "item_id, image_path, kind" in text


@pytest.mark.parametrize("key", ["group_by", "variant_of", "group_fallback"])
@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([b"a"] * 3), "binary"),
        (pa.array([["a"]] * 3), "array<string>"),
        (pa.array([{"a": 1}] * 3), "struct<a:bigint>"),
    ],
    ids=["bytes", "list", "struct"],
)
def test_column_of_no_plain_values_is_refused(read: Read, key: str, values: pa.Array, kind: str) -> None:
    similar = {"group_by": "kind", "group_fallback": ["odd"]} if key == "group_fallback" else {key: "odd"}
    text = refusal(lambda: read({"kind": ["x"] * 3, "odd": values}, **similar))
    assert f"similar.{key} names 'odd', which is {kind}" in text


@pytest.mark.parametrize("name", ["embedding", "norm", "Reason", "fingerprint"])
@pytest.mark.parametrize("key", ["variant_of", "group_fallback"])
def test_column_with_a_name_of_the_embeddings_table_is_refused(read: Read, key: str, name: str) -> None:
    similar = {"group_by": "kind", "group_fallback": [name]} if key == "group_fallback" else {key: name}
    assert f"similar.{key} names '{name}'" in refusal(lambda: read({"kind": ["x"] * 3, name: ["y"] * 3}, **similar))


PLAIN = {
    "texts": pa.array(["p", "", None]),
    "whole numbers": pa.array([7, -1, None]),
    "decimals": pa.array([decimal.Decimal("1.50"), decimal.Decimal("2.00"), None]),
    "days": pa.array([datetime.date(2026, 1, 2), None, datetime.date(2026, 1, 3)]),
    "booleans": pa.array([True, False, None]),
    "a dictionary": pa.array(["p", "p", None]).dictionary_encode(),
    "nulls alone": pa.array([None, None, None], pa.string()),
}


def test_groups_and_products_may_be_any_plain_values(read: Read) -> None:
    rows = read(PLAIN, group_by="texts", group_fallback=list(PLAIN), variant_of="whole numbers")
    for name, values in PLAIN.items():
        assert [row[name] for row in rows] == values.to_pylist()


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32()])
def test_number_that_is_none_is_no_group_and_zero_has_no_sign(read: Read, kind: pa.DataType) -> None:
    numbers = pa.array([float("nan"), -0.0, 0.5], kind)
    rows = read({"product": numbers, "price": numbers}, keep=["price"], variant_of="product")
    assert [str(row["product"]) for row in rows] == ["None", "0.0", "0.5"]
    assert [str(row["price"]) for row in rows] == ["nan", "-0.0", "0.5"]


def test_one_column_may_serve_for_several_keys(read: Read) -> None:
    rows = read({"kind": ["x", "y", None]}, keep=["kind"], group_by="kind", group_fallback=["kind"], variant_of="kind")
    assert [list(row) for row in rows] == [["item_id", "image_path", "fingerprint", "kind"]] * 3


def test_job_that_refuses_a_predicate_has_written_nothing(spark: SparkSession, settings: Build) -> None:
    chosen = settings(similar={"eligible": "stok > 0"})
    with pytest.raises(CatalogueError) as refused:
        pipeline.refresh(spark, chosen)
    assert "stok" in line(refused.value)
    warehouse = Path(chosen.warehouse.path)
    assert not (warehouse / "CURRENT").exists()
    assert [path for path in warehouse.rglob("*") if path.is_file()] == []
