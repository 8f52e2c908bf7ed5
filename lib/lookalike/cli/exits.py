"""How a command ends: its exit code, one line for a named error, and a clean end on SIGINT and SIGTERM."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import typer

from lookalike.cli import output
from lookalike.errors import LookalikeError, OutputError
from lookalike.progress import say

_DISK_FULL = os.strerror(errno.ENOSPC)


@contextmanager
def exit_code(*, as_json: bool = False) -> Iterator[None]:
    """Turn the end of the body into an exit code: 0, that of a named error, or 128 and the signal's number.

    A named error is one line on stderr and, with `as_json`, also an object on stdout. Anything else is a defect of ours
    or of the cluster, and keeps its stack trace.
    """
    stopped: list[int] = []
    try:
        with _signals_raise(stopped), _spark_errors_named():
            yield
    except output.ReaderGone:
        return
    except LookalikeError as error:
        say(f"{type(error).__name__}: {error}")
        if as_json:
            with suppress(OutputError, output.ReaderGone):
                output.print_json(_as_object(error))
        raise typer.Exit(error.exit_code) from None
    except BaseException as error:
        if not stopped and _DISK_FULL in str(error):  # of the driver, a Python worker or the JVM
            say(f"{_DISK_FULL}: where the warehouse or Spark's scratch folder lies; free some and run again")
            raise typer.Exit(1) from None
        if not stopped:
            raise
    if stopped:  # also where the JVM, which got the signal too, was gone before Python noticed
        say(f"stopped by {signal.Signals(stopped[0]).name}")
        raise typer.Exit(128 + stopped[0])


@contextmanager
def _spark_errors_named() -> Iterator[None]:
    """Raise a named error for a file that Spark could not read: its own has a stack of 150 lines."""
    try:
        yield
    except Exception as error:
        if "pyspark" not in sys.modules:  # a command without Spark does not import it for this
            raise
        from lookalike.spark.failures import named_error

        raise named_error(error) or error from None


def _as_object(error: LookalikeError) -> dict[str, object]:
    return {"error": {"name": type(error).__name__, "message": str(error), "exit_code": error.exit_code}}


@contextmanager
def _signals_raise(stopped: list[int]) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the command as an exception does, so that an unfinished release is removed."""

    def stop(number: int, _frame: object) -> None:
        stopped.append(number)
        for name in former:
            signal.signal(name, signal.SIG_IGN)  # the clean-up is under way
        raise KeyboardInterrupt

    former = {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for name, handler in former.items():
            signal.signal(name, handler)
