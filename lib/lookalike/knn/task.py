"""What a task of the neighbours step does: lists for blocks of queries, computed anew or mended. No Spark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from lookalike import config
from lookalike.index.layout import IndexLayout
from lookalike.knn import ivf, planner, tuning
from lookalike.knn.blocks import QueryBlock
from lookalike.knn.candidates import CandidateSet, open_shard
from lookalike.topk import exact
from lookalike.topk.items import Codes, Ids, ItemVectors, as_ids, as_text, concatenate_items, is_in
from lookalike.topk.table import TopK, append_top_k, empty_top_k, merge_top_k, scatter_top_k


@dataclass(frozen=True)
class ShardSearch:
    """How a shard's items are searched: among the shards `names` of their group, by `kind`, with so much `effort`."""

    kind: planner.PlanKind
    names: tuple[str, ...]
    effort: float = 0  # a partition's reach, or Annoy's search_k


@dataclass(frozen=True)
class SearchJob:
    """What every task knows."""

    folders: IndexLayout
    similar: config.SimilarSettings
    ways: Mapping[int, ShardSearch]  # of each shard, by its number
    wider: Sequence[Mapping[int, tuple[str, ...]]]  # of each ring past the first: shards by the code of their level
    changed: Ids | None  # in a refresh: the items whose lists, and whose place in others', cannot be what they were

    @property
    def kept(self) -> int:
        """Neighbours of an item's list, those included that only the next refresh sees."""
        return self.similar.wanted + margin(self.similar)

    def pool(self, names: Sequence[str], queries: int) -> CandidateSet:
        """Shards to search together."""
        return CandidateSet(self.folders, names, self._chunk_rows(names, queries), self.similar.variant_of is not None)

    def _chunk_rows(self, names: Sequence[str], queries: int) -> int:
        dimensions = open_shard(self.folders, names[0]).rows.vectors.shape[1] if names else 1
        return planner.chunk_rows(dimensions, self.similar.task_memory, min(queries, exact.QUERY_ROWS))


