"""Repair the lists of the previous release: remove what changed or left, add what came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.index.built import POSITION_BITS, POSITION_MASK
from lookalike.index.layout import shard_name
from lookalike.knn.blocks import QueryBlock
from lookalike.knn.candidates import CandidateSet, GroupItems, ShardItems
from lookalike.knn.neighbour_files import as_matrix
from lookalike.knn.search_job import SearchJob
from lookalike.topk import exact
from lookalike.topk.exact import QUERY_ROWS, SCORE_NOISE
from lookalike.topk.items import Codes, ItemVectors, Vectors, is_in
from lookalike.topk.table import TopK, empty_top_k, merge_top_k

# Pairs a query that are scored one by one; of more, the best are found first. A night of 1 % puts 0.4 into a list.
PAIRS = 64


@dataclass(frozen=True)
class UpdatedLists:
    """The lists `top` of some items (`rows` of the block), whether each is complete, and where it was searched for."""

    rows: NDArray[np.int64]
    top: TopK
    complete: NDArray[np.bool_]
    probed: pa.ListArray


def update_lists(block: QueryBlock, shard: ShardItems, candidates: CandidateSet, job: SearchJob) -> UpdatedLists:
    """Return the previous lists without the items that changed and with those that came, where this is certain.

    A candidate that did not change and is not in a previous list ranks behind the last of the list, or is not near
    enough for similar.min_score where the list is complete, or is in a list of the inverted file that the item does not
    look into. So the ranks up to there are known; an item for which these are too few is left out, to be searched for.
    """
    queries = shard.items.take(slice(block.start, block.stop))
    previous = _read_previous(block, queries, candidates, job)
    rows, changes = np.flatnonzero(previous.usable), _changes_of(candidates.shards, job)
    asked = _Queries(queries, shard.lists[block.start : block.stop], previous.probed, _bounds(previous, job))
    came = _best_that_came(asked, changes, candidates, job)
    top, complete = previous.top.take(rows), previous.complete[rows].copy()
    gone = _among(top.ids, changes.gone) & np.isfinite(top.scores)
    touched = np.flatnonzero(gone.any(axis=1) | (came.counts[rows] > 0))
    before, new, was_complete = top.take(touched), came.take(rows[touched]), complete[touched]
    merged = merge_top_k(before.without(gone[touched]), new, distinct=False)
    top.assign(touched, merged.without(merged.ranks_behind(before) & ~was_complete[:, None]))
    # More candidates than a list keeps: some may have been cut off, and the list is no longer complete.
    complete[touched] &= before.counts + new.counts <= job.kept
    enough = top.counts >= job.similar.wanted
    if not job.fallback_shards:  # a list that is filled up from a fallback level starts with a search of its own group
        enough |= previous.complete[rows]
    return UpdatedLists(rows[enough], top.take(enough), complete[enough], previous.probed.take(pa.array(rows[enough])))


@dataclass(frozen=True)
class _PreviousLists:
    """The lists of the release before, of all items of a block; `usable` where there is one of the own group alone.

    `top` has the ranks of the neighbours, -1 for one that is no longer in the index.
    """

    top: TopK
    complete: NDArray[np.bool_]
    usable: NDArray[np.bool_]
    probed: pa.ListArray


def _read_previous(block: QueryBlock, queries: ItemVectors, candidates: CandidateSet, job: SearchJob) -> _PreviousLists:
    search, changes = job.searches[block.queries], _changes_of(candidates.shards, job)
    positions = np.arange(block.start, block.stop)
    places = (block.queries << POSITION_BITS) + positions
    if shard_name(block.queries) in search.rebuilt:
        places = _origins(job, shard_name(block.queries))[positions]
    rows = job.files.read(places)
    top = empty_top_k(len(rows), job.kept, queries.ids)
    found = as_matrix(rows["neighbours"].combine_chunks(), job.kept, -1)
    top.ids[:], top.scores[:] = changes.ranks_of(found), as_matrix(rows["scores"].combine_chunks(), job.kept, -np.inf)
    complete, from_fallback = (
        rows[name].combine_chunks().fill_null(True).to_numpy(zero_copy_only=False).astype(bool)
        for name in ("complete", "from_fallback")
    )
    usable = rows["position"].is_valid().to_numpy() & ~from_fallback & ~changes.gone[queries.ids]
    return _PreviousLists(top, complete, usable, rows["lists"].combine_chunks())


def _bounds(previous: _PreviousLists, job: SearchJob) -> Vectors:
    """The score [n] below which no candidate comes into a list; infinite where the list is not used."""
    last = np.maximum(previous.top.counts - 1, 0)[:, None]
    lowest = np.float32(-np.inf if job.similar.min_score is None else job.similar.min_score)
    of_last = np.take_along_axis(previous.top.scores, last, axis=1)[:, 0]
    bound = np.where(previous.complete, lowest, np.maximum(of_last, lowest))
    usable: Vectors = np.where(previous.usable, bound, np.float32(np.inf)).astype(np.float32)
    return usable


@dataclass(frozen=True)
class _GroupChanges:
    """What changed in a group: by rank, which items are `gone` from lists; and the candidates that came, by list.

    `old` are places in the index of the release before, ascending, and `new` the ranks of the items that were there.
    """

    group: GroupItems
    gone: NDArray[np.bool_]
    old: Codes
    new: Codes
    came: Codes  # ranks
    came_lists: NDArray[np.int32]  # ascending

    def ranks_of(self, places: Codes) -> Codes:
        """Return the ranks of the items at these places of the release before, -1 for one that is not there now."""
        at = np.minimum(np.searchsorted(self.old, places), len(self.old) - 1)
        found: Codes = np.where(self.old[at] == places, self.new[at], -1)
        return found

    def came_into(self, lists: NDArray[np.int32] | None) -> NDArray[np.int64]:
        """Return which candidates came into some lists, None for all."""
        chosen = np.ones(len(self.came), dtype=bool) if lists is None else np.isin(self.came_lists, lists)
        return np.flatnonzero(chosen)

    def take(self, chosen: NDArray[np.int64]) -> ItemVectors:
        """Return some of the candidates that came, their vectors copied."""
        ranks = self.came[chosen]
        places = self.group.places[ranks]
        vectors = np.empty((len(ranks), self.group.shards[0].items.vectors.shape[1]), dtype=np.float32)
        variants, duplicates = np.empty(len(ranks), dtype=np.int64), np.empty(len(ranks), dtype=np.int64)
        for number, shard in zip(self.group.numbers, self.group.shards, strict=True):
            mine = np.flatnonzero(places >> POSITION_BITS == number)
            positions = places[mine] & POSITION_MASK
            vectors[mine] = shard.items.vectors[positions]
            variants[mine] = shard.items.variant_groups[positions]
            duplicates[mine] = shard.items.duplicate_groups[positions]
        return ItemVectors(vectors, ranks, variants, duplicates)


# The blocks of a task are mostly of one group.
@lru_cache(maxsize=2)
def _changes_of(names: tuple[str, ...], job: SearchJob) -> _GroupChanges:
    group = job.candidates(names, QUERY_ROWS).group
    assert job.changed is not None
    gone = is_in(group.ids, job.changed)
    allowed = np.zeros(len(gone), dtype=bool)
    lists, old, new = np.zeros(len(gone), dtype=np.int32), [], []
    for name, number, shard in zip(names, group.numbers, group.shards, strict=True):
        ranks = shard.items.ids
        allowed[ranks], lists[ranks] = shard.may_be_listed(0), shard.lists
        is_rebuilt = name in job.searches[number].rebuilt
        places = _origins(job, name) if is_rebuilt else (number << POSITION_BITS) + np.arange(len(ranks))
        old.append(places[places >= 0])
        new.append(ranks[places >= 0])
    came = np.flatnonzero(gone & allowed)
    came = came[np.argsort(lists[came], kind="stable")]
    for shard in group.shards:
        gone[shard.items.ids] |= ~shard.live
    places, order = np.concatenate(old), np.argsort(np.concatenate(old))
    return _GroupChanges(group, gone, places[order], np.concatenate(new)[order], came, lists[came])


def _origins(job: SearchJob, name: str) -> Codes:
    origins: Codes = np.load(job.layout.origin(name))
    return origins


def _among(ranks: Codes, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each of these ranks is chosen, or is none, -1."""
    among: NDArray[np.bool_] = (ranks < 0) | chosen[np.maximum(ranks, 0)]
    return among


