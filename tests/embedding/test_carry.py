"""The embeddings that stay are carried by Arrow: as files where nothing goes, else without the rows that go."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from lookalike.embedding.carry import MAX_SMALL_FILES, ROWS_PER_FILE, carry_rows, plan_groups
from lookalike.errors import CountError, WarehouseError
from lookalike.spark import arrow_files, parquet, schemas
from lookalike.warehouse.release import Staged

FORMAT = b"org.apache.spark.sql.parquet.row.metadata"


@pytest.fixture
def staged(tmp_path: Path) -> Staged:
    for name in ("releases/new", "work/new", "old"):
        (tmp_path / name).mkdir(parents=True)
    return Staged(tmp_path / "releases" / "new", tmp_path / "work" / "new", parent=None)


def write_old(spark: SparkSession, folder: Path, ids: Sequence[str]) -> None:
    """Write a file of embeddings with kept columns of several types, as Spark does."""
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
    frame = frame.coalesce(1)
    parquet.write(frame, folder.parent / f"spark-{ids[0]}")
    for number, file in enumerate(sorted((folder.parent / f"spark-{ids[0]}").glob("*.parquet"))):
        file.rename(folder / f"{ids[0]}-{number}.parquet")


def write_delta(folder: Path, gone: Sequence[str]) -> Path:
    """Write what the comparison to the release says: some embeddings go, others are rewritten or were none."""
    folder.mkdir()
    others = [("d", False, False), ("e", False, True), ("f", True, True)]
    rows = [*((item, True, False) for item in gone), *(row for row in others if row[0] not in gone)]
    columns = (pa.array(column) for column in zip(*rows, strict=True))
    pq.write_table(pa.table(list(columns), ["item_id", "was_embedded", "keep"]), folder / "part.parquet")
    return folder


def test_rows_that_stay_are_the_same_for_every_reader(spark: SparkSession, staged: Staged, tmp_path: Path) -> None:
    old = tmp_path / "old"
    for ids in (["a", "b", "c"], ["d"], ["e", "f"]):
        write_old(spark, old, ids)
    carry_rows(spark, old, staged, write_delta(tmp_path / "delta", ["b", "f", "no row"]), 4)
    before, after = parquet.read(spark, old), parquet.read(spark, staged.embeddings)
    assert after.schema == before.schema
    stay = before.where("item_id NOT IN ('b', 'f')")
    in_json = [
        sorted(row.json for row in one.selectExpr("to_json(struct(*)) AS json").collect()) for one in (after, stay)
    ]
    assert in_json[0] == in_json[1]
    both = [
        duckdb.sql(f"SELECT * FROM '{folder}/*.parquet' WHERE item_id NOT IN ('b', 'f') ORDER BY item_id").fetchall()
        for folder in (staged.embeddings, old)
    ]
    assert both[0] == both[1]
    assert len(both[0]) == 4
    linked = {file.name for file in staged.embeddings.iterdir() if (old / file.name).exists()}
    assert linked == {"d-0.parquet"}
    assert (staged.embeddings / "d-0.parquet").samefile(old / "d-0.parquet")
    assert list(staged.work.iterdir()) == []
    written = next(file for file in staged.embeddings.iterdir() if file.name not in linked)
    footers = [pq.read_metadata(file).metadata[FORMAT] for file in (written, old / "d-0.parquet")]
    assert json.loads(footers[0]) == json.loads(footers[1])


def test_rows_that_are_lost_end_the_run(spark: SparkSession, staged: Staged, tmp_path: Path) -> None:
    write_old(spark, tmp_path / "old", ["a", "b"])
    with pytest.raises(CountError, match="has 1 rows that stay, where 2 were compared"):
        carry_rows(spark, tmp_path / "old", staged, write_delta(tmp_path / "delta", ["a"]), 2)


def vectors(rows: int) -> pa.Table:
    values = np.random.default_rng(1).normal(size=(rows, 4)).astype(np.float32)
    lists = pa.ListArray.from_arrays(np.arange(0, 4 * rows + 1, 4, dtype=np.int32), values.ravel())
    return pa.table({"item_id": [f"item-{number}" for number in range(rows)], "embedding": lists})


def test_file_has_row_groups_of_one_size_and_checksums_however_its_batches_come(tmp_path: Path) -> None:
    table = vectors(2 * arrow_files.ROW_GROUP_ROWS + 5)
    path = tmp_path / "table.parquet"
    assert arrow_files.write_file(path, table.schema, table.to_batches(max_chunksize=700), tmp_path) == len(table)
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
        arrow_files.write_file(tmp_path / "table.parquet", table.schema, failing(), tmp_path)
    assert list(tmp_path.iterdir()) == []


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
