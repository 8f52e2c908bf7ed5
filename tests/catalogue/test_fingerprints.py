"""Looks at pictures through Spark, none of which decodes one: their version, or the hash of their bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pyspark.sql import DataFrame, Row, SparkSession

from lookalike import config
from lookalike.catalogue import fingerprints
from lookalike.catalogue.read import read_catalogue
from lookalike.embedding.step import PICTURES_PER_TASK
from lookalike.failures import ImageError
from lookalike.images.picture import content_hash
from lookalike.spark import schemas
from lookalike.storage.local import version
from support.drawn import Drawn

Build = Callable[..., config.Settings]

UNREADABLE = ("gone", "folder")


def looked(spark: SparkSession, settings: config.Settings) -> dict[str, Row]:
    """The drawn catalogue with fingerprints, by item id."""
    items = read_catalogue(spark, settings)
    seen = fingerprints.with_fingerprint(items, settings)
    assert sorted(seen.columns) == sorted({*items.columns, *fingerprints.HASH_COLUMNS.names})
    return by_id(seen)


def by_id(frame: DataFrame) -> dict[str, Row]:
    rows = {row["item_id"]: row for row in frame.collect()}
    assert len(rows) == frame.count()
    return rows


def expected(drawn: Drawn, look: Callable[[Any], str]) -> dict[str, str | None]:
    """`look` at the file of each item, None where there is none."""
    paths = zip(drawn.table["item_id"].to_pylist(), drawn.table["image_path"].to_pylist(), strict=True)
    return {item: None if item in UNREADABLE else look(drawn.folder / path) for item, path in paths}


def test_stat_tells_pictures_by_size_and_time_and_reads_none(
    spark: SparkSession, drawn: Drawn, settings: Build
) -> None:
    rows = looked(spark, settings(catalogue={"keep_columns": ["kind"]}))
    prints = expected(drawn, lambda path: f"stat:{version(str(path))}")
    assert {item: row["fingerprint"] for item, row in rows.items()} == prints
    assert {row[name] for row in rows.values() for name in fingerprints.HASH_COLUMNS.names} == {None}
    assert all(row["kind"] for row in rows.values())


def test_content_tells_pictures_by_their_hash_and_says_why_there_is_none(
    spark: SparkSession, drawn: Drawn, settings: Build
) -> None:
    rows = looked(spark, settings(catalogue={"change_detection": "content"}))
    hashes = {**expected(drawn, lambda path: content_hash(path.read_bytes())), "empty": None}
    assert {item: row["image_hash"] for item, row in rows.items()} == hashes
    assert all(row["fingerprint"] == (row["image_hash"] and f"sha256:{row['image_hash']}") for row in rows.values())
    reasons = {item: (row["reason"], row["permanent"]) for item, row in rows.items() if row["reason"]}
    assert reasons == {"gone": ("not_found", False), "folder": ("not_found", False), "empty": ("empty", True)}
    assert all(rows[item]["detail"] for item in reasons)


def test_column_is_taken_at_its_word(spark: SparkSession, drawn: Drawn, settings: Build) -> None:
    rows = looked(spark, settings(catalogue={"change_detection": "column", "fingerprint_column": "colour"}))
    values = zip(drawn.table["item_id"].to_pylist(), drawn.table["colour"].to_pylist(), strict=True)
    assert {item: row["fingerprint"] for item, row in rows.items()} == {item: f"colour={one}" for item, one in values}
    assert {row[name] for row in rows.values() for name in fingerprints.HASH_COLUMNS.names} == {None}


@pytest.mark.parametrize("mode", ["stat", "content"])
def test_nothing_to_look_at_is_no_obstacle(spark: SparkSession, settings: Build, mode: str) -> None:
    none = spark.createDataFrame([], schemas.ITEMS)
    seen = fingerprints.with_fingerprint(none, settings(catalogue={"change_detection": mode}))
    assert seen.collect() == []


def test_hashed_pictures_are_counted(spark: SparkSession, drawn: Drawn, settings: Build) -> None:
    done = spark.sparkContext.accumulator(0)
    items = read_catalogue(spark, settings())
    fingerprints.with_hash(items, len(drawn.table), settings(), done).collect()
    assert done.value == len(drawn.table)


@pytest.mark.parametrize(
    ("pictures", "cores", "expected"),
    [(0, 2, 1), (1, 2, 1), (3, 8, 3), (512, 2, 2), (6000, 2, 12), (1_000_000, 100, 2000)],
)
def test_tasks_are_a_multiple_of_the_cores_when_there_is_work_for_all(pictures: int, cores: int, expected: int) -> None:
    assert fingerprints.count_tasks(pictures, PICTURES_PER_TASK, cores) == expected


def test_more_pictures_a_task_are_fewer_tasks() -> None:
    assert [fingerprints.count_tasks(6000, per_task, 2) for per_task in (1, 500, 1000, 6000)] == [6000, 12, 6, 2]


@pytest.mark.parametrize(
    ("found", "fingerprint"),
    [
        ("5-1700000000", "stat:5-1700000000"),
        ('"v1"', 'stat:"v1"'),
        (None, None),  # a server that says nothing: the picture is read
        (ImageError("timeout", "no answer"), None),
        (ImageError("bad_uri", "no place"), "stat:bad_uri"),
    ],
)
def test_fingerprint_of_what_a_store_says(found: Any, fingerprint: str | None) -> None:
    assert fingerprints._version(found) == fingerprint
