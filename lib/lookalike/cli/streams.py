"""The door to the terminal: whatever is written to stdout or stderr, usage errors and stack traces too, is safe."""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from functools import partial
from typing import Literal, TextIO, cast

import typer

from lookalike import progress
from lookalike.redaction import redacted
from lookalike.safe_text import escaped_lines


class SafeStream:
    """A stream that cleans what is written; all else is that of the stream behind it."""

    # What the encoding of the stream lacks is escaped by it. Else the command line's library opens a stream of its own.
    encoding, errors = "utf-8", "strict"

    def __init__(self, stream: TextIO, redact: Callable[[str], str]) -> None:
        self._stream, self._redact = stream, redact

    def write(self, text: str) -> int:
        """Write `text` without secrets and control characters, but with its lines, and a return at its start."""
        start = text[: text.startswith("\r")]
        self._stream.write(start + escaped_lines(self._redact(text[len(start) :])))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of the lines."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def make_safe() -> None:
    """Put a SafeStream before stdout and stderr; item ids on stdout may be addresses with a query."""
    for name, redact in (("stdout", partial(redacted, queries=False)), ("stderr", redacted)):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
            setattr(sys, name, cast(TextIO, SafeStream(stream, redact)))


# How a command's lines on stderr are written.
LogFormat = Literal["text", "json"]


@contextmanager
def log_as(wanted: LogFormat) -> Iterator[None]:
    """Write what is said in the context as `wanted`: text has the time of each line unless a terminal shows it."""
    if wanted == "text":
        with progress.written_as("plain" if sys.stderr.isatty() else "timed"):
            yield
        return
    behind = sys.stderr._stream if isinstance(sys.stderr, SafeStream) else sys.stderr
    with progress.written_as("json", behind), redirect_stderr(cast(TextIO, _Objects(behind))):
        try:
            yield
        except typer.Exit:
            raise
        except Exception:  # noqa: BLE001 - a defect, of which Python would print the stack as text
            traceback.print_exc()
            raise typer.Exit(1) from None


class _Objects:
    """A stream in front of a log of objects: each line that is written becomes one."""

    encoding, errors = "utf-8", "strict"

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._begun = stream, ""

    def write(self, text: str) -> int:
        """Say each line that is complete; what is left waits for its end."""
        *lines, self._begun = f"{self._begun}{text}".split("\n")
        for line in lines:
            progress.say(line, "output", "warning")
        return len(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
