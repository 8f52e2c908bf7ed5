"""The shards of each group, and of each value of the fallback levels; and whether a task can hold a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lookalike import config
from lookalike.errors import ConfigError
from lookalike.index.built import BuiltIndex, IndexGroup
from lookalike.index.step import index_items
from lookalike.knn import planner
from lookalike.spark import schemas

ShardSizes = list[tuple[int, int]]  # numbers of shards, and how many positions each has


def shard_sizes(group: IndexGroup) -> ShardSizes:
    """Return the numbers and sizes of the shards of a group."""
    return [(shard.number, shard.items) for shard in group.shards]


def check_memory(embeddings: DataFrame, items: int, similar: config.SimilarSettings) -> None:
    """Raise ConfigError unless a task can hold what it needs of any of the groups, before anything is built."""
    if planner.fits(items, similar.task_memory):
        return
    sizes = embeddings.groupBy(schemas.group(similar.group_by)).count().orderBy(F.desc("count")).limit(1).collect()
    for row in sizes:
        check_group(row["group"], row["count"], similar)


def check_group(name: str | None, items: int, similar: config.SimilarSettings) -> None:
    """Raise ConfigError unless a task can hold what it needs of a group of so many items."""
    if planner.fits(items, similar.task_memory):
        return
    held, group = planner.held_bytes(items), "all items" if name is None else f"the group {name}"
    raise ConfigError(
        f"similar.task_memory: a task that searches {group} holds {held / 2**20:,.0f} MiB of its {items:,} items, more "
        f"than half of {similar.task_memory / 2**20:,.0f} MiB; set similar.task_memory to {2 * held} or more, or "
        "similar.group_by to a column of smaller groups"
    )


def fallback_shards(
    spark: SparkSession, index: BuiltIndex, similar: config.SimilarSettings
) -> list[dict[int, tuple[str, ...]]]:
    """Return, for each fallback level, the names of the shards with items of each value, by the value's code."""
    if not similar.group_fallback:
        return []
    names = {one.group: one.names for one in index.groups}
    levels: list[dict[int, set[str]]] = [{} for _ in similar.group_fallback]
    for group, codes in _codes_of_groups(spark, index):
        for shards_of, code in zip(levels, codes[1:], strict=True):
            shards_of.setdefault(code, set()).update(names[group])
    return [{code: tuple(sorted(names)) for code, names in level.items()} for level in levels]


def fill_up_seconds(
    groups: Sequence[IndexGroup],
    fallback_shards: Sequence[Mapping[int, tuple[str, ...]]],
    wanted: int,
    dimensions: int,
) -> float:
    """Return the expected seconds of a core to compare the items of small groups with all of their fallback values.

    Of a value of n items of small groups that are n squared products. An item whose group has several values of a level
    counts for each of them.
    """
    items = {shard.name: shard.live for group in groups for shard in group.shards}
    short = {name for group in groups if group.live <= wanted for name in group.names}
    seconds = 0.0
    for level in fallback_shards:
        filled: set[str] = set()
        for names in level.values():
            candidates, queries = (sum(items[name] for name in some) for some in (names, short.intersection(names)))
            seconds += planner.product_seconds(queries, candidates, dimensions)
            filled.update(names if candidates > wanted else ())
        short -= filled
    return seconds


def by_fallback_value(
    groups: Sequence[IndexGroup], fallback_shards: Sequence[Mapping[int, tuple[str, ...]]]
) -> list[int]:
    """Return the order of the groups in which those that share values of the fallback levels follow each other.

    Those of one value of the last level, which is the widest, are together, and among these those of one of the level
    before. Of a group whose items have several values of a level, one counts.
    """
    one_of = [
        {name: code for code, names in sorted(level.items()) for name in names} for level in reversed(fallback_shards)
    ]
    return sorted(range(len(groups)), key=lambda at: [codes.get(groups[at].names[0], 0) for codes in one_of])


def _codes_of_groups(spark: SparkSession, index: BuiltIndex) -> list[tuple[str | None, list[int]]]:
    """The combinations of a group and the codes of its fallback levels that occur."""
    found = index_items(spark, index).select("group", "group_codes").distinct().collect()
    return [(row["group"], row["group_codes"]) for row in found]
