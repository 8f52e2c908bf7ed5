"""Turn Spark's errors into named ones: a line that says what failed, and what to do, in place of 150 lines of stack."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors import PySparkException

from lookalike.errors import CatalogueError, LookalikeError, SparkError, WarehouseError, raised_in_worker
from lookalike.spark.parquet import condition
from lookalike.storage.disk import disk_error_in

# Spark's error conditions, and the Java errors that come without one.
_UNREADABLE = re.compile(
    r"\[(PATH_NOT_FOUND|FAILED_READ_FILE|CANNOT_READ_FILE_FOOTER|UNABLE_TO_INFER_SCHEMA)[.A-Z_]*\]"
    r"|ParquetDecodingException|could not verify .* CRC checksum|is not a Parquet file"
    r"|ChecksumException|java\.io\.FileNotFoundException"
)

_MAY_NOT_READ = re.compile(r"\[(FAILED_READ_FILE|CANNOT_READ_FILE_FOOTER)(?s:.*)Permission denied")

_FILE = re.compile(r"file:/{0,2}(/[^\n,;'\"\]]+?\.parquet)\b|file:/{0,2}(/[^\s,;'\"\]]+)")
_RELEASE = re.compile(r"/(releases|refused)/[^/]+/[^/]+")

# The last cause that Java names, and the last line of a worker's own stack.
_CAUSE = re.compile(r"^(?:Caused by: |: )?((?:[\w$]+\.)*(?:\w*(?:Error|Exception)|ArrowInvalid)\b.*)$", re.MULTILINE)

_GONE = {
    "Python worker exited unexpectedly": "a Python worker was killed in every try of its task, most likely for its "
    "memory (the kernel's log tells); give Spark fewer cores, or the machine more memory",
    "OutOfMemoryError": "the JVM has too little memory; raise spark.driver.memory, on a cluster spark.executor.memory",
    "ExecutorLostFailure": "an executor was lost in every try of its task; the cluster's log tells why",
    "SparkContext was shut down": "Spark was shut down in mid-run; look into the log of the cluster",
    "stopped SparkContext": "Spark was shut down in mid-run; look into the log of the cluster",
}
_JVM_GONE = "Spark's JVM ended in mid-run: it was killed, or had too little memory (the kernel's log tells)"

_ROLL_BACK = "roll back to another release, or run the job again, which replaces what is damaged"


def error_at_the_end(error: BaseException) -> LookalikeError | None:
    """Return the named error for whatever of Spark's ends a command; None for any other error."""
    gone = SparkError(f"{_JVM_GONE}; run again")
    if isinstance(error, Py4JError | ConnectionError) and not isinstance(error, Py4JJavaError):
        return gone
    if not isinstance(error, PySparkException | Py4JJavaError):
        return None
    try:
        return named_error(error) or _gave_up(str(error))
    except (Py4JError, ConnectionError):  # the text of a Java error is asked of the JVM
        return gone


def named_error(error: BaseException, release: Path | None = None) -> LookalikeError | None:
    """Return the named error of what a task raised, a disk refused, or Spark could not read; None for any other error.

    `release` is the folder of the release that is read, where that is known.
    """
    if not isinstance(error, PySparkException | Py4JJavaError):
        return None
    text = str(error)
    unreadable = _unreadable(error, text, release)
    if unreadable and _MAY_NOT_READ.search(text):  # of the user's: no disk failed
        return unreadable
    return raised_in_worker(text) or disk_error_in(text) or unreadable


def _gave_up(text: str) -> SparkError:
    for said, what in _GONE.items():
        if said in text:
            return SparkError(f"{what}; run again")
    return SparkError(
        f"a step failed in every try: {last_cause(text)}; LOOKALIKE_LOG=FILE keeps the whole stack in a file"
    )


def last_cause(text: str) -> str:
    """Return the last cause that the text of an error names, or else its first line."""
    causes: list[str] = _CAUSE.findall(text)
    return causes[-1] if causes else text.strip().partition("\n")[0]


def _unreadable(error: Exception, text: str, release: Path | None) -> LookalikeError | None:
    """Return the named error of a file that Spark could not read."""
    if _UNREADABLE.search(text) is None:
        return None
    found = _FILE.search(text)
    path = (found[1] or found[2]).rstrip(".") if found else "a file"
    if Path(unquote(path)).parent.is_dir():  # most of Spark's messages have blanks as %20
        path = unquote(path)
    reason = "permission denied" if _MAY_NOT_READ.search(text) else condition(error)
    if _RELEASE.search(path) or (release and path.startswith(f"{release}/")):
        return WarehouseError(f"{path} is damaged or gone ({reason}); {_ROLL_BACK}")
    if "/work/" in path or "/checkpoints/" in path or found is None:
        return WarehouseError(f"{path}, which this run has written, is damaged or gone ({reason}); run again")
    return CatalogueError(f"{path} is damaged or gone ({reason}); restore it, and run again")


@contextmanager
def named_errors(release: Path) -> Iterator[None]:
    """Raise the named error in place of Spark's, where a release is read."""
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        if (named := named_error(error, release)) is not None:
            raise named from None
        raise
