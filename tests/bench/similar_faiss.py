"""faiss's exact search of inner products."""

from __future__ import annotations

import faiss

import neighbours


def measure(task: neighbours.Task) -> dict:
    vectors, build, query = task.load(), neighbours.Stopwatch(), neighbours.Stopwatch()
    faiss.omp_set_num_threads(task.cores)
    with build.measured():
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
    with query.measured():
        _scores, found = index.search(vectors, task.k + 1)
    found = neighbours.without_self(found, task.k)
    return {"faiss flat": neighbours.figures(task, build.seconds, query.seconds, found)}


if __name__ == "__main__":
    neighbours.main(measure)
