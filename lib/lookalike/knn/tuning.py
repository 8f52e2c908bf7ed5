"""How far an approximate search must look to reach the recall floor: solved on a sample of a group."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.knn import annoy_search, ivf, planner
from lookalike.knn.candidates import CandidateSet
from lookalike.topk.items import Codes, ItemVectors, Vectors
from lookalike.topk.table import TopK

# How far apart the recall of this sample and of the one that the gate draws may be, in standard errors.
STANDARD_ERRORS = 3.0

# Of the gate's interval: its lower end must reach the floor.
GATE_ERRORS = 1.96

# Annoy's search_k starts here and doubles until the floor is reached, or the whole shard is scanned.
FIRST_SEARCH_K = 1000


@dataclass(frozen=True)
class RecallTarget:
    """The recall of the k best to reach, on a sample drawn by `seed`."""

    k: int
    floor: float
    seed: int
    gate_sample: int = 256  # items of the sample that the gate draws, similar.recall_sample


@dataclass(frozen=True)
class TunedSearch:
    """How far the approximate search of a group looks, and the recall that this gave on a sample."""

    recall: float
    radius: float | None = None  # of an IVF search
    nprobe: float | None = None  # mean number of lists within that radius
    search_k: int | None = None  # of Annoy


def tune_ivf(candidates: CandidateSet, lists: int, target: RecallTarget, *, forced: bool = False) -> TunedSearch | None:
    """Find the smallest radius that reaches the recall in the group's `lists`.

    Returns None when an exact search costs no more, unless the plan is `forced`.
    """
    queries = _sample(candidates, planner.TUNING_QUERIES, target.seed)
    centroids = ivf.load_centroids(candidates)
    right = candidates.exact_top_k(queries, target.k)
    needed = ivf.radius_needed(queries.vectors, _lists_of(right, candidates), centroids)
    radius, hits = solve_radius(needed, right, target)
    nprobe = float(ivf.lists_within(ivf.angles(queries.vectors, centroids), radius).sum(axis=1).mean())
    if planner.scan_cost(nprobe, lists) > planner.WORTH_IT and not forced:
        return None
    return TunedSearch(_recall(hits, right.counts), radius=radius, nprobe=round(nprobe, 2))


def solve_radius(needed: Vectors, right: TopK, target: RecallTarget) -> tuple[float, NDArray[np.int64]]:
    """Return the smallest radius that reaches the recall, and how many neighbours each query then finds [n].

    `needed` [n, k] is the radius that finds each of the true neighbours `right`.
    """
    there = np.isfinite(right.scores)

    def hits(radius: float) -> NDArray[np.int64]:
        counted: NDArray[np.int64] = (there & (needed <= radius)).sum(axis=1)
        return counted

    tried = np.unique(needed[there]).tolist() or [1.0]
    # The largest finds every neighbour, which is a recall of 1.
    at = bisect_left(tried[:-1], True, key=lambda radius: reaches_floor(hits(radius), right.counts, target))
    return tried[at], hits(tried[at])


def tune_annoy(candidates: CandidateSet, target: RecallTarget) -> TunedSearch:
    """Find the smallest search_k, of 1,000, 2,000, 4,000, …, that reaches the recall; else that of a full scan."""
    queries = _sample(candidates, planner.TUNING_QUERIES, target.seed)
    right = candidates.exact_top_k(queries, target.k)
    search_k, full = FIRST_SEARCH_K, _full_search_k(candidates)
    while True:
        found = annoy_search.search(queries, candidates, search_k, target.k).top
        # A neighbour as near as the k-th is as good as the k-th.
        hits = (found.scores >= right.scores.min(axis=1, keepdims=True, initial=2.0)).sum(axis=1)
        hits = np.minimum(hits, right.counts)
        if search_k >= full or reaches_floor(hits, right.counts, target):
            return TunedSearch(_recall(hits, right.counts), search_k=search_k)
        search_k *= 2


def _full_search_k(candidates: CandidateSet) -> int:
    """The search_k with which Annoy scans the largest shard as a whole."""
    indexes = (annoy_search.open_annoy(candidates.layout, name) for name in candidates.shards)
    return max((index.get_n_items() * index.get_n_trees() for index in indexes), default=0)


def reaches_floor(hits: NDArray[np.int64], of: NDArray[np.int64], target: RecallTarget) -> bool:
    """Whether the gate's sample would show a recall of at least the floor; items without neighbours do not count.

    The recalls of the two samples differ by their errors, and the gate's interval reaches lower still.
    """
    shares = hits[of > 0] / of[of > 0]
    if not len(shares):
        return True
    deviation = shares.std(ddof=1) if len(shares) > 1 else 0.0
    gate = target.gate_sample
    apart = STANDARD_ERRORS * np.sqrt(1 / len(shares) + 1 / gate) + GATE_ERRORS / np.sqrt(gate)
    return bool(shares.mean() - apart * deviation >= target.floor)


def _recall(hits: NDArray[np.int64], of: NDArray[np.int64]) -> float:
    return float(hits.sum() / max(1, of.sum()))


def _sample(candidates: CandidateSet, wanted: int, seed: int) -> ItemVectors:
    """Draw up to `wanted` of the group's items, in proportion to its shards."""
    group = candidates.group
    live = np.concatenate([shard.items.ids[shard.live] for shard in group.shards])
    return group.take(
        live[np.sort(np.random.default_rng(seed).choice(len(live), min(wanted, len(live)), replace=False))]
    )


def _lists_of(found: TopK, candidates: CandidateSet) -> Codes:
    """The list of each neighbour, -1 where there is none."""
    of_rank = candidates.group.by_rank(lambda shard: shard.lists)
    return np.where(np.isfinite(found.scores), of_rank[found.ids.astype(np.int64)], -1)
