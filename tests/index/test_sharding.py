"""How many shards a group has, and which lists share one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.index.sharding import shard_count, shards_of_lists


@pytest.mark.parametrize(
    ("items", "count"), [(0, 1), (1, 1), (100, 1), (101, 2), (200, 2), (201, 4), (400, 4), (401, 8), (700, 8)]
)
def test_large_groups_have_a_multiple_of_four_shards(items: int, count: int) -> None:
    assert shard_count(items, 100) == count


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=60), count=st.integers(1, 8))
def test_lists_of_a_shard_are_a_range_and_shards_hold_about_as_many_items(sizes: list[int], count: int) -> None:
    shards = shards_of_lists(np.array(sizes), count)
    assert shards[0] == 0
    assert set(np.diff(shards).tolist()) <= {0, 1}
    assert shards[-1] < count
    held = np.bincount(shards, weights=sizes)
    assert held.max() <= sum(sizes) / count + max(sizes)
