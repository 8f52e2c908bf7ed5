"""hnswlib: one graph, searched with its usual ef, then with larger ones until the recall is 0.999."""

from __future__ import annotations

import hnswlib

import neighbours

LINKS, BREADTH, SEED = 16, 100, 7  # M and ef_construction
BREADTHS = (50, 100, 200, 400, 800, 1600)  # ef
ENOUGH = 0.999


def measure(task: neighbours.Task) -> dict:
    vectors, build, query = task.load(), neighbours.Stopwatch(), neighbours.Stopwatch()
    with build.measured():
        index = hnswlib.Index(space="ip", dim=vectors.shape[1])
        index.init_index(max_elements=task.items, M=LINKS, ef_construction=BREADTH, random_seed=SEED)
        index.set_num_threads(task.cores)
        index.add_items(vectors)
    rows = {}
    for breadth in BREADTHS:
        index.set_ef(breadth)
        with query.measured():
            found, _distances = index.knn_query(vectors, k=task.k + 1)
        found = neighbours.without_self(found, task.k)
        figures = neighbours.figures(task, build.seconds, query.seconds, found)
        if not rows:
            rows["hnswlib"] = {**figures, "ef": breadth}
        if figures["recall"] >= ENOUGH:
            rows["hnswlib at 0.999"] = {**figures, "ef": breadth}
            break
    return rows


if __name__ == "__main__":
    neighbours.main(measure)
