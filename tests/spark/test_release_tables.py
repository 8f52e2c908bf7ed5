"""A release opened as DataFrames: older tables, and damaged ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lookalike.errors import WarehouseError
from lookalike.spark import release_tables, schemas
from lookalike.spark.release_tables import open_tables
from lookalike.warehouse.release import ReleaseFolder
from support import records, staging

TABLES = {
    "embeddings": schemas.EMBEDDINGS,
    "failures": schemas.FAILURES,
    "similar_items": schemas.SIMILAR_ITEMS,
}


def write_release(spark: SparkSession, root: Path, drop: tuple[str, ...] = ()) -> ReleaseFolder:
    """A release of empty tables."""
    for name, schema in TABLES.items():
        staging.write_table(spark.createDataFrame([], schema).drop(*drop), root / name)
    release = ReleaseFolder(root)
    records.write_record(release)
    return release


def test_release_without_fingerprints_is_opened_with_nulls_in_their_place(spark: SparkSession, tmp_path: Path) -> None:
    opened = open_tables(spark, write_release(spark, tmp_path / "r", drop=("fingerprint", "image_hash")))
    for frame, schema in ((opened.embeddings, schemas.EMBEDDINGS), (opened.failures, schemas.FAILURES)):
        assert set(frame.columns) == set(schema.names)
        assert dict(frame.dtypes)["fingerprint"] == "string"
    assert opened.record.release_id == "r"


def test_release_is_opened_without_a_job(spark: SparkSession, tmp_path: Path) -> None:
    """Spark infers the schema of a table by a job: embeddings and failures are opened by what their footers say."""
    release = write_release(spark, tmp_path / "r")
    price = spark.createDataFrame([], schemas.EMBEDDINGS).withColumn("price", F.lit(1).cast("decimal(5,2)"))
    shutil.rmtree(release.embeddings)
    staging.write_table(price, release.embeddings)
    records.write_record(release)
    before = jobs(spark)
    opened = release_tables.open_to_refresh(spark, release, ())
    assert jobs(spark) == before
    assert opened.embeddings.schema == spark.read.parquet(str(release.embeddings)).schema
    assert opened.failures.schema == spark.read.parquet(str(release.failures)).schema
    assert jobs(spark) == before + 2


def jobs(spark: SparkSession) -> int:
    """How many jobs Spark has run."""
    return int(spark._jsc.sc().dagScheduler().numTotalJobs())


def test_duplicates_are_opened_where_the_release_has_them(spark: SparkSession, tmp_path: Path) -> None:
    release = write_release(spark, tmp_path / "r")
    assert open_tables(spark, release).duplicates is None
    staging.write_table(spark.createDataFrame([("b", "a", 1.0, "r")], schemas.DUPLICATES), release.duplicates)
    records.write_record(release)
    duplicates = open_tables(spark, release).duplicates
    assert duplicates is not None
    assert [row["representative_item_id"] for row in duplicates.collect()] == ["a"]


@pytest.mark.parametrize("lost", [*TABLES, "release.json", "files.json"])
def test_release_that_lost_a_part_is_refused_in_one_line(spark: SparkSession, tmp_path: Path, lost: str) -> None:
    release = write_release(spark, tmp_path / "r")
    (tmp_path / "r" / lost).rename(tmp_path / "lost")
    with pytest.raises(WarehouseError, match="roll back to another") as raised:
        open_tables(spark, release)
    assert "\n" not in str(raised.value)
    assert f"{tmp_path}/r" in str(raised.value)
    assert lost in str(raised.value)