def margin(similar: config.SimilarSettings) -> int:
    """Neighbours that a list has beyond those published: so many may go before the item is searched anew.

    With 1 % of 30,000 items changed a night, k = 10 and a margin of 10, one list in 40,000 loses more than that.
    """
    return max(10, similar.k // 2)


@dataclass(frozen=True)
class NeighbourLists:
    """Items with the lists found for them so far, and their levels [n, rings]."""

    queries: ItemVectors
    levels: Codes
    top: TopK
    whole: NDArray[np.bool_]  # nothing was left out for lack of room
    wide: NDArray[np.bool_]
    searched: NDArray[np.bool_]

    def take(self, rows: NDArray[np.bool_]) -> NeighbourLists:
        """Those of some items."""
        return NeighbourLists(
            self.queries.take(np.flatnonzero(rows)),
            self.levels[rows],
            self.top.take(rows),
            self.whole[rows],
            self.wide[rows],
            self.searched[rows],
        )


def run(blocks: Sequence[QueryBlock], job: SearchJob) -> Iterator[pa.RecordBatch]:
    """Rows of schemas.NEIGHBOURS for all items of the blocks."""
    waiting: list[NeighbourLists] = []
    with threadpool_limits(1, "blas"):  # Spark runs one task a core already
        for block in blocks:
            lists = _of_block(block, job)
            short = lists.top.counts < job.similar.wanted if job.wider else np.zeros(len(lists.queries), dtype=bool)
            yield _as_batch(lists.take(~short))
            if short.any():
                waiting.append(lists.take(short))
            # Small groups wait for each other: their wider groups are then walked over once for all.
            if sum(len(one.queries) for one in waiting) >= job.similar.task_memory // 16 // _row_bytes(waiting):
                yield from (_as_batch(_widened(one, job)) for one in _together(waiting))
                waiting = []
        yield from (_as_batch(_widened(one, job)) for one in _together(waiting))


def _of_block(block: QueryBlock, job: SearchJob) -> NeighbourLists:
    """Lists from the items' own group."""
    way = job.ways[block.queries]
    name = way.names[block.candidates.index(block.queries)]
    shard, rows = open_shard(job.folders, name), slice(block.start, block.stop)
    queries = shard.rows.take(rows)
    pool = job.pool(way.names, len(queries))
    mended = _mended(queries, rows, name, pool, job)
    anew = np.setdiff1d(np.arange(len(queries)), mended.items)
    top = _searched(queries.take(anew), way, pool, job)
    whole, searched = np.zeros(len(queries), dtype=bool), np.zeros(len(queries), dtype=bool)
    whole[mended.items] = mended.whole
    whole[anew] = (top.counts < job.kept) & (way.kind == "exact")
    searched[anew] = True
    both = scatter_top_k(len(queries), [(mended.items, mended.top), (anew, top)])
    return NeighbourLists(queries, shard.levels[rows], both, whole, np.zeros(len(queries), dtype=bool), searched)


def _searched(queries: ItemVectors, way: ShardSearch, pool: CandidateSet, job: SearchJob) -> TopK:
    """Lists computed anew, in the group's way; exactly where that has not found enough."""
    if way.kind == "exact" or not len(queries):
        return pool.exact(queries, job.kept)
    if way.kind == "partition":
        top = ivf.search(queries, tuning.open_partition(pool), way.effort, job.kept)
    else:
        top = tuning.search_annoy(queries, pool, round(way.effort), job.kept)
    # The rules may leave little in the lists nearest to a query, and an item gets its k whenever the group holds them.
    few = np.flatnonzero(top.counts < job.similar.wanted)
    if not len(few):
        return top
    enough = np.flatnonzero(top.counts >= job.similar.wanted)
    return scatter_top_k(len(queries), [(enough, top.take(enough)), (few, pool.exact(queries.take(few), job.kept))])


@dataclass(frozen=True)
class _Mended:
    """The lists `top` of some `items` (rows of the block), and whether nothing was left out of them."""

    items: NDArray[np.int64]
    top: TopK
    whole: NDArray[np.bool_]


def _mended(queries: ItemVectors, rows: slice, name: str, pool: CandidateSet, job: SearchJob) -> _Mended:
    """The lists that items had, without what changed and with what came, where that is known to be right.

    What is not in an old list, and did not change, ranks behind the list's last. So whatever ranks up to there is
    known; an item for which that is too little is left out, to be searched for anew.
    """
    none = np.zeros(0, dtype=np.int64)
    if job.changed is None:
        return _Mended(none, empty_top_k(0, job.kept, queries.ids), none.astype(bool))
    changed = job.changed
    old = _old_lists(
        pq.read_table(job.folders.rows(name), columns=list(_OLD)).slice(rows.start, len(queries)), job.kept
    )
    some = np.flatnonzero(old.usable & ~is_in(queries.ids, changed))
    before, was_whole = old.top.take(some), old.whole[some]
    came = pool.exact(queries.take(some), job.kept, lambda shard: is_in(shard.rows.ids, changed))
    merged = merge_top_k(before.without(is_in(before.ids, changed)), came, distinct=False)
    known = merged.without(merged.ranks_behind(before) & ~was_whole[:, None])
    whole = was_whole & (before.counts + came.counts <= job.kept)  # more may have been cut: then no longer
    right = known.counts >= job.similar.wanted
    if not job.wider:  # filling up from a wider group begins with a search of the item's own
        right |= was_whole
    return _Mended(some[right], known.take(right), whole[right])


_OLD = ("rule_old_ids", "rule_old_scores", "rule_old_whole", "rule_old_wide")


@dataclass(frozen=True)
class _Old:
    """The lists that the items had; `usable` where there was one, of the item's own group alone."""

    top: TopK
    whole: NDArray[np.bool_]
    usable: NDArray[np.bool_]


def _old_lists(rows: pa.Table, kept: int) -> _Old:
    ids, scores = (rows[name].combine_chunks() for name in ("rule_old_ids", "rule_old_scores"))
    lengths = ids.value_lengths().fill_null(0).to_numpy().astype(np.int64)
    flat = as_ids(ids.flatten())
    top = empty_top_k(len(rows), kept, flat)
    row = np.repeat(np.arange(len(rows)), lengths)
    column = np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    top.ids[row, column] = flat
    top.scores[row, column] = scores.flatten().to_numpy()
    whole, wide = (rows[name].combine_chunks().fill_null(True).to_numpy(zero_copy_only=False) for name in _OLD[2:])
    return _Old(top, whole.astype(bool), ids.is_valid().to_numpy(zero_copy_only=False) & ~wide.astype(bool))


def _together(waiting: Sequence[NeighbourLists]) -> Iterator[NeighbourLists]:
    """All that waits, as one."""
    if not waiting:
        return
    tops = [one.top for one in waiting]
    ends = np.cumsum([len(one.queries) for one in waiting])
    places = [(np.arange(end - len(one.queries), end), one.top) for end, one in zip(ends, waiting, strict=True)]
    assert len({top.scores.shape[1] for top in tops}) == 1
    flags = (np.concatenate([getattr(one, name) for one in waiting]) for name in ("whole", "wide", "searched"))
    yield NeighbourLists(
        concatenate_items([one.queries for one in waiting]),
        np.concatenate([one.levels for one in waiting]),
        scatter_top_k(int(ends[-1]), places),
        *flags,
    )


def _widened(lists: NeighbourLists, job: SearchJob) -> NeighbourLists:
    """The lists filled up from ever wider groups, until they have what is wanted."""
    top, wanted = lists.top.cut(job.similar.wanted), job.similar.wanted
    for ring, shards_of in enumerate(job.wider, start=1):
        short = np.flatnonzero(top.counts < wanted)
        if not len(short):
            break
        codes = np.unique(lists.levels[short, ring])
        names = sorted({name for code in codes.tolist() for name in shards_of.get(code, ())})
        queries = lists.queries.take(short)
        found = job.pool(names, len(queries)).wider(queries, lists.levels[short], ring, top.take(short))
        filled = append_top_k(top.take(short), found)
        others = np.setdiff1d(np.arange(len(lists.queries)), short)
        top = scatter_top_k(len(lists.queries), [(others, top.take(others)), (short, filled)])
    everything = np.ones(len(lists.queries), dtype=bool)
    return NeighbourLists(lists.queries, lists.levels, top.in_order(), ~everything, everything, everything)


def _row_bytes(waiting: Sequence[NeighbourLists]) -> int:
    return 4 * waiting[0].queries.vectors.shape[1] if waiting else 1


def _as_batch(lists: NeighbourLists) -> pa.RecordBatch:
    """Rows of schemas.NEIGHBOURS."""
    found = np.isfinite(lists.top.scores)
    ends = np.concatenate([[0], np.cumsum(found.sum(axis=1))]).astype(np.int32)
    return pa.record_batch(
        {
            "item_id": as_text(lists.queries.ids),
            "ids": pa.ListArray.from_arrays(ends, as_text(lists.top.ids[found])),
            "scores": pa.ListArray.from_arrays(ends, pa.array(lists.top.scores[found])),
            "whole": pa.array(lists.whole),
            "wide": pa.array(lists.wide),
            "searched": pa.array(lists.searched),
        }
    )
