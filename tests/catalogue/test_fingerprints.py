"""Fingerprints of pictures, computed on Spark without decoding: from their version, or from the hash of their bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pyspark.sql import DataFrame, Row, SparkSession

from lookalike import config
from lookalike.catalogue import fingerprints
from lookalike.catalogue.read import read_catalogue
from lookalike.failures import ImageError
from lookalike.spark import schemas
from lookalike.storage.local import version
from lookalike.storage.uri import parse
from support.drawn import Drawn

Build = Callable[..., config.Settings]

UNREADABLE = ("gone", "folder")


def fingerprinted(spark: SparkSession, settings: config.Settings) -> dict[str, Row]:
    """Return the drawn catalogue with fingerprints, by item id."""
    items = read_catalogue(spark, settings)
    fingerprinted_items = fingerprints.with_fingerprint(items, items.count(), settings)
    assert sorted(fingerprinted_items.columns) == sorted({*items.columns, *fingerprints.HASH_COLUMNS.names})
    return by_id(fingerprinted_items)


def by_id(frame: DataFrame) -> dict[str, Row]:
    rows = {row["item_id"]: row for row in frame.collect()}
    assert len(rows) == frame.count()
    return rows


def expected(drawn: Drawn, compute: Callable[[Any], str]) -> dict[str, str | None]:
    """Return `compute(path)` for the file of each item, None if there is no file."""
    paths = zip(drawn.table["item_id"].to_pylist(), drawn.table["image_path"].to_pylist(), strict=True)
    return {item: None if item in UNREADABLE else compute(drawn.folder / path) for item, path in paths}


def test_stat_fingerprints_by_size_and_time_and_reads_no_picture(
    spark: SparkSession, drawn: Drawn, settings: Build
) -> None:
    rows = fingerprinted(spark, settings(catalogue={"keep_columns": ["kind"]}))
    prints = expected(drawn, lambda path: f"stat:{version(parse(str(path)))}")
    assert {item: row["fingerprint"] for item, row in rows.items()} == prints
    assert {row[name] for row in rows.values() for name in fingerprints.HASH_COLUMNS.names} == {None}
    assert all(row["kind"] for row in rows.values())


def test_column_gives_the_fingerprint(spark: SparkSession, drawn: Drawn, settings: Build) -> None:
    rows = fingerprinted(spark, settings(catalogue={"change_detection": "column", "fingerprint_column": "colour"}))
    values = zip(drawn.table["item_id"].to_pylist(), drawn.table["colour"].to_pylist(), strict=True)
    assert {item: row["fingerprint"] for item, row in rows.items()} == {item: f"colour={one}" for item, one in values}
    assert {row[name] for row in rows.values() for name in fingerprints.HASH_COLUMNS.names} == {None}


def test_empty_catalogue_has_no_fingerprints(spark: SparkSession, settings: Build) -> None:
    none = spark.createDataFrame([], schemas.ITEMS)
    fingerprinted_items = fingerprints.with_fingerprint(none, 0, settings())
    assert fingerprinted_items.collect() == []


@pytest.mark.parametrize(
    ("found", "fingerprint"),
    [
        ("5-1700000000", "stat:5-1700000000"),
        ('"v1"', 'stat:"v1"'),
        (None, None),  # a server without versions: the picture is read
        (ImageError("timeout", "no answer"), None),
        (ImageError("bad_uri", "no path"), "stat:bad_uri"),
    ],
)
def test_fingerprint_of_a_version_or_an_error(found: Any, fingerprint: str | None) -> None:
    assert fingerprints._version(found) == fingerprint
