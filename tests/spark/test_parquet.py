"""Tables as files: what was written is counted, and counted again in the files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql.types import StringType, StructField, StructType

from lookalike.errors import CountError
from lookalike.spark import arrow_files, parquet
from lookalike.warehouse import release
from lookalike.warehouse.release_files import StoredFile
from lookalike.warehouse.shared_files import ON_DISK, SharedFiles
from support import staging


def _remove(file: Path) -> None:
    file.unlink()


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def _empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_remove, "1 of 4 files in .* is not there as it was written; every worker must see this folder"),
        (_cut, "1 of 4 files in .* is not there as it was written"),
        (_empty, "1 of 4 files in .* is not there as it was written"),
    ],
)
def test_files_that_are_not_those_of_the_tasks_end_the_write(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], None], words: str
) -> None:
    def harmed(shared: SharedFiles, root: Path, part: str, files: Iterable[StoredFile], *, alone: bool) -> None:
        harm(max((root / part).glob("*.parquet")))
        release.check_there(shared, root, part, files, alone=alone)

    monkeypatch.setattr(parquet, "check_there", harmed)
    with pytest.raises(CountError, match=words) as raised:
        parquet.write(spark.range(200, numPartitions=4), tmp_path / "table", ON_DISK)
    assert str(tmp_path / "table") in str(raised.value)


def test_file_of_a_try_that_spark_did_not_wait_for_is_no_part_of_a_table(spark: SparkSession, tmp_path: Path) -> None:
    in_order, folder = spark.range(3, numPartitions=1), tmp_path / "table"
    backwards = in_order.orderBy("id", ascending=False)
    first, second = (parquet.write(rows, folder, ON_DISK) for rows in (in_order, backwards))
    assert first != second
    assert pq.read_table(first[0])["id"].to_pylist() == [0, 1, 2]
    assert pq.read_table(second[0])["id"].to_pylist() == [2, 1, 0]


def test_row_that_went_into_a_file_and_is_not_in_it_ends_its_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file, rows = arrow_files.write_file, pa.record_batch({"id": [1, 2, 3]})
    monkeypatch.setattr(arrow_files, "write_file", lambda *arguments: write_file(*arguments) + 1)
    target = parquet._Target(tmp_path / "table", ON_DISK, rows.schema, "token")
    with pytest.raises(CountError, match=r"part-00000-token\.parquet holds 3 of the 4 rows that were written"):
        target.write_file(0, [rows])


@pytest.mark.parametrize("harm", [_cut, _empty])
def test_file_that_cannot_be_read_ends_the_count(
    spark: SparkSession, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    paths = staging.write_table(spark.range(200, numPartitions=2), tmp_path / "table")
    assert parquet.count_rows(spark, ON_DISK, paths) == 200
    harm(paths[1])
    with pytest.raises(CountError, match="cannot be read to count its rows") as raised:
        parquet.count_rows(spark, ON_DISK, paths)
    assert str(paths[1]) in str(raised.value)


def test_each_partition_with_rows_is_a_file_and_no_row_is_one_too(spark: SparkSession, tmp_path: Path) -> None:
    frame = spark.range(6, numPartitions=3)
    paths = staging.write_table(frame.where("id < 2 OR id > 3"), tmp_path / "table")
    assert [path.name[:11] for path in paths] == ["part-00000-", "part-00002-"]
    assert [pq.read_table(path)["id"].to_pylist() for path in paths] == [[0, 1], [4, 5]]
    none = frame.where("id > 9")
    assert [pq.read_metadata(path).num_rows for path in staging.write_table(none, tmp_path / "none")] == [0]
    assert staging.read_table(spark, tmp_path / "none").dtypes == none.dtypes
    assert parquet.count_rows(spark, ON_DISK, []) == 0
    assert parquet.read(spark, ON_DISK, [], none.schema).collect() == []
    assert parquet.read_placed(spark, ON_DISK, [], none.schema).select("id", "_metadata.row_index").collect() == []


def test_fields_that_spark_promises_are_null_where_their_struct_is(spark: SparkSession, tmp_path: Path) -> None:
    rows = spark.range(2, numPartitions=1).selectExpr(
        "IF(id = 0, struct(true AS sold, array(id) AS ids), NULL) AS kept"
    )
    assert not rows.schema["kept"].dataType["sold"].nullable  # type: ignore[index]
    (path,) = staging.write_table(rows, tmp_path / "table")
    assert pq.read_table(path)["kept"].to_pylist() == [{"sold": True, "ids": [0]}, None]
    assert staging.read_table(spark, tmp_path / "table").collect() == rows.collect()


TIMES = ["0001-01-01 00:00:00", "1582-10-10 12:00:00", "1899-12-31 23:59:59.999999", "9999-12-31 12:00:00"]


def test_times_are_those_of_the_catalogue_in_every_reader(spark: SparkSession, tmp_path: Path) -> None:
    """INT96, Spark's own form, has nanoseconds: readers that keep them end in 2262 and begin again in 1677."""
    values = ", ".join(f"('{time}')" for time in TIMES)
    kinds = ("timestamp", "timestamp_ntz", "date")
    casts = ", ".join(f"CAST(text AS {kind}) AS {kind}" for kind in kinds)
    folder = tmp_path / "table"
    written = spark.sql(f"SELECT text, {casts} FROM VALUES {values} AS t(text)").coalesce(1)
    (path,) = staging.write_table(written, folder)
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
    assert not parquet.has_int96(path)


@pytest.mark.parametrize(
    "name", ["[x] {a} * ? # 100% : é", "a: b", "a\\b", " a ", "a\nb", "{a,b}", "a%20b", "[x", "日本 [1]", "*"]
)
def test_path_may_hold_what_others_take_for_patterns(spark: SparkSession, tmp_path: Path, name: str) -> None:
    for folder, rows in ((tmp_path / name / "table", 3), (tmp_path / f"{name}{name}" / "table", 4)):
        staging.write_table(spark.range(rows).coalesce(1), folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f"{name}{name}"])
    assert staging.read_table(spark, tmp_path / name / "table").count() == 3


def test_many_files_are_listed_in_few_tasks(spark: SparkSession, tmp_path: Path) -> None:
    """Spark lists more than 32 paths in a job, by default in a task for each."""
    paths = [tmp_path / f"{number}.parquet" for number in range(70)]
    for path in paths:
        pq.write_table(pa.table({"item_id": ["a"]}), path)
    (tmp_path / "another").touch()  # else the folder is listed
    spark.sparkContext.setJobGroup("listing", "listing")
    frame = parquet.read(spark, ON_DISK, paths, StructType([StructField("item_id", StringType())]))
    spark.sparkContext.setLocalProperty("spark.jobGroup.id", None)  # type: ignore[arg-type]
    spark.sparkContext._jsc.sc().listenerBus().waitUntilEmpty()  # else the tracker may not know the job yet
    tracker = spark.sparkContext.statusTracker()
    jobs = [job for number in tracker.getJobIdsForGroup("listing") if (job := tracker.getJobInfo(number))]
    tasks = [stage.numTasks for job in jobs for number in job.stageIds if (stage := tracker.getStageInfo(number))]
    assert tasks == [32]
    assert frame.count() == 70
