"""How far an approximate search must look to reach the recall floor: solved on a sample of a group."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lookalike.knn import annoy_search, ivf, planner
from lookalike.knn.candidates import CandidateSet, exact_top_ks
from lookalike.knn.shard_items import ShardItems
from lookalike.topk.items import Codes, ItemVectors, Keys, Vectors
from lookalike.topk.table import TopK, empty_top_k, merge_top_k

# How many more misses than this sample the gate's may show, in standard errors of the difference.
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


@dataclass(frozen=True)
class TrueNeighbours:
    """The exact neighbours of the queries, and the list of each [n, k], -1 where there is none."""

    top: TopK
    lists: Codes

    @classmethod
    def in_shard(cls, shard: ShardItems, queries: ItemVectors, k: int, chunk_rows: int, *, distinct: bool) -> Self:
        """Search one shard, whose ids are item ids or ranks."""
        top = empty_top_k(len(queries), k, queries.ids)
        for found in exact_top_ks(shard, queries, k, chunk_rows):
            top = merge_top_k(top, found, distinct=distinct)
        return cls(top, _looked_up(top, shard.items.ids, shard.lists))

    @classmethod
    def merged(cls, parts: Sequence[TrueNeighbours], *, distinct: bool) -> Self:
        """Return the best of several parts of a group."""
        top = reduce(partial(merge_top_k, distinct=distinct), (part.top for part in parts))
        ids = np.concatenate([part.top.ids[part.lists >= 0] for part in parts])
        return cls(top, _looked_up(top, ids, np.concatenate([part.lists[part.lists >= 0] for part in parts])))


def _looked_up(top: TopK, ids: Keys, lists: NDArray[np.integer[Any]]) -> Codes:
    """Return the list of each neighbour, from those of some items in any order; -1 where there is none."""
    found: Codes = np.full(top.scores.shape, -1)
    there, order = np.isfinite(top.scores), np.argsort(ids)
    found[there] = lists[order[np.searchsorted(ids, top.ids[there], sorter=order)]]
    return found


def draw(live: Sequence[int], seed: int) -> list[NDArray[np.int64]]:
    """Draw up to TUNING_QUERIES items of a group; of each shard, with so many live items, which of these."""
    ends = np.cumsum([0, *live])
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(int(ends[-1]), min(planner.TUNING_QUERIES, int(ends[-1])), replace=False))
    return [
        some - start for some, start in zip(np.split(chosen, np.searchsorted(chosen, ends[1:-1])), ends, strict=False)
    ]


def drawn_rows(shard: ShardItems, drawn: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positions of the drawn ones of a shard's live items."""
    return np.flatnonzero(shard.live)[drawn]


def tune_ivf(candidates: CandidateSet, target: RecallTarget, *, forced: bool = False) -> TunedSearch | None:
    """Find the smallest radius that reaches the recall in the lists of a group.

    Returns None when an exact search costs no more, unless the plan is `forced`.
    """
    queries = _sample(candidates, target.seed)
    right = [
        TrueNeighbours.in_shard(shard, queries, target.k, candidates.chunk_rows, distinct=candidates.distinct)
        for shard in candidates.group.shards
    ]
    found = TrueNeighbours.merged(right, distinct=candidates.distinct)
    return tune_radius(queries.vectors, found, ivf.load_centroids(candidates), target, forced=forced)


def tune_radius(
    queries: Vectors, right: TrueNeighbours, centroids: Vectors, target: RecallTarget, *, forced: bool
) -> TunedSearch | None:
    """Find the smallest radius that reaches the recall; None as in `tune_ivf`."""
    needed = ivf.radius_needed(queries, right.lists, centroids)
    radius, hits = solve_radius(needed, right.top, target)
    nprobe = float(ivf.lists_within(ivf.angles(queries, centroids), radius).sum(axis=1).mean())
    if planner.scan_cost(nprobe, len(centroids)) > planner.WORTH_IT and not forced:
        return None
    return TunedSearch(_recall(hits, right.top.counts), radius=radius, nprobe=round(nprobe, 2))


