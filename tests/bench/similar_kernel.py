"""Our search without Spark: the plan that the job would choose, on blocks of queries, a block a core."""

from __future__ import annotations

from collections.abc import Callable

import mix_table
import numpy as np
from threadpoolctl import threadpool_limits

import neighbours
from lookalike import config
from lookalike.index.centroids import nearest_list, train_centroids, training_rows
from lookalike.knn import ivf, planner, tuning
from lookalike.knn.search_job import margin
from lookalike.topk import exact
from lookalike.topk.items import Ids, ItemVectors, items_without_groups
from lookalike.topk.table import TopK, empty_top_k, merge_top_k

Search = Callable[[ItemVectors], TopK]


# The default of the job, and the floor that gives hnswlib's 0.999: tuning aims above the floor, to prove it.
FLOORS = {"lookalike kernel": config.SimilarSettings().recall_floor, "lookalike kernel at 0.999": 0.997}


def measure(task: neighbours.Task) -> dict:
    items = items_without_groups(task.load(), np.array(mix_table.item_ids(0, task.items), dtype=np.bytes_))
    rows = {}
    for name, floor in FLOORS.items():
        watch = neighbours.Stopwatch()
        with threadpool_limits(1, "blas"), watch.measured():
            found = search_all(items, config.SimilarSettings(k=task.k, recall_floor=floor), task.cores)
        rows[name] = neighbours.figures(task, 0.0, watch.seconds, mix_table.rows(found))
    return rows


def search_all(items: ItemVectors, similar: config.SimilarSettings, cores: int) -> Ids:
    """The k best of each item [n, k], as planned."""
    kept, dimensions = similar.wanted + margin(similar), items.vectors.shape[1]
    resources = planner.SearchResources(cores, similar.task_memory)
    plan = planner.choose_plan(planner.GroupSize(len(items), len(items), dimensions), resources, similar.recall_floor)
    chunk = planner.chunk_rows(dimensions, similar.task_memory, exact.QUERY_ROWS)

    def search_exactly(queries: ItemVectors) -> TopK:
        best = empty_top_k(len(queries), kept, items.ids)
        for some in items.chunks(chunk):
            best = merge_top_k(best, exact.exact_top_k(queries, some, kept), distinct=False)
        return best

    search = search_exactly if plan.kind == "exact" else ivf_search(items, plan, similar, chunk, kept)

    def search_block(rows: slice) -> Ids:
        queries = items.take(rows)
        found = search(queries)
        few = np.flatnonzero(found.counts < similar.k)  # as in knn.task
        if len(few):
            found.assign(few, search_exactly(queries.take(few)))
        return found.ids[:, : similar.k]

    return neighbours.search_blocks(
        search_block, len(items), planner.block_rows(dimensions, similar.task_memory), cores
    )


def ivf_search(
    items: ItemVectors, plan: planner.SearchPlan, similar: config.SimilarSettings, chunk: int, kept: int
) -> Search:
    """The search in the lists of an inverted file, trained and tuned as knn.tuning does it."""
    rng = np.random.default_rng(1)

    def some(count: int) -> ItemVectors:
        return items.take(np.sort(rng.choice(len(items), min(count, len(items)), replace=False)))

    sample = some(training_rows(plan.lists, items.vectors.shape[1], similar.task_memory))
    centroids = train_centroids(sample.vectors, plan.lists, 1)
    queries = some(planner.TUNING_QUERIES)
    right = exact.exact_top_k(queries, items, similar.k)
    lists = nearest_list(items.vectors[np.searchsorted(items.ids, right.ids.ravel())], centroids)
    needed = ivf.radius_needed(queries.vectors, lists.reshape(right.ids.shape), centroids)
    target = tuning.RecallTarget(similar.k, similar.recall_floor, 1, similar.recall_sample)
    radius, _ = tuning.solve_radius(needed, right, target)
    nearest = nearest_list(items.vectors, centroids)
    starts = np.concatenate([[0], np.cumsum(np.bincount(nearest, minlength=plan.lists))])
    shard = ivf.InvertedLists(items.take(np.argsort(nearest, kind="stable")), starts)
    inverted_file = ivf.InvertedFile(centroids, [shard], chunk, distinct=False)
    return lambda queries: ivf.search(queries, inverted_file, radius, kept).top


if __name__ == "__main__":
    neighbours.main(measure)
