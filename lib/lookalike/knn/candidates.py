"""The items of a shard and the candidates of a group, opened in a task from the files of the index step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lookalike.index.layout import IndexLayout
from lookalike.topk import exact
from lookalike.topk.items import Codes, ItemVectors, as_ids
from lookalike.topk.table import TopK, empty_top_k, merge_top_k


@dataclass(frozen=True)
class ShardItems:
    """The items of one shard, their vectors memory-mapped.

    `group_codes` and `represents` [n, levels] have a column for group_by and one for each fallback level: the code of
    the item's value, and whether it is the one item of its duplicate group that is shown to that value.
    """

    items: ItemVectors
    eligible: NDArray[np.bool_]
    group_codes: Codes
    represents: NDArray[np.bool_]

    def candidates(self, level: int) -> NDArray[np.int64]:
        """Return the rows that may be recommended to items of the same value at a fallback level; 0 is group_by."""
        return np.flatnonzero(self.eligible & self.represents[:, level])


# Of a shard of 16,384 items the small columns take 1 MB; a task reads the same few shards again and again.
@lru_cache(maxsize=32)
def open_shard(layout: IndexLayout, name: str) -> ShardItems:
    """Return the items of the shard `name`, with their duplicate groups if the layout knows any."""
    ids = as_ids(_read(layout.items(name), "item_id")["item_id"])
    rows = _read(layout.rows(name), "search_variant_group", "search_eligible", "search_group_codes")
    variant_groups = rows["search_variant_group"].to_numpy()
    eligible = rows["search_eligible"].to_numpy(zero_copy_only=False).astype(bool)
    group_codes = rows["search_group_codes"].combine_chunks().flatten().to_numpy().reshape(len(ids), -1)
    duplicate_groups, represents = variant_groups, np.ones(group_codes.shape, dtype=bool)
    if name in layout.with_duplicates:
        found = np.load(layout.duplicates(name))
        duplicate_groups, represents = found["groups"], found["represents"]
    vectors = np.load(layout.vectors(name), mmap_mode="r")
    items = ItemVectors(vectors, ids, variant_groups, duplicate_groups)
    return ShardItems(items, eligible, group_codes, represents)


def _read(path: Path, *columns: str) -> pa.Table:
    return pq.read_table(path, columns=list(columns), page_checksum_verification=True)


Wanted = Callable[[ShardItems], NDArray[np.bool_]]  # which items of a shard are asked for


@dataclass(frozen=True)
class CandidateSet:
    """The shards in which the neighbours of an item are searched for."""

    layout: IndexLayout
    shards: Sequence[str]
    chunk_rows: int
    distinct: bool  # whether candidates may share a variant group, in one shard or across shards

    def chunks(self, level: int = 0, wanted: Wanted | None = None) -> Iterator[CandidateChunk]:
        """Yield the candidates at a fallback level, some at a time: all, or those that are `wanted` of a shard."""
        for name in self.shards:
            shard = open_shard(self.layout, name)
            rows = shard.candidates(level)
            if wanted is not None:
                rows = rows[wanted(shard)[rows]]
            for start in range(0, len(rows), self.chunk_rows):
                some = rows[start : start + self.chunk_rows]
                # A slice is a view of the mapped file, a selection is a copy.
                contiguous = some[-1] - some[0] + 1 == len(some)
                items = shard.items.take(slice(int(some[0]), int(some[-1]) + 1) if contiguous else some)
                yield CandidateChunk(items, shard.group_codes[some])

    def exact_top_k(self, queries: ItemVectors, k: int, wanted: Wanted | None = None) -> TopK:
        """Return the k best candidates of each query, only the best of each group, as TopK [n, k]."""
        best = empty_top_k(len(queries), k, queries.ids)
        for chunk in self.chunks(0, wanted):
            best = merge_top_k(best, exact.exact_top_k(queries, chunk.items, k), distinct=self.distinct)
        return best

    def fallback_top_k(self, queries: ItemVectors, group_codes: Codes, level: int, held: TopK) -> TopK:
        """Return the best candidates that share this level with the query and no earlier one; as wide as `held`.

        Variant and duplicate groups that the query's list `held` has already are left out.
        """
        k = held.scores.shape[1]
        best = empty_top_k(len(queries), k, queries.ids)
        values = np.unique(group_codes[:, level])
        for chunk in self.chunks(level, lambda shard: np.isin(shard.group_codes[:, level], values)):
            allowed = group_codes[:, None, level] == chunk.group_codes[:, level]
            for earlier in range(level):
                allowed &= group_codes[:, None, earlier] != chunk.group_codes[:, earlier]
            allowed &= ~_is_held(chunk.items, held)
            best = merge_top_k(best, exact.exact_top_k(queries, chunk.items, k, allowed), distinct=True)
        return best


def _is_held(candidates: ItemVectors, held: TopK) -> NDArray[np.bool_]:
    """Whether a candidate shares a variant or duplicate group with one in the list of each query [n, m]."""
    shared = np.zeros((len(held.scores), len(candidates)), dtype=bool)
    for place in range(int(held.counts.max(initial=0))):
        there = np.isfinite(held.scores[:, place, None])
        shared |= there & (held.variant_groups[:, place, None] == candidates.variant_groups)
        shared |= there & (held.duplicate_groups[:, place, None] == candidates.duplicate_groups)
    return shared


@dataclass(frozen=True)
class CandidateChunk:
    """Some candidates, with their group codes [n, levels]."""

    items: ItemVectors
    group_codes: Codes
