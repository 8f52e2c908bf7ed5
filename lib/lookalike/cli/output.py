"""What the commands print on stdout: sections of lines for people, one JSON object for programs."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lookalike.errors import OutputError
from lookalike.progress import discard
from lookalike.redaction import redacted
from lookalike.safe_text import escaped, json_text, without_secrets


class ReaderGone(Exception):  # noqa: N818 - it is no error: `| head` has seen what it wants
    """Nobody reads the output any more."""


def put(text: str) -> None:
    """Write to stdout, at once; raises OutputError, or ReaderGone."""
    try:
        print(text, end="", flush=True)
    except OSError as error:
        discard(sys.stdout)
        if error.errno == errno.EPIPE:
            raise ReaderGone from None
        raise OutputError(
            f"standard output: {error.strerror or error}; what the command prints is cut short, its work is done"
        ) from None


def line(text: str) -> None:
    """Print one line for people."""
    put(f"{_safe(text)}\n")


def section(title: str, lines: Iterable[str]) -> None:
    """Print lines under a title."""
    put("\n".join([_safe(title), *(f"  {_safe(line)}" for line in lines), "", ""]))


def _safe(text: str) -> str:
    """Ids and labels are the catalogue's; those that are addresses keep their queries, but for what is a secret."""
    return escaped(redacted(text, queries=False))


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return rows of cells as lines, each column as wide as its widest cell; a row may be short."""
    columns = max(map(len, rows), default=0)
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(columns)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def print_json(figures: Mapping[str, Any]) -> None:
    """Print one JSON object, the only thing on stdout; what is no JSON type is printed as text."""
    put(f"{json_text(without_secrets(figures), allow_nan=True)}\n")


def text(value: Any) -> str:
    """Return any value of a release's record as text for people; an unknown one is a dash."""
    if isinstance(value, dict):
        known = {name: one for name, one in value.items() if one not in (None, {})}
        parts = (
            f"{name} ({text(one)})" if isinstance(one, dict) else f"{name} {text(one)}" for name, one in known.items()
        )
        return ", ".join(parts) or "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "-" if value is None else str(value)
    return f"{value:,}"


def moment(value: Any) -> str:
    """Return an ISO time as `2026-11-22 17:14:23`."""
    return str(value or "-")[:19].replace("T", " ")


def size(size_in_bytes: float) -> str:
    """Return a number of bytes as `2.5 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_in_bytes < 999.5:
            return f"{size_in_bytes:.3g} {unit}"
        size_in_bytes /= 1000
    return f"{size_in_bytes:,.1f} TB"
