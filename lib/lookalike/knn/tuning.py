"""How far an approximate search must look to reach the recall floor: solved on a sample of a group. No Spark."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from annoy import AnnoyIndex
from numpy.typing import NDArray

from lookalike.index import annoy as annoy_index
from lookalike.index.layout import IndexLayout
from lookalike.knn import ivf, planner
from lookalike.knn.candidates import CandidateSet, open_shard
from lookalike.knn.ivf import InvertedFile, InvertedLists
from lookalike.topk import exact
from lookalike.topk.items import Codes, ItemVectors, Vectors, concatenate_items
from lookalike.topk.table import TopK, empty_top_k, merge_top_k

# How far apart the recall of this sample and of the one that judges the table may be, in standard errors.
STANDARD_ERRORS = 3.0

# Of the gate's interval: its lower end is what has to clear the floor.
GATE_ERRORS = 1.96

# Annoy's walk starts here and doubles until the floor is reached, or the whole shard is seen.
FIRST_SEARCH_K = 1000


@dataclass(frozen=True)
class RecallTarget:
    """Recall of the k best that is to be reached, on a sample drawn by `seed`."""

    k: int
    floor: float
    seed: int
    judges: int = 256  # items of the sample that judges the table, similar.recall_sample


@dataclass(frozen=True)
class TunedSearch:
    """What a group's search needs to know, and what it gave on a sample.

    `effort` is a partition's reach or Annoy's search_k, `probes` the mean number of lists within that reach.
    """

    effort: float
    recall: float
    probes: float = 0.0


def tune_partition(
    pool: CandidateSet, plan: planner.SearchPlan, aim: RecallTarget, task_memory: int, *, forced: bool = False
) -> TunedSearch | None:
    """Train the group's centroids, keep them, and find the least reach; None when an exact search costs no more.

    Where a partition is `forced`, it is taken at any cost.
    """
    queries = _sample(pool, planner.TUNING_QUERIES, aim.seed, candidates=False)
    dimensions = queries.vectors.shape[1]
    rows = planner.training_rows(plan.lists, dimensions, task_memory)
    sample = _sample(pool, rows, aim.seed, candidates=True).vectors
    centroids = ivf.train(sample, min(plan.lists, len(sample)), aim.seed)
    found = pool.exact(queries, aim.k)
    needed = ivf.reach_for(queries.vectors, _lists_of(found, pool, centroids), centroids)
    reach, hits = solve_reach(needed, found, aim)
    probes = float(ivf.within(ivf.angles(queries.vectors, centroids), reach).sum(axis=1).mean())
    if planner.looked_at(probes, len(centroids)) > planner.WORTH_IT and not forced:
        return None
    np.save(pool.folders.centroids(pool.names[0]), centroids)
    return TunedSearch(reach, _recall(hits, found.counts), round(probes, 2))


def solve_reach(needed: Vectors, found: TopK, aim: RecallTarget) -> tuple[float, NDArray[np.int64]]:
    """The least reach, of those `needed` [n, k] for the true neighbours `found`, for the floor; and its hits [n]."""
    there = np.isfinite(found.scores)

    def hits(reach: float) -> NDArray[np.int64]:
        counted: NDArray[np.int64] = (there & (needed <= reach)).sum(axis=1)
        return counted

    tried = np.unique(needed[there]).tolist() or [1.0]
    # The largest meets every neighbour, which is a recall of 1.
    at = bisect_left(tried[:-1], True, key=lambda reach: reaches(hits(reach), found.counts, aim))
    return tried[at], hits(tried[at])


def tune_annoy(pool: CandidateSet, aim: RecallTarget) -> TunedSearch:
    """The least search_k, of 1,000, 2,000, 4,000, …, that reaches the floor; that of a full walk where none does."""
    queries = _sample(pool, planner.TUNING_QUERIES, aim.seed, candidates=False)
    exact = pool.exact(queries, aim.k)
    search_k, full = FIRST_SEARCH_K, 0
    for name in pool.names:
        index = _open_annoy(pool.folders, name, queries.vectors.shape[1])
        full = max(full, index.get_n_items() * index.get_n_trees())
    while True:
        found = search_annoy(queries, pool, search_k, aim.k)
        # A neighbour as near as the k-th is as good as it.
        hits = (found.scores >= exact.scores.min(axis=1, keepdims=True, initial=2.0)).sum(axis=1)
        hits = np.minimum(hits, exact.counts)
        if search_k >= full or reaches(hits, exact.counts, aim):
            return TunedSearch(search_k, _recall(hits, exact.counts))
        search_k *= 2


# A task's blocks are mostly of one group, and the small columns of its candidates are put in order anew each time.
@lru_cache(maxsize=2)
def open_partition(pool: CandidateSet) -> InvertedFile:
    """The group's candidates in lists, as `write_lists` left them."""
    parts = []
    for name in pool.names:
        rows, listed = open_shard(pool.folders, name).rows, np.load(pool.folders.lists(name))
        order = listed["order"]
        vectors_in_order = np.load(pool.folders.listed(name), mmap_mode="r")
        parts.append(
            InvertedLists(
                ItemVectors(
                    vectors_in_order, rows.ids[order], rows.variant_groups[order], rows.duplicate_groups[order]
                ),
                listed["starts"],
            )
        )
    return InvertedFile(np.load(pool.folders.centroids(pool.names[0])), parts, pool.chunk_rows, pool.distinct)


