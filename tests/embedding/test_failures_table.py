"""The failures of a night: files of the current release where all of them stay, else written again."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lookalike.catalogue.delta import Delta
from lookalike.embedding import tables
from lookalike.spark import release_tables, schemas
from lookalike.warehouse.release import ReleaseFolder
from support import records, staging

FAILED = ("a", "a.jpg", "stat:1", None, "corrupt", "bad", True, 3, datetime(2026, 11, 1), datetime(2026, 11, 2))  # noqa: DTZ001
RESOLVED = "item_id string, image_path string, fingerprint string, image_hash string, reason string, detail string, \
permanent boolean, attempts int, first_failed_at timestamp, file string"


@pytest.fixture
def delta(spark: SparkSession, tmp_path: Path) -> Delta:
    """Nothing happened to the one failure of the current release."""
    release = ReleaseFolder(tmp_path / "releases" / "r1")
    staging.write_table(spark.createDataFrame([FAILED], schemas.FAILURES).coalesce(1), release.failures)
    for name, schema in (("embeddings", schemas.EMBEDDINGS), ("similar_items", schemas.SIMILAR_ITEMS)):
        staging.write_table(spark.createDataFrame([], schema), release.root / name)
    records.write_record(release, counts={**records.COUNTS, "failed": 1})
    before = release_tables.open_to_refresh(spark, release, ())
    table = spark.createDataFrame([("a", True, False)], "item_id string, keep boolean, was_embedded boolean")
    numbers = {"in_catalogue": 1, "to_read": 0, "kept": 0, "kept_failures": 1, "dropped": 0, "rewritten": 0}
    return Delta(table, (), before, {}, **numbers)


@pytest.mark.parametrize(
    ("changes", "new", "linked", "expected"),
    [
        ({}, [], True, ["a"]),
        ({"rewritten": 3}, ["c", "0", "b"], False, ["0", "a", "b", "c"]),
        ({"kept_failures": 0}, [], False, ["a"]),  # another one that the release had goes
    ],
    ids=["all stay", "three come", "one goes"],
)
def test_failures_are_linked_where_all_of_them_stay(
    spark: SparkSession,
    tmp_path: Path,
    delta: Delta,
    changes: dict[str, int],
    new: list[str],
    linked: bool,
    expected: list[str],
) -> None:
    delta = replace(delta, **changes)
    assert delta.before is not None
    staged = staging.stage(tmp_path, "r2", delta.before.release)
    resolved = spark.createDataFrame([(item, *[None] * 6, 0, None, None) for item in new], RESOLVED)
    written = tables.write_failures_table(delta, resolved, 0, staged)
    # In order: a second try of the task that writes them makes the same file.
    assert [row["item_id"] for row in written.collect()] == expected
    (old,) = delta.before.release.failures.glob("*.parquet")
    assert [file.samefile(old) for file in staged.failures.glob("*.parquet")] == [linked]
