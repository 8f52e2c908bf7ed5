"""What a task of the neighbours step does: it finds the lists of blocks of items, and writes them.

The lists of a block are those of its own group first: searched for, or those of the release before, repaired or kept.
Lists that stay too short are filled up from the fallback levels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.index.built import places_of
from lookalike.knn import annoy_search, ivf
from lookalike.knn.blocks import QueryBlock
from lookalike.knn.candidates import CandidateSet
from lookalike.knn.lists import FOUND, BlockLists, FoundLists, as_lists, filled_batch, found_batch, join_lists
from lookalike.knn.neighbour_files import as_matrix
from lookalike.knn.search_job import SearchJob, ShardSearch
from lookalike.knn.updates import update_lists
from lookalike.topk.exact import QUERY_ROWS, SCORE_NOISE
from lookalike.topk.items import Codes, ItemVectors, concatenate_items
from lookalike.topk.table import FoundTopK, TopK, append_top_k, scatter_top_k, stack_top_k
from lookalike.warehouse.release_files import StoredFile

# Items of blocks that wait for each other: their lists take 1 KB each.
WAITING_ITEMS = 1 << 16

# Items of groups of which blocks wait: 32 MB. Of groups of 4,097 items, thousands have a block of one.
WAITING_GROUPS = 1 << 18


@dataclass(frozen=True)
class FoundPart:
    """Rows of lists.FOUND, and the files of the table of neighbours that their lists are in."""

    rows: pa.Table
    files: list[StoredFile]


@dataclass
class _Waiting:
    """Lists that wait to be written: small groups do it together, for whom the shards of a level are then read once."""

    kept: list[tuple[pa.RecordBatch, StoredFile]] = field(default_factory=list)
    found: list[BlockLists] = field(default_factory=list)
    items: int = 0
    short: int = 0  # items whose lists have to be filled up
    groups: set[tuple[int, ...]] = field(default_factory=set)  # that are held, by their shards
    held: int = 0  # items of these

    def keep(self, rows: pa.RecordBatch, file: StoredFile) -> None:
        """Add lists that stay as they are."""
        self.kept.append((rows, file))
        self.items += len(rows)

    def add(self, lists: BlockLists, job: SearchJob) -> None:
        """Add lists that are to be written."""
        self.found.append(lists)
        self.items += len(lists.positions)
        self.short += int(lists.are_short(job.similar.wanted).sum()) if job.fallback_shards else 0
        self.held += 0 if lists.block.candidates in self.groups else len(lists.group.ids)
        self.groups.add(lists.block.candidates)

    def is_enough(self, job: SearchJob) -> bool:
        """Return whether they are as many as a task may hold."""
        short = job.similar.task_memory // 16 // (4 * job.layout.dimensions)
        return self.items >= WAITING_ITEMS or self.short >= short

    def has_room(self, block: QueryBlock) -> bool:
        """Return whether the group of another block can be opened while those that wait are held."""
        return block.candidates in self.groups or self.held < WAITING_GROUPS

    def write(self, job: SearchJob) -> FoundPart:
        """Write them."""
        files = [file for _, file in self.kept]
        batches = [*(rows for rows, _ in self.kept), *_write(self.found, job, files)]
        return FoundPart(pa.Table.from_batches(batches, FOUND), files)


def find_neighbours(blocks: Sequence[QueryBlock], job: SearchJob) -> Iterator[FoundPart]:
    """Write the lists of all items of the blocks; yield them, those of some WAITING_ITEMS at a time."""
    waiting = _Waiting()
    for block in blocks:
        if not waiting.has_room(block):
            yield waiting.write(job)
            waiting = _Waiting()
        unchanged = _keep_lists(block, job) if job.searches[block.queries].mode == "keep" else None
        if unchanged is not None:
            waiting.keep(*unchanged)
        else:
            waiting.add(_lists_of_own_group(block, job), job)
        if waiting.is_enough(job):
            yield waiting.write(job)
            waiting = _Waiting()
    yield waiting.write(job)


def _keep_lists(block: QueryBlock, job: SearchJob) -> tuple[pa.RecordBatch, StoredFile] | None:
    """Keep the lists of a group in which nothing changed; None if some are filled up from other groups."""
    search = job.searches[block.queries]
    group = job.candidates(search.shards, 1).group
    positions = block.start + np.flatnonzero(group.shard(block.queries).live[block.start : block.stop])
    rows = job.files.read(places_of(block.queries, positions))
    if rows["position"].null_count or rows["from_fallback"].to_numpy().any():
        return None
    file = job.files.keep(block.queries, block.start)
    wanted = job.similar.wanted
    places = as_matrix(rows["neighbours"].combine_chunks(), job.kept, -1)[:, :wanted]
    scores = as_matrix(rows["scores"].combine_chunks(), job.kept, -np.inf)[:, :wanted]
    names = group.texts.take(pa.array(group.ranks_at(places[np.isfinite(scores)])))
    return found_batch(rows["item_id"].combine_chunks(), names, scores, np.zeros(len(rows), dtype=bool)), file


def _lists_of_own_group(block: QueryBlock, job: SearchJob) -> BlockLists:
    """Search for the neighbours of the block's items in their own group; repair lists where that is certain."""
    search = job.searches[block.queries]
    candidates = job.candidates(search.shards, block.stop - block.start)
    shard, parts = candidates.group.shard(block.queries), []
    others = shard.live[block.start : block.stop].copy()
    if search.mode != "search":  # lists that are kept, but for those that are filled up from other groups
        parts.append(update_lists(block, shard, candidates, job))
        others[parts[0].rows] = False
    rows = np.flatnonzero(others)
    found, probed = _search(shard.items.take(_as_slice(block.start + rows)), search, candidates, job)
    near = found.at_least(job.similar.min_score)
    # A list that min_score cut holds all that are near enough, as far as the plan finds them.
    complete = (near.counts < job.kept) & ((search.kind == "exact") | (near.counts < found.counts))
    both = join_lists([*parts, FoundLists(rows, near, complete, probed)])
    return BlockLists(block, candidates.group, both, others[both.rows])


