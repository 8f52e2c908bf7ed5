"""The index that a run works with: its groups and shards, built by this run or linked from the release before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lookalike.index.layout import IndexLayout, shard_name
from lookalike.topk.items import Codes, Ids

# A place is where an item lies in an index: the number of its shard, and its position there.
POSITION_BITS = 32
POSITION_MASK = (1 << POSITION_BITS) - 1


def places_of(shard: int, positions: Codes) -> Codes:
    """Return the places of some positions of a shard."""
    return (shard << POSITION_BITS) + positions


def divided(places: Codes) -> tuple[Codes, Codes]:
    """Return the number of the shard of each place, and the position there."""
    return places >> POSITION_BITS, places & POSITION_MASK


@dataclass(frozen=True)
class IndexShard:
    """A shard: `items` positions, of which `live` are no tombstones, and `candidates` of these may be recommended."""

    number: int
    group: str | None
    items: int
    live: int
    candidates: int
    delta: bool  # what came since the base shards of the group were built
    built: bool  # by this run

    @property
    def name(self) -> str:
        """The stem of its files."""
        return shard_name(self.number)


@dataclass(frozen=True)
class IndexGroup:
    """The shards of a value of group_by, base shards first, and its inverted file.

    With several lists, `layout.centroids` of the first shard names the file of the centroids.
    """

    group: str | None
    shards: tuple[IndexShard, ...]
    lists: int  # 1 without centroids
    trained: bool  # the centroids are of this run
    touched: bool  # an item came, left or changed in it
    came: int = 0  # live items that came or changed

    @property
    def live(self) -> int:
        """How many items it has."""
        return sum(shard.live for shard in self.shards)

    @property
    def candidates(self) -> int:
        """How many of its items may be recommended."""
        return sum(shard.candidates for shard in self.shards)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its shards."""
        return tuple(shard.name for shard in self.shards)


@dataclass(frozen=True)
class ShardCounts:
    """How many shards were built, and how many reused from the current release."""

    built: int
    reused: int


@dataclass(frozen=True)
class BuiltIndex:
    """The index of a run.

    `changed` [n], ascending, are the items that came, left or changed since the previous index; None: all are new.
    """

    groups: Sequence[IndexGroup]
    layout: IndexLayout
    dimensions: int  # 1 where there are no items
    changed: Ids | None

    @property
    def shards(self) -> list[IndexShard]:
        """The shards of all groups."""
        return [shard for group in self.groups for shard in group.shards]

    @property
    def names(self) -> dict[int, str]:
        """The names of the shards by their numbers."""
        return {shard.number: shard.name for shard in self.shards}

    @property
    def counts(self) -> ShardCounts:
        """How many shards were built and reused."""
        built = sum(shard.built for shard in self.shards)
        return ShardCounts(built, len(self.shards) - built)