@dataclass(frozen=True)
class _Queries:
    """The items of a block, the list of each, those that it looks into (null: all), and the score that it asks for."""

    items: ItemVectors
    own_lists: NDArray[np.int32]
    probed: pa.ListArray
    bound: Vectors

    def slices(self) -> Iterator[slice]:
        """Yield rows that follow each other and are of one list, at most QUERY_ROWS."""
        edges = np.flatnonzero(np.diff(self.own_lists)) + 1
        for start, stop in zip([0, *edges.tolist()], [*edges.tolist(), len(self.own_lists)], strict=True):
            for low in range(start, stop, QUERY_ROWS):
                yield slice(low, min(low + QUERY_ROWS, stop))

    def lists_of(self, rows: slice) -> NDArray[np.int32] | None:
        """Return the lists that any of these items looks into, None for all."""
        some = self.probed[rows.start : rows.stop].filter(pa.array(~np.isposinf(self.bound[rows])))
        return None if some.null_count else np.unique(some.flatten().to_numpy())


def _best_that_came(queries: _Queries, changes: _GroupChanges, candidates: CandidateSet, job: SearchJob) -> TopK:
    """Return the best of the items that came, in the lists that each query or another of its own list looks into."""
    best = empty_top_k(len(queries.items), job.kept, queries.items.ids)
    if not len(changes.came):
        return best
    for rows in queries.slices():
        if np.isposinf(queries.bound[rows]).all():
            continue
        chosen = changes.came_into(queries.lists_of(rows))
        for start in range(0, len(chosen), candidates.chunk_rows):
            items = changes.take(chosen[start : start + candidates.chunk_rows])
            found = _best_above(queries.items.take(rows), items, queries.bound[rows], job.kept)
            if found is not None:
                at = np.arange(rows.start, rows.stop)
                best.assign(at, merge_top_k(best.take(rows), found, distinct=candidates.distinct))
    return best.at_least(job.similar.min_score)


