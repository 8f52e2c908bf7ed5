"""A coarse partition of unit vectors: k-means centroids, and the search of the lists nearest to a query. numpy only.

For all queries at once, blocks of matrix products inside the nearest lists beat walking a graph or a tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lookalike.knn import planner
from lookalike.topk import exact
from lookalike.topk.items import ItemVectors, Vectors, concatenate_items
from lookalike.topk.table import TopK, empty_top_k

# The least angle that is told from none: float32 rounds a cosine near 1 by 6e-8, which is one of 3.5e-4.
NO_ANGLE = np.float32(1e-3)

# Lists that every query looks into. Without them, one item in 8,000 beside a small list all of its own misses most of
# its neighbours while the mean recall is 0.999; with them, none misses half at 0.998, for as much work.
ALWAYS = 3


@dataclass(frozen=True)
class InvertedLists:
    """Candidates of one shard, list by list: list i is the rows starts[i] to starts[i + 1], by id."""

    rows: ItemVectors
    starts: NDArray[np.int64]


@dataclass(frozen=True)
class InvertedFile:
    """The candidates of a group; a candidate's place is its row in the parts, one behind the other."""

    centroids: Vectors
    parts: Sequence[InvertedLists]
    chunk_rows: int  # candidates that are looked at together
    distinct: bool  # whether candidates may share a slot

    @cached_property
    def firsts(self) -> NDArray[np.int64]:
        """The place of each part's first row."""
        return np.cumsum([0, *(len(part.rows) for part in self.parts)])[:-1]

    def list(self, number: int) -> Iterator[tuple[ItemVectors, NDArray[np.int64]]]:
        """The candidates of one list with their places, chunk by chunk."""
        slices = [
            (part, int(first), int(part.starts[number]), int(part.starts[number + 1]))
            for part, first in zip(self.parts, self.firsts, strict=True)
        ]
        held: list[tuple[ItemVectors, NDArray[np.int64]]] = []
        for part, first, start, stop in slices:
            for low in range(start, stop, self.chunk_rows):
                high = min(low + self.chunk_rows, stop)
                if held and sum(len(rows) for rows, _ in held) + high - low > self.chunk_rows:
                    yield _joined(held)
                    held = []
                held.append((part.rows.take(slice(low, high)), np.arange(first + low, first + high)))
        if held:
            yield _joined(held)


def _joined(held: list[tuple[ItemVectors, NDArray[np.int64]]]) -> tuple[ItemVectors, NDArray[np.int64]]:
    if len(held) == 1:
        return held[0]
    return concatenate_items([rows for rows, _ in held]), np.concatenate([where for _, where in held])


def train(sample: Vectors, lists: int, seed: int) -> Vectors:
    """`lists` centroids of unit length [lists, d], by spherical k-means over `sample` [n, d], n >= lists.

    Dhillon and Modha, Concept decompositions for large sparse text data (2001): the centroid is the mean, scaled to
    unit length. A list that loses all its members starts again at a member of the sample.
    """
    rng = np.random.default_rng(seed)
    centroids = sample[np.sort(rng.choice(len(sample), lists, replace=False))].copy()
    for _ in range(planner.TRAINING_ROUNDS):
        nearest = nearest_list(sample, centroids)
        members = np.bincount(nearest, minlength=lists)
        # Sums by a matrix product: a fifth of the time of np.add.reduceat over the rows in order.
        centroids = (nearest == np.arange(lists)[:, None]).astype(np.float32) @ sample
        empty = np.flatnonzero(members == 0)
        centroids[empty] = sample[rng.integers(0, len(sample), len(empty))]
        centroids /= np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return centroids


def nearest_list(rows: Vectors, centroids: Vectors) -> NDArray[np.int64]:
    """The list of each row [n]."""
    found: NDArray[np.int64] = (rows @ centroids.T).argmax(axis=1)
    return found


def angles(rows: Vectors, centroids: Vectors) -> Vectors:
    """The angle of each row to each centroid [n, lists], in radians, `NO_ANGLE` at least."""
    cosines = np.clip(rows @ centroids.T, -1, 1)
    found: Vectors = np.maximum(np.arccos(cosines, out=cosines), NO_ANGLE, out=cosines)
    return found


