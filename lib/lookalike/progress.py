"""What a run prints while it works: a line for each step, and the progress of a long action.

A line has its time in a log, and is a JSON object for a program that asks for that: see `written_as`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal, TextIO

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


# How a line is written: as it is, for a terminal; after its time, for a log; or as an object, for a program.
Style = Literal["plain", "timed", "json"]
Level = Literal["info", "warning", "error"]
Figure = str | int | float | bool | None


@dataclass
class _Writer:
    """How lines are written, and where: stderr, as it is at that moment, unless a stream is given."""

    style: Style = "plain"
    stream: TextIO | None = None
    step: str | None = None  # that runs
    mid_line: bool = False  # a terminal's progress has no line end yet


_writer = _Writer()


@contextmanager
def written_as(style: Style, stream: TextIO | None = None) -> Iterator[None]:
    """Write the lines in a style until the context ends."""
    outer = _writer.style, _writer.stream
    _writer.style, _writer.stream = style, stream
    try:
        yield
    finally:
        _writer.style, _writer.stream = outer


def say(text: str, event: str = "note", level: Level = "info", **figures: Figure) -> None:
    """Print one line to the terminal or the log, at once; what came from the catalogue is made safe first.

    A program also gets the kind of the event, its level and its figures.
    """
    _say("", text, event, level, figures)


def _say(start: str, text: str, event: str, level: Level, figures: Mapping[str, Figure]) -> None:
    message = _safe(text)
    _write(_as_object(message, event, level, figures) if _writer.style == "json" else _timed(f"{start}{message}\n"))


def _safe(text: str) -> str:
    return shortened(escaped(redacted(text)), _LONGEST_LINE)


def _timed(text: str) -> str:
    return f"{_now('seconds')} {text}" if _writer.style == "timed" else text


def _as_object(message: str, event: str, level: Level, figures: Mapping[str, Figure]) -> str:
    """Return the line of a program; its texts are safe already, those of the figures are made so."""
    safe = {name: _safe(value) if isinstance(value, str) else value for name, value in figures.items()}
    known = {"time": _now("milliseconds"), "level": level, "step": _writer.step, "event": event, "message": message}
    return f"{json.dumps({**known, **safe}, ensure_ascii=False)}\n"


def _now(precision: str) -> str:
    return datetime.now(UTC).isoformat(timespec=precision).replace("+00:00", "Z")


_last_written = time.monotonic()


def _write(text: str) -> None:
    """Write to stderr; a log that is full, or that nobody reads any more, does not end a run."""
    global _last_written
    _last_written = time.monotonic()
    if _held is not None:
        _held.append(text)
        return
    stream = _writer.stream or sys.stderr
    start = "\n" if _writer.mid_line and not text.startswith("\r") else ""
    _writer.mid_line = not text.endswith("\n")
    try:
        print(f"{start}{text}", end="", file=stream, flush=True)
    except OSError:
        discard(stream)


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
    _say(f"{name:>{_NAME_WIDTH}}: ", what, "step", "info", {"step": name})


def say_detail(text: str, event: str = "detail", level: Level = "info", **figures: Figure) -> None:
    """Print a line that belongs to the step above it; see `say`."""
    _say(_INDENT, text, event, level, figures)


class Steps:
    """The time of each step of a run, by name, in order; `checks` run first in each, and may end the run."""

    def __init__(self, *checks: Callable[[], None]) -> None:
        self.seconds: dict[str, float] = {}
        self._checks = checks

    @contextmanager
    def step(self, name: str, what: str) -> Iterator[None]:
        """Print that a step begins, and keep the seconds until the context ends; they add up if it runs twice."""
        _writer.step = name
        say_step(name, what)
        start = time.perf_counter()
        try:
            with signs_of_life(name):
                for check in self._checks:
                    check()
                yield
            if _writer.style == "json":  # a person sees it by the next line
                took = time.perf_counter() - start
                say(f"{name} took {took:.1f} s", "step_end", seconds=round(took, 3))
        finally:
            _writer.step = None
            took = time.perf_counter() - start
            self.seconds[name] = round(self.seconds.get(name, 0.0) + took, 3)


@contextmanager
def signs_of_life(name: str) -> Iterator[None]:
    """Say that the step still runs, each time that it has said nothing for a while."""
    begin, stop = time.monotonic(), threading.Event()

    def watch() -> None:
        while not stop.wait(max(0.01, max(begin, _last_written) + _SILENT_SECONDS - time.monotonic())):
            if time.monotonic() - max(begin, _last_written) >= _SILENT_SECONDS:
                took = round(time.monotonic() - begin, 1)
                say_detail(f"{name} still runs, {took:.0f} s so far", "still_running", seconds=took)

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
        self._terminal = _writer.style == "plain" and sys.stderr.isatty()
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
            self._show(end="")

    def _show(self, end: str) -> None:
        done, failed = min(self._done(), self.total), self._failed()  # a task that ran twice counts twice
        seconds = time.perf_counter() - self._start
        line = tqdm.format_meter(
            done,
            self.total,
            seconds,
            unit=f" {self._unit}",
            postfix=f"{failed:,} failed" if failed else None,
            ncols=100 if self._terminal else None,
            bar_format=("{l_bar}{bar}| " if self._terminal else "") + _COUNTS,
        )
        if self._terminal:
            _write(f"\r{line}{end}")
            return
        figures = {"done": done, "total": self.total, "failed": failed, "seconds": round(seconds, 1)}
        _say(_INDENT, line, "progress", "info", {"unit": self._unit, **figures})
