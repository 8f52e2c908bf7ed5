"""Which items share a shard: plain functions over sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class PlannedShard:
    """An Annoy file to build: bucket `bucket` of the `buckets` of a group."""

    number: int
    group: str | None
    bucket: int
    buckets: int

    @property
    def name(self) -> str:
        """The stem of its files."""
        return f"shard-{self.number:05d}"


def plan_shards(groups: Iterable[tuple[str | None, int]], shard_items: int) -> list[PlannedShard]:
    """Return shards of about `shard_items` items that never mix groups; the null group first, then by name.

    Items are spread over the buckets of their group by a hash of their id, so that one more item changes one shard.
    """
    shards: list[PlannedShard] = []
    for group, items in sorted(groups, key=lambda pair: (pair[0] is not None, pair[0] or "")):
        buckets = max(1, math.ceil(items / shard_items))
        shards += [PlannedShard(len(shards) + bucket, group, bucket, buckets) for bucket in range(buckets)]
    return shards
