"""Brute force in numpy: blocked matrix products and argpartition, a block a core. Its answer is the ground truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

import neighbours


def measure(task: neighbours.Task) -> dict:
    vectors, watch = task.load(), neighbours.Stopwatch()

    def search(rows: slice) -> neighbours.Rows:
        scores = vectors[rows] @ vectors.T
        scores[np.arange(len(scores)), np.arange(rows.start, rows.stop)] = -np.inf
        best = np.argpartition(scores, -task.k, axis=1)[:, -task.k :]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        return np.take_along_axis(best, order, axis=1).astype(np.int32)

    with threadpool_limits(1, "blas"), watch.measured():
        found = neighbours.search_blocks(search, task.items, neighbours.QUERIES, task.cores)
    neighbours.save_truth(found, Path(task.truth))
    return {"numpy": neighbours.figures(task, 0.0, watch.seconds, found)}


if __name__ == "__main__":
    neighbours.main(measure)
