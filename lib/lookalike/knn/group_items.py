"""The items of a group, opened once in a worker from all of its shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.index.built import divided, places_of
from lookalike.index.layout import IndexLayout, shard_number
from lookalike.knn.shard_items import ShardItems, read_shard
from lookalike.topk.items import Codes, Ids, ItemVectors

P = ParamSpec("P")
T = TypeVar("T")


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
