"""Tables as files: what was written is counted, and counted again in the files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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
