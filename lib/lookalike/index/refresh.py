"""The refresh of an index, planned on the driver from what changed: which shards stay, and which are built."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookalike import config
from lookalike.index.built import divided
from lookalike.index.centroids import lists_of
from lookalike.index.changes import IndexChanges
from lookalike.index.layout import shard_name
from lookalike.index.manifest import ManifestGroup, ManifestShard
from lookalike.index.sharding import ShardPlan, shard_count
from lookalike.progress import say_detail

# Of the groups that are built again, the largest are named one by one, the others are counted.
NAMED = 5


@dataclass(frozen=True)
class GroupState:
    """A group as it was, and as it changes: how many items came, and left each shard.

    So many more of its items may be recommended as `more_candidates`, fewer where that is negative.
    """

    name: str | None
    known: ManifestGroup | None
    shards: Sequence[ManifestShard]
    left: Mapping[int, int]
    came: int = 0
    more_candidates: int = 0

    def live(self, shard: ManifestShard) -> int:
        """How many items of a shard are still there."""
        return shard.live - self.left.get(shard.number, 0)

    @property
    def items(self) -> int:
        """How many items it has now."""
        return sum(map(self.live, self.shards)) + self.came

    @property
    def candidates(self) -> int:
        """How many of its items may be recommended now."""
        return sum(shard.candidates for shard in self.shards) + self.more_candidates

    @property
    def dead_or_delta(self) -> int:
        """How many positions are tombstones, and how many items are outside its base shards."""
        dead = sum(shard.items - self.live(shard) for shard in self.shards)
        return dead + self.came + sum(self.live(shard) for shard in self.shards if shard.delta)

    @property
    def share(self) -> float:
        """The same as a share of its items."""
        return self.dead_or_delta / max(1, self.items)


@dataclass
class RefreshPlan:
    """The shards that stay, those whose live items go into others, and those to build."""

    settings: config.Settings
    next_shard: int
    stay: list[ManifestShard] = field(default_factory=list)
    merged: list[ManifestShard] = field(default_factory=list)
    builds: list[ShardPlan] = field(default_factory=list)
    built_again: list[GroupState] = field(default_factory=list)  # groups of which every shard is built

    def add_group(self, group: GroupState) -> None:
        """Plan the shards of one group; of one without items, none."""
        lists = lists_of(group.candidates, self.settings.similar)
        needs_lists = group.known is not None and group.known.lists == 1 < lists
        if not group.items:
            return
        if group.known is None or needs_lists or group.share > self.settings.index.compact_share:
            if group.known is not None:
                self.built_again.append(group)
            self.merged += group.shards
            self.add_base(group.name, group.items, group.candidates)
        else:
            self._add_delta(group)

    def say_built_again(self) -> None:
        """Say which groups are built again: the largest one by one, the others together."""
        largest = sorted(self.built_again, key=lambda group: -group.items)
        for group in largest[:NAMED]:
            name = "all items" if group.name is None else group.name
            many = group.share > self.settings.index.compact_share
            why = f"{group.share:.0%} came or left since the last time" if many else "it is large enough for lists now"
            say_detail(f"{name}, {group.items:,} items: shards built again, {why}")
        if others := largest[NAMED:]:
            say_detail(
                f"{len(others):,} smaller groups, {sum(group.items for group in others):,} items: shards built again"
            )

    def add_base(self, name: str | None, items: int, candidates: int) -> None:
        """Plan the base shards of a group, and its centroids."""
        lists = lists_of(candidates, self.settings.similar)
        count = shard_count(items, self.settings.index.shard_items)
        centroids = shard_name(self.next_shard) if lists > 1 else None
        self._build(ShardPlan(name, items, candidates, self.next_shard, count, lists, centroids))

    def _add_delta(self, group: GroupState) -> None:
        """Plan a delta of what came and of the deltas that are not larger than it: so a group has few of them."""
        held, taken = group.came, set()
        deltas = [shard for shard in group.shards if shard.delta]
        for shard in sorted(deltas, key=group.live):
            if group.live(shard) <= held:
                held += group.live(shard)
                taken.add(shard.number)
        self.stay += [shard for shard in group.shards if shard.number not in taken]
        self.merged += [shard for shard in group.shards if shard.number in taken]
        if held:
            assert group.known is not None
            centroids = shard_name(group.shards[0].number) if group.known.lists > 1 else None
            count = shard_count(held, self.settings.index.shard_items)
            lists = group.known.lists
            self._build(ShardPlan(group.name, held, held, self.next_shard, count, lists, centroids, delta=True))

    def _build(self, plan: ShardPlan) -> None:
        self.builds.append(plan)
        self.next_shard += plan.count


def plan_refresh(changes: IndexChanges, settings: config.Settings) -> RefreshPlan:
    """Plan the shards of every group, in the order of the groups' names."""
    known = {group.group: group for group in changes.before.groups}
    came = changes.table.filter(pa.array(changes.comes)).group_by("group")
    new = {row["group"]: row["item_id_count"] for row in came.aggregate([("item_id", "count")]).to_pylist()}
    left = Counter(divided(changes.places[changes.leaves])[0].tolist())
    shards: dict[str | None, list[ManifestShard]] = {}
    for shard in changes.before.shards:
        shards.setdefault(shard.group, []).append(shard)
    plan = RefreshPlan(settings, changes.before.next_shard)
    for name in sorted(known.keys() | new.keys(), key=in_order):
        mine = shards.get(name, [])
        plan.add_group(
            GroupState(name, known.get(name), mine, left, new.get(name, 0), changes.candidates_by_group[name])
        )
    plan.say_built_again()
    return plan


def in_order(group: str | None) -> tuple[bool, str]:
    """The order of groups: that without a value first, then by name."""
    return group is not None, group or ""


def rows_to_move(changes: IndexChanges, merged: Sequence[ManifestShard]) -> pa.Table:
    """Return what came, and what has other constraints in a shard that is built again, as rows to build from."""
    places = changes.places
    numbers, positions = divided(places)
    kept = changes.stays & np.isin(numbers, [shard.number for shard in merged])
    moved = changes.comes | kept
    shards = pa.array([f"{shard_name(number)}.ann" for number in numbers.tolist()], pa.string())
    files = pc.if_else(pa.array(kept), shards, changes.table["source"])
    rows = np.where(kept, positions, changes.table["row"].fill_null(0).to_numpy())
    columns = changes.table.select(["item_id", "group", "variant_group", "eligible", "group_codes"])
    columns = columns.append_column("source", files).append_column("row", pa.array(rows))
    return columns.append_column("origin", pa.array(np.where(kept, places, -1))).filter(pa.array(moved))