def _best_above(queries: ItemVectors, candidates: ItemVectors, bound: Vectors, k: int) -> TopK | None:
    """Return the k best candidates of each query that score its bound or more, None where there is none."""
    rough = exact.rough_scores(queries, candidates)
    near = (rough >= (bound - np.float32(SCORE_NOISE))[:, None]) & np.isfinite(rough)
    count = int(near.sum())
    if count > PAIRS * len(queries):
        return exact.exact_top_k(queries, candidates, k)
    if not count:
        return None
    row, column = np.nonzero(near)
    scores = exact.score_pairs(queries.vectors, row, candidates.vectors, column)
    order = np.lexsort((candidates.ids[column], -scores, row))
    row, column, scores = row[order], column[order], scores[order]
    kept = _are_first(row, candidates.variant_groups[column]) & _are_first(row, candidates.duplicate_groups[column])
    return _table_of_pairs(candidates, [array[kept] for array in (row, column, scores)], (len(queries), k))


def _are_first(row: NDArray[np.int64], codes: Codes) -> NDArray[np.bool_]:
    """Whether each pair is the first of its row and code."""
    order = np.lexsort((codes, row))
    first = np.ones(len(row), dtype=bool)
    first[order[1:]] = (np.diff(row[order]) != 0) | (np.diff(codes[order]) != 0)
    return first


def _table_of_pairs(candidates: ItemVectors, pairs: Sequence[np.ndarray], shape: tuple[int, int]) -> TopK:
    """Return pairs (row, column, score), in order by row and rank, as a table; those beyond its width are dropped."""
    row, column, scores = pairs
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    kept = rank < shape[1]
    row, column, scores, rank = row[kept], column[kept], scores[kept], rank[kept]
    top = empty_top_k(*shape, candidates.ids)
    top.ids[row, rank], top.scores[row, rank] = candidates.ids[column], scores
    top.variant_groups[row, rank] = candidates.variant_groups[column]
    top.duplicate_groups[row, rank] = candidates.duplicate_groups[column]
    return top
