"""The candidates of a group or of a fallback value, in pieces that a task compares with its queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.index.layout import IndexLayout
from lookalike.knn.group_items import GroupItems, open_group
from lookalike.knn.shard_items import ShardItems, open_shard
from lookalike.topk import exact
from lookalike.topk.items import Codes, ItemVectors, concatenate_items
from lookalike.topk.table import TopK, empty_top_k, merge_top_k

# Items that may not be listed are masked where they are fewer, else the others are copied.
MASKED_SHARE = 0.5


@dataclass(frozen=True)
class Chunk:
    """Some items of a shard at `positions`, and which of them are `allowed` as neighbours."""

    items: ItemVectors
    positions: NDArray[np.int64]
    allowed: NDArray[np.bool_]


def chunks(shard: ShardItems, allowed: NDArray[np.bool_], rows: range, chunk_rows: int) -> Iterator[Chunk]:
    """Yield the items of these rows with all that are allowed, some at a time: slices of the mapped file, or copies."""
    for low in rows[::chunk_rows]:
        positions = np.arange(low, min(low + chunk_rows, rows.stop))
        some = allowed[positions]
        if some.mean() > MASKED_SHARE:
            yield Chunk(shard.items.take(slice(low, low + len(some))), positions, some)
        elif some.any():
            yield Chunk(shard.items.take(positions[some]), positions[some], some[some])


def join_chunks(parts: Sequence[Chunk]) -> Chunk:
    """Return the items of all parts, their vectors copied if there are several."""
    if len(parts) == 1:
        return parts[0]
    columns = zip(*((part.positions, part.allowed) for part in parts), strict=True)
    return Chunk(concatenate_items([part.items for part in parts]), *map(np.concatenate, columns))


def exact_top_ks(shard: ShardItems, queries: ItemVectors, k: int, chunk_rows: int) -> Iterator[TopK]:
    """Yield the k best candidates of each query in a shard, some of its items at a time."""
    for chunk in chunks(shard, shard.may_be_listed(0), range(len(shard.live)), chunk_rows):
        allowed = None if chunk.allowed.all() else np.broadcast_to(chunk.allowed, (len(queries), len(chunk.items)))
        yield exact.exact_top_k(queries, chunk.items, k, allowed)


@dataclass(frozen=True)
class CandidateSet:
    """The shards in which the neighbours of an item are searched for."""

    layout: IndexLayout
    shards: tuple[str, ...]
    chunk_rows: int
    distinct: bool  # whether candidates may share a variant group, in one shard or across shards

    @property
    def group(self) -> GroupItems:
        """The items of these shards, which are those of one group."""
        return open_group(self.layout, self.shards)

    def exact_top_k(self, queries: ItemVectors, k: int) -> TopK:
        """Return the k best candidates in the group of each query, by rank, only the best of each group [n, k]."""
        best = empty_top_k(len(queries), k, queries.ids)
        for shard in self.group.shards:
            for found in exact_top_ks(shard, queries, k, self.chunk_rows):
                best = merge_top_k(best, found, distinct=self.distinct)
        return best

    def fallback_top_k(self, queries: ItemVectors, group_codes: Codes, level: int, held: TopK) -> TopK:
        """Return the best candidates that share this level with the query and no earlier one; as wide as `held`.

        Variant and duplicate groups that the query's list `held` has already are left out. All ids are item ids.
        """
        best = empty_top_k(len(queries), held.scores.shape[1], queries.ids)
        for chunk, codes in self._fallback_chunks(level, np.unique(group_codes[:, level])):
            for start in range(0, len(queries), exact.QUERY_ROWS):
                rows = np.arange(start, min(start + exact.QUERY_ROWS, len(queries)))
                allowed = chunk.allowed & (group_codes[rows, None, level] == codes[:, level])
                for earlier in range(level):
                    allowed &= group_codes[rows, None, earlier] != codes[:, earlier]
                allowed &= ~_is_held(chunk.items, held.take(rows))
                found = exact.exact_top_k(queries.take(rows), chunk.items, held.scores.shape[1], allowed)
                best.assign(rows, merge_top_k(best.take(rows), found, distinct=True))
        return best

    def _fallback_chunks(self, level: int, values: Codes) -> Iterator[tuple[Chunk, Codes]]:
        """Yield the candidates of some values of a fallback level with their group codes, some at a time.

        Those of small shards are joined: of 20,000 groups of five items, a product and a merge each take 15 ms.
        """
        waiting: list[tuple[Chunk, Codes]] = []
        rows = 0  # of those that wait
        for name in self.shards:
            shard = open_shard(self.layout, name)
            allowed = shard.may_be_listed(level) & np.isin(shard.group_codes[:, level], values)
            for chunk in chunks(shard, allowed, range(len(allowed)), self.chunk_rows):
                if waiting and rows + len(chunk.items) > self.chunk_rows:
                    yield _joined(waiting)
                    waiting, rows = [], 0
                waiting.append((chunk, shard.group_codes[chunk.positions]))
                rows += len(chunk.items)
        if waiting:
            yield _joined(waiting)


def _joined(parts: Sequence[tuple[Chunk, Codes]]) -> tuple[Chunk, Codes]:
    chunks, codes = zip(*parts, strict=True)
    return join_chunks(chunks), np.concatenate(codes)


def _is_held(candidates: ItemVectors, held: TopK) -> NDArray[np.bool_]:
    """Whether a candidate shares a variant or duplicate group with one in the list of each query [n, m]."""
    shared = np.zeros((len(held.scores), len(candidates)), dtype=bool)
    for place in range(int(held.counts.max(initial=0))):
        there = np.isfinite(held.scores[:, place, None])
        shared |= there & (held.variant_groups[:, place, None] == candidates.variant_groups)
        shared |= there & (held.duplicate_groups[:, place, None] == candidates.duplicate_groups)
    return shared
