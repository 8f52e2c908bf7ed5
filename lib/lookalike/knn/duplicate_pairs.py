"""Pairs of items that show the same picture, as far as the cosine tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.index.layout import IndexLayout
from lookalike.knn.blocks import QueryBlock
from lookalike.knn.candidates import ShardItems, read_shard, slices_of_lists
from lookalike.topk.exact import QUERY_ROWS, SCORE_NOISE, score_pairs
from lookalike.topk.items import Ids, Vectors, as_text

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class PairSearch:
    """Which pairs to find: cosine `min_cosine` or more, within a value of the last fallback level.

    `lists_of` names, for each shard by its number, the shard that has the centroids of its group; None where the group
    has one list. `compared` has the positions in each shard to compare with all items; None: all with all.
    """

    layout: IndexLayout
    names: Mapping[int, str]
    lists_of: Mapping[int, str | None]
    min_cosine: float
    chunk_rows: int
    compared: Mapping[int, Rows] | None


# Not candidates.open_shard: what that keeps in a worker for the search would be from before the duplicates were found.
_open_shard = lru_cache(maxsize=32)(read_shard)


@dataclass(frozen=True)
class CentroidPlanes:
    """The centroids of a group, and how far they are apart [lists, lists]: the planes between them bound the lists."""

    centroids: Vectors
    apart: Vectors

    @classmethod
    def of(cls, centroids: Vectors) -> CentroidPlanes:
        """Measure how far they are apart, in float64: many may be nearly the same."""
        exact = centroids.astype(np.float64)
        squares = (exact**2).sum(axis=1)
        apart = np.sqrt(np.maximum(squares[:, None] + squares - 2 * exact @ exact.T, 0))
        return cls(centroids, apart.astype(np.float32))


@lru_cache(maxsize=2)
def _open_planes(layout: IndexLayout, name: str) -> CentroidPlanes:
    return CentroidPlanes.of(np.load(layout.centroids(name)))


def find_pairs(block: QueryBlock, search: PairSearch) -> Iterator[pa.RecordBatch]:
    """Yield pairs (a, b) of ids that connect the items of the block with all others that show the same picture."""
    for queries, others, lists_of in _comparisons(block, search):
        near = np.ones((len(queries.live), 1), dtype=bool)
        if lists_of is not None:
            near = near_lists(queries.items.vectors, _open_planes(search.layout, lists_of), search.min_cosine)
        for some in map(others.take, slices_of_lists(others.lists, search.chunk_rows)):
            rows = np.flatnonzero(near[:, some.lists[0]])
            if len(rows):
                few = queries if len(rows) == len(near) else queries.take(rows)
                a, b = _pairs_of(few, some, search.min_cosine)
                yield pa.record_batch({"a": as_text(a), "b": as_text(b)})


def _comparisons(block: QueryBlock, search: PairSearch) -> Iterator[tuple[ShardItems, ShardItems, str | None]]:
    """Yield a few items, the others to compare them with, and the shard with the centroids of the others' lists.

    Where all are compared with all, the few are of the block, and each pair is found from one side only. Else the
    others are the block, whose vectors are read once for all items that are to be compared.
    """
    mine = _open_shard(search.layout, search.names[block.queries]).take(slice(block.start, block.stop))
    for number in block.candidates:
        theirs = _open_shard(search.layout, search.names[number])
        if search.compared is None and number >= block.queries:
            yield from ((some, theirs, search.lists_of[number]) for some in _few(mine, np.arange(len(mine.live))))
        elif search.compared is not None:
            rows = search.compared.get(number, np.zeros(0, dtype=np.int64))
            yield from ((some, mine, search.lists_of[block.queries]) for some in _few(theirs, rows))


def _few(items: ShardItems, rows: Rows) -> Iterator[ShardItems]:
    for start in range(0, len(rows), QUERY_ROWS):
        yield items.take(rows[start : start + QUERY_ROWS])


def near_lists(vectors: Vectors, planes: CentroidPlanes, min_cosine: float) -> NDArray[np.bool_]:
    """Return which lists may hold an item of this cosine or more with each vector [n, lists].

    The items of a list are on its side of the plane between its centroid and any other. A vector that is farther from
    that plane than two vectors of this cosine are from each other has none there. So nothing is missed.
    """
    cosines = vectors @ planes.centroids.T
    own = cosines.argmax(axis=1)
    chord = np.float32(np.sqrt(2 - 2 * (min_cosine - SCORE_NOISE)))
    least = cosines.max(axis=1, keepdims=True) - chord * planes.apart[own] - SCORE_NOISE
    near: NDArray[np.bool_] = cosines >= least
    return near


def _pairs_of(queries: ShardItems, others: ShardItems, min_cosine: float) -> tuple[Ids, Ids]:
    left, right = queries.items, others.items
    rough = left.vectors @ right.vectors.T
    row, column = np.nonzero(rough >= min_cosine - SCORE_NOISE)
    pairs = queries.live[row] & others.live[column] & (queries.group_codes[row, -1] == others.group_codes[column, -1])
    pairs &= left.ids[row] != right.ids[column]
    row, column = row[pairs], column[pairs]
    unsure = np.flatnonzero(rough[row, column] < min_cosine + SCORE_NOISE)
    sure = np.ones(len(row), dtype=bool)
    sure[unsure] = score_pairs(left.vectors, row[unsure], right.vectors, column[unsure]) >= np.float32(min_cosine)
    ids = np.concatenate([left.ids, right.ids])
    a, b = spanning_forest(row[sure], len(left) + column[sure], len(ids))
    return ids[a], ids[b]


def spanning_forest(a: Rows, b: Rows, nodes: int) -> tuple[Rows, Rows]:
    """Return pairs of the numbers below `nodes` that connect what the pairs (a, b) connect; fewer than `nodes`.

    Ten thousand items of one placeholder picture make fifty million pairs.
    """
    least = connect(nodes, a, b)
    tied = np.flatnonzero(least != np.arange(nodes))
    return tied, least[tied]


def connect(count: int, a: Rows, b: Rows) -> Rows:
    """Return the smallest number that each number below `count` is connected with, by the pairs (a, b).

    Each round ties the ends of a pair, and what they are tied to, to the smaller end; and then each number to what that
    one is tied to, so that a chain of a thousand takes some ten rounds.
    """
    least = np.arange(count)
    while True:
        before = least.copy()
        smaller = np.minimum(before[a], before[b])
        for ends in (a, b, before[a], before[b]):
            np.minimum.at(least, ends, smaller)
        least = least[least]
        if (least == before).all():
            return least
