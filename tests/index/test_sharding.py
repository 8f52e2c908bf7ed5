"""How many shards a group has, and which lists share one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.index.sharding import ShardPlan, pack_shards, shard_count, shards_of_lists


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


def plans_of(*sizes: tuple[int, int]) -> list[ShardPlan]:
    """Plans of so many items in so many shards, one after the other."""
    firsts = np.cumsum([0, *(count for _, count in sizes)]).tolist()
    return [ShardPlan(str(n), items, items, firsts[n], count) for n, (items, count) in enumerate(sizes)]


def test_large_shards_have_a_task_each_and_come_before_the_small_ones_that_share_one() -> None:
    plans = plans_of((3, 1), (100, 4), (4, 1), (5, 1), (30, 2))
    assert pack_shards(plans, 10) == ([7, 0, 6, 6, 4], 8)


@given(
    sizes=st.lists(st.tuples(st.integers(1, 50), st.integers(1, 4)), min_size=1, max_size=40), most=st.integers(1, 90)
)
def test_every_shard_has_one_task_and_no_task_has_more_than_its_items_or_one_shard(
    sizes: list[tuple[int, int]], most: int
) -> None:
    first, tasks = pack_shards(plans_of(*sizes), most)
    shards = [(at + n, items, count) for at, (items, count) in zip(first, sizes, strict=True) for n in range(count)]
    assert {task for task, _, _ in shards} == set(range(tasks))
    for task in range(tasks):
        mine = [(items, count) for at, items, count in shards if at == task]
        assert len(mine) == 1 or (sum(items for items, _ in mine) <= most and {count for _, count in mine} == {1})
