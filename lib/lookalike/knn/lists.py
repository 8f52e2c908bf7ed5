"""The neighbour lists of a block of items, while a task works on them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.knn.blocks import QueryBlock
from lookalike.knn.candidates import GroupItems, ShardItems
from lookalike.knn.neighbour_files import NEIGHBOURS
from lookalike.topk.items import ItemVectors, as_text
from lookalike.topk.table import TopK

# What a task returns: the neighbours of an item that are published, and whether all candidates were searched.
FOUND = "item_id string, similar_item_ids array<string>, scores array<float>, searched boolean"


@dataclass(frozen=True)
class BlockLists:
    """The live items of a block, at `positions`, with the neighbours found in their own group, by rank."""

    block: QueryBlock
    group: GroupItems
    positions: NDArray[np.int64]
    top: TopK
    complete: NDArray[np.bool_]  # every candidate of the group is in the list
    searched: NDArray[np.bool_]  # among all candidates, not repaired
    probed: pa.ListArray  # the lists of the inverted file in which neighbours were searched for; null for all

    @property
    def shard(self) -> ShardItems:
        """The shard of the items."""
        return self.group.shard(self.block.queries)

    @property
    def ranks(self) -> NDArray[np.int64]:
        """The ranks of the items."""
        return self.shard.items.ids[self.positions]

    def are_short(self, wanted: int) -> NDArray[np.bool_]:
        """Return which items have fewer neighbours than wanted."""
        short: NDArray[np.bool_] = self.top.counts < wanted
        return short

    def by_item_id(self, rows: NDArray[np.int64]) -> tuple[ItemVectors, TopK]:
        """Return some items and their lists, with item ids in place of the ranks."""
        queries, top = self.shard.items.take(self.positions[rows]), self.top.take(rows)
        ids = self.group.ids
        return replace(queries, ids=ids[queries.ids]), replace(top, ids=ids[top.ids])

    def as_table(self, from_fallback: NDArray[np.bool_]) -> pa.Table:
        """Return the rows of NEIGHBOURS; a list that was filled up from a fallback level is not kept."""
        found = np.isfinite(self.top.scores) & ~from_fallback[:, None]
        ends = _ends(found)
        columns = [
            pa.array(self.positions, pa.int32()),
            self.group.texts.take(pa.array(self.ranks)),
            pa.ListArray.from_arrays(ends, pa.array(self.group.places[self.top.ids[found]])),
            pa.ListArray.from_arrays(ends, pa.array(self.top.scores[found])),
            *(pa.array(flags) for flags in (self.complete & ~from_fallback, from_fallback, self.searched)),
            self.probed,
        ]
        return pa.table(columns, schema=NEIGHBOURS)

    def as_found(self, rows: NDArray[np.int64], wanted: int) -> pa.RecordBatch:
        """Return rows of FOUND for some of the items."""
        top = self.top.take(rows).cut(wanted)
        names = self.group.texts.take(pa.array(top.ids[np.isfinite(top.scores)]))
        items = self.group.texts.take(pa.array(self.ranks[rows]))
        return found_batch(items, names, top.scores, self.searched[rows])


def found_batch(
    items: pa.Array, names: pa.Array, scores: NDArray[np.float32], searched: NDArray[np.bool_]
) -> pa.RecordBatch:
    """Return rows of FOUND: `names` are the neighbours of all items one after the other, `scores` [n, k] theirs."""
    found = np.isfinite(scores)
    ends = _ends(found)
    lists = [pa.ListArray.from_arrays(ends, values) for values in (names, pa.array(scores[found]))]
    return pa.record_batch(
        [items, *lists, pa.array(searched)], names=["item_id", "similar_item_ids", "scores", "searched"]
    )


def filled_batch(queries: ItemVectors, top: TopK) -> pa.RecordBatch:
    """Return rows of FOUND for lists with item ids that are filled up from other groups."""
    names = as_text(top.ids[np.isfinite(top.scores)])
    return found_batch(as_text(queries.ids), names, top.scores, np.ones(len(queries), dtype=bool))


def _ends(found: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Where each list starts, and where the last ends."""
    return np.concatenate([[0], np.cumsum(found.sum(axis=1))]).astype(np.int32)


def as_lists(probed: NDArray[np.bool_]) -> pa.ListArray:
    """Return the numbers of the true columns of each row."""
    return pa.ListArray.from_arrays(_ends(probed), pa.array(np.nonzero(probed)[1], pa.int32()))
