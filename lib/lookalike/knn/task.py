"""What a task of the neighbours step does: it searches for the neighbours of blocks of queries, or updates their lists.

A block is searched in its own group first. Lists that stay too short are filled up from the fallback levels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from lookalike.knn import annoy_search, ivf, ivf_files
from lookalike.knn.blocks import QueryBlock
from lookalike.knn.candidates import CandidateSet, open_shard
from lookalike.knn.lists import NeighbourLists, concatenate_lists
from lookalike.knn.search_job import SearchJob, ShardSearch
from lookalike.knn.updates import ShardRows, update_lists
from lookalike.topk.exact import SCORE_NOISE
from lookalike.topk.items import ItemVectors
from lookalike.topk.table import FoundTopK, TopK, append_top_k, scatter_top_k


def find_neighbours(blocks: Sequence[QueryBlock], job: SearchJob) -> Iterator[pa.RecordBatch]:
    """Yield the rows of schemas.NEIGHBOURS for all items of the blocks."""
    waiting: list[NeighbourLists] = []
    with threadpool_limits(1, "blas"):  # Spark runs one task a core already
        for block in blocks:
            lists = _lists_of_own_group(block, job)
            short = _is_short(lists, job)
            yield lists.take(~short).as_batch()
            if short.any():
                waiting.append(lists.take(short))
            # Small groups wait for each other: the shards of a fallback level are then read once for all of them.
            if sum(len(one.queries) for one in waiting) >= job.similar.task_memory // 16 // _row_bytes(waiting):
                yield from _batch_with_fallback(waiting, job)
                waiting = []
        yield from _batch_with_fallback(waiting, job)


def _is_short(lists: NeighbourLists, job: SearchJob) -> np.ndarray:
    """Which lists are to be filled up from a fallback level."""
    short: np.ndarray = (lists.top.counts < job.similar.wanted) & bool(job.fallback_shards)
    return short


def _row_bytes(waiting: Sequence[NeighbourLists]) -> int:
    return 4 * waiting[0].queries.vectors.shape[1] if waiting else 1


def _lists_of_own_group(block: QueryBlock, job: SearchJob) -> NeighbourLists:
    """Search for the block's items in their own group; update the lists in place where that is certain."""
    search = job.searches[block.queries]
    name = search.shards[block.candidates.index(block.queries)]
    shard, rows = open_shard(job.layout, name), slice(block.start, block.stop)
    queries = shard.items.take(rows)
    candidates = job.candidates(search.shards, len(queries))
    updated = update_lists(queries, ShardRows(name, rows), candidates, job)
    others = np.setdiff1d(np.arange(len(queries)), updated.rows)
    top = _search(queries.take(others), search, candidates, job)
    complete, searched = np.zeros(len(queries), dtype=bool), np.zeros(len(queries), dtype=bool)
    complete[updated.rows] = updated.complete
    near = top.at_least(job.similar.min_score)
    # A list that min_score cut holds all that are near enough, as far as the plan finds them.
    complete[others] = (near.counts < job.kept) & ((search.kind == "exact") | (near.counts < top.counts))
    searched[others] = True
    both = scatter_top_k(len(queries), [(updated.rows, updated.top), (others, near)])
    from_fallback = np.zeros(len(queries), dtype=bool)
    return NeighbourLists(queries, shard.group_codes[rows], both, complete, from_fallback, searched)


def _search(queries: ItemVectors, search: ShardSearch, candidates: CandidateSet, job: SearchJob) -> TopK:
    """Search by the group's plan; exactly for the items for which that has not found enough, or cut through a tie."""
    if search.kind == "exact" or not len(queries):
        return candidates.exact_top_k(queries, job.kept)
    found = _search_approximately(queries, search, candidates, job.kept)
    top, last = found.top, found.top.scores[:, job.similar.wanted - 1]
    # The lists nearest to a query may hold few eligible items, and an item gets its k whenever the group holds them.
    # Of hundreds that tie, such as copies of one picture, those with the smallest ids belong in the list.
    unsure = np.isneginf(last) | (found.left_out > last - SCORE_NOISE)
    if not unsure.any():
        return top
    sure, again = np.flatnonzero(~unsure), np.flatnonzero(unsure)
    exact = candidates.exact_top_k(queries.take(again), job.kept)
    return scatter_top_k(len(queries), [(sure, top.take(sure)), (again, exact)])


def _search_approximately(queries: ItemVectors, search: ShardSearch, candidates: CandidateSet, k: int) -> FoundTopK:
    if search.kind == "ivf":
        assert search.radius is not None
        return ivf.search(queries, ivf_files.open_inverted_file(candidates), search.radius, k)
    assert search.search_k is not None
    return annoy_search.search(queries, candidates, search.search_k, k)


def _batch_with_fallback(waiting: Sequence[NeighbourLists], job: SearchJob) -> Iterator[pa.RecordBatch]:
    if waiting:
        yield _fill_up(concatenate_lists(waiting), job).as_batch()


def _fill_up(lists: NeighbourLists, job: SearchJob) -> NeighbourLists:
    """Fill the lists up from one fallback level after the other, until they have as many as wanted."""
    top, wanted = lists.top.cut(job.similar.wanted), job.similar.wanted
    for level, shards_of in enumerate(job.fallback_shards, start=1):
        short = np.flatnonzero(top.counts < wanted)
        if not len(short):
            break
        codes = lists.group_codes[short]
        names = sorted({name for code in np.unique(codes[:, level]).tolist() for name in shards_of.get(code, ())})
        queries = lists.queries.take(short)
        held = top.take(short)
        found = job.candidates(names, len(queries)).fallback_top_k(queries, codes, level, held)
        found = found.at_least(job.similar.min_score)
        others = np.setdiff1d(np.arange(len(lists.queries)), short)
        top = scatter_top_k(len(lists.queries), [(others, top.take(others)), (short, append_top_k(held, found))])
    all_items = np.ones(len(lists.queries), dtype=bool)
    return NeighbourLists(lists.queries, lists.group_codes, top.in_order(), ~all_items, all_items, all_items)
