"""An inverted file (IVF) of unit vectors: the search in the lists nearest to a query.

For all queries at once, blocks of matrix products inside the nearest lists beat walking a graph or a tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lookalike.index.items import read_array
from lookalike.knn.candidates import CandidateSet, Chunk, chunks, join_chunks
from lookalike.knn.group_items import GroupItems, of_one_group
from lookalike.knn.shard_items import ShardItems
from lookalike.topk import exact
from lookalike.topk.items import ItemVectors, Vectors
from lookalike.topk.table import FoundTopK, TopK, empty_top_k

# The smallest angle that differs from none: float32 rounds a cosine near 1 by 6e-8, which is an angle of 3.5e-4.
MIN_ANGLE = np.float32(1e-3)

# Lists that every query looks into, and the unit of the radius is their mean angle. The nearest one alone is no measure
# of how far neighbours are: next to a list of near copies of one photo it is much too small, and the few items there
# miss many neighbours. With the mean of three, the same recall scans 0.7 of the candidates, and misses come alone.
MIN_NPROBE = 3

# Candidates of a list that are better than the best so far: of fewer these alone are sorted.
FEW = 0.25


@dataclass(frozen=True)
class InvertedFile:
    """The items of a group in lists: each is a slice of a shard, or of several."""

    centroids: Vectors
    group: GroupItems
    chunk_rows: int  # items that are compared together
    distinct: bool  # whether candidates may share a variant group

    @cached_property
    def _shards(self) -> Sequence[tuple[ShardItems, NDArray[np.bool_], NDArray[np.int64]]]:
        """Each shard, which of its items may be listed, and where its lists start."""
        numbers = np.arange(len(self.centroids) + 1)
        return [(shard, shard.may_be_listed(0), np.searchsorted(shard.lists, numbers)) for shard in self.group.shards]

    @cached_property
    def _holders(self) -> Sequence[NDArray[np.int64]]:
        """The shards with items of each list, of a thousand mostly one."""
        some = np.array([np.diff(starts) > 0 for _, _, starts in self._shards])
        lists, shards = np.nonzero(some.T)
        return np.split(shards, np.searchsorted(lists, np.arange(1, len(self.centroids))))

    def list_chunks(self, number: int) -> Iterator[Chunk]:
        """Yield the items of one list, chunk by chunk."""
        waiting: list[Chunk] = []
        for shard, allowed, starts in (self._shards[at] for at in self._holders[number].tolist()):
            rows = range(int(starts[number]), int(starts[number + 1]))
            for chunk in chunks(shard, allowed, rows, self.chunk_rows):
                if waiting and sum(len(one.items) for one in waiting) + len(chunk.items) > self.chunk_rows:
                    yield join_chunks(waiting)
                    waiting = []
                waiting.append(chunk)
        if waiting:
            yield join_chunks(waiting)


@of_one_group
def open_inverted_file(candidates: CandidateSet) -> InvertedFile:
    """Return the inverted file of a group that has centroids."""
    centroids = load_centroids(candidates)
    return InvertedFile(centroids, candidates.group, candidates.chunk_rows, candidates.distinct)


def load_centroids(candidates: CandidateSet) -> Vectors:
    """Return the centroids of a group, float32 [lists, d]."""
    layout = candidates.layout
    centroids: Vectors = read_array(layout.shared.fetch(layout.centroids(candidates.shards[0])))
    return centroids


def angles(vectors: Vectors, centroids: Vectors) -> Vectors:
    """Return the angle of each vector to each centroid [n, lists], in radians, at least MIN_ANGLE."""
    cosines = np.clip(vectors @ centroids.T, -1, 1)
    found: Vectors = np.maximum(np.arccos(cosines, out=cosines), MIN_ANGLE, out=cosines)
    return found


def radius_needed(queries: Vectors, lists: NDArray[np.int64], centroids: Vectors) -> NDArray[np.float32]:
    """Return the radius with which each query finds each of its true neighbours, float32 [n, k].

    `lists` [n, k] is the list of each neighbour, -1 where there is none; the radius is 0 there.
    """
    radii = _radii(angles(queries, centroids))
    return np.where(lists < 0, np.float32(0), np.take_along_axis(radii, np.maximum(lists, 0), axis=1))


def lists_within(to_each: Vectors, radius: float) -> NDArray[np.bool_]:
    """Return which lists a query looks into, from its `angles` [n, lists].

    These are the MIN_NPROBE nearest, and all that are at most `radius` times as far as these are in the mean. A query
    in the middle of a list needs no other, one on a border needs many.
    """
    chosen: NDArray[np.bool_] = _radii(to_each) <= np.float32(radius)
    return chosen


def _radii(to_each: Vectors) -> Vectors:
    """The radius from which on a query looks into each list [n, lists]: 1 for the nearest, above 1 for all others."""
    last = min(MIN_NPROBE, to_each.shape[1]) - 1
    # In order, for a sum that does not depend on how they were found.
    nearest = np.sort(np.partition(to_each, last, axis=1)[:, : last + 1], axis=1)
    radii: Vectors = to_each / nearest.mean(axis=1, keepdims=True)
    radii[to_each <= nearest[:, -1:]] = 1
    return radii


def search(queries: ItemVectors, probed: NDArray[np.bool_], inverted_file: InvertedFile, k: int) -> FoundTopK:
    """Return the k best candidates of each query in the lists `probed` [n, lists], only the best of each group [n, k].

    Queries in the order of their own lists are fastest: most of their candidates then are in the core's cache.
    """
    of_lists = np.ascontiguousarray(probed.T)
    width = exact.candidates_to_keep(k, distinct=inverted_file.distinct)
    best = _RoughBest(np.full((len(queries), width), -np.inf, np.float32), np.zeros((len(queries), width), np.int64))
    # Those of the most queries first, which are those nearest to them: few candidates of the others then are better.
    asked = of_lists.sum(axis=1)
    for number in np.argsort(-asked, kind="stable")[: np.count_nonzero(asked)].tolist():
        rows = np.flatnonzero(of_lists[number])
        some = queries.take(rows)
        for chunk in inverted_file.list_chunks(number):
            scores = exact.rough_scores(some, chunk.items)
            if not chunk.allowed.all():
                scores[:, ~chunk.allowed] = -np.inf
            best.update(rows, scores, chunk.items.ids)
    worth = np.isfinite(best.scores) if inverted_file.distinct else best.may_be_of_the_best(k)
    found = _score_ranks(queries.vectors, inverted_file.group, best.ranks, worth).in_order().first_of_each_group(k)
    return FoundTopK(found, best.scores.min(axis=1))


@dataclass(frozen=True)
class _RoughBest:
    """The best candidates of each query so far [n, w]: their rough scores, -inf where there is none, and ranks."""

    scores: Vectors
    ranks: NDArray[np.int64]

    def update(self, rows: NDArray[np.int64], scores: Vectors, ranks: NDArray[np.int64]) -> None:
        """Replace candidates of the queries `rows` by better ones of the rough `scores` [rows, m], with `ranks` [m]."""
        before = self.scores[rows]
        few, of_few = _side_by_side(scores, ranks, scores > before.min(axis=1, keepdims=True))
        both, of_both = np.concatenate([before, few], axis=1), np.concatenate([self.ranks[rows], of_few], axis=1)
        columns = exact.largest_columns(both, before.shape[1])
        self.scores[rows], self.ranks[rows] = (np.take_along_axis(one, columns, axis=1) for one in (both, of_both))

    def may_be_of_the_best(self, k: int) -> NDArray[np.bool_]:
        """Return which may be among the k best by exact scores [n, w]: scoring a pair again takes 1 microsecond."""
        kth = np.partition(self.scores, -k, axis=1)[:, -k, None]
        near: NDArray[np.bool_] = np.isfinite(self.scores) & (self.scores >= kth - exact.SCORE_NOISE)
        return near


def _side_by_side(
    scores: Vectors, ranks: NDArray[np.int64], chosen: NDArray[np.bool_]
) -> tuple[Vectors, NDArray[np.int64]]:
    """Return the chosen scores [n, m] of each row from the left on, -inf behind them, and their ranks.

    Once the lists nearest to a query are done, few of the others are chosen: to sort these takes half as long.
    """
    if chosen.mean() > FEW:
        return scores, np.broadcast_to(ranks, scores.shape)
    row, column = np.nonzero(chosen)
    counts = np.bincount(row, minlength=len(scores))
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    few = np.full((len(scores), counts.max(initial=0)), -np.inf, dtype=np.float32)
    of_few = np.zeros(few.shape, dtype=np.int64)
    few[row, place], of_few[row, place] = scores[row, column], ranks[column]
    return few, of_few


def _score_ranks(queries: Vectors, group: GroupItems, ranks: NDArray[np.int64], there: NDArray[np.bool_]) -> TopK:
    """Return the candidates `ranks` [n, w] that are `there`, scored pair by pair."""
    found = empty_top_k(len(queries), ranks.shape[1], ranks)
    for shard, here, positions in group.located(ranks, there):
        found.scores[here] = exact.score_pairs(queries, here[0], shard.items.vectors, positions)
        found.ids[here] = ranks[here]
        found.variant_groups[here] = shard.items.variant_groups[positions]
        found.duplicate_groups[here] = shard.items.duplicate_groups[positions]
    return found
