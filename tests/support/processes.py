"""The processes that a command has started, however deep."""

from __future__ import annotations

import time
from pathlib import Path


def of_session(session: int) -> list[str]:
    """The command lines of those that run in the session that a process began, which may have ended."""
    return list(_running(session).values())


def numbers_of_session(session: int, part: str = "") -> list[int]:
    """Their process ids: of those with this in their command line."""
    return [number for number, line in _running(session).items() if part in line]


def left_of_session(session: int, seconds: float = 30) -> list[str]:
    """Those that have not ended within some seconds."""
    deadline = time.monotonic() + seconds
    while (left := of_session(session)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def _running(session: int) -> dict[int, str]:
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, of, *_ = (process / "stat").read_text().rpartition(")")[2].split()
            if state != "Z" and int(of) == session:
                found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
        except (OSError, ValueError):  # ended meanwhile
            continue
    return found
