"""The items of a shard by position, read in a task from the files of the index."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.index.items import read_items
from lookalike.index.layout import IndexLayout
from lookalike.knn.mapped_items import MappedItems
from lookalike.knn.recent import Recent
from lookalike.topk.items import Codes, ItemVectors, as_ids


@dataclass(frozen=True)
class ShardItems:
    """The items of one shard by position, tombstones included, their vectors in its file.

    `lists` ascend. `eligible` items are live and may be recommended. `group_codes` and `represents` [n, levels] have a
    column for group_by and one for each fallback level: the code of the item's value, and whether it is the one item
    of its duplicate group that is shown to that value.
    """

    items: ItemVectors
    lists: NDArray[np.int32]
    live: NDArray[np.bool_]
    eligible: NDArray[np.bool_]
    group_codes: Codes
    represents: NDArray[np.bool_]

    def may_be_listed(self, level: int) -> NDArray[np.bool_]:
        """Return which may be recommended to items of the same value at a fallback level; 0 is group_by."""
        allowed: NDArray[np.bool_] = self.eligible & self.represents[:, level]
        return allowed

    def take(self, rows: slice | NDArray[np.int64]) -> ShardItems:
        """Return the items of these rows; a slice of the vectors is a view of the file."""
        codes, represents = self.group_codes[rows], self.represents[rows]
        lists, live, eligible = self.lists[rows], self.live[rows], self.eligible[rows]
        return ShardItems(self.items.take(rows), lists, live, eligible, codes, represents)


def slices_of_lists(lists: NDArray[np.int32], most: int) -> Iterator[slice]:
    """Yield rows that follow each other and are of one of the `lists`, which ascend, at most so many at a time."""
    edges = [0, *(np.flatnonzero(np.diff(lists)) + 1).tolist(), len(lists)]
    for start, stop in pairwise(edges):
        for low in range(start, stop, most):
            yield slice(low, min(low + most, stop))


def read_shard(layout: IndexLayout, name: str) -> ShardItems:
    """Return the items of the shard `name`."""
    rows = read_items(layout.fetch_items(name)).combine_chunks()
    deleted, eligible = (rows[flag].to_numpy(zero_copy_only=False).astype(bool) for flag in ("deleted", "eligible"))
    variants = rows["variant_group"].to_numpy()
    codes = pc.list_flatten(rows["group_codes"]).to_numpy().reshape(len(rows), -1)
    duplicates, represents = variants, np.ones(codes.shape, dtype=bool)
    if rows["duplicate_group"].null_count < len(rows):
        some = rows["duplicate_group"].is_valid().to_numpy()
        duplicates = pc.coalesce(rows["duplicate_group"], rows["variant_group"]).to_numpy()
        represents[some] = pc.list_flatten(rows["represents"]).to_numpy().reshape(-1, codes.shape[1])
    items = MappedItems(layout, name, as_ids(rows["item_id"]), variants, duplicates)
    return ShardItems(items, rows["list"].to_numpy(), ~deleted, eligible & ~deleted, codes, represents)


# A group keeps its own shards. Of others, which fill up lists, a worker reads the same again and again: 16 large ones,
# or thousands of small groups. To read one of five items takes 1.3 ms, as long as its product with 8,000 queries.
OPENED_ITEMS = 1 << 18
SHARD_ITEMS = 32  # the arrays of a shard, however small they are, take as much memory as so many items

_opened = Recent[ShardItems](OPENED_ITEMS)


def open_shard(layout: IndexLayout, name: str) -> ShardItems:
    """Return the items of the shard `name`, which a worker keeps."""
    return _opened.get((layout, name), lambda: read_shard(layout, name), lambda shard: len(shard.live) + SHARD_ITEMS)
