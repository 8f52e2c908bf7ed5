"""PyNNDescent: the whole neighbour graph at once, with its own defaults."""

from __future__ import annotations

import pynndescent

import neighbours


def measure(task: neighbours.Task) -> dict:
    vectors, build = task.load(), neighbours.Stopwatch()
    graph(vectors[:1000], task)  # numba compiles at the first call
    with build.measured():
        found = graph(vectors, task)
    found = neighbours.without_self(found[:, : task.k + 1], task.k)
    return {"pynndescent": neighbours.figures(task, build.seconds, 0.0, found)}


def graph(vectors: neighbours.Vectors, task: neighbours.Task) -> neighbours.Rows:
    """Each item's neighbours, itself first."""
    index = pynndescent.NNDescent(vectors, metric="cosine", n_jobs=task.cores, random_state=7)
    return index.neighbor_graph[0]


if __name__ == "__main__":
    neighbours.main(measure)
