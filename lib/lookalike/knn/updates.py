"""Repair the lists of the previous release: remove what changed or left, add what came."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.index.built import places_of
from lookalike.index.items import read_array
from lookalike.index.layout import shard_name
from lookalike.knn.blocks import QueryBlock
from lookalike.knn.candidates import CandidateSet
from lookalike.knn.group_items import GroupItems, of_one_group
from lookalike.knn.lists import FoundLists
from lookalike.knn.neighbour_files import as_matrix
from lookalike.knn.search_job import SearchJob
from lookalike.knn.shard_items import ShardItems, slices_of_lists
from lookalike.topk import exact
from lookalike.topk.exact import QUERY_ROWS
from lookalike.topk.items import Codes, ItemVectors, Vectors, is_in
from lookalike.topk.table import TopK, empty_top_k, merge_top_k


def update_lists(block: QueryBlock, shard: ShardItems, candidates: CandidateSet, job: SearchJob) -> FoundLists:
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
    return FoundLists(rows[enough], top.take(enough), complete[enough], previous.probed.take(pa.array(rows[enough])))


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
    changes = _changes_of(candidates.shards, job)
    places = _places_before(block.queries, len(candidates.group.shard(block.queries).live), job)
    rows = job.files.read(places[block.start : block.stop])
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


@of_one_group
def _changes_of(names: tuple[str, ...], job: SearchJob) -> _GroupChanges:
    group = job.candidates(names, QUERY_ROWS).group
    assert job.changed is not None
    gone = is_in(group.ids, job.changed)
    came = np.flatnonzero(gone & group.by_rank(lambda shard: shard.may_be_listed(0)))
    lists = group.by_rank(lambda shard: shard.lists)[came]
    order = np.argsort(lists, kind="stable")
    gone |= ~group.by_rank(lambda shard: shard.live)
    ranks = np.concatenate([shard.items.ids for shard in group.shards])
    sizes = zip(group.numbers, (len(shard.live) for shard in group.shards), strict=True)
    before = np.concatenate([_places_before(number, items, job) for number, items in sizes])
    old = np.argsort(before)[np.count_nonzero(before < 0) :]
    return _GroupChanges(group, gone, before[old], ranks[old], came[order], lists[order])


def _places_before(number: int, items: int, job: SearchJob) -> Codes:
    """The places in the index of the release before, -1 for what came, of all items of a shard."""
    if (name := shard_name(number)) in job.searches[number].rebuilt:
        origins: Codes = read_array(job.layout.shared.fetch(job.layout.origin(name)))
        return origins
    return places_of(number, np.arange(items))


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

    def lists_of(self, rows: slice) -> NDArray[np.int32] | None:
        """Return the lists that any of these items looks into, None for all."""
        some = self.probed[rows.start : rows.stop].filter(pa.array(~np.isposinf(self.bound[rows])))
        return None if some.null_count else np.unique(some.flatten().to_numpy())


def _best_that_came(queries: _Queries, changes: _GroupChanges, candidates: CandidateSet, job: SearchJob) -> TopK:
    """Return the best of the items that came, in the lists that each query or another of its own list looks into."""
    best = empty_top_k(len(queries.items), job.kept, queries.items.ids)
    if not len(changes.came):
        return best
    for rows in slices_of_lists(queries.own_lists, QUERY_ROWS):
        if np.isposinf(queries.bound[rows]).all():
            continue
        chosen = changes.came_into(queries.lists_of(rows))
        for start in range(0, len(chosen), candidates.chunk_rows):
            items = changes.group.take(changes.came[chosen[start : start + candidates.chunk_rows]])
            found = exact.exact_top_k(queries.items.take(rows), items, job.kept, at_least=queries.bound[rows])
            at = np.arange(rows.start, rows.stop)
            best.assign(at, merge_top_k(best.take(rows), found, distinct=candidates.distinct))
    return best.at_least(job.similar.min_score)
