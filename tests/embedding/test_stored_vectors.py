"""Rows get the vectors that lie in files, by file and row, whatever the files are called."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import reduce
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from lookalike.embedding import stored_vectors
from lookalike.embedding.task import OUTCOMES
from lookalike.spark import schemas
from lookalike.warehouse.shared_files import ON_DISK
from support.staging import read_table


def test_rows_get_the_vectors_that_lie_at_their_places(spark: SparkSession, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a b", "a%20b", "ü#?%2F%")]  # Spark names the first a%20b
    made = datetime(2026, 11, 1, 2, 15, tzinfo=UTC)
    for file, folder in enumerate(folders):
        folder.mkdir()
        rows = [
            {
                "image_hash": f"{file}-{row}",
                "embedding": [file, row],
                "norm": row,
                "width": 5,
                "height": 4,
                "fixes": ["a"],
            }
            for row in range(5)
        ]
        table = pa.Table.from_pylist([{**row, "embedded_at": made} for row in rows], schema=OUTCOMES)
        pq.write_table(table, folder / "part.parquet", row_group_size=2)
    tables = [read_table(spark, folder, schemas.OUTCOMES) for folder in folders]
    stored = reduce(DataFrame.unionByName, (one.select("image_hash", *stored_vectors.place()) for one in tables))
    asked = stored.where("image_hash NOT IN ('0-0', '1-3', '2-4')").select(
        F.col("image_hash").alias("item_id"),
        *(F.lit(name).alias(name) for name in ("image_path", "fingerprint")),
        "image_hash",
        F.struct(F.col("image_hash").alias("other")).alias("kept"),
        *("file", "row_index"),
    )
    twice = asked.unionByName(asked.where("image_hash = '2-2'"))
    schema = StructType([*schemas.EMBEDDINGS, StructField("other", StringType())])
    add = stored_vectors.WithVectors(ON_DISK, "model", schemas.as_arrow(schema))
    found = stored_vectors.spread(twice, 20_000).mapInArrow(add, schema).collect()
    assert len(found) == 13
    for row in found:
        assert [f"{int(one)}" for one in row["embedding"]] == row["image_hash"].split("-") == row["other"].split("-")
        assert (row["norm"], row["width"], row["fixes"]) == (float(row["image_hash"][-1]), 5, ["a"])
        assert (row["item_id"], row["model_id"]) == (row["image_hash"], "model")
        assert row["embedded_at"].replace(tzinfo=UTC) == made
