"""The items of a shard and the candidates of a group, opened in a task from the files of the index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from itertools import pairwise
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.index.built import divided, places_of
from lookalike.index.items import read_items
from lookalike.index.layout import IndexLayout, shard_number
from lookalike.knn.mapped_items import MappedItems
from lookalike.knn.recent import Recent
from lookalike.topk import exact
from lookalike.topk.items import Codes, Ids, ItemVectors, as_ids, concatenate_items
from lookalike.topk.table import TopK, empty_top_k, merge_top_k

P = ParamSpec("P")
T = TypeVar("T")


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


@dataclass(frozen=True)
class GroupItems:
    """The items of a group, shard by shard. Their `items.ids` are ranks [n]: integers in the order of the item ids.

    `ids` and `places` [ranks] are the item id of each rank, and where it lies.
    """

    numbers: tuple[int, ...]
    shards: tuple[ShardItems, ...]
    ids: Ids
    places: Codes

    def shard(self, number: int) -> ShardItems:
        """Return the shard of this number."""
        return self._by_number[number]

    @cached_property
    def _by_number(self) -> dict[int, ShardItems]:
        return dict(zip(self.numbers, self.shards, strict=True))

    @cached_property
    def _by_place(self) -> NDArray[np.int64]:
        return np.argsort(self.places)

    def ranks_at(self, places: Codes) -> Codes:
        """Return the ranks of the items at these places, all of which are places of the group."""
        ranks: Codes = self._by_place[np.searchsorted(self.places, places, sorter=self._by_place)]
        return ranks

    def by_rank(self, of: Callable[[ShardItems], NDArray[Any]]) -> NDArray[Any]:
        """Return by rank what each shard has by position."""
        values = np.concatenate([of(shard) for shard in self.shards])
        found = np.empty_like(values)
        found[np.concatenate([shard.items.ids for shard in self.shards])] = values
        return found

    def located(self, ranks: Codes, wanted: NDArray[np.bool_] | bool = True) -> Iterator[tuple[ShardItems, Any, Codes]]:
        """Yield each shard with the indices of those `ranks` that are `wanted` and in it, and their positions there.

        Only shards that have any: a group may have a thousand, and the neighbours of a block lie in a few.
        """
        numbers, positions = divided(self.places[ranks])
        chosen = np.flatnonzero(np.broadcast_to(wanted, ranks.shape))
        of_chosen = numbers.ravel()[chosen]
        order = np.argsort(of_chosen, kind="stable")
        first = np.flatnonzero(np.diff(of_chosen[order], prepend=-1))
        for number, some in zip(of_chosen[order[first]].tolist(), np.split(chosen[order], first)[1:], strict=True):
            here = np.unravel_index(some, ranks.shape)
            yield self.shard(number), here, positions[here]

    def take(self, ranks: Codes) -> ItemVectors:
        """Return the items of these ranks [n], their vectors copied."""
        vectors = np.empty((len(ranks), self.shards[0].items.vectors.shape[1]), dtype=np.float32)
        variants = np.empty(len(ranks), dtype=np.int64)
        same = all(shard.items.same_groups for shard in self.shards)
        found = ItemVectors(vectors, ranks, variants, variants if same else np.empty_like(variants))
        for shard, here, positions in self.located(ranks):
            vectors[here], variants[here] = shard.items.vectors[positions], shard.items.variant_groups[positions]
            found.duplicate_groups[here] = shard.items.duplicate_groups[positions]
        return found

    @cached_property
    def texts(self) -> pa.Array:
        """The item ids by rank, as text."""
        return pa.array(self.ids, pa.binary()).cast(pa.string())


def of_one_group(function: Callable[P, T]) -> Callable[P, T]:
    """Keep what the last call returned, until a group is opened: the blocks of a task are mostly of one group.

    A worker never holds two: of 10 million items, one takes 1.3 GB.
    """
    slot: dict[Any, T] = {}
    _of_groups.append(slot)

    @wraps(function)
    def found(*args: P.args, **named: P.kwargs) -> T:
        key = (*args, *named.items())
        if key not in slot:
            slot.clear()
            slot[key] = function(*args, **named)
        return slot[key]

    return found


_of_groups: list[dict[Any, Any]] = []


@of_one_group
def open_group(layout: IndexLayout, names: tuple[str, ...]) -> GroupItems:
    """Return the items of a group with these shards; sorting 100,000 ids takes 0.1 s."""
    for slot in _of_groups:
        slot.clear()
    shards, numbers = [read_shard(layout, name) for name in names], tuple(map(shard_number, names))
    ids = np.concatenate([shard.items.ids for shard in shards])
    places = np.concatenate(
        [places_of(number, np.arange(len(shard.live))) for number, shard in zip(numbers, shards, strict=True)]
    )
    order = np.argsort(ids, kind="stable")
    ranks = np.empty(len(ids), dtype=np.int64)
    ranks[order] = np.arange(len(ids))
    parts = np.split(ranks, np.cumsum([len(shard.live) for shard in shards])[:-1])
    ranked = (replace(shard, items=shard.items.with_ids(mine)) for shard, mine in zip(shards, parts, strict=True))
    return GroupItems(numbers, tuple(ranked), ids[order], places[order])


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
