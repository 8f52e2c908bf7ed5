"""Tables as files: what was written is counted, and counted again in the files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from lookalike.errors import CountError
from lookalike.spark import parquet


def _remove(file: Path) -> None:
    file.unlink()


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _copy(file: Path) -> None:
    (file.parent / f"again-{file.name}").write_bytes(file.read_bytes())


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_remove, "holds 150 of the 200 rows that were written; every worker must see this folder"),
        (_copy, "holds 250 of the 200 rows that were written"),
        (_cut, "cannot be read to count its rows"),
        (_empty, "cannot be read to count its rows"),
    ],
)
def test_rows_that_are_not_in_the_files_end_the_write(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], None], words: str
) -> None:
    count = parquet.count_rows

    def harmed(folder: Path) -> int:
        harm(max(folder.glob("*.parquet")))
        return count(folder)

    monkeypatch.setattr(parquet, "count_rows", harmed)
    with pytest.raises(CountError, match=words) as raised:
        parquet.write(spark.range(200, numPartitions=4), tmp_path / "table")
    assert str(tmp_path / "table") in str(raised.value)


def test_table_without_rows_is_counted(spark: SparkSession, tmp_path: Path) -> None:
    assert parquet.write(spark.range(5).where("id > 9").distinct(), tmp_path / "table") == 0
    assert parquet.count_rows(tmp_path / "not there") == 0


TIMES = ["0001-01-01 00:00:00", "1582-10-10 12:00:00", "1899-12-31 23:59:59.999999", "9999-12-31 12:00:00"]


def test_times_are_those_of_the_catalogue_in_every_reader(spark: SparkSession, tmp_path: Path) -> None:
    """INT96, Spark's own form, has nanoseconds: readers that keep them end in 2262 and begin again in 1677."""
    values = ", ".join(f"('{time}')" for time in TIMES)
    kinds = ("timestamp", "timestamp_ntz", "date")
    casts = ", ".join(f"CAST(text AS {kind}) AS {kind}" for kind in kinds)
    folder = tmp_path / "table"
    parquet.write(spark.sql(f"SELECT text, {casts} FROM VALUES {values} AS t(text)").coalesce(1), folder)
    expected = [datetime.fromisoformat(time) for time in TIMES]
    at_utc = [time.replace(tzinfo=UTC) for time in expected]
    table = pq.read_table(folder)
    assert table.schema.field("timestamp").type == pa.timestamp("us", "UTC")
    assert table.schema.field("timestamp_ntz").type == pa.timestamp("us")
    assert table["timestamp"].to_pylist() == at_utc
    assert table["timestamp_ntz"].to_pylist() == expected
    assert table["date"].to_pylist() == [time.date() for time in expected]
    assert table.to_pandas()["timestamp"].dt.year.tolist() == [1, 1582, 1899, 9999]
    years = duckdb.sql(f"SELECT year(timestamp AT TIME ZONE 'UTC'), year(timestamp_ntz) FROM '{folder}/*.parquet'")
    assert years.fetchall() == [(year, year) for year in (1, 1582, 1899, 9999)]
    read = spark.read.parquet(str(folder)).selectExpr(*(f"CAST({kind} AS string)" for kind in kinds)).collect()
    assert [tuple(row) for row in read] == [(time, time, time[:10]) for time in TIMES]
    assert not parquet.has_int96(folder)


@pytest.mark.parametrize(
    "name", ["[x] {a} * ? # 100% : é", "a: b", "a\\b", " a ", "a\nb", "{a,b}", "a%20b", "[x", "日本 [1]", "*"]
)
def test_path_may_hold_what_others_take_for_patterns(spark: SparkSession, tmp_path: Path, name: str) -> None:
    for folder, rows in ((tmp_path / name / "table", 3), (tmp_path / f"{name}{name}" / "table", 4)):
        parquet.write(spark.range(rows).coalesce(1), folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f"{name}{name}"])
    assert parquet.read(spark, tmp_path / name / "table").count() == 3
    assert parquet.read(spark, tmp_path / name / "table", schema=spark.range(1).schema).count() == 3
