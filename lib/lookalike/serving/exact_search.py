"""Search some shards of a release for the items nearest to many vectors: every item is compared, shard by shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.serving.groups import ItemGroups
from lookalike.serving.search import WIDER
from lookalike.serving.shard import Neighbour, SearchableShard
from lookalike.topk.exact import QUERY_ROWS, exact_top_k
from lookalike.topk.items import ItemVectors, Vectors
from lookalike.topk.table import TopK, empty_top_k, merge_top_k

Lists = tuple[NDArray[np.int64], Vectors]  # of each query, places in `ids`, best first, and scores, -inf past the last


class ExactSearch:
    """The items of some shards, as the kernel of the exact search takes them."""

    def __init__(self, shards: Sequence[SearchableShard]) -> None:
        self.ids = pa.array([one for shard in shards for one in shard.ids], pa.string())
        self._eligible = [shard.eligible for shard in shards]
        self.eligible = sum(int(eligible.sum()) for eligible in self._eligible)
        # The kernel breaks ties by the order of the keys: places of the ids in their order, as bytes.
        self._in_order = pc.sort_indices(self.ids).to_numpy().astype(np.int64)
        keys = np.empty_like(self._in_order)
        keys[self._in_order] = np.arange(len(keys))
        ends = np.cumsum([len(shard.ids) for shard in shards])
        parts = np.split(keys, ends[:-1]) if len(shards) else []
        self._items = [ItemVectors(shard.vectors, own, own, own) for shard, own in zip(shards, parts, strict=True)]

    def nearest(self, queries: Vectors, k: int) -> Iterator[Lists]:
        """Yield the k nearest eligible items of each query, float32 [n, d], some queries at a time."""
        for start in range(0, len(queries), QUERY_ROWS):
            found = self._nearest_of(queries[start : start + QUERY_ROWS], min(k, self.eligible))
            yield self._in_order[found.ids], found.scores

    def nearest_of_each(self, queries: Vectors, k: int, groups: ItemGroups) -> Iterator[list[Neighbour]]:
        """Yield for each query the k nearest of which no two share a product or a duplicate group."""
        for start in range(0, len(queries), QUERY_ROWS):
            yield from self._distinct_of(queries[start : start + QUERY_ROWS], k, groups)

    def _distinct_of(self, queries: Vectors, k: int, groups: ItemGroups) -> list[list[Neighbour]]:
        lists: list[list[Neighbour]] = [[] for _ in queries]
        left, wanted = np.arange(len(queries)), WIDER * k
        while len(left):
            ((places, scores),) = self.nearest(queries[left], wanted)
            for row, neighbours in zip(left, self._neighbours(places, scores), strict=True):
                lists[row] = groups.first_of_each(neighbours)[:k]
            left = left[[wanted < self.eligible and len(lists[row]) < k for row in left]]
            wanted *= WIDER
        return lists

    def _neighbours(self, places: NDArray[np.int64], scores: Vectors) -> Iterator[list[Neighbour]]:
        for row, its_scores in zip(places, scores, strict=True):
            count = int(np.isfinite(its_scores).sum())
            ids = self.ids.take(pa.array(row[:count])).to_pylist()
            yield [Neighbour(*pair) for pair in zip(ids, its_scores[:count].tolist(), strict=True)]

    def _nearest_of(self, queries: Vectors, k: int) -> TopK:
        # Codes that no item has: a query is no item, and excludes none.
        own = -1 - np.arange(len(queries))
        asked = ItemVectors(queries, own, own, own)
        found = empty_top_k(len(queries), k, own)
        if not k:
            return found
        for items, eligible in zip(self._items, self._eligible, strict=True):
            allowed = np.broadcast_to(eligible, (len(queries), len(eligible)))
            with np.errstate(invalid="ignore"):
                here = exact_top_k(asked, items, min(k, len(items)), allowed)
            found = merge_top_k(found, here, distinct=False)
        return found
