"""The task of the contenders of the neighbour search, the form of their answer, and its recall."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import contender
import memory
import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Rows = NDArray[np.int32]  # of each item its neighbours' rows, best first [n, k]; -1 where none

# Query rows at a time where a contender has no size of its own: scores of 30,000 candidates take 61 MB.
QUERIES = 512


@dataclass(frozen=True)
class Task:
    """Find the `k` nearest others of each of the first `items` vectors of the file `vectors`, on all cores.

    `truth` is the path of the exact answer, written by similar_numpy.py. `trees` is for Annoy.
    """

    vectors: str
    items: int
    k: int
    cores: int
    work: str
    truth: str
    mix: str
    trees: int = 0
    started: float = 0.0

    def load(self) -> Vectors:
        """Return the vectors, in memory: reading them is not part of the search."""
        return np.array(np.load(self.vectors, mmap_mode="r")[: self.items])


@dataclass
class Stopwatch:
    """The seconds that the last `measured` block took."""

    seconds: float = 0.0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Time what runs inside."""
        start = time.perf_counter()
        yield
        self.seconds = time.perf_counter() - start


def figures(task: Task, build: float, query: float, found: Rows) -> dict[str, float]:
    """One line of the table."""
    assert found.shape == (task.items, task.k), f"{found.shape} for {task.items} items"
    return {
        "recall": round(recall(found, np.load(task.truth, mmap_mode="r")), 5),
        "build_seconds": round(build, 2),
        "query_seconds": round(query, 2),
        "seconds": round(build + query, 2),
    }


def recall(found: Rows, truth: Rows) -> float:
    """Mean share of the true neighbours that were found; a row named twice counts once."""
    return float((truth[:, :, None] == found[:, None, :]).any(axis=2).mean())


def without_self(found: NDArray[Any], k: int) -> Rows:
    """Return `found` [n, k + 1] without the item itself; without the last if the item is not among them."""
    own = found == np.arange(len(found))[:, None]
    own[~own.any(axis=1), -1] = True
    return found[~own].reshape(len(found), k).astype(np.int32)


def search_blocks(search: Callable[[slice], NDArray[Any]], items: int, rows: int, cores: int) -> NDArray[Any]:
    """Call `search` for blocks of `rows` queries, on a thread for each core."""
    blocks = [slice(start, min(start + rows, items)) for start in range(0, items, rows)]
    with ThreadPoolExecutor(cores) as pool:
        return np.concatenate(list(pool.map(search, blocks)))


def save_truth(found: Rows, path: Path) -> None:
    """Write the exact answer, completely or not at all."""
    part = path.with_suffix(".part.npy")
    np.save(part, found)
    os.replace(part, path)


def main(measure: Callable[[Task], dict[str, Any]]) -> None:
    """Run `measure` in the process that contender.start began; it returns figures by their name in the table."""

    def measured(task: Task) -> dict[str, Any]:
        with memory.watch_tree() as peak:
            rows = measure(task)
        return {name: {**figures, "peak_mb": peak.megabytes} for name, figures in rows.items()}

    contender.main(measured, Task)
