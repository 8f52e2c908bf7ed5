"""The two planners over grids of sizes: which items share a shard, which queries meet which shards."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import pairwise

import pytest

from lookalike.index.sharding import PlannedShard, plan_shards
from lookalike.knn.blocks import QueryBlock, pack_tasks

Groups = list[list[tuple[int, int]]]


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


def test_buckets_of_a_group_stand_together_and_in_order() -> None:
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


def groups_of(sizes: list[list[int]]) -> Groups:
    """Shards numbered through, with the sizes given for each group."""
    numbers = iter(range(10**6))
    return [[(next(numbers), size) for size in group] for group in sizes]


GRID = {
    "nothing": [],
    "one item": [[1]],
    "one shard": [[100]],
    "a block and one more": [[65]],
    "exact blocks": [[64, 128]],
    "two shards": [[100, 3]],
    "an empty shard": [[50, 0, 20]],
    "only empty shards": [[0], [0, 0]],
    "groups of one": [[1]] * 50,
    "skewed": [[300, 290, 310], [1], [2, 1], [70]],
    "like groups": [[40]] * 30,
}


@pytest.mark.parametrize("sizes", GRID.values(), ids=GRID)
@pytest.mark.parametrize("block_rows", [1, 7, 64, 1000])
@pytest.mark.parametrize("cores", [1, 2, 64])
def test_every_pair_of_a_group_is_searched_once_and_no_other(
    sizes: list[list[int]], block_rows: int, cores: int
) -> None:
    groups = groups_of(sizes)
    searched = Counter(
        (block.queries, row, candidate)
        for task in pack_tasks(groups, block_rows, cores)
        for block in task
        for row in range(block.start, block.stop)
        for candidate in block.candidates
    )
    expected = {
        (shard, row, candidate)
        for group in groups
        for shard, items in group
        for row in range(items)
        for candidate, _ in group
    }
    assert set(searched) == expected
    assert set(searched.values()) <= {1}


@pytest.mark.parametrize("sizes", GRID.values(), ids=GRID)
@pytest.mark.parametrize("block_rows", [1, 7, 64, 1000])
def test_blocks_hold_at_most_their_rows_and_know_their_pairs(sizes: list[list[int]], block_rows: int) -> None:
    groups = groups_of(sizes)
    items = {shard: count for group in groups for shard, count in group}
    for task in pack_tasks(groups, block_rows, cores=2):
        for block in task:
            assert 0 < block.stop - block.start <= block_rows
            met = sum(items[candidate] for candidate in block.candidates)
            assert block.pairs == (block.stop - block.start) * met


def costs(tasks: list[list[QueryBlock]]) -> list[int]:
    """Pairs of each task."""
    return [sum(block.pairs for block in task) for task in tasks]


@pytest.mark.parametrize("sizes", GRID.values(), ids=GRID)
@pytest.mark.parametrize("block_rows", [1, 7, 64])
@pytest.mark.parametrize("cores", [1, 2, 64])
def test_tasks_are_balanced(sizes: list[list[int]], block_rows: int, cores: int) -> None:
    tasks = pack_tasks(groups_of(sizes), block_rows, cores)
    dearest = max((block.pairs for task in tasks for block in task), default=0)
    fair = sum(costs(tasks)) / (8 * cores)
    assert all(task for task in tasks)
    # No task is dearer than its share, unless it is a single block, so no core is left waiting for long.
    assert all(len(task) == 1 or sum(block.pairs for block in task) <= fair for task in tasks)
    assert max(costs(tasks), default=0) <= max(fair, dearest)
    # Two tasks that follow each other would not have fitted into one.
    assert all(left + right > fair for left, right in pairwise(costs(tasks)))
    assert len(tasks) <= 16 * cores


@pytest.mark.parametrize("cores", [1, 2, 8])
def test_thousands_of_tiny_groups_are_a_few_tasks(cores: int) -> None:
    rng = random.Random(2)
    tasks = pack_tasks(groups_of([[rng.randint(1, 5)] for _ in range(5000)]), 512, cores)
    assert 8 * cores <= len(tasks) <= 8 * cores + 1
    assert max(costs(tasks)) <= 1.1 * min(costs(tasks)[:-1])


def test_one_large_group_is_spread_over_all_cores() -> None:
    tasks = pack_tasks(groups_of([[16_384] * 3]), block_rows=512, cores=4)
    assert len(tasks) >= 4 * 4
    assert max(costs(tasks)) <= math.ceil(sum(costs(tasks)) / 16)


def test_plan_is_the_same_whatever_the_order_of_the_groups() -> None:
    groups = groups_of([[n % 7 * 40 + 1] for n in range(60)] + [[200, 210]])
    plan = pack_tasks(groups, 64, 2)
    random.Random(3).shuffle(groups)
    assert pack_tasks(groups, 64, 2) == plan


def test_dearest_blocks_start_first() -> None:
    tasks = pack_tasks(groups_of([[10], [500, 400], [90], [1]]), 64, 2)
    pairs = [block.pairs for task in tasks for block in task]
    assert pairs == sorted(pairs, reverse=True)