def solve_radius(needed: Vectors, right: TopK, target: RecallTarget) -> tuple[float, NDArray[np.int64]]:
    """Return the smallest radius that reaches the recall, and how many neighbours each query then finds [n].

    `needed` [n, k] is the radius that finds each of the true neighbours `right`.
    """
    there = np.isfinite(right.scores)

    def hits(radius: float) -> NDArray[np.int64]:
        counted: NDArray[np.int64] = (there & (needed <= radius)).sum(axis=1)
        return counted

    all_needed = needed[there] if there.any() else np.ones(1, dtype=np.float32)
    # At the floor more neighbours are missed than further on: what is left there is too little to see how they cluster.
    at_floor = hits(float(np.quantile(all_needed, target.floor, method="inverted_cdf")))
    effect = design_effect(at_floor, right.counts)
    tried = np.unique(all_needed).tolist()
    # The largest finds every neighbour, which is a recall of 1.
    at = bisect_left(tried[:-1], True, key=lambda radius: reaches_floor(hits(radius), right.counts, target, effect))
    return tried[at], hits(tried[at])


def tune_annoy(candidates: CandidateSet, target: RecallTarget) -> TunedSearch:
    """Find the smallest search_k that reaches the recall, see `tune_search_k`."""
    queries = _sample(candidates, target.seed)
    right = candidates.exact_top_k(queries, target.k)
    full = annoy_search.full_search_k(candidates.layout, candidates.shards)

    def search(search_k: int) -> TopK:
        return annoy_search.search(queries, candidates, search_k, target.k).top

    return tune_search_k(right, search, full, target)


def tune_search_k(right: TopK, search: Callable[[int], TopK], full: int, target: RecallTarget) -> TunedSearch:
    """Find the smallest search_k, of 1,000, 2,000, 4,000, …, that reaches the recall; else that of a `full` scan.

    `search` finds neighbours with a search_k; `right` are the true ones.
    """
    search_k = FIRST_SEARCH_K
    while True:
        found = search(search_k)
        # A neighbour as near as the k-th is as good as the k-th.
        hits = (found.scores >= right.scores.min(axis=1, keepdims=True, initial=2.0)).sum(axis=1)
        hits = np.minimum(hits, right.counts)
        effect = design_effect(hits, right.counts)
        if search_k >= full or reaches_floor(hits, right.counts, target, effect):
            return TunedSearch(_recall(hits, right.counts), search_k=search_k)
        search_k *= 2


def design_effect(hits: NDArray[np.int64], of: NDArray[np.int64]) -> float:
    """Return by how much misses that cluster in items raise the variance of the recall, at least 1, as the gate does.

    That of the ratio, linearised over items (Cochran 1977, 6.11), by that of independent pairs (Kish 1965, 8.2).
    """
    missed, pairs = _missed(hits, of), of.sum()
    independent = missed * (1 - missed) * pairs
    return max(1.0, float(((of - hits - missed * of) ** 2).sum() / independent)) if independent > 0 else 1.0


def reaches_floor(hits: NDArray[np.int64], of: NDArray[np.int64], target: RecallTarget, effect: float) -> bool:
    """Whether the sample that the gate draws can be expected to prove the floor; in 99 of 100 simulated nights it did.

    The gate allows a share of misses up to that at which Wilson's bound (JASA 22, 1927, 209-212) is the floor. Two
    samples of one catalogue differ, so the share found here must be STANDARD_ERRORS of the difference below that, by
    the score test of two shares, which pools both samples: an upper prediction limit as of Krishnamoorthy and Peng (J.
    Stat. Plan. Inference 141, 2011, 1709-1718). The pairs of each sample count less by the design `effect`. Estimated
    from the misses found here alone, the error would be too small where it matters most: in a lucky sample.
    """
    if not of.any():
        return True
    missed, most = _missed(hits, of), 1 - target.floor
    pairs = of.sum() / effect
    of_gate = pairs * target.gate_sample / len(of)
    allowed = most - GATE_ERRORS * np.sqrt(most * (1 - most) / of_gate)
    if missed > allowed:
        return False
    pooled = (pairs * missed + of_gate * allowed) / (pairs + of_gate)
    return bool(allowed - missed >= STANDARD_ERRORS * np.sqrt(pooled * (1 - pooled) * (1 / pairs + 1 / of_gate)))


def _missed(hits: NDArray[np.int64], of: NDArray[np.int64]) -> float:
    return 1 - _recall(hits, of)


def _recall(hits: NDArray[np.int64], of: NDArray[np.int64]) -> float:
    return float(hits.sum() / max(1, of.sum()))


def _sample(candidates: CandidateSet, seed: int) -> ItemVectors:
    group = candidates.group
    drawn = draw([int(shard.live.sum()) for shard in group.shards], seed)
    ranks = [shard.items.ids[drawn_rows(shard, some)] for shard, some in zip(group.shards, drawn, strict=True)]
    return group.take(np.concatenate(ranks))
