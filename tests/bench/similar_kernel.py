"""Our search without Spark: the plan that the job would choose, on blocks of queries, a block a core."""

from __future__ import annotations

from collections.abc import Callable

import mix_table
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

import neighbours
from lookalike import config
from lookalike.index.centroids import lists_of, nearest_list, train_centroids, training_rows
from lookalike.knn import ivf, planner, tuning
from lookalike.knn.group_items import GroupItems
from lookalike.knn.search_job import margin
from lookalike.knn.shard_items import ShardItems
from lookalike.topk import exact
from lookalike.topk.items import ItemVectors, items_without_groups
from lookalike.topk.table import TopK, empty_top_k, merge_top_k

Search = Callable[[ItemVectors], TopK]


# The default of the job, and the floor that gives hnswlib's 0.999: tuning aims above the floor, to prove it.
FLOORS = {"lookalike kernel": config.SimilarSettings().recall_floor, "lookalike kernel at 0.999": 0.987}


def measure(task: neighbours.Task) -> dict:
    items = items_without_groups(task.load(), np.arange(task.items))
    rows = {}
    for name, floor in FLOORS.items():
        watch = neighbours.Stopwatch()
        with watch.measured():
            found = search_all(items, config.SimilarSettings(k=task.k, recall_floor=floor), task.cores)
        rows[name] = neighbours.figures(task, 0.0, watch.seconds, found.astype(np.int32))
    return rows


def search_all(items: ItemVectors, similar: config.SimilarSettings, cores: int) -> NDArray[np.int64]:
    """The k best of each item [n, k], as planned."""
    kept, dimensions = similar.wanted + margin(similar), items.vectors.shape[1]
    resources = planner.SearchResources(cores, similar.task_memory)
    size = planner.GroupSize(len(items), len(items), dimensions, lists_of(len(items), similar))
    plan = planner.choose_plan(size, resources, similar.recall_floor)
    chunk = planner.chunk_rows(dimensions, similar.task_memory, exact.QUERY_ROWS)

    def search_exactly(queries: ItemVectors) -> TopK:
        best = empty_top_k(len(queries), kept, items.ids)
        for some in items.chunks(chunk):
            best = merge_top_k(best, exact.exact_top_k(queries, some, kept), distinct=False)
        return best

    search, items = (search_exactly, items) if plan.kind == "exact" else ivf_search(items, plan, similar, chunk, kept)

    def search_block(rows: slice) -> NDArray[np.int64]:
        queries = items.take(rows)
        found = search(queries)
        few = np.flatnonzero(found.counts < similar.k)  # as in knn.task
        if len(few):
            found.assign(few, search_exactly(queries.take(few)))
        return found.ids[:, : similar.k]

    with threadpool_limits(1, "blas"):  # a block a core
        found = neighbours.search_blocks(
            search_block, len(items), planner.block_rows(dimensions, similar.task_memory), cores
        )
    return found[np.argsort(items.ids)]


def ivf_search(
    items: ItemVectors, plan: planner.SearchPlan, similar: config.SimilarSettings, chunk: int, kept: int
) -> tuple[Search, ItemVectors]:
    """The search in the lists of an inverted file, trained and tuned as the job does it, and the items in their order.

    Until the blocks are searched, the library's threads share each matrix product.
    """
    rng = np.random.default_rng(1)

    def some(count: int) -> ItemVectors:
        return items.take(np.sort(rng.choice(len(items), min(count, len(items)), replace=False)))

    sample = some(training_rows(plan.lists, items.vectors.shape[1], similar.task_memory))
    centroids = train_centroids(sample.vectors, plan.lists, 1)
    queries = some(planner.TUNING_QUERIES)
    right, lists = exact.exact_top_k(queries, items, similar.k), nearest_list(items.vectors, centroids)
    needed = ivf.radius_needed(queries.vectors, lists[right.ids], centroids)
    target = tuning.RecallTarget(similar.k, similar.recall_floor, 1, similar.recall_sample)
    radius, _ = tuning.solve_radius(needed, right, target)
    listed = items.take(np.argsort(lists, kind="stable"))
    yes = np.ones(len(items), dtype=bool)
    shard = ShardItems(listed, np.sort(lists).astype(np.int32), yes, yes, listed.variant_groups[:, None], yes[:, None])
    places = np.argsort(listed.ids)  # by rank; the shard has number 0
    group = GroupItems((0,), (shard,), np.array(mix_table.item_ids(np.arange(len(items))), dtype=np.bytes_), places)
    inverted_file = ivf.InvertedFile(centroids, group, chunk, distinct=False)

    def search(queries: ItemVectors) -> TopK:
        probed = ivf.lists_within(ivf.angles(queries.vectors, centroids), radius)
        return ivf.search(queries, probed, inverted_file, kept).top

    return search, listed


if __name__ == "__main__":
    neighbours.main(measure)
