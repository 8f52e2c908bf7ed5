"""Peak memory of Spark's Python workers, each with its decoder, or of all processes started, read while they run."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

# Of a worker, VmHWM is the kernel's own high-water mark: a look now and then misses nothing of a worker that lives on.
SECONDS = 0.2

# Of a tree there is no such mark: what lives for less than this may be missed. The kernel walks all pages to answer,
# 7 ms a GB.
TREE_SECONDS = 0.5


class Peak:
    """The most bytes seen, of what a subclass looks at."""

    def __init__(self) -> None:
        self.bytes = 0

    @property
    def megabytes(self) -> float:
        """10^6 bytes."""
        return round(self.bytes / 1e6, 1)

    def look(self) -> None:
        """See how many they are now."""
        raise NotImplementedError


class WorkerPeak(Peak):
    """The highest mark of any worker, and of any worker's child, its decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = 0

    @property
    def figures(self) -> dict[str, float]:
        """10^6 bytes of each; the two need not have had their peaks at one time."""
        return {"worker_mb": self.megabytes, "decoder_mb": round(self.decoder / 1e6, 1)}

    def look(self) -> None:
        """Read the marks of all workers of this process."""
        for worker, *children in _workers(os.getpid()):
            self.bytes = max(self.bytes, high_water_mark(worker))
            # Until it runs its own program, any child of a worker shows the worker's mark.
            decoders = [child for child in children if _runs(child, b"lookalike.images.process")]
            self.decoder = max([self.decoder, *map(high_water_mark, decoders)])


class TreePeak(Peak):
    """The highest sum of PSS, over this process and all below it: a page that n of them map counts 1/n in each.

    `bytes` has the pages of mapped files in it, which the system may take back at any time; `own` has not, and is the
    highest such sum, seen perhaps at another moment.
    """

    def __init__(self) -> None:
        super().__init__()
        self.own = 0

    def look(self) -> None:
        """Add up the tree."""
        here = os.getpid()
        found = [proportional(process) for process in (here, *_below(here, _children()))]
        self.bytes = max(self.bytes, sum(whole for whole, _ in found))
        self.own = max(self.own, sum(own for _, own in found))


@contextmanager
def watch() -> Iterator[WorkerPeak]:
    """Look at the workers until the context ends, and once more then, while they still live."""
    with watched(WorkerPeak(), SECONDS) as peak:
        yield peak


@contextmanager
def watch_tree() -> Iterator[TreePeak]:
    """Look at this process and all below it until the context ends."""
    with watched(TreePeak(), TREE_SECONDS) as peak:
        yield peak


AnyPeak = TypeVar("AnyPeak", bound=Peak)


@contextmanager
def watched(peak: AnyPeak, seconds: float) -> Iterator[AnyPeak]:
    """Let `peak` look every so many seconds until the context ends, and once more then."""
    stop = threading.Event()

    def look_on() -> None:
        while not stop.wait(seconds):
            peak.look()

    thread = threading.Thread(target=look_on, name="memory", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()
        peak.look()


_DAEMON = b"pyspark.daemon"


def _workers(ancestor: int) -> list[list[int]]:
    """The processes that pyspark.daemon forked, of the driver `ancestor`, each with its own children."""
    children = _children()
    daemons = [process for process in _below(ancestor, children) if _runs(process, _DAEMON)]
    # A worker has its daemon's command line: it is a fork of it.
    workers = [worker for daemon in daemons for worker in children.get(daemon, []) if _runs(worker, _DAEMON)]
    return [[worker, *children.get(worker, [])] for worker in workers]


def _below(ancestor: int, children: dict[int, list[int]]) -> list[int]:
    """Children, their children, and so on."""
    found = list(children.get(ancestor, []))
    for process in found:  # it grows meanwhile
        found += children.get(process, [])
    return found


def _children() -> dict[int, list[int]]:
    """Of every process that has any."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (parent := _parent(entry)):
            children.setdefault(parent, []).append(int(entry.name))
    return children


def _parent(process: Path) -> int | None:
    try:
        # "pid (name) state parent …", and the name may hold anything
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has ended
        return None


def _runs(process: int, module: bytes) -> bool:
    try:
        return module in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:  # it has ended
        return False


def high_water_mark(process: int) -> int:
    """Bytes; 0 for a process that has ended."""
    return _amounts(Path(f"/proc/{process}/status")).get("VmHWM", 0)


def proportional(process: int) -> tuple[int, int]:
    """PSS in bytes, and its part that is no file's: memory of its own; zeros for a process that has ended."""
    amounts = _amounts(Path(f"/proc/{process}/smaps_rollup"))
    return amounts.get("Pss", 0), amounts.get("Pss_Anon", 0) + amounts.get("Pss_Shmem", 0)


def _amounts(path: Path) -> dict[str, int]:
    """The lines `name: n kB` of a file of /proc, in bytes; none where the process has ended."""
    try:
        words = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {line[0].rstrip(":"): int(line[1]) * 1024 for line in words if line[2:] == ["kB"]}
