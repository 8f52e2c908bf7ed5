"""The embeddings that stay are carried by Arrow: as files where nothing goes, else without the rows that go."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from lookalike.catalogue.delta import Delta
from lookalike.embedding.carry import MAX_SMALL_FILES, ROWS_PER_FILE, carry_rows, plan_groups
from lookalike.errors import CountError, WarehouseError
from lookalike.spark import arrow_files, schemas
from lookalike.spark.release_tables import ReleaseTables
from lookalike.warehouse.release import ReleaseFolder, Staged
from support import records, staging

FORMAT = b"org.apache.spark.sql.parquet.row.metadata"


@pytest.fixture
def old(tmp_path: Path) -> ReleaseFolder:
    release = ReleaseFolder(tmp_path / "releases" / "old")
    release.embeddings.mkdir(parents=True)
    return release


@pytest.fixture
def staged(tmp_path: Path, old: ReleaseFolder) -> Staged:
    return staging.stage(tmp_path, "new", old)


def write_old(spark: SparkSession, old: ReleaseFolder, ids: Sequence[str]) -> None:
    """Write a file of embeddings with kept columns of several types."""
    rows = [(item, [float(number), 0.5, -1.0]) for number, item in enumerate(ids)]
    frame = spark.createDataFrame(rows, "item_id string, vector array<float>").selectExpr(
        *(f"CAST(NULL AS {field.dataType.simpleString()}) AS {field.name}" for field in schemas.EMBEDDINGS[1:5]),
        "item_id",
        "vector AS embedding",
        "timestamp'2026-11-01 02:15:00.123456' AS embedded_at",
        "CAST(7.25 AS decimal(9, 2)) AS price",
        "CAST(-7.25 AS decimal(38, 20)) AS long_price",
        "CAST(-3 AS tinyint) AS small",
        "CAST(2.5 AS double) AS weight",
        "true AS on_sale",
        "X'00ff' AS code",
        "date'1200-02-29' AS made_on",
        "timestamp_ntz'2026-11-01 02:15:00.123456' AS local_time",
        "map('colour', array(named_struct('n', 1S))) AS facts",
        "timestamp_seconds(400000000000) AS valid_until",
    )
    (file,) = staging.write_table(frame.coalesce(1), old.root.parent / f"written-{ids[0]}")
    file.rename(old.embeddings / f"{ids[0]}-0.parquet")


def delta_of(table: DataFrame, old: ReleaseFolder, gone: Sequence[str], kept: int) -> Delta:
    """What the comparison to the release says: some embeddings go, others are rewritten or were none."""
    others = [("d", False, False), ("e", False, True), ("f", True, True)]
    rows = [*((item, True, False) for item in gone), *(row for row in others if row[0] not in gone)]
    columns = (pa.array(column) for column in zip(*rows, strict=True))
    path = old.root.parent / "delta.parquet"
    pq.write_table(pa.table(list(columns), ["item_id", "was_embedded", "keep"]), path)
    before = ReleaseTables(old, table, table, table, files=staging.paths_by_part(old))
    numbers = {"in_catalogue": 0, "to_read": 0, "kept_failures": 0, "dropped": len(gone), "rewritten": 0}
    return Delta(table, (path,), before, {}, kept=kept, **numbers)


@pytest.mark.parametrize("write_record", [records.write_record, records.write_unlisted_record])
def test_rows_that_stay_are_the_same_for_every_reader(
    spark: SparkSession, staged: Staged, old: ReleaseFolder, write_record: Callable[[ReleaseFolder], None]
) -> None:
    """Also those of a release before 0.3.0, without files.json."""
    for ids in (["a", "b", "c"], ["d"], ["e", "f"]):
        write_old(spark, old, ids)
    write_record(old)
    before = staging.read_table(spark, old.embeddings)
    carry_rows(delta_of(before, old, ["b", "f", "no row"], 4), staged)
    staged.check_there("embeddings")
    assert staged.part("embeddings") == staging.files_of(staged)
    after = staging.read_table(spark, staged.embeddings)
    assert after.schema == before.schema
    stay = before.where("item_id NOT IN ('b', 'f')")
    in_json = [
        sorted(row.json for row in one.selectExpr("to_json(struct(*)) AS json").collect()) for one in (after, stay)
    ]
    assert in_json[0] == in_json[1]
    both = [
        duckdb.sql(f"SELECT * FROM '{folder}/*.parquet' WHERE item_id NOT IN ('b', 'f') ORDER BY item_id").fetchall()
        for folder in (staged.embeddings, old.embeddings)
    ]
    assert both[0] == both[1]
    assert len(both[0]) == 4
    linked = {file.name for file in staged.embeddings.iterdir() if (old.embeddings / file.name).exists()}
    assert linked == {"d-0.parquet"}
    stays = old.embeddings / "d-0.parquet"
    assert (staged.embeddings / stays.name).samefile(stays)
    assert len(list(staged.embeddings.iterdir())) == len(staged.written)  # and no unfinished file
    written = next(file for file in staged.embeddings.iterdir() if file.name not in linked)
    footers = [pq.read_metadata(file).metadata[FORMAT] for file in (written, stays)]
    assert json.loads(footers[0]) == json.loads(footers[1])


def test_rows_that_are_lost_end_the_run(spark: SparkSession, staged: Staged, old: ReleaseFolder) -> None:
    write_old(spark, old, ["a", "b"])
    records.write_record(old)
    with pytest.raises(CountError, match="has 1 rows that stay, where 2 were compared"):
        carry_rows(delta_of(spark.range(1), old, ["a"], 2), staged)


def vectors(rows: int) -> pa.Table:
    values = np.random.default_rng(1).normal(size=(rows, 4)).astype(np.float32)
    lists = pa.ListArray.from_arrays(np.arange(0, 4 * rows + 1, 4, dtype=np.int32), values.ravel())
    return pa.table({"item_id": [f"item-{number}" for number in range(rows)], "embedding": lists})


def test_file_has_row_groups_of_one_size_and_checksums_however_its_batches_come(tmp_path: Path) -> None:
    table = vectors(2 * arrow_files.ROW_GROUP_ROWS + 5)
    path = tmp_path / "table.parquet"
    assert arrow_files.write_file(path, table.schema, table.to_batches(max_chunksize=700)) == len(table)
    file = pq.ParquetFile(path)
    groups = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    assert groups == [arrow_files.ROW_GROUP_ROWS, arrow_files.ROW_GROUP_ROWS, 5]
    vector = file.metadata.row_group(0).column(1)
    assert (vector.path_in_schema, vector.compression, vector.has_dictionary_page) == (
        "embedding.list.element",
        "ZSTD",
        False,
    )
    assert pa.Table.from_batches(arrow_files.read_batches(path)).equals(table)
    data = bytearray(path.read_bytes())
    data[vector.data_page_offset + 200] ^= 1
    path.write_bytes(data)
    with pytest.raises(WarehouseError, match=r"table\.parquet cannot be read \(.*CRC"):
        list(arrow_files.read_batches(path))


def test_write_that_fails_leaves_no_file(tmp_path: Path) -> None:
    table = vectors(3)

    def failing() -> object:
        yield from table.to_batches()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        arrow_files.write_file(tmp_path / "table.parquet", table.schema, failing())
    assert list(tmp_path.iterdir()) == []


def test_first_file_of_a_task_that_runs_twice_stays(tmp_path: Path) -> None:
    table, path = vectors(3), tmp_path / "table.parquet"
    for rows in (table, table.take([2, 1, 0])):
        assert arrow_files.write_file(path, table.schema, rows.to_batches()) == 3
    assert pq.read_table(path).equals(table)
    assert list(tmp_path.iterdir()) == [path]


def test_many_small_files_are_carried_into_few() -> None:
    def stored(*rows: int) -> dict[Path, int]:
        return {Path(f"{number:04}"): one for number, one in enumerate(rows)}

    few = stored(*[10] * MAX_SMALL_FILES, ROWS_PER_FILE)
    assert sorted(plan_groups(few)) == [[path] for path in few]
    assert plan_groups(few)[0] == [list(few)[-1]]  # the largest first
    many = stored(*[1000] * (MAX_SMALL_FILES + 1), ROWS_PER_FILE, ROWS_PER_FILE // 2)
    groups = plan_groups(many)
    assert sorted(path for group in groups for path in group) == list(many)
    assert sorted(map(len, groups)) == [1, 1, 1, 8, 8]


def test_files_stay_few_over_many_nights() -> None:
    files = [ROWS_PER_FILE] * 12
    for _ in range(200):
        groups = plan_groups({Path(str(number)): rows for number, rows in enumerate(files)})
        files = [sum(int(0.99 * files[int(path.name)]) for path in group) for group in groups] + [1000]
        assert len(files) <= 2 * sum(files) / ROWS_PER_FILE + MAX_SMALL_FILES + 2
