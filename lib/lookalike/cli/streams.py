"""The door to the terminal: whatever is written to stdout or stderr, usage errors and stack traces too, is safe."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import TextIO, cast

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
