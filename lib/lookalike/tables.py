"""How tables are written: Parquet with zstd, and vectors in the layout that measured best."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import DataFrame

_OPTIONS = {
    "compression": "zstd",
    # A folder is complete when release.json names it: marker files only clutter it.
    "mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    "parquet.enable.dictionary#embedding.list.element": "false",
}


def write(frame: DataFrame, path: Path) -> None:
    """Write `frame` as a folder of Parquet files; it must not exist yet."""
    frame.write.options(**_OPTIONS).parquet(str(path))
