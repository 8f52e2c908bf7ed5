"""A coarse partition of unit vectors: k-means centroids, and the search of the lists nearest to a query. numpy only.

For all queries at once, blocks of matrix products inside the nearest lists beat walking a graph or a tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lookalike import planner, vectors
from lookalike.vectors import Rows, TopK, Vectors


@dataclass(frozen=True)
class Part:
    """Candidates of one shard, list by list: list i is the rows starts[i] to starts[i + 1], by id."""

    rows: Rows
    starts: NDArray[np.int64]


@dataclass(frozen=True)
class Partition:
    """The candidates of a group; a candidate's place is its row in the parts, one behind the other."""

    centroids: Vectors
    parts: Sequence[Part]
    chunk_rows: int  # candidates that are looked at together
    distinct: bool  # whether candidates may share a slot

    @cached_property
    def firsts(self) -> NDArray[np.int64]:
        """The place of each part's first row."""
        return np.cumsum([0, *(len(part.rows) for part in self.parts)])[:-1]

    def list(self, number: int) -> Iterator[tuple[Rows, NDArray[np.int64]]]:
        """The candidates of one list with their places, chunk by chunk."""
        slices = [
            (part, int(first), int(part.starts[number]), int(part.starts[number + 1]))
            for part, first in zip(self.parts, self.firsts, strict=True)
        ]
        held: list[tuple[Rows, NDArray[np.int64]]] = []
        for part, first, start, stop in slices:
            for low in range(start, stop, self.chunk_rows):
                high = min(low + self.chunk_rows, stop)
                if held and sum(len(rows) for rows, _ in held) + high - low > self.chunk_rows:
                    yield _joined(held)
                    held = []
                held.append((part.rows.take(slice(low, high)), np.arange(first + low, first + high)))
        if held:
            yield _joined(held)


def _joined(held: list[tuple[Rows, NDArray[np.int64]]]) -> tuple[Rows, NDArray[np.int64]]:
    if len(held) == 1:
        return held[0]
    return vectors.concatenated([rows for rows, _ in held]), np.concatenate([where for _, where in held])


def train(sample: Vectors, lists: int, seed: int) -> Vectors:
    """`lists` centroids of unit length [lists, d], by spherical k-means over `sample` [n, d], n >= lists.

    Dhillon and Modha, Concept decompositions for large sparse text data (2001): the centroid is the mean, scaled to
    unit length. A list that loses all its members starts again at a member of the sample.
    """
    rng = np.random.default_rng(seed)
    centroids = sample[np.sort(rng.choice(len(sample), lists, replace=False))].copy()
    for _ in range(planner.TRAINING_ROUNDS):
        nearest = (sample @ centroids.T).argmax(axis=1)
        order = np.argsort(nearest, kind="stable")
        members = np.bincount(nearest, minlength=lists)
        full = np.flatnonzero(members)
        starts = (np.cumsum(members) - members)[full]
        centroids[full] = np.add.reduceat(sample[order], starts, axis=0)
        empty = np.flatnonzero(members == 0)
        centroids[empty] = sample[rng.integers(0, len(sample), len(empty))]
        centroids /= np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return centroids


def nearest_list(rows: Vectors, centroids: Vectors) -> NDArray[np.int64]:
    """The list of each row [n]."""
    found: NDArray[np.int64] = (rows @ centroids.T).argmax(axis=1)
    return found


def probes_for(queries: Vectors, found: NDArray[np.int64], centroids: Vectors) -> NDArray[np.int64]:
    """How many lists each query must look into to meet each of its true neighbours.

    `found` [n, k] is the list of each neighbour, -1 where there is none; gives int64 [n, k], 0 where none.
    """
    order = np.argsort(-(queries @ centroids.T), axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(order.shape[1])[None], axis=1)
    return np.where(found < 0, 0, np.take_along_axis(rank, np.maximum(found, 0), axis=1) + 1)


def search(queries: Rows, partition: Partition, probes: int, k: int) -> TopK:
    """The k best candidates of each query in its `probes` nearest lists, of each slot only the best, as TopK [n, k]."""
    nearest = vectors.best_columns(queries.vectors @ partition.centroids.T, min(probes, len(partition.centroids)))
    probes = nearest.shape[1]
    # Several colours of one product crowd the front, as in vectors.exact_top_k.
    wide = (3 * k if partition.distinct else k) + vectors.SPARE
    rough = np.full((len(queries), probes, wide), -np.inf, dtype=np.float32)
    places = np.zeros(rough.shape, dtype=np.int64)
    order = np.argsort(nearest, axis=None, kind="stable")
    numbers, starts = np.unique(nearest.ravel()[order], return_index=True)
    for number, turns in zip(numbers, np.split(order, starts[1:]), strict=True):
        rows, probe = turns // probes, turns % probes
        near, where = _in_list(queries.take(rows), partition, int(number), wide)
        rough[rows, probe, : near.shape[1]], places[rows, probe, : near.shape[1]] = near, where
    flat = rough.reshape(len(queries), -1)
    best = vectors.best_columns(flat, wide)
    chosen = np.take_along_axis(places.reshape(flat.shape), best, axis=1)
    return _scored(queries, partition, chosen, np.take_along_axis(flat, best, axis=1)).first(k)


def _in_list(queries: Rows, partition: Partition, number: int, wide: int) -> tuple[Vectors, NDArray[np.int64]]:
    """Rough scores of the best `wide` of one list for each query, and their places, [n, up to wide]."""
    best = np.empty((len(queries), 0), dtype=np.float32)
    places = np.empty((len(queries), 0), dtype=np.int64)
    for candidates, where in partition.list(number):
        rough = vectors.rough_scores(queries, candidates)
        columns = vectors.best_columns(rough, wide)
        best = np.concatenate([best, np.take_along_axis(rough, columns, axis=1)], axis=1)
        places = np.concatenate([places, where[columns]], axis=1)
        columns = vectors.best_columns(best, wide)
        best, places = np.take_along_axis(best, columns, axis=1), np.take_along_axis(places, columns, axis=1)
    return best, places


def _scored(queries: Rows, partition: Partition, places: NDArray[np.int64], rough: Vectors) -> TopK:
    """The candidates at `places` [n, w], scored one pair at a time; `rough` -inf excludes."""
    widest = np.result_type(*(part.rows.ids.dtype for part in partition.parts))
    found = vectors.no_candidates(len(queries), places.shape[1], np.empty(0, widest))
    for part, first in zip(partition.parts, partition.firsts, strict=True):
        rows, columns = np.nonzero((places >= first) & (places < first + len(part.rows)) & np.isfinite(rough))
        at = places[rows, columns] - first
        vectors.score_pairs(found, (rows, columns), queries, part.rows, at)
    return found
