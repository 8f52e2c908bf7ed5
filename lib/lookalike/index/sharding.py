"""The shards of a group: how many there are, and which lists, or which items, share one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.index.layout import shard_name

# The shards of a large group are a multiple of it, so that 2 or 4 cores end together: of 100,000 items, 8, not 7.
_TOGETHER = 4

# Shards of small groups share a task, up to the items of one large shard, or to this part of a core's share.
SMALL_TASKS_A_CORE = 16


@dataclass(frozen=True)
class ShardPlan:
    """Items of a group to build `count` shards of, numbered from `first` on.

    They go to the nearest of `lists` centroids: those of the shard `centroids`, which are trained on the items first if
    that is the first of these shards.
    """

    group: str | None
    items: int
    candidates: int
    first: int
    count: int
    lists: int = 1
    centroids: str | None = None
    delta: bool = False

    @property
    def numbers(self) -> range:
        """The numbers that its shards may have."""
        return range(self.first, self.first + self.count)

    @property
    def trains(self) -> bool:
        """Whether its centroids are to be trained."""
        return self.centroids == shard_name(self.first)


def shard_count(items: int, shard_items: int) -> int:
    """Return how many shards of at most about `shard_items` items a group has."""
    count = max(1, math.ceil(items / shard_items))
    return count if count <= 2 else _TOGETHER * math.ceil(count / _TOGETHER)


def items_a_task(items: int, shard_items: int, cores: int) -> int:
    """Return how many items the shards of small groups have that share a task."""
    return max(1, min(items // (SMALL_TASKS_A_CORE * cores), shard_items))


def pack_shards(plans: Sequence[ShardPlan], most_items: int) -> tuple[list[int], int]:
    """Return the task that builds the first shard of each plan, and how many tasks there are, the longest first.

    The further shards of a plan have the tasks that follow. Plans of one shard share a task up to `most_items`.
    """
    first, count, held = [0] * len(plans), 0, most_items
    for number in sorted(range(len(plans)), key=lambda number: -plans[number].items / plans[number].count):
        plan = plans[number]
        if plan.count > 1 or held + plan.items > most_items:
            count, held = count + plan.count, most_items if plan.count > 1 else 0
        held += plan.items
        first[number] = count - plan.count
    return first, count


def shards_of_lists(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the shard, from 0 on, of each list of `sizes` items: `count` ranges of lists with about as many items.

    A list is never cut. Where some hold more than a shard's share there are fewer shards, without gaps.
    """
    middle = np.cumsum(sizes) - sizes / 2
    shards = np.minimum((middle * count / max(1, sizes.sum())).astype(np.int64), count - 1)
    return np.unique(shards, return_inverse=True)[1]
