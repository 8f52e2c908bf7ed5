"""Which lists, or which items, share a shard: plain functions over sizes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

# The shards of a large group are a multiple of it, so that 2 or 4 cores end together: of 100,000 items, 8, not 7.
_TOGETHER = 4


def shard_count(items: int, shard_items: int) -> int:
    """Return how many shards of at most about `shard_items` items a group has."""
    count = max(1, math.ceil(items / shard_items))
    return count if count <= 2 else _TOGETHER * math.ceil(count / _TOGETHER)


def shards_of_lists(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the shard, from 0 on, of each list of `sizes` items: `count` ranges of lists with about as many items.

    A list is never cut. Where some hold more than a shard's share there are fewer shards, without gaps.
    """
    middle = np.cumsum(sizes) - sizes / 2
    shards = np.minimum((middle * count / max(1, sizes.sum())).astype(np.int64), count - 1)
    return np.unique(shards, return_inverse=True)[1]
