"""The catalogue's contract: every way to break it is refused in one line with the key and what to do."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lookalike import config
from lookalike.catalogue.read import read_catalogue
from lookalike.catalogue.rows import check_rows
from lookalike.errors import CatalogueError
from support.items_table import Read, refusal, table

MISSING = [
    # columns of the table, keys, words of the message
    ({"item_id": None, "sku": ["a", "b"]}, {}, ["'item_id'", "image_path, sku", "catalogue.item_id_column"]),
    ({"image_path": None, "url": ["a", "b"]}, {}, ["'image_path'", "item_id, url", "catalogue.image_path_column"]),
    ({}, {"item_id_column": "sku"}, ["'sku'", "item_id, image_path", "catalogue.item_id_column"]),
    ({}, {"image_path_column": "url"}, ["'url'", "item_id, image_path", "catalogue.image_path_column"]),
    ({}, {"image_path_column": ""}, ["''", "item_id, image_path", "catalogue.image_path_column"]),
    ({}, {"keep_columns": ["colour"]}, ["'colour'", "item_id, image_path", "catalogue.keep_columns"]),
    ({}, {"keep_columns": "kind,colour"}, ["'kind'", "item_id, image_path", "catalogue.keep_columns"]),
    ({"a": [{"b": 1}] * 2}, {"keep_columns": ["a.b"]}, ["'a.b'", "item_id, image_path, a", "catalogue.keep_columns"]),
    ({"a": [{"b": "x"}] * 2}, {"item_id_column": "a.b"}, ["'a.b'", "catalogue.item_id_column"]),
    ({}, {"item_id_column": "itemid"}, ["did you mean 'item_id'? it has: "]),
    ({"Kind": ["x"] * 2}, {"keep_columns": ["kinds "]}, ["'kinds '", "did you mean 'Kind'? it has: "]),
]


@pytest.mark.parametrize(("columns", "keys", "words"), MISSING)
def test_missing_column_is_named_with_the_existing_ones_and_the_key(
    read: Read, columns: dict[str, Any], keys: dict[str, object], words: list[str]
) -> None:
    message = refusal(lambda: read(table(**columns), **keys))
    assert [word for word in words if word not in message] == []


def test_missing_group_column_is_named_with_its_key(read: Read) -> None:
    message = refusal(lambda: read(table(), similar={"group_by": "kind"}))
    assert message == "similar.group_by names 'kind', which the catalogue lacks; it has: item_id, image_path"


@pytest.mark.parametrize(
    "name",
    [
        *("item_id", "image_path", "embedding", "norm", "Width", "fixes", "embedded_at", "reason", "Fingerprint"),
    ],
)
def test_kept_column_with_a_name_of_the_embeddings_table_is_refused(read: Read, name: str) -> None:
    source = table(**({} if name in ("item_id", "image_path") else {name: [1, 2]}))
    assert f"catalogue.keep_columns names '{name}'" in refusal(lambda: read(source, keep_columns=[name]))
    assert f"similar.group_by names '{name}'" in refusal(lambda: read(source, similar={"group_by": name}))


def test_missing_fingerprint_column_is_named_with_its_key(read: Read) -> None:
    message = refusal(lambda: read(table(), change_detection="column", fingerprint_column="etag"))
    assert message == (
        "catalogue.fingerprint_column names 'etag', which the catalogue lacks; it has: item_id, image_path"
    )


@pytest.mark.parametrize(
    ("values", "kind"),
    [([b"a", b"b"], "binary"), ([["a"], []], "array<string>"), ([{"x": 1}, {"x": 2}], "struct<x:bigint>")],
)
def test_fingerprint_of_no_plain_value_is_refused(read: Read, values: list[object], kind: str) -> None:
    message = refusal(lambda: read(table(etag=values), change_detection="column", fingerprint_column="etag"))
    assert message == f"catalogue.fingerprint_column names 'etag', which is {kind}; take a text, number or time"


REFUSED_IDS = [
    pa.array([1.0, 2.0]),
    pa.array([decimal.Decimal("1.0"), decimal.Decimal("2.5")]),
    pa.array([True, False]),
    pa.array([b"a", b"b"]),
    pa.array([datetime.date(2026, 1, 1), datetime.date(2026, 1, 2)]),
    pa.array([["a"], ["b"]]),
    pa.array([{"x": "a"}, {"x": "b"}]),
]


@pytest.mark.parametrize("ids", REFUSED_IDS, ids=lambda ids: str(ids.type))
def test_ids_of_other_types_are_refused(read: Read, ids: pa.Array) -> None:
    message = refusal(lambda: read(table(item_id=ids)))
    assert message.startswith("catalogue.item_id_column 'item_id' is ")
    assert message.endswith("; use strings or integers")


@pytest.mark.parametrize("paths", [[1, 2], [b"a", b"b"], [["a"], ["b"]], [1.0, 2.0]], ids=repr)
def test_paths_of_other_types_are_refused(read: Read, paths: list[object]) -> None:
    message = refusal(lambda: read(table(image_path=paths)))
    assert message.startswith("catalogue.image_path_column 'image_path' is ")


BROKEN_ROWS = [
    # ids, paths, words of the message
    (["a", None], ["p", "p"], ["1 of 2 rows", "null or empty 'item_id'"]),
    (["a", ""], ["p", "p"], ["1 of 2 rows", "null or empty 'item_id'"]),
    ([None, "", None], ["p", None, "p"], ["3 of 3 rows", "null or empty 'item_id'"]),
    (["a", "x" * 257], ["p", "p"], ["1 values of 'item_id'", "longer than 256 bytes"]),
    (["a", "é" * 129], ["p", "p"], ["1 values of 'item_id'", "longer than 256 bytes"]),
    (["a", "b", "a"], ["p", "p", "q"], ["'item_id' is not unique", "for example a;"]),
    (["b", "a", "b", "a", "c"], ["p"] * 5, ["for example a, b;"]),
    (list("dcbadcba"), ["p"] * 8, ["for example a, b, c;"]),
    ([7, 7], ["p", "p"], ["for example 7;"]),
    ([], [], ["has no rows"]),
]


@pytest.mark.parametrize(("ids", "paths", "words"), BROKEN_ROWS)
def test_broken_rows_are_counted_and_named(
    read: Read, ids: list[object], paths: list[object], words: list[str]
) -> None:
    source = pa.table(
        {"item_id": ids if ids else pa.array([], pa.string()), "image_path": pa.array(paths, pa.string())}
    )
    message = refusal(lambda: read(source))
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize("ids", [["a", None], ["a", "a"], ["a", "x" * 300]], ids=["null", "twice", "long"])
def test_broken_rows_are_named_by_the_users_column_names(read: Read, ids: list[object]) -> None:
    source = pa.table({"sku": ids, "url": ["p", "p"]})
    assert "'sku'" in refusal(lambda: read(source, item_id_column="sku", image_path_column="url"))


def test_text_that_is_not_utf8_is_refused_in_an_id_and_made_readable_elsewhere(
    spark: SparkSession, settings: Callable[..., config.Settings]
) -> None:
    odd = "CAST(X'FF2E6A7067' AS STRING)"
    spark.sql(f"SELECT 'a' AS item_id, {odd} AS image_path, {odd} AS kind").createOrReplaceTempView("odd_text")
    chosen = settings(catalogue={"path": "odd_text", "keep_columns": ["kind"]})
    items = read_catalogue(spark, chosen)
    assert check_rows(items, chosen) == 1
    assert items.select("image_path", "kind").collect() == [("\ufffd.jpg", "\ufffd.jpg")]
    with pytest.raises(CatalogueError, match="1 rows have a 'item_id' that is not UTF-8 text"):
        check_rows(items.withColumn("item_id", F.expr(odd)), chosen)


def test_id_with_a_nul_is_refused(read: Read) -> None:
    assert "has a NUL" in refusal(lambda: read(table(item_id=["a", "a\0"])))


def test_group_by_bytes_is_refused(read: Read) -> None:
    message = refusal(lambda: read(table(code=[b"a", b"b"]), similar={"group_by": "code"}))
    assert message == "similar.group_by names 'code', which is binary; take a column of plain values"


def test_group_column_with_too_many_values_is_refused_before_anything_is_embedded(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lookalike.catalogue.rows.MAX_GROUPS", 5)
    many = table(item_id=list("abcdef"), image_path=["a.jpg"] * 6, kind=list("uvwxyz"), dept=["x", "y"] * 3)
    assert "'kind' has 6 values, 5 at most are groups" in refusal(lambda: read(many, {"group_by": "kind"}))
    monkeypatch.setattr("lookalike.catalogue.rows.MAX_COMBINATIONS", 5)
    wider = {"group_by": "dept", "group_fallback": ["kind"]}
    assert "similar.group_fallback: its columns and 'dept' have 6 combinations, 5 at" in refusal(
        lambda: read(many, wider)
    )
