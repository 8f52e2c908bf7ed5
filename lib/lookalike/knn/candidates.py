"""A group's shards as a task of the neighbour search opens them, from the files of the index step. No Spark."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lookalike.index.layout import IndexLayout
from lookalike.topk import exact
from lookalike.topk.items import Codes, ItemVectors, as_ids
from lookalike.topk.table import TopK, empty_top_k, merge_top_k


@dataclass(frozen=True)
class ShardItems:
    """One shard's items, their vectors memory-mapped; `levels` and `represents` have a column for each ring."""

    rows: ItemVectors
    eligible: NDArray[np.bool_]
    levels: Codes
    represents: NDArray[np.bool_]

    def candidates(self, ring: int) -> NDArray[np.int64]:
        """The rows that may be recommended to items that share `ring` of their levels with them."""
        return np.flatnonzero(self.eligible & self.represents[:, ring])


def open_shard(folders: IndexLayout, name: str) -> ShardItems:
    """The shard `name`, with its duplicates once they have been looked for."""
    return _open_shard(folders, name, folders.twins(name).exists())


# Of a shard of 16,384 items the small columns take 1 MB; a task walks over the same few again and again.
@lru_cache(maxsize=32)
def _open_shard(folders: IndexLayout, name: str, twins_known: bool) -> ShardItems:
    ids = as_ids(pq.read_table(folders.items(name), columns=["item_id"])["item_id"])
    table = pq.read_table(folders.rows(name), columns=["rule_slot", "rule_eligible", "rule_levels"])
    slots = table["rule_slot"].to_numpy()
    levels = table["rule_levels"].combine_chunks().flatten().to_numpy().reshape(len(ids), -1)
    twins, represents = slots, np.ones(levels.shape, dtype=bool)
    if twins_known:
        found = np.load(folders.twins(name))
        twins, represents = found["twins"], found["represents"]
    rows = ItemVectors(np.load(folders.vectors(name), mmap_mode="r"), ids, slots, twins)
    return ShardItems(rows, table["rule_eligible"].to_numpy(zero_copy_only=False).astype(bool), levels, represents)


@dataclass(frozen=True)
class CandidateSet:
    """The shards in which an item's neighbours are looked for."""

    folders: IndexLayout
    names: Sequence[str]
    chunk_rows: int
    distinct: bool  # whether candidates may share a slot, in one shard or across them

    def chunks(
        self, ring: int = 0, wanted: Callable[[ShardItems], NDArray[np.bool_]] | None = None
    ) -> Iterator[CandidateChunk]:
        """The candidates of a ring, some at a time: all, or those that are `wanted` of a shard."""
        for name in self.names:
            shard = open_shard(self.folders, name)
            rows = shard.candidates(ring)
            if wanted is not None:
                rows = rows[wanted(shard)[rows]]
            for start in range(0, len(rows), self.chunk_rows):
                some = rows[start : start + self.chunk_rows]
                # A slice is a view of the mapped file, a selection a copy.
                together = some[-1] - some[0] + 1 == len(some)
                taken = shard.rows.take(slice(int(some[0]), int(some[-1]) + 1) if together else some)
                yield CandidateChunk(taken, shard.levels[some])

    def exact(
        self, queries: ItemVectors, k: int, wanted: Callable[[ShardItems], NDArray[np.bool_]] | None = None
    ) -> TopK:
        """The k best candidates of each query, of each slot the best, as TopK [n, k]."""
        best = empty_top_k(len(queries), k, queries.ids)
        for chunk in self.chunks(0, wanted):
            best = merge_top_k(best, exact.exact_top_k(queries, chunk.rows, k), distinct=self.distinct)
        return best

    def wider(self, queries: ItemVectors, levels: Codes, ring: int, held: TopK) -> TopK:
        """The best candidates that share level `ring` with the query and none before it, as many as `held` is wide.

        Slots and twins that the query's list `held` has already are left out.
        """
        k = held.scores.shape[1]
        best = empty_top_k(len(queries), k, queries.ids)
        groups = np.unique(levels[:, ring])
        for chunk in self.chunks(ring, lambda shard: np.isin(shard.levels[:, ring], groups)):
            allowed = levels[:, None, ring] == chunk.levels[:, ring]
            for narrower in range(ring):
                allowed &= levels[:, None, narrower] != chunk.levels[:, narrower]
            for place in range(int(held.counts.max(initial=0))):
                there = np.isfinite(held.scores[:, place, None])
                allowed &= ~(there & (held.variant_groups[:, place, None] == chunk.rows.variant_groups))
                allowed &= ~(there & (held.duplicate_groups[:, place, None] == chunk.rows.duplicate_groups))
            best = merge_top_k(best, exact.exact_top_k(queries, chunk.rows, k, allowed), distinct=True)
        return best


@dataclass(frozen=True)
class CandidateChunk:
    """Some candidates, with their levels [n, levels]."""

    rows: ItemVectors
    levels: Codes
