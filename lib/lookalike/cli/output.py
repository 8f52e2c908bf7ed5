"""What the commands print on stdout: sections of lines for people, one JSON object for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def section(title: str, lines: Iterable[str]) -> None:
    """Print lines under a title."""
    print(title, *(f"  {printable(line)}" for line in lines), "", sep="\n", flush=True)


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return rows of cells as lines, each column as wide as its widest cell; a row may be short."""
    columns = max(map(len, rows), default=0)
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(columns)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def print_json(figures: Mapping[str, Any]) -> None:
    """Print one JSON object, the only thing on stdout; what is no JSON type is printed as text."""
    print(json.dumps(figures, indent=1, ensure_ascii=False, default=str), flush=True)


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


def printable(line: str) -> str:
    """Replace control characters: those of an id or a label must not reach the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
