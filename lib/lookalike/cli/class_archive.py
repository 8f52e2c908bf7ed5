"""Write an archive of the classes that a run of Spark loads: `python -m lookalike.cli.class_archive`.

Java maps the archive instead of reading, checking and linking some 15,000 classes of Spark's jars: a session and four
small queries take 13 s of the cores with it, and 20 without. It lies next to pyspark, whose jars it is made of; set-up
writes it once. Without one, or with one of another Java or of other jars, Java reads the jars as ever.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyspark
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from lookalike import config
from lookalike.cli.session import session
from lookalike.spark import parquet
from lookalike.spark.tasks import collect_tasks
from lookalike.warehouse.shared_files import ON_DISK

# What spark/java/bin/java wants at the end of the archive. Java does not look whether all of it is there: of one that
# is cut, by a copy that broke off, it would read beyond the end, and end with SIGBUS.
END = b"\nwhole\n"

# Of a night that does nothing; no setting of it decides which classes are loaded.
_SETTINGS = config.Settings(
    catalogue=config.CatalogueSettings(path="none"), warehouse=config.WarehouseSettings(path="none")
)


def archive_path() -> Path:
    """Return where spark/java/bin/java looks for the archive."""
    return Path(pyspark.__path__[0]).parent / "lookalike-spark.jsa"


def write_archive(path: Path) -> bool:
    """Run what most runs do, and have Java write the classes of it when it ends; return whether it could."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    os.environ["LOOKALIKE_WRITE_ARCHIVE"] = str(unfinished)
    try:
        with tempfile.TemporaryDirectory() as folder, session("class-archive", _SETTINGS) as spark:
            java = _java(spark)
            _run_queries(spark, Path(folder))
        java.communicate()  # closes its input, with which Java ends, and writes
        if written := unfinished.is_file():
            _end(unfinished)
            os.replace(unfinished, path)
        return written
    finally:
        unfinished.unlink(missing_ok=True)


def _end(archive: Path) -> None:
    archive.chmod(0o644)  # Java leaves it read-only
    with archive.open("ab") as file:
        file.write(END)
        os.fsync(file.fileno())


def _java(spark: SparkSession) -> subprocess.Popen[bytes]:
    """Return the process of the session's Java."""
    gateway: Any = spark.sparkContext._gateway
    process: subprocess.Popen[bytes] = gateway.proc
    return process


def _run_queries(spark: SparkSession, folder: Path) -> None:
    """Run queries of every kind that the steps run, on a few rows."""
    rows = spark.range(100).select(F.col("id").cast("string").alias("item_id"), (F.col("id") % 7).alias("group"))
    with_vectors = rows.withColumn("embedding", F.array(F.lit(1.0).cast("float")))
    items = parquet.write_and_read(with_vectors, folder / "items", ON_DISK)
    ranked = items.withColumn("rank", F.row_number().over(Window.partitionBy("group").orderBy(F.xxhash64("item_id"))))
    near = ranked.where("rank < 3").join(F.broadcast(items.select("item_id").distinct()), on="item_id", how="left_semi")
    both = items.alias("a").join(ranked.alias("b"), on="item_id", how="full_outer").where("a.group > 2 OR rank < 3")
    parquet.write(both.select("item_id", "rank").repartition(2), folder / "both", ON_DISK)
    near.orderBy("item_id").toArrow()
    _arrow_batches(items).groupBy("item_id").applyInArrow(lambda table: table.slice(0, 1), "item_id string").collect()
    collect_tasks(spark, 2, lambda number: {"number": number})


def _arrow_batches(items: DataFrame) -> DataFrame:
    def same(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from batches

    return items.select("item_id").mapInArrow(same, "item_id string")


if __name__ == "__main__":
    if not write_archive(archive_path()):
        sys.exit(f"Java has not written {archive_path()}; see that the folder can be written and has 180 MB")
