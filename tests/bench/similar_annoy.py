"""Plain Annoy as in its readme, built and queried on all cores."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from annoy import AnnoyIndex

import neighbours

SEARCH_K = 10_000


def measure(task: neighbours.Task) -> dict:
    vectors, build = task.load(), neighbours.Stopwatch()
    with build.measured():
        index = AnnoyIndex(vectors.shape[1], "angular")
        for row, vector in enumerate(vectors):
            index.add_item(row, vector)
        index.build(task.trees, n_jobs=task.cores)
    return {
        f"annoy, {task.trees} trees": query(task, index, build.seconds, -1),
        f"annoy, {task.trees} trees, search_k {SEARCH_K:,}": query(task, index, build.seconds, SEARCH_K),
    }


def query(task: neighbours.Task, index: AnnoyIndex, built: float, search_k: int) -> dict:
    """Query for all items, one call an item; -1 is Annoy's default of trees * k."""
    watch = neighbours.Stopwatch()

    def search(row: int) -> list[int]:
        return index.get_nns_by_item(row, task.k + 1, search_k)

    with watch.measured(), ThreadPoolExecutor(task.cores) as pool:
        found = list(pool.map(search, range(task.items), chunksize=100))
    padded = np.full((task.items, task.k + 1), -1)
    for row, rows in enumerate(found):
        padded[row, : len(rows)] = rows
    return neighbours.figures(task, built, watch.seconds, neighbours.without_self(padded, task.k))


if __name__ == "__main__":
    neighbours.main(measure)
