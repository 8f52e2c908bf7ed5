"""Which items share a shard, over grids of sizes."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from lookalike.index.sharding import PlannedShard, plan_shards


@pytest.mark.parametrize(
    ("items", "buckets"),
    [(1, 1), (9, 1), (10, 1), (11, 2), (20, 2), (21, 3), (99, 10), (100, 10), (101, 11)],
)
def test_group_gets_the_fewest_shards_that_hold_it(items: int, buckets: int) -> None:
    expected = [PlannedShard(number, "bag", number, buckets) for number in range(buckets)]
    assert plan_shards([("bag", items)], shard_items=10) == expected


@pytest.mark.parametrize("items", [1, 10, 1000])
def test_shards_of_one_item_are_allowed(items: int) -> None:
    assert len(plan_shards([(None, items)], shard_items=1)) == items


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([], []),
        ([(None, 5)], [(None, 0, 1)]),
        ([("", 5), (None, 5)], [(None, 0, 1), ("", 0, 1)]),
        (
            [("shoe", 25), (None, 1), ("bag", 10)],
            [(None, 0, 1), ("bag", 0, 1), ("shoe", 0, 3), ("shoe", 1, 3), ("shoe", 2, 3)],
        ),
        ([("é", 1), ("z", 1), ("Z", 1), ("😀", 1)], [(g, 0, 1) for g in ("Z", "z", "é", "😀")]),
        ([("None", 1), (None, 1)], [(None, 0, 1), ("None", 0, 1)]),
    ],
)
def test_groups_never_share_a_shard_and_the_null_group_comes_first(
    groups: list[tuple[str | None, int]], expected: list[tuple[str | None, int, int]]
) -> None:
    shards = plan_shards(groups, shard_items=10)
    assert [(shard.group, shard.bucket, shard.buckets) for shard in shards] == expected


def test_numbers_are_dense_and_the_order_of_the_groups_does_not_matter() -> None:
    rng = random.Random(1)
    groups = [(None, 31), *((f"group {n}", rng.randint(1, 60)) for n in range(40))]
    plan = plan_shards(groups, shard_items=10)
    assert [shard.number for shard in plan] == list(range(len(plan)))
    for _ in range(10):
        rng.shuffle(groups)
        assert plan_shards(iter(groups), shard_items=10) == plan


def test_buckets_of_a_group_are_next_to_each_other_and_in_order() -> None:
    plan = plan_shards([(f"group {n:02d}", 7 * n + 1) for n in range(30)], shard_items=10)
    for before, after in pairwise(plan):
        if before.group == after.group:
            assert after.bucket == before.bucket + 1
        else:
            assert (before.bucket, after.bucket) == (before.buckets - 1, 0)


def test_names_of_shards_sort_as_their_numbers() -> None:
    names = [shard.name for shard in plan_shards([(None, 1200)], shard_items=1)]
    assert names[0] == "shard-00000"
    assert names == sorted(names)
    assert len(set(names)) == 1200
