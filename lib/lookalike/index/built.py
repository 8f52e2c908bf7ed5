"""The index that a run works with: its groups and shards, built by this run or linked from the release before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lookalike.index.layout import DUPLICATES, IndexLayout
from lookalike.index.manifest import ManifestShard
from lookalike.topk.items import Codes, Ids
from lookalike.warehouse.record import ShardsRecord

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
class IndexGroup:
    """The shards of a value of group_by, base shards first, and its inverted file.

    With several lists, `layout.centroids` of the first shard names the file of the centroids.
    """

    group: str | None
    shards: tuple[ManifestShard, ...]
    lists: int  # 1 without centroids
    touched: bool  # an item came, left or changed in it
    came: int = 0  # live items that came or changed
    built: frozenset[int] = frozenset()  # the numbers of the shards that this run built

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
class BuiltIndex:
    """The index of a run.

    `changed` [n], ascending, are the items that came, left or changed since the previous index; None: all are new.
    """

    groups: Sequence[IndexGroup]
    layout: IndexLayout
    changed: Ids | None

    @property
    def with_duplicates(self) -> BuiltIndex:
        """The same index after the duplicates were written into the items of its shards."""
        return replace(self, layout=replace(self.layout, items_version=DUPLICATES))

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has; 1 where there are no items."""
        return self.layout.dimensions

    @property
    def shards(self) -> list[ManifestShard]:
        """The shards of all groups."""
        return [shard for group in self.groups for shard in group.shards]

    @property
    def names(self) -> dict[int, str]:
        """The names of the shards by their numbers."""
        return {shard.number: shard.name for shard in self.shards}

    @property
    def counts(self) -> ShardsRecord:
        """How many shards were built and reused."""
        built = sum(len(group.built) for group in self.groups)
        return ShardsRecord(built=built, reused=len(self.shards) - built)
