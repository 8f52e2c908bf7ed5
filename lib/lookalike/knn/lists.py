"""The neighbour lists of a block of items, while a task works on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.knn.blocks import QueryBlock
from lookalike.knn.group_items import GroupItems
from lookalike.knn.neighbour_files import NEIGHBOURS
from lookalike.knn.shard_items import ShardItems
from lookalike.topk.items import ItemVectors, as_text
from lookalike.topk.table import TopK, stack_top_k

# What a task returns: the neighbours of an item that are published, and whether all candidates were searched.
FOUND: Final = pa.schema(
    [
        pa.field("item_id", pa.string()),
        pa.field("similar_item_ids", pa.list_(pa.string())),
        pa.field("scores", pa.list_(pa.float32())),
        pa.field("searched", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class FoundLists:
    """The neighbours `top` of some `rows` of a block, by rank."""

    rows: NDArray[np.int64]
    top: TopK
    complete: NDArray[np.bool_]  # every candidate of the group is in the list
    probed: pa.ListArray  # the lists of the inverted file in which neighbours were searched for; null for all


def join_lists(parts: Sequence[FoundLists]) -> FoundLists:
    """Return the lists of all parts in the order of their rows."""
    rows, complete = (
        np.concatenate(arrays) for arrays in zip(*((one.rows, one.complete) for one in parts), strict=True)
    )
    order = np.argsort(rows)
    probed = pa.concat_arrays([part.probed for part in parts]).take(pa.array(order))
    return FoundLists(rows[order], stack_top_k([part.top for part in parts]).take(order), complete[order], probed)


@dataclass(frozen=True)
class BlockLists:
    """The live items of a block with the neighbours found in their own group."""

    block: QueryBlock
    group: GroupItems
    found: FoundLists
    searched: NDArray[np.bool_]  # among all candidates, not repaired

    @property
    def shard(self) -> ShardItems:
        """The shard of the items."""
        return self.group.shard(self.block.queries)

    @property
    def positions(self) -> NDArray[np.int64]:
        """Where the items lie in their shard."""
        return self.block.start + self.found.rows

    @property
    def ranks(self) -> NDArray[np.int64]:
        """The ranks of the items."""
        return self.shard.items.ids[self.positions]

    def are_short(self, wanted: int) -> NDArray[np.bool_]:
        """Return which items have fewer neighbours than wanted."""
        short: NDArray[np.bool_] = self.found.top.counts < wanted
        return short

    def by_item_id(self, rows: NDArray[np.int64]) -> tuple[ItemVectors, TopK]:
        """Return some items and their lists, with item ids in place of the ranks."""
        queries, top = self.shard.items.take(self.positions[rows]), self.found.top.take(rows)
        ids = self.group.ids
        return replace(queries, ids=ids[queries.ids]), replace(top, ids=ids[top.ids])

    def as_table(self, from_fallback: NDArray[np.bool_]) -> pa.Table:
        """Return the rows of NEIGHBOURS; a list that was filled up from a fallback level is not kept."""
        top = self.found.top
        found = np.isfinite(top.scores) & ~from_fallback[:, None]
        ends = _ends(found)
        columns = [
            pa.array(self.positions, pa.int32()),
            self.group.texts.take(pa.array(self.ranks)),
            pa.ListArray.from_arrays(ends, pa.array(self.group.places[top.ids[found]])),
            pa.ListArray.from_arrays(ends, pa.array(top.scores[found])),
            *(pa.array(flags) for flags in (self.found.complete & ~from_fallback, from_fallback, self.searched)),
            self.found.probed,
        ]
        return pa.table(columns, schema=NEIGHBOURS)

    def as_found(self, rows: NDArray[np.int64], wanted: int) -> pa.RecordBatch:
        """Return rows of FOUND for some of the items."""
        top = self.found.top.take(rows).cut(wanted)
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
    return pa.record_batch([items, *lists, pa.array(searched)], schema=FOUND)


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