def reach_for(queries: Vectors, found: NDArray[np.int64], centroids: Vectors) -> NDArray[np.float32]:
    """The reach with which each query meets each of its true neighbours.

    `found` [n, k] is the list of each neighbour, -1 where there is none; gives float32 [n, k], 0 where there is none.
    """
    to_each = angles(queries, centroids)
    to_found = np.take_along_axis(to_each, np.maximum(found, 0), axis=1)
    reach = np.where(to_found <= _always(to_each), np.float32(1), to_found / to_each.min(axis=1, keepdims=True))
    return np.where(found < 0, np.float32(0), reach)


def within(to_each: Vectors, reach: float) -> NDArray[np.bool_]:
    """Which lists are looked into, by the `angles` [n, lists]: `ALWAYS`, and those `reach` times as far as the nearest.

    A query in the midst of a list needs no other, one on a border needs many: at a recall of 0.998 this looks at 0.36
    of the candidates that a fixed number of lists has (100,000 photo vectors in 316 lists: 6 lists, not 19).
    """
    chosen: NDArray[np.bool_] = to_each <= np.maximum(
        np.float32(reach) * to_each.min(axis=1, keepdims=True), _always(to_each)
    )
    return chosen


def _always(to_each: Vectors) -> Vectors:
    """The angle [n, 1] up to which a list is looked into in any case."""
    last = min(ALWAYS, to_each.shape[1]) - 1
    angle: Vectors = np.partition(to_each, last, axis=1)[:, last : last + 1]
    return angle


def search(queries: ItemVectors, partition: InvertedFile, reach: float, k: int) -> TopK:
    """The k best candidates of each query in the lists `within` reach, of each slot only the best, as TopK [n, k]."""
    to_each = angles(queries.vectors, partition.centroids)
    # Queries of one list stand together: most of what they are compared with then is in the core's cache.
    order = np.argsort(to_each.argmin(axis=1), kind="stable")
    looked_into = np.ascontiguousarray(within(to_each, reach)[order].T)
    # Several colours of one product crowd the front, as in vectors.exact_top_k.
    wide = (3 * k if partition.distinct else k) + exact.EXTRA_CANDIDATES
    rough = np.full((len(queries), wide), -np.inf, dtype=np.float32)
    places = np.zeros(rough.shape, dtype=np.int64)
    for number in np.flatnonzero(looked_into.any(axis=1)).tolist():
        rows = np.flatnonzero(looked_into[number])
        some = queries.take(order[rows])
        for candidates, where in partition.list(number):
            seen = np.concatenate([rough[rows], exact.rough_scores(some, candidates)], axis=1)
            columns = exact.largest_columns(seen, wide)
            rough[rows] = np.take_along_axis(seen, columns, axis=1)
            new = where[np.maximum(columns - wide, 0)]
            old = np.take_along_axis(places[rows], np.minimum(columns, wide - 1), axis=1)
            places[rows] = np.where(columns < wide, old, new)
    found = _scored(queries, order, partition, places, rough).in_order().first_of_each_group(k)
    return found.take(np.argsort(order))


def _scored(
    queries: ItemVectors, order: NDArray[np.int64], partition: InvertedFile, places: NDArray[np.int64], rough: Vectors
) -> TopK:
    """The candidates at `places` [n, w] of the queries `order` [n], scored pair by pair; `rough` -inf excludes."""
    widest = np.result_type(*(part.rows.ids.dtype for part in partition.parts))
    found = empty_top_k(len(queries), places.shape[1], np.empty(0, widest))
    for part, first in zip(partition.parts, partition.firsts, strict=True):
        rows, columns = np.nonzero((places >= first) & (places < first + len(part.rows)) & np.isfinite(rough))
        chosen = places[rows, columns] - first
        scores = exact.score_pairs(queries.vectors, order[rows], part.rows.vectors, chosen)
        found.scores[rows, columns] = scores
        found.ids[rows, columns] = part.rows.ids[chosen]
        found.variant_groups[rows, columns], found.duplicate_groups[rows, columns] = (
            part.rows.variant_groups[chosen],
            part.rows.duplicate_groups[chosen],
        )
    return found
