"""How tables are written: Parquet with zstd, and vectors in the layout that measured best."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

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

# Off by default: a flipped bit in a page would be read as another value.
_VERIFY = {"parquet.page.verify-checksum.enabled": "true"}


def write(
    frame: DataFrame, path: Path, partition_by: str | None = None, options: Mapping[str, str] | None = None
) -> None:
    """Write `frame` as a folder of Parquet files, which must not exist yet; `options` are added to ours."""
    frame.write.options(**{**_OPTIONS, **(options or {})}).parquet(_uri(path), partitionBy=partition_by)


def write_and_read(frame: DataFrame, path: Path, options: Mapping[str, str] | None = None) -> DataFrame:
    """Write `frame`, and return it as it is read back. Its schema is known, so that no footer is read to learn it."""
    write(frame, path, options=options)
    return read(frame.sparkSession, path, schema=frame.schema)


def read(
    spark: SparkSession, *paths: Path, schema: StructType | None = None, damaged: Literal["fail", "skip"] = "fail"
) -> DataFrame:
    """Return the table in one or several folders of Parquet files; with a `schema`, no footer is read to learn it.

    `damaged="skip"` leaves out files that are torn or gone: only for tables that save work and can do without a row.
    """
    reader = (spark.read.schema(schema) if schema else spark.read).options(**_VERIFY)
    if damaged == "skip":
        reader = reader.options(ignoreCorruptFiles=True, ignoreMissingFiles=True)
    return reader.parquet(*(_uri(path, escape=True) for path in paths))


def condition(error: Exception) -> str:
    """Return Spark's name of an error condition in plain words: `[PATH_NOT_FOUND] …` -> `path not found`."""
    named = re.search(r"\[([A-Z_.]+)\]", str(error))
    return (named[1] if named else type(error).__name__).lower().replace("_", " ")


def _uri(path: Path, *, escape: bool = False) -> str:
    """Return the path with a scheme, without which Spark uses its default file system: on a cluster often another one.

    Not `path.as_uri()`, since Hadoop takes a percent sign as it is. A path that is read may hold wildcards; `escape`
    makes them plain characters.
    """
    return f"file://{_WILDCARDS.sub(_ESCAPED, str(path)) if escape else path}"


_WILDCARDS, _ESCAPED = re.compile(r"[\\{}\[\]*?]"), r"\\\g<0>"
