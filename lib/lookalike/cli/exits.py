"""How a command ends: its exit code, one line for a named error, and a clean end on SIGINT, SIGTERM and SIGHUP."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import typer

from lookalike.cli import output
from lookalike.errors import LookalikeError, OutputError, SessionError
from lookalike.progress import say
from lookalike.redaction import redacted
from lookalike.safe_text import escaped_lines, one_line
from lookalike.storage.disk import disk_error, disk_error_in

# Signals that end a command in order: Ctrl-C, what schedulers send, and what a terminal sends that is closed.
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class End:
    """How a command ended: its exit code and one line; after an error also its class."""

    exit_code: int = 0
    error: str | None = None
    message: str = ""


def _nobody(_end: End) -> None:
    """Tell nobody of a failure."""


@contextmanager
def exit_code(*, as_json: bool = False, on_failure: Callable[[End], None] = _nobody) -> Iterator[None]:
    """Turn the end of the body into an exit code: 0, that of a named error, or 128 and the signal's number.

    A named error is one line on stderr and, with `as_json`, also an object on stdout. Anything else is a defect of
    ours, and keeps its stack trace. `on_failure` is told of every end that is not 0.
    """
    stopped: list[int] = []
    try:
        with _signals_raise(stopped), _faults_named():
            yield
    except output.ReaderGone:
        return
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and not stopped:
            stopped.append(signal.SIGINT)  # Spark had a handler of its own in the place while it started
        if not stopped and isinstance(error, LookalikeError):
            _tell(error, as_json=as_json)
            on_failure(_failure(error))
            raise typer.Exit(error.exit_code) from None
        if not stopped:
            on_failure(_failure(error))
            raise
    if stopped:  # also where the JVM, which got the signal too, was gone before Python noticed
        end = End(128 + stopped[0], message=f"stopped by {signal.Signals(stopped[0]).name}")
        say(end.message, "stopped", "error", exit_code=end.exit_code)
        on_failure(end)
        raise typer.Exit(end.exit_code)


def _failure(error: BaseException) -> End:
    code = error.exit_code if isinstance(error, LookalikeError) else 1
    return End(code, type(error).__name__, one_line(str(error)))


@contextmanager
def _faults_named() -> Iterator[None]:
    """Raise a named error for what Spark, a disk or a limit of the system refused."""
    try:
        yield
    except Exception as error:
        named = _named(error)
        if named is None:
            raise
        _keep_stack()
        raise named from None


def _named(error: Exception) -> LookalikeError | None:
    if isinstance(error, LookalikeError):
        return None
    if isinstance(error, ModuleNotFoundError) and error.name in ("pyspark", "py4j"):
        return SessionError(
            "this Python has no pyspark; submit the job with spark-submit, which brings its own, or pip install pyspark"
        )
    if isinstance(error, MemoryError):
        return disk_error(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)))
    if "pyspark" in sys.modules:  # a command without Spark does not import it for this
        from lookalike.spark.failures import error_at_the_end

        if named := error_at_the_end(error):
            return named
    return disk_error(error) if isinstance(error, OSError) else disk_error_in(str(error))


def _keep_stack() -> None:
    """Append the stack trace of what is now being handled to the file that LOOKALIKE_LOG names."""
    if path := os.environ.get("LOOKALIKE_LOG"):
        try:
            with open(path, "a", encoding="utf-8") as file:
                file.write(escaped_lines(redacted(traceback.format_exc())))
        except OSError as error:
            say(f"LOOKALIKE_LOG: {path} cannot be written ({error.strerror})")


def _tell(error: LookalikeError, *, as_json: bool) -> None:
    name = type(error).__name__
    say(f"{name}: {error}", "error", "error", name=name, exit_code=error.exit_code)
    if as_json:
        with suppress(OutputError, output.ReaderGone):
            output.print_json(_as_object(error))


def _as_object(error: LookalikeError) -> dict[str, object]:
    return {"error": {"name": type(error).__name__, "message": str(error), "exit_code": error.exit_code}}


@contextmanager
def _signals_raise(stopped: list[int]) -> Iterator[None]:
    """Let signals end the command as an exception does, so that an unfinished release is removed.

    SIGHUP that is ignored stays so, as below nohup. SIGINT does not: a shell lets all that it starts in the background
    ignore it, and who sends it to such a process means it.
    """

    def stop(number: int, _frame: object) -> None:
        stopped.append(number)
        for name in former:
            signal.signal(name, signal.SIG_IGN)  # the clean-up is under way
        raise KeyboardInterrupt

    below_nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    former = {name: signal.signal(name, stop) for name in STOPPING if name != signal.SIGHUP or not below_nohup}
    try:
        yield
    finally:
        for name, handler in former.items():
            signal.signal(name, handler)
