"""Peak resident memory of Spark's Python workers, each with its decoder, read from the system while they run."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# VmHWM is the kernel's own high-water mark: a look now and then misses nothing of a worker that lives on.
SECONDS = 0.2


class Peak:
    """The highest mark seen, of any worker and its decoder together."""

    def __init__(self) -> None:
        self.bytes = 0

    @property
    def megabytes(self) -> float:
        """10^6 bytes."""
        return round(self.bytes / 1e6, 1)

    def look(self) -> None:
        """Read the marks of all workers of this process."""
        for family in _workers(os.getpid()):
            # An upper bound: the two need not have had their peaks at one time.
            self.bytes = max(self.bytes, sum(map(high_water_mark, family)))


@contextmanager
def watch() -> Iterator[Peak]:
    """Look at the workers until the context ends, and once more then, while they still live."""
    peak, stop = Peak(), threading.Event()

    def look_on() -> None:
        while not stop.wait(SECONDS):
            peak.look()

    thread = threading.Thread(target=look_on, name="memory", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()
        peak.look()


def _workers(ancestor: int) -> list[list[int]]:
    """The processes that pyspark.daemon forked, of the driver `ancestor`, each with its own children."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (parent := _parent(entry)):
            children.setdefault(parent, []).append(int(entry.name))
    found, ahead = [], [ancestor]
    while ahead:
        process = ahead.pop()
        ahead += children.get(process, [])
        if _is_daemon(process):
            found += [child for child in children.get(process, []) if _is_daemon(child)]
    return [[worker, *children.get(worker, [])] for worker in found]


def _parent(process: Path) -> int | None:
    try:
        # "pid (name) state parent …", and the name may hold anything
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has ended
        return None


def _is_daemon(process: int) -> bool:
    """A worker has its daemon's command line: it is a fork of it."""
    try:
        return b"pyspark.daemon" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


def high_water_mark(process: int) -> int:
    """Bytes; 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
