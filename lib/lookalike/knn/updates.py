"""Update the lists of the previous release in place: remove what changed or left, add what came."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lookalike.knn.candidates import CandidateSet
from lookalike.knn.search_job import SearchJob
from lookalike.topk.items import Ids, ItemVectors, as_ids, is_in
from lookalike.topk.table import TopK, empty_top_k, merge_top_k


@dataclass(frozen=True)
class ShardRows:
    """Some consecutive rows of the shard `name`."""

    name: str
    rows: slice


@dataclass(frozen=True)
class UpdatedLists:
    """The lists `top` of some items (`rows` of the block), and whether each is complete."""

    rows: NDArray[np.int64]
    top: TopK
    complete: NDArray[np.bool_]


def update_lists(queries: ItemVectors, at: ShardRows, candidates: CandidateSet, job: SearchJob) -> UpdatedLists:
    """Return the previous lists without the items that changed and with those that came, where this is certain.

    A candidate that did not change and is not in a previous list ranks behind the last of the list, or is not near
    enough for similar.min_score where the list is complete. So the ranks up to
    there are known; an item for which these are too few is left out, to be searched again.
    """
    if job.changed is None:
        none = np.zeros(0, dtype=np.int64)
        return UpdatedLists(none, empty_top_k(0, job.kept, queries.ids), none.astype(bool))
    changed = job.changed
    rows = pq.read_table(job.layout.rows(at.name), columns=list(_PREVIOUS), page_checksum_verification=True)
    rows = rows.slice(at.rows.start, len(queries))
    previous = _read_previous(rows, job.kept)
    some = np.flatnonzero(previous.usable & ~is_in(queries.ids, changed))
    before, was_complete = previous.top.take(some), previous.complete[some]
    came = candidates.exact_top_k(queries.take(some), job.kept, lambda shard: is_in(shard.items.ids, changed))
    came = came.at_least(job.similar.min_score)
    merged = merge_top_k(before.without(is_in(before.ids, changed)), came, distinct=False)
    known = merged.without(merged.ranks_behind(before) & ~was_complete[:, None])
    # More candidates than a list keeps: some may have been cut off, and the list is no longer complete.
    complete = was_complete & (before.counts + came.counts <= job.kept)
    enough = known.counts >= job.similar.wanted
    if not job.fallback_shards:  # a list that is filled up from a fallback level starts with a search of its own group
        enough |= was_complete
    return UpdatedLists(some[enough], known.take(enough), complete[enough])


_PREVIOUS = (
    "search_previous_neighbour_ids",
    "search_previous_scores",
    "search_previous_complete",
    "search_previous_from_fallback",
)


@dataclass(frozen=True)
class _PreviousLists:
    """The lists of the previous release; `usable` where there was one, of the item's own group alone."""

    top: TopK
    complete: NDArray[np.bool_]
    usable: NDArray[np.bool_]


def _read_previous(rows: pa.Table, kept: int) -> _PreviousLists:
    ids, scores = (rows[name].combine_chunks() for name in _PREVIOUS[:2])
    lengths = ids.value_lengths().fill_null(0).to_numpy().astype(np.int64)
    flat: Ids = as_ids(ids.flatten())
    top = empty_top_k(len(rows), kept, flat)
    row = np.repeat(np.arange(len(rows)), lengths)
    column = np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    top.ids[row, column] = flat
    top.scores[row, column] = scores.flatten().to_numpy()
    flags = (rows[name].combine_chunks().fill_null(True).to_numpy(zero_copy_only=False) for name in _PREVIOUS[2:])
    complete, from_fallback = (flag.astype(bool) for flag in flags)
    return _PreviousLists(top, complete, ids.is_valid().to_numpy(zero_copy_only=False) & ~from_fallback)
