"""The shards of each group, and those of each value of the fallback levels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pyspark.sql import SparkSession

from lookalike import config
from lookalike.index.annoy import GoldenQuery, ShardFile
from lookalike.index.layout import IndexLayout
from lookalike.index.shard_builder import WrittenShard
from lookalike.index.sharding import PlannedShard
from lookalike.index.step import BuiltIndex, BuiltShard
from lookalike.neighbours.groups import connected_groups, fallback_shards, shards_by_group

# Of each group: the codes of its fallback levels; `hat` and `shoe` share a department, `cup` and null the second level.
CODES = {"shoe": [1, 10, 20], "hat": [2, 10, 20], "cup": [3, 11, 21], None: [4, 12, 21]}


def index_of(spark: SparkSession, folder: Path) -> BuiltIndex:
    """An index of five shards: shoes have two."""
    rows = [(f"item-{n}", kind, codes) for n, (kind, codes) in enumerate(CODES.items())]
    items = spark.createDataFrame(rows, "item_id string, kind string, search_group_codes array<bigint>")
    shards = []
    for number, (name, items_of) in enumerate([(None, 5), ("cup", 2), ("hat", 1), ("shoe", 30), ("shoe", 31)]):
        written = WrittenShard(ShardFile(items_of, 8, 1, "", GoldenQuery(0, (), ())), "", "", items_of, False)
        shards.append(BuiltShard(PlannedShard(number, name, 0, 1), written))
    return BuiltIndex(items, shards, IndexLayout(folder, folder))


def test_shards_of_a_group_are_together(spark: SparkSession, tmp_path: Path) -> None:
    groups = shards_by_group(index_of(spark, tmp_path).shards)
    numbers = {name: [one.shard.number for one in shards] for name, shards in groups.items()}
    assert numbers == {None: [0], "cup": [1], "hat": [2], "shoe": [3, 4]}


def test_groups_without_fallback_levels_share_no_list(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    similar = settings(similar={"group_by": "kind"}).similar
    index = index_of(spark, tmp_path)
    assert connected_groups(index, similar) == [[(0, 5)], [(1, 2)], [(2, 1)], [(3, 30), (4, 31)]]
    assert fallback_shards(index, similar) == []


def test_groups_of_one_value_at_the_last_level_are_connected(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    similar = settings(similar={"group_by": "kind", "group_fallback": ["dept", "brand"]}).similar
    index = index_of(spark, tmp_path)
    assert connected_groups(index, similar) == [[(0, 5), (1, 2)], [(2, 1), (3, 30), (4, 31)]]
    names = [index.names[number] for number in range(5)]
    assert fallback_shards(index, similar) == [
        {10: tuple(names[2:]), 11: (names[1],), 12: (names[0],)},
        {20: tuple(names[2:]), 21: tuple(names[:2])},
    ]
