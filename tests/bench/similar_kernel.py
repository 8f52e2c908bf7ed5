"""Our search without Spark: the plan that the job would choose, over blocks of queries, a block a core."""

from __future__ import annotations

from collections.abc import Callable

import mix_table
import numpy as np
from threadpoolctl import threadpool_limits

import neighbours
from lookalike import config, topk
from lookalike.knn import ivf, planner, tuning
from lookalike.knn import task as search

Search = Callable[[topk.Rows], topk.TopK]


# The job's default, and what gives hnswlib's 0.999: the tuning aims above the floor, for its sample to be enough.
FLOORS = {"lookalike kernel": config.SimilarSettings().recall_floor, "lookalike kernel at 0.999": 0.997}


def measure(task: neighbours.Task) -> dict:
    items = topk.rows_of(task.load(), np.array(mix_table.item_ids(0, task.items), dtype=np.bytes_))
    rows = {}
    for name, floor in FLOORS.items():
        watch = neighbours.Stopwatch()
        with threadpool_limits(1, "blas"), watch.measured():
            found = search_all(items, config.SimilarSettings(k=task.k, recall_floor=floor), task.cores)
        rows[name] = neighbours.figures(task, 0.0, watch.seconds, mix_table.rows(found))
    return rows


def search_all(items: topk.Rows, similar: config.SimilarSettings, cores: int) -> topk.Ids:
    """The k best of each item [n, k], as planned."""
    kept, dimensions = similar.wanted + search.margin(similar), items.vectors.shape[1]
    machine = planner.Machine(cores, similar.task_memory)
    plan = planner.choose(planner.Sizes(len(items), len(items), dimensions), machine, similar.recall_floor)
    chunk = planner.chunk_rows(dimensions, similar.task_memory, topk.QUERY_ROWS)

    def exact(queries: topk.Rows) -> topk.TopK:
        best = topk.no_candidates(len(queries), kept, items.ids)
        for some in items.chunks(chunk):
            best = topk.merge_top_k(best, topk.exact_top_k(queries, some, kept), distinct=False)
        return best

    by_plan = exact if plan.kind == "exact" else parted(items, plan, similar, chunk, kept)

    def look(rows: slice) -> topk.Ids:
        queries = items.take(rows)
        found = by_plan(queries)
        few = np.flatnonzero(found.counts < similar.k)  # as in search.py
        if len(few):
            found.put(few, exact(queries.take(few)))
        return found.ids[:, : similar.k]

    return neighbours.search_blocks(look, len(items), planner.block_rows(dimensions, similar.task_memory), cores)


def parted(items: topk.Rows, plan: planner.Plan, similar: config.SimilarSettings, chunk: int, kept: int) -> Search:
    """The search of a partition, trained and tuned as tuning.py does it."""
    rng = np.random.default_rng(1)

    def some(count: int) -> topk.Rows:
        return items.take(np.sort(rng.choice(len(items), min(count, len(items)), replace=False)))

    sample = some(planner.training_rows(plan.lists, items.vectors.shape[1], similar.task_memory))
    centroids = ivf.train(sample.vectors, plan.lists, 1)
    queries = some(planner.TUNING_QUERIES)
    exact = topk.exact_top_k(queries, items, similar.k)
    lists = ivf.nearest_list(items.vectors[np.searchsorted(items.ids, exact.ids.ravel())], centroids)
    needed = ivf.reach_for(queries.vectors, lists.reshape(exact.ids.shape), centroids)
    reach, _ = tuning.solve_reach(needed, exact, tuning.Aim(similar.k, similar.recall_floor, 1, similar.recall_sample))
    nearest = ivf.nearest_list(items.vectors, centroids)
    starts = np.concatenate([[0], np.cumsum(np.bincount(nearest, minlength=plan.lists))])
    part = ivf.Part(items.take(np.argsort(nearest, kind="stable")), starts)
    whole = ivf.Partition(centroids, [part], chunk, distinct=False)
    return lambda queries: ivf.search(queries, whole, reach, kept)


if __name__ == "__main__":
    neighbours.main(measure)
