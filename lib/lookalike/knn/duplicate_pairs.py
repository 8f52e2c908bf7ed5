"""Pairs of items that show the same picture, as far as the cosine tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.index.annoy import map_vectors
from lookalike.index.items import read_items
from lookalike.index.layout import IndexLayout
from lookalike.knn.blocks import QueryBlock
from lookalike.topk.exact import QUERY_ROWS, SCORE_NOISE, score_pairs
from lookalike.topk.items import Codes, Ids, Vectors, as_ids, as_text

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


@dataclass(frozen=True)
class _Items:
    """Some items: their vectors [n, d], ids, values at the last fallback level, and their lists."""

    vectors: Vectors
    ids: Ids
    last_codes: Codes
    lists: NDArray[np.int32]
    live: NDArray[np.bool_]

    def take(self, rows: slice | Rows) -> _Items:
        """Return the items of these rows; a slice of the vectors is a view of the file."""
        return _Items(self.vectors[rows], self.ids[rows], self.last_codes[rows], self.lists[rows], self.live[rows])


# Not candidates.open_shard: what that keeps in a worker for the search would be from before the duplicates were found.
@lru_cache(maxsize=32)
def _open_items(layout: IndexLayout, name: str) -> _Items:
    rows = read_items(layout.items(name), "item_id", "group_codes", "list", "deleted").combine_chunks()
    last = pc.list_element(rows["group_codes"], len(rows["group_codes"][0]) - 1).to_numpy()
    live = ~rows["deleted"].to_numpy(zero_copy_only=False).astype(bool)
    vectors = map_vectors(layout.annoy(name), len(rows), layout.dimensions)
    return _Items(vectors, as_ids(rows["item_id"]), last, rows["list"].to_numpy(), live)


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
        near = np.ones((len(queries.ids), 1), dtype=bool)
        if lists_of is not None:
            near = near_lists(queries.vectors, _open_planes(search.layout, lists_of), search.min_cosine)
        for some in _slices_of_lists(others, search.chunk_rows):
            rows = np.flatnonzero(near[:, some.lists[0]])
            if len(rows):
                few = queries if len(rows) == len(near) else queries.take(rows)
                a, b = _pairs_of(few, some, search.min_cosine)
                yield pa.record_batch({"a": as_text(a), "b": as_text(b)})


def _slices_of_lists(items: _Items, chunk_rows: int) -> Iterator[_Items]:
    """Yield the items of each list, at most so many at a time."""
    edges = [0, *(np.flatnonzero(np.diff(items.lists)) + 1).tolist(), len(items.lists)]
    for start, stop in pairwise(edges):
        for first in range(start, stop, chunk_rows):
            yield items.take(slice(first, min(first + chunk_rows, stop)))


def _comparisons(block: QueryBlock, search: PairSearch) -> Iterator[tuple[_Items, _Items, str | None]]:
    """Yield a few items, the others to compare them with, and the shard with the centroids of the others' lists.

    Where all are compared with all, the few are of the block, and each pair is found from one side only. Else the
    others are the block, whose vectors are read once for all items that are to be compared.
    """
    mine = _open_items(search.layout, search.names[block.queries]).take(slice(block.start, block.stop))
    for number in block.candidates:
        theirs = _open_items(search.layout, search.names[number])
        if search.compared is None and number >= block.queries:
            yield from ((some, theirs, search.lists_of[number]) for some in _few(mine, np.arange(len(mine.ids))))
        elif search.compared is not None:
            rows = search.compared.get(number, np.zeros(0, dtype=np.int64))
            yield from ((some, mine, search.lists_of[block.queries]) for some in _few(theirs, rows))


def _few(items: _Items, rows: Rows) -> Iterator[_Items]:
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


def _pairs_of(queries: _Items, others: _Items, min_cosine: float) -> tuple[Ids, Ids]:
    rough = queries.vectors @ others.vectors.T
    row, column = np.nonzero(rough >= min_cosine - SCORE_NOISE)
    pairs = queries.live[row] & others.live[column] & (queries.last_codes[row] == others.last_codes[column])
    pairs &= queries.ids[row] != others.ids[column]
    row, column = row[pairs], column[pairs]
    unsure = np.flatnonzero(rough[row, column] < min_cosine + SCORE_NOISE)
    sure = np.ones(len(row), dtype=bool)
    sure[unsure] = score_pairs(queries.vectors, row[unsure], others.vectors, column[unsure]) >= np.float32(min_cosine)
    ids = np.concatenate([queries.ids, others.ids])
    a, b = spanning_forest(row[sure], len(queries.ids) + column[sure], len(ids))
    return ids[a], ids[b]


def spanning_forest(a: Rows, b: Rows, nodes: int) -> tuple[Rows, Rows]:
    """Return pairs of the numbers below `nodes` that connect what the pairs (a, b) connect; fewer than `nodes`.

    Ten thousand items of one placeholder picture make fifty million pairs.
    """
    least, before = np.arange(nodes), None
    while before is None or not np.array_equal(least, before):
        before = least.copy()
        both = np.minimum(least[a], least[b])
        np.minimum.at(least, a, both)
        np.minimum.at(least, b, both)
        least = least[least]
    tied = np.flatnonzero(least != np.arange(nodes))
    return tied, least[tied]
