"""The shards of each group, and of each value of the fallback levels."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame

from lookalike import config
from lookalike.index.step import BuiltIndex, BuiltShard
from lookalike.spark import schemas

ShardSizes = list[tuple[int, int]]  # numbers of shards, and how many items each holds


def shard_sizes(shards: Sequence[BuiltShard]) -> ShardSizes:
    """Return the numbers and sizes of some shards."""
    return [(one.shard.number, one.items) for one in shards]


def shards_by_group(shards: Sequence[BuiltShard]) -> dict[str | None, list[BuiltShard]]:
    """Return the shards of each value of group_by."""
    groups: dict[str | None, list[BuiltShard]] = {}
    for one in shards:
        groups.setdefault(one.shard.group, []).append(one)
    return groups


def connected_groups(index: BuiltIndex, similar: config.SimilarSettings) -> list[ShardSizes]:
    """Return the shards of the groups that may share a list: those with a common value at the last fallback level."""
    groups = shards_by_group(index.shards)
    together = {name: {name} for name in groups}
    if similar.group_fallback:
        last: dict[int, set[str | None]] = {}
        for group, codes in _codes_of_groups(index.items, similar):
            last.setdefault(codes[-1], set()).add(group)
        for names in last.values():
            joined = set().union(*(together[name] for name in names))
            together.update(dict.fromkeys(joined, joined))
    distinct = {id(names): names for names in together.values()}
    return [
        [size for name in groups if name in names for size in shard_sizes(groups[name])] for names in distinct.values()
    ]


def fallback_shards(index: BuiltIndex, similar: config.SimilarSettings) -> list[dict[int, tuple[str, ...]]]:
    """Return, for each fallback level, the names of the shards with items of each value, by the value's code."""
    if not similar.group_fallback:
        return []
    groups = shards_by_group(index.shards)
    levels: list[dict[int, set[str]]] = [{} for _ in similar.group_fallback]
    for group, codes in _codes_of_groups(index.items, similar):
        for shards_of, code in zip(levels, codes[1:], strict=True):
            shards_of.setdefault(code, set()).update(one.shard.name for one in groups[group])
    return [{code: tuple(sorted(names)) for code, names in level.items()} for level in levels]


def _codes_of_groups(items: DataFrame, similar: config.SimilarSettings) -> list[tuple[str | None, list[int]]]:
    """The combinations of a group and the codes of its fallback levels that occur."""
    found = items.select(schemas.group(similar.group_by), "search_group_codes").distinct().collect()
    return [(row["group"], row["search_group_codes"]) for row in found]
