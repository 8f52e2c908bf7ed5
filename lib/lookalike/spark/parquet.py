"""How tables are written, counted and read: Parquet with zstd, and vectors in the layout that measured best."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from lookalike.errors import CountError

_OPTIONS = {
    "compression": "zstd",
    # A folder is complete when release.json names it: marker files only clutter it.
    "mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    # 6,000 embeddings of the int8 model, 49.8 MB plain. A dictionary costs space and time: 22.7 MB, read by
    # Spark in 2.8 s, against 20.9 MB and 1.5 s without. zstd 1 gives 25.0 MB, 9 gives 20.0 MB for half as much
    # time again. Byte-stream-split gives 38.5 MB (int8 outputs repeat whole values, not bytes), and the
    # vectorised reader of Spark 4.2 refuses it.
    "parquet.enable.dictionary#embedding.list.element": "false",
    "parquet.compression.codec.zstd.level": "3",
    "parquet.page.write-checksum.enabled": "true",
}

# Where Spark keeps the schema of a table in the footer of its files.
_SPARK_SCHEMA = b"org.apache.spark.sql.parquet.row.metadata"

_READ = {
    # Off by default: a flipped bit in a page would be read as another value.
    "parquet.page.verify-checksum.enabled": "true",
    # Else a path with `[` or `{` is a pattern, and escaped it cannot also hold a colon.
    "__globPaths__": "false",
}


def write(frame: DataFrame, path: Path, options: Mapping[str, str] | None = None) -> int:
    """Write `frame` as a folder of Parquet files, which must not exist yet; `options` are added to ours.

    Return the number of rows; raises CountError when the files hold more or fewer than went into them. A worker that
    does not share the folder writes to a disk of its own, and Spark commits what it finds.
    """
    rows = Observation("rows")
    counted = frame.observe(rows, F.count(F.lit(1)).alias("rows"))
    counted.write.options(**{**_OPTIONS, **(options or {})}).parquet(_uri(path))
    written = int(rows.get["rows"])
    check_rows(path, written)
    return written


def check_rows(folder: Path, written: int) -> None:
    """Raise CountError unless the Parquet files of a folder hold the rows that were written."""
    if (there := count_rows(folder)) != written:
        raise CountError(
            f"{folder} holds {there:,} of the {written:,} rows that were written; every worker must see this folder: "
            "check the mounts and the disk, and run again"
        )


def count_rows(folder: Path) -> int:
    """Return the number of rows in the Parquet files of a folder, by their footers; 0 where there is no folder.

    Reads them on the driver: 2,400 files on a local disk in 0.3 s. Raises CountError when one cannot be read.
    """
    with ThreadPoolExecutor(8, thread_name_prefix="footer") as pool:
        return sum(pool.map(_rows_of_file, sorted(folder.rglob("*.parquet"))))


def _rows_of_file(path: Path) -> int:
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise CountError(f"{path} cannot be read to count its rows ({reason}); run again") from None


def has_int96(folder: Path) -> bool:
    """Return whether a table has times in the form that Spark wrote until version 0.2.0 of this project."""
    schemas = [pq.read_metadata(file).schema for file in sorted(folder.glob("*.parquet"))[:1]]  # one run wrote them all
    return any(schema.column(at).physical_type == "INT96" for schema in schemas for at in range(len(schema)))


def stored_schema(folder: Path) -> StructType | None:
    """Return the schema that Spark has written into the footers of a table; None if it has to be inferred, by a job."""
    try:
        found = pq.read_metadata(min(folder.glob("[!._]*.parquet"))).metadata or {}
        return StructType.fromJson(json.loads(found[_SPARK_SCHEMA]))
    except (OSError, ValueError, KeyError, pa.ArrowException):  # no file, a damaged one, or one of another program
        return None


def write_and_read(frame: DataFrame, path: Path, options: Mapping[str, str] | None = None) -> DataFrame:
    """Write `frame`, and return it as it is read back. Its schema is known, so that no footer is read to learn it."""
    write(frame, path, options=options)
    return read(frame.sparkSession, path, schema=frame.schema)


def read(
    spark: SparkSession, *paths: Path, schema: StructType | str | None = None, damaged: Literal["fail", "skip"] = "fail"
) -> DataFrame:
    """Return the table in one or several folders of Parquet files; with a `schema`, no footer is read to learn it.

    `damaged="skip"` leaves out files that are torn or gone: only for tables that save work and can do without a row.
    """
    reader = (spark.read.schema(schema) if schema else spark.read).options(**_READ)
    if damaged == "skip":
        reader = reader.options(ignoreCorruptFiles=True, ignoreMissingFiles=True)
    return reader.parquet(*(_uri(path) for path in paths))


def condition(error: Exception) -> str:
    """Return Spark's name of an error condition in plain words: `[PATH_NOT_FOUND] …` -> `path not found`."""
    named = re.search(r"\[([A-Z_.]+)\]", str(error))
    return (named[1] if named else type(error).__name__).lower().replace("_", " ")


def _uri(path: Path) -> str:
    """Return the path with a scheme, without which Spark uses its default file system: on a cluster often another one.

    Not `path.as_uri()`, since Hadoop takes a percent sign as it is.
    """
    return f"file://{path}"
