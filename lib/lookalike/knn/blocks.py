"""Which blocks of queries are compared with which shards, packed into tasks of similar cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat

# What an item costs whatever is compared: 20 microseconds are as long as 600 products of 2,048 dimensions.
ITEM_PAIRS = 600

# Most pairs of a task, a minute at 2,048 dimensions: few cores have many tasks rather than long ones, of which a lost
# executor would lose hours.
TASK_PAIRS = 2e9


@dataclass(frozen=True)
class QueryBlock:
    """Rows `start` to `stop` of shard `queries`, to be searched for in the shards `candidates`."""

    queries: int
    start: int
    stop: int
    candidates: tuple[int, ...]
    pairs: int


def pack_tasks(
    groups: Iterable[Sequence[tuple[int, int]]],
    block_rows: int,
    cores: int,
    shares: Iterable[float] = (),
    least_rows: int = 0,
) -> list[list[QueryBlock]]:
    """Return blocks of queries packed into tasks of similar cost, the most expensive first.

    With `least_rows`, blocks that share a task with others keep the order of `groups`, of which those that follow each
    other read the same shards.

    `groups` lists (shard, items) for each group. The cost of a task is its number of pairs of query and candidate, or
    the share of them that its group scans, from `shares`, and ITEM_PAIRS for each item. There are eight to sixteen
    tasks a core, more where they would cost more than TASK_PAIRS, and fewer only where a single block of `block_rows`
    queries costs more than that, or where so many would have less than `least_rows` items of small groups.
    """
    blocks = [
        block
        for group, share in zip(groups, chain(shares, repeat(1.0)), strict=False)
        for block in _blocks(group, block_rows, share)
    ]
    target = min(TASK_PAIRS, max(least_rows * ITEM_PAIRS, sum(block.pairs for block in blocks) / (8 * cores)))
    if least_rows:
        blocks.sort(key=lambda block: -max(block.pairs, target))
    else:
        blocks.sort(key=lambda block: (-block.pairs, block.queries, block.start))
    tasks: list[list[QueryBlock]] = []
    cost = math.inf
    for block in blocks:
        if cost + block.pairs > target:
            tasks.append([])
            cost = 0
        tasks[-1].append(block)
        cost += block.pairs
    return tasks


def _blocks(group: Sequence[tuple[int, int]], block_rows: int, share: float) -> Iterator[QueryBlock]:
    candidates = tuple(shard for shard, _ in group)
    total = sum(items for _, items in group)
    for shard, items in group:
        for start in range(0, items, block_rows):
            stop = min(start + block_rows, items)
            yield QueryBlock(shard, start, stop, candidates, math.ceil((stop - start) * (total * share + ITEM_PAIRS)))