def _as_slice(rows: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Return rows that follow each other as a slice, which is a view of the mapped file and no copy."""
    together = len(rows) > 0 and rows[-1] - rows[0] + 1 == len(rows)
    return slice(int(rows[0]), int(rows[-1]) + 1) if together else rows


def _search(
    queries: ItemVectors, search: ShardSearch, candidates: CandidateSet, job: SearchJob
) -> tuple[TopK, pa.ListArray]:
    """Search by the group's plan; exactly for the items for which that has not found enough, or cut through a tie.

    Returns the lists and, of an inverted file, the lists that each query looks into.
    """
    everywhere = pa.nulls(len(queries), pa.list_(pa.int32()))
    if search.kind == "exact" or not len(queries):
        return candidates.exact_top_k(queries, job.kept), everywhere
    found, probed = _search_approximately(queries, search, candidates, job.kept)
    top, last = found.top, found.top.scores[:, job.similar.wanted - 1]
    # The lists nearest to a query may hold few eligible items, and an item gets its k whenever the group holds them.
    # Of hundreds that tie, such as copies of one picture, those with the smallest ids belong in the list.
    unsure = np.flatnonzero(np.isneginf(last) | (found.left_out > last - SCORE_NOISE))
    if len(unsure):
        top.assign(unsure, candidates.exact_top_k(queries.take(unsure), job.kept))
    return top, everywhere if probed is None else as_lists(probed)


def _search_approximately(
    queries: ItemVectors, search: ShardSearch, candidates: CandidateSet, k: int
) -> tuple[FoundTopK, NDArray[np.bool_] | None]:
    if search.kind == "ivf":
        assert search.radius is not None
        inverted_file = ivf.open_inverted_file(candidates)
        probed = ivf.lists_within(ivf.angles(queries.vectors, inverted_file.centroids), search.radius)
        return ivf.search(queries, probed, inverted_file, k), probed
    assert search.search_k is not None
    return annoy_search.search(queries, candidates, search.search_k, k), None


def _write(waiting: Sequence[BlockLists], job: SearchJob, files: list[StoredFile]) -> Iterator[pa.RecordBatch]:
    """Write the lists of some blocks, add their files to `files`, and yield what is published of them."""
    wanted, has_fallback = job.similar.wanted, bool(job.fallback_shards)
    short = [lists.are_short(wanted) & has_fallback for lists in waiting]
    for lists, mask in zip(waiting, short, strict=True):
        files.append(job.files.write(lists.block.queries, lists.block.start, lists.as_table(mask)))
        yield lists.as_found(np.flatnonzero(~mask), wanted)
    some = [(lists, np.flatnonzero(mask)) for lists, mask in zip(waiting, short, strict=True) if mask.any()]
    if some:
        queries, held = zip(*(lists.by_item_id(rows) for lists, rows in some), strict=True)
        codes = np.concatenate([lists.shard.group_codes[lists.positions[rows]] for lists, rows in some])
        all_queries = concatenate_items(queries)
        top = _fill_up(all_queries, codes, stack_top_k([one.cut(wanted) for one in held]), job)
        yield filled_batch(all_queries, top)


def _fill_up(queries: ItemVectors, group_codes: Codes, top: TopK, job: SearchJob) -> TopK:
    """Fill the lists up from one fallback level after the other, until they have as many as wanted."""
    for level, shards_of in enumerate(job.fallback_shards, start=1):
        short = np.flatnonzero(top.counts < job.similar.wanted)
        if not len(short):
            break
        others = np.setdiff1d(np.arange(len(queries)), short)
        parts = [(others, top.take(others))]
        for rows in (short[some] for some in _by_value(group_codes[short, level])):
            codes, held = group_codes[rows], top.take(rows)
            names = sorted({name for code in np.unique(codes[:, level]).tolist() for name in shards_of.get(code, ())})
            found = job.candidates(names, len(rows)).fallback_top_k(queries.take(rows), codes, level, held)
            parts.append((rows, append_top_k(held, found.at_least(job.similar.min_score))))
        top = scatter_top_k(len(queries), parts)
    return top.in_order()


def _by_value(values: Codes) -> list[NDArray[np.int64]]:
    """Return rows of the same values together, those of small values up to about the queries of a matrix product.

    Were they all compared with the items of all their values, a task of a thousand values would do it a thousand times.
    """
    order = np.argsort(values, kind="stable")
    first = np.flatnonzero(np.diff(values[order], prepend=values[order[:1]] - 1))
    return np.split(order, first[1:][np.diff(first // QUERY_ROWS) > 0])
