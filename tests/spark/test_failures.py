"""Files that Spark cannot read: one line with the file and what to do, in place of Spark's stack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer
from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lookalike.cli import exits
from lookalike.errors import CatalogueError, WarehouseError
from lookalike.spark.failures import named_error
from support import staging


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def flip_page(file: Path) -> None:
    """One bit of the values of the column `value`, behind the page's header."""
    chunk = pq.read_metadata(file).row_group(0).column(0)
    end = (chunk.dictionary_page_offset or chunk.data_page_offset) + chunk.total_compressed_size
    flip(file, (chunk.data_page_offset + end) // 2)


def flip_dictionary(file: Path) -> None:
    """One bit at the end of the dictionary of the column `word`."""
    chunk = pq.read_metadata(file).row_group(0).column(1)
    flip(file, chunk.data_page_offset - 3)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


@pytest.mark.parametrize("harm", [flip_page, flip_dictionary, cut, Path.unlink])
def test_damaged_file_of_a_release_ends_a_command_with_one_line(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: Callable[[Path], None]
) -> None:
    table = tmp_path / "ware house/releases/r1/embeddings"
    words = F.concat(F.lit("word "), (F.col("id") % 40).cast("string"))
    rows = spark.range(1_000).coalesce(1).select(F.xxhash64("id").alias("value"), words.alias("word"))
    (file,) = staging.write_table(rows, table)
    frame = staging.read_table(spark, table)
    harm(file)
    with pytest.raises(typer.Exit) as ended, exits.exit_code():
        frame.agg(F.sum("value"), F.max("word")).collect()
    assert ended.value.exit_code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"WarehouseError: {file} is damaged or gone (")
    assert "roll back to another release, or run the job again" in line


@pytest.mark.parametrize(
    ("path", "error", "advice"),
    [
        ("/data/wh/releases/r1/neighbours/part-0.parquet", WarehouseError, "roll back"),
        ("/data/wh/work/r2/delta/part-0.parquet", WarehouseError, "which this run has written"),
        ("/data/wh/checkpoints/r1/m/checkpoint-1/part-0.parquet", WarehouseError, "which this run has written"),
        ("/data/shop/part-0.parquet", CatalogueError, "restore it"),
    ],
)
def test_advice_is_that_of_the_place(path: str, error: type[Exception], advice: str) -> None:
    found = named_error(AnalysisException(f"[FAILED_READ_FILE.NO_HINT] Error while reading file file://{path}."))
    assert isinstance(found, error)
    assert str(found).startswith(path)
    assert advice in str(found)


def test_errors_of_a_query_or_the_cluster_stay_as_they_are() -> None:
    assert named_error(AnalysisException("[UNRESOLVED_COLUMN] file:///data/x.parquet")) is None
    assert named_error(ValueError("file:///data/x.parquet is not a Parquet file")) is None
