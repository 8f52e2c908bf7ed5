"""What a run prints while it works: a line for each step, and the progress of a long action."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TextIO

from tqdm import tqdm

from lookalike.redaction import redacted
from lookalike.safe_text import escaped, shortened

# Seconds from one line of progress to the next: in a terminal the line moves, in a log each is a line of its own.
_TERMINAL_SECONDS = 0.5
_LOG_SECONDS = 10.0

# rate_noinv_fmt: below one a second, rate_fmt says how many seconds each takes, as "1.15s/ pictures".
_COUNTS = "{n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"

# Seconds without a line after which a step says that it still runs: on a busy machine int8's calibration took 25.
_SILENT_SECONDS = 15.0

_LONGEST_LINE = 2000

_NAME_WIDTH = len("neighbours")  # the longest name of a step
_INDENT = " " * (_NAME_WIDTH + 2)


def say(text: str) -> None:
    """Print one line to the terminal or the log, at once; what came from the catalogue is made safe first."""
    _write(f"{shortened(escaped(redacted(text)), _LONGEST_LINE)}\n")


_last_written = time.monotonic()


def _write(text: str) -> None:
    """Write to stderr; a log that is full, or that nobody reads any more, does not end a run."""
    global _last_written
    _last_written = time.monotonic()
    if _held is not None:
        _held.append(text)
        return
    try:
        print(text, end="", file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr)


_held: list[str] | None = None


@contextmanager
def held_back() -> Iterator[None]:
    """Print what is said inside the context at its end: meanwhile the process's output goes nowhere."""
    global _held
    outer, _held = _held, []
    try:
        yield
    finally:
        said, _held = _held, outer
        for text in said:
            _write(text)


def discard(stream: TextIO) -> None:
    """Send what a stream still holds, and what follows, nowhere: else Python ends with an error of its own, 120."""
    with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def say_step(name: str, what: str) -> None:
    """Print which step begins."""
    say(f"{name:>{_NAME_WIDTH}}: {what}")


def say_detail(text: str) -> None:
    """Print a line that belongs to the step above it."""
    say(f"{_INDENT}{text}")


class Steps:
    """The time of each step of a run, by name, in order; `checks` run first in each, and may end the run."""

    def __init__(self, *checks: Callable[[], None]) -> None:
        self.seconds: dict[str, float] = {}
        self._checks = checks

    @contextmanager
    def step(self, name: str, what: str) -> Iterator[None]:
        """Print that a step begins, and keep the seconds until the context ends; they add up if it runs twice."""
        say_step(name, what)
        start = time.perf_counter()
        try:
            with _signs_of_life(name):
                for check in self._checks:
                    check()
                yield
        finally:
            took = time.perf_counter() - start
            self.seconds[name] = round(self.seconds.get(name, 0.0) + took, 3)


@contextmanager
def _signs_of_life(name: str) -> Iterator[None]:
    """Say that the step still runs, each time that it has said nothing for a while."""
    begin, stop = time.monotonic(), threading.Event()

    def watch() -> None:
        while not stop.wait(max(0.01, _last_written + _SILENT_SECONDS - time.monotonic())):
            if time.monotonic() - _last_written >= _SILENT_SECONDS:
                say_detail(f"{name} still runs, {time.monotonic() - begin:.0f} s so far")

    thread = threading.Thread(target=watch, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class Progress:
    """A thread that prints how far a Spark action is, while it runs inside the context."""

    def __init__(self, total: int, unit: str, done: Callable[[], int], failed: Callable[[], int]) -> None:
        self.total = total  # at most so many; at the end the number that there were
        self._unit, self._done, self._failed = unit, done, failed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)
        self._terminal = sys.stderr.isatty()
        self._start = time.perf_counter()

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        if kind is None:
            self._show(end="\n")

    def _watch(self) -> None:
        while not self._stop.wait(_TERMINAL_SECONDS if self._terminal else _LOG_SECONDS):
            self._show(end="" if self._terminal else "\n")

    def _show(self, end: str) -> None:
        failed = self._failed()
        line = tqdm.format_meter(
            min(self._done(), self.total),  # a task that ran twice counts twice
            self.total,
            time.perf_counter() - self._start,
            unit=f" {self._unit}",
            postfix=f"{failed:,} failed" if failed else None,
            ncols=100 if self._terminal else None,
            bar_format=("{l_bar}{bar}| " if self._terminal else "") + _COUNTS,
        )
        _write(f"\r{line}{end}" if self._terminal else f"{_INDENT}{line}{end}")