def write_lists(folders: IndexLayout, name: str, centroids: Vectors, chunk_rows: int) -> None:
    """Put a shard's candidates in the order of their lists."""
    shard = open_shard(folders, name)
    rows = shard.candidates(0)
    nearest = np.empty(len(rows), dtype=np.int64)
    for start in range(0, len(rows), chunk_rows):
        some = rows[start : start + chunk_rows]
        nearest[start : start + chunk_rows] = ivf.nearest_list(shard.rows.vectors[some], centroids)
    order = rows[np.argsort(nearest, kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(nearest, minlength=len(centroids)))])
    with folders.listed(name).open("wb") as file:  # not memory-mapped: other machines see it once it is closed
        header = np.lib.format.header_data_from_array_1_0(shard.rows.vectors) | {
            "shape": (len(order), centroids.shape[1])
        }
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(order), chunk_rows):
            shard.rows.vectors[order[start : start + chunk_rows]].tofile(file)
    np.savez(folders.lists(name), order=order, starts=starts)


def search_annoy(queries: ItemVectors, pool: CandidateSet, search_k: int, k: int) -> TopK:
    """The k best of what Annoy finds in each of the group's shards, scored exactly, of each slot the best."""
    wide = (3 * k if pool.distinct else k) + exact.EXTRA_CANDIDATES
    best = empty_top_k(len(queries), k, queries.ids)
    for name in pool.names:
        shard = open_shard(pool.folders, name)
        index = _open_annoy(pool.folders, name, queries.vectors.shape[1])
        may = np.zeros(len(shard.rows), dtype=bool)
        may[shard.candidates(0)] = True
        places = np.full((len(queries), wide), -1, dtype=np.int64)
        for row, vector in enumerate(queries.vectors):  # Annoy takes queries one by one
            found = np.array(index.get_nns_by_vector(vector.tolist(), wide, search_k), dtype=np.int64)
            found = np.sort(found[may[found]])
            places[row, : len(found)] = found
        own = (queries.variant_groups[:, None] == shard.rows.variant_groups[places]) | (
            queries.duplicate_groups[:, None] == shard.rows.duplicate_groups[places]
        )
        rough = np.where((places < 0) | own, -np.inf, 0).astype(np.float32)
        found_here = exact.rescore(queries, shard.rows, np.maximum(places, 0), rough, k)
        best = merge_top_k(best, found_here, distinct=pool.distinct)
    return best


def _open_annoy(folders: IndexLayout, name: str, dimensions: int) -> AnnoyIndex:
    index = AnnoyIndex(dimensions, annoy_index.METRIC)
    index.load(str(folders.annoy(name)))  # the index step has just built it, or has verified it
    return index


def _sample(pool: CandidateSet, wanted: int, seed: int, *, candidates: bool) -> ItemVectors:
    """Up to `wanted` of the group's items, or of its candidates, spread over its shards as these are large."""
    rng = np.random.default_rng(seed)
    shards = [open_shard(pool.folders, name) for name in pool.names]
    rows = [shard.candidates(0) if candidates else np.arange(len(shard.rows)) for shard in shards]
    total = sum(map(len, rows))
    chosen = np.sort(rng.choice(total, min(wanted, total), replace=False))
    ends = np.cumsum([len(some) for some in rows])
    parts = np.split(chosen, np.searchsorted(chosen, ends[:-1]))
    return concatenate_items(
        [
            shard.rows.take(some[part - (end - len(some))])
            for shard, some, part, end in zip(shards, rows, parts, ends, strict=True)
        ]
    )


def _lists_of(found: TopK, pool: CandidateSet, centroids: Vectors) -> Codes:
    """The list of each neighbour, -1 where there is none."""
    lists = np.full(found.ids.shape, -1, dtype=np.int64)
    for name in pool.names:
        rows = open_shard(pool.folders, name).rows
        at = np.minimum(np.searchsorted(rows.ids, found.ids), len(rows) - 1)
        here = np.isfinite(found.scores) & (rows.ids[at] == found.ids)
        lists[here] = ivf.nearest_list(rows.vectors[at[here]], centroids)
    return lists


def reaches(hits: NDArray[np.int64], of: NDArray[np.int64], aim: RecallTarget) -> bool:
    """Whether another sample would show that the recall is at least the floor; items without neighbours say nothing.

    Its recall and this one's differ by their errors, and its interval reaches lower still.
    """
    shares = hits[of > 0] / of[of > 0]
    if not len(shares):
        return True
    deviation = shares.std(ddof=1) if len(shares) > 1 else 0.0
    apart = STANDARD_ERRORS * np.sqrt(1 / len(shares) + 1 / aim.judges) + GATE_ERRORS / np.sqrt(aim.judges)
    return bool(shares.mean() - apart * deviation >= aim.floor)


def _recall(hits: NDArray[np.int64], of: NDArray[np.int64]) -> float:
    return float(hits.sum() / max(1, of.sum()))
