"""Blocks of queries packed into tasks, over grids of sizes."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import pairwise

import pytest

from lookalike.knn.blocks import ITEM_PAIRS, TASK_PAIRS, QueryBlock, pack_tasks

Groups = list[list[tuple[int, int]]]


def groups_of(sizes: list[list[int]]) -> Groups:
    """Shards numbered from 0 on, with the sizes given for each group."""
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
    "equal groups": [[40]] * 30,
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
            compared = sum(items[candidate] for candidate in block.candidates)
            assert block.pairs == (block.stop - block.start) * (compared + ITEM_PAIRS)


def costs(tasks: list[list[QueryBlock]]) -> list[int]:
    """Pairs of each task."""
    return [sum(block.pairs for block in task) for task in tasks]


@pytest.mark.parametrize("sizes", GRID.values(), ids=GRID)
@pytest.mark.parametrize("block_rows", [1, 7, 64])
@pytest.mark.parametrize("cores", [1, 2, 64])
def test_tasks_are_balanced(sizes: list[list[int]], block_rows: int, cores: int) -> None:
    tasks = pack_tasks(groups_of(sizes), block_rows, cores)
    largest = max((block.pairs for task in tasks for block in task), default=0)
    fair = sum(costs(tasks)) / (8 * cores)
    assert all(task for task in tasks)
    # No task costs more than its share, unless it is a single block, so no core waits for long.
    assert all(len(task) == 1 or sum(block.pairs for block in task) <= fair for task in tasks)
    assert max(costs(tasks), default=0) <= max(fair, largest)
    # Two tasks that follow each other would not have fitted into one.
    assert all(left + right > fair for left, right in pairwise(costs(tasks)))
    assert len(tasks) <= 16 * cores


@pytest.mark.parametrize("cores", [1, 2, 8])
def test_thousands_of_tiny_groups_are_a_few_tasks(cores: int) -> None:
    rng = random.Random(2)
    tasks = pack_tasks(groups_of([[rng.randint(1, 5)] for _ in range(5000)]), 512, cores)
    assert 8 * cores <= len(tasks) <= 8 * cores + 1
    assert max(costs(tasks)) <= 1.1 * min(costs(tasks)[:-1])


def test_small_groups_that_are_filled_up_are_not_cut_into_tasks_of_a_few_items() -> None:
    """Each task reads all shards of their department; a large group is spread all the same."""
    groups = groups_of([[5]] * 2000 + [[16_384] * 2])
    tasks = pack_tasks(groups, 512, 400, least_rows=4096)
    small = [sum(block.stop - block.start for block in task) for task in tasks if len(task) > 1]
    assert min(small[:-1], default=0) >= 4000 or len(small) <= 3
    assert sum(small) >= 10_000
    assert len(tasks) - len(small) >= 60


def test_small_groups_that_are_filled_up_share_tasks_in_the_order_given() -> None:
    """The shards of their department are then read by few tasks; sizes would mix the departments."""
    groups = groups_of([[1 + n % 5] for n in range(3000)])
    random.Random(1).shuffle(groups)
    given = [shard for group in groups for shard, _ in group]
    tasks = pack_tasks(groups, 512, 2, least_rows=512)
    assert len(tasks) >= 8
    assert [block.queries for task in tasks for block in task] == given


def test_one_large_group_is_spread_over_all_cores() -> None:
    tasks = pack_tasks(groups_of([[16_384] * 3]), block_rows=512, cores=4)
    assert len(tasks) >= 4 * 4
    assert max(costs(tasks)) <= math.ceil(sum(costs(tasks)) / 16)


def test_few_cores_have_many_tasks_of_a_minute_rather_than_hours() -> None:
    tasks = pack_tasks(groups_of([[16_384] * 40]), block_rows=512, cores=1)
    assert max(costs(tasks)) <= TASK_PAIRS
    assert len(tasks) >= sum(costs(tasks)) / TASK_PAIRS


def test_plan_is_the_same_whatever_the_order_of_the_groups() -> None:
    groups = groups_of([[n % 7 * 40 + 1] for n in range(60)] + [[200, 210]])
    plan = pack_tasks(groups, 64, 2)
    random.Random(3).shuffle(groups)
    assert pack_tasks(groups, 64, 2) == plan


def test_most_expensive_blocks_start_first() -> None:
    tasks = pack_tasks(groups_of([[10], [500, 400], [90], [1]]), 64, 2)
    pairs = [block.pairs for task in tasks for block in task]
    assert pairs == sorted(pairs, reverse=True)
