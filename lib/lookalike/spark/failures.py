"""Turn Spark's errors of files that it cannot read into named ones: a line that says which file, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

from lookalike.errors import CatalogueError, LookalikeError, WarehouseError, raised_in_worker
from lookalike.spark.parquet import condition

# Spark's error conditions, and the Java errors that come without one.
_UNREADABLE = re.compile(
    r"\[(PATH_NOT_FOUND|FAILED_READ_FILE|CANNOT_READ_FILE_FOOTER|UNABLE_TO_INFER_SCHEMA)[.A-Z_]*\]"
    r"|ParquetDecodingException|could not verify .* CRC checksum|is not a Parquet file"
    r"|ChecksumException|java\.io\.FileNotFoundException"
)

_FILE = re.compile(r"file:/{0,2}(/[^\s,;'\"\]]+?\.parquet)\b|file:/{0,2}(/[^\s,;'\"\]]+)")
_RELEASE = re.compile(r"/(releases|refused)/[^/]+/[^/]+")

_ROLL_BACK = "roll back to another release, or run the job again, which replaces what is damaged"


def named_error(error: BaseException, release: Path | None = None) -> LookalikeError | None:
    """Return the named error of a file that Spark could not read, or that a task raised; None for any other error.

    `release` is the folder of the release that is read, where that is known.
    """
    if not isinstance(error, PySparkException | Py4JJavaError):
        return None
    text = str(error)
    if (raised := raised_in_worker(text)) is not None:
        return raised
    if _UNREADABLE.search(text) is None:
        return None
    found = _FILE.search(text)
    path = (found[1] or found[2]).rstrip(".") if found else "a file"
    reason = condition(error)
    if _RELEASE.search(path) or (release and path.startswith(f"{release}/")):
        return WarehouseError(f"{path} is damaged or gone ({reason}); {_ROLL_BACK}")
    if "/work/" in path or "/checkpoints/" in path or found is None:
        return WarehouseError(f"{path}, which this run has written, is damaged or gone ({reason}); run again")
    return CatalogueError(f"{path} is damaged or gone ({reason}); restore it, and run again")


@contextmanager
def named_errors(release: Path) -> Iterator[None]:
    """Raise the named error in place of Spark's, where a file of a release cannot be read."""
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        if (named := named_error(error, release)) is not None:
            raise named from None
        raise
