"""What Spark says when it gives up, as one line."""

from __future__ import annotations

from typing import cast

import pytest
from py4j.protocol import Py4JError, Py4JJavaError, Py4JNetworkError
from pyspark.errors import PySparkException

from lookalike import errors
from lookalike.spark.failures import error_at_the_end

JOB = "Job aborted due to stage failure: Task 1 in stage 3.0 failed 4 times, most recent failure: Lost task 1.3: "
STACK = (
    "\n\tat org.apache.spark.api.python.PythonRunner.read(PythonRunner.scala:1)\n\tat java.base/java.lang.Thread.run"
)


class PythonError(PySparkException):
    """An error of a worker, which in a session asks the JVM for its text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


def python(last: str) -> PythonError:
    """The error of a worker that ended with the stack trace of `last`."""
    stack = f'Traceback (most recent call last):\n  File "/lib/task.py", line 3, in run\n{last}\n{STACK}'
    return PythonError(f"{JOB}org.apache.spark.api.python.PythonException: {stack}")


class JavaError(Py4JJavaError):
    """An error of the JVM that it was not asked for."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return f"An error occurred while calling o1.collect.\n: {self._text}{STACK}"


LOST = f"org.apache.spark.SparkException: {JOB}"


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (python("lookalike.errors.DecoderError: it does not start"), "DecoderError", "it does not start"),
        (python("lookalike.errors.ShardError: s.ann: damaged; roll back"), "ShardError", "s.ann: damaged; roll back"),
        (python("OSError: [Errno 28] No space left on device: '/scratch/x'"), "DiskError", "device (/scratch/x); free"),
        (
            JavaError("java.io.FileNotFoundException: /wh/x (Read-only file system)"),
            "DiskError",
            "file system (/wh/x); mount",
        ),
        (JavaError("java.io.IOException: Input/output error"), "DiskError", "Input/output error; look into the log"),
        (JavaError("java.io.IOException: File too large"), "DiskError", "ulimit -f"),
        (
            JavaError(f"{LOST}java.lang.Exception: Python worker exited unexpectedly (crashed)"),
            "SparkError",
            "was killed",
        ),
        (JavaError(f"{LOST}ExecutorLostFailure (executor 3 exited)"), "SparkError", "an executor was lost"),
        (JavaError("java.lang.OutOfMemoryError: Java heap space"), "SparkError", "raise spark.driver.memory"),
        (
            JavaError("java.lang.IllegalStateException: Cannot call methods on a stopped SparkContext"),
            "SparkError",
            "shut down",
        ),
        (
            python("ZeroDivisionError: division by zero"),
            "SparkError",
            "in every try: ZeroDivisionError: division by zero;",
        ),
        (
            python("pyarrow.lib.ArrowInvalid: Could not open Parquet input source '/x': Parquet file size is 0 bytes"),
            "SparkError",
            "in every try: pyarrow.lib.ArrowInvalid: Could not open Parquet input source '/x': Parquet file",
        ),
        (
            JavaError("java.lang.ArithmeticException: overflow"),
            "SparkError",
            "in every try: java.lang.ArithmeticException: over",
        ),
        (Py4JNetworkError("Answer from Java side is empty"), "SparkError", "Spark's JVM ended in mid-run"),
        (Py4JError("gone"), "SparkError", "Spark's JVM ended in mid-run"),
        (ConnectionRefusedError(111, "Connection refused"), "SparkError", "Spark's JVM ended in mid-run"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_spark_that_gives_up_says_one_line(error: Exception, kind: str, said: str) -> None:
    named = error_at_the_end(error)
    assert type(named) is getattr(errors, kind)
    assert said in str(named)
    assert "\n" not in str(named)
    assert "org.apache" not in str(named)


def test_file_that_spark_may_not_read_is_the_users_and_no_fault_of_a_disk() -> None:
    text = "[FAILED_READ_FILE.NO_HINT] Error while reading file file:///shop/a.parquet. (Permission denied)"
    named = error_at_the_end(PythonError(text))
    assert isinstance(named, errors.CatalogueError)
    assert str(named).startswith("/shop/a.parquet is damaged or gone (permission denied)")


def test_error_of_a_jvm_that_is_gone_cannot_say_what_it_was() -> None:
    class UntoldError(Py4JJavaError):
        def __init__(self) -> None:
            pass

        def __str__(self) -> str:
            raise ConnectionRefusedError

    assert str(error_at_the_end(UntoldError())).startswith("Spark's JVM ended in mid-run")


def test_error_that_is_not_of_spark_has_no_name() -> None:
    assert error_at_the_end(cast(Exception, ZeroDivisionError())) is None
