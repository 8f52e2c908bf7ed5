"""The shards of each group, and of each value of the fallback levels."""

from __future__ import annotations

from pyspark.sql import SparkSession

from lookalike import config
from lookalike.index.built import BuiltIndex, IndexGroup
from lookalike.index.step import index_items

ShardSizes = list[tuple[int, int]]  # numbers of shards, and how many positions each has


def shard_sizes(group: IndexGroup) -> ShardSizes:
    """Return the numbers and sizes of the shards of a group."""
    return [(shard.number, shard.items) for shard in group.shards]


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


def _codes_of_groups(spark: SparkSession, index: BuiltIndex) -> list[tuple[str | None, list[int]]]:
    """The combinations of a group and the codes of its fallback levels that occur."""
    found = index_items(spark, index).select("group", "group_codes").distinct().collect()
    return [(row["group"], row["group_codes"]) for row in found]
