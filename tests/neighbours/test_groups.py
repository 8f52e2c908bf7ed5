"""The shards of each group, and those of each value of the fallback levels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.errors import ConfigError
from lookalike.index.built import BuiltIndex, IndexGroup
from lookalike.index.layout import IndexLayout
from lookalike.knn import planner
from lookalike.neighbours import groups
from lookalike.neighbours.groups import by_fallback_value, check_memory, fallback_shards, fill_up_seconds
from support.shards import listed_shard

# Of each group: the codes of its fallback levels; `hat` and `shoe` share a department, `cup` and null the second level.
CODES = {"shoe": [1, 10, 20], "hat": [2, 10, 20], "cup": [3, 11, 21], None: [4, 12, 21]}


INDEX = BuiltIndex(
    [
        IndexGroup(
            name,
            tuple(listed_shard(number, items, name) for number, items in shards),
            lists=1,
            touched=True,
        )
        for name, shards in {None: [(0, 5)], "cup": [(1, 2)], "hat": [(2, 1)], "shoe": [(3, 30), (4, 31)]}.items()
    ],
    IndexLayout(Path("index"), Path("work"), dimensions=8),
    changed=None,
)


@pytest.fixture(autouse=True)
def _items(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """An item of each group."""
    rows = [(f"item-{n}", kind, codes) for n, (kind, codes) in enumerate(CODES.items())]
    items = spark.createDataFrame(rows, "item_id string, group string, group_codes array<bigint>")
    monkeypatch.setattr(groups, "index_items", lambda *_: items)


def test_without_fallback_levels_no_shard_is_searched_for_another_group(
    spark: SparkSession, settings: Callable[..., config.Settings]
) -> None:
    similar = settings(similar={"group_by": "kind"}).similar
    assert fallback_shards(spark, INDEX, similar) == []


def test_shards_of_each_value_of_each_level_are_known(
    spark: SparkSession, settings: Callable[..., config.Settings]
) -> None:
    similar = settings(similar={"group_by": "kind", "group_fallback": ["dept", "brand"]}).similar
    names = [INDEX.names[number] for number in range(5)]
    assert fallback_shards(spark, INDEX, similar) == [
        {10: tuple(names[2:]), 11: (names[1],), 12: (names[0],)},
        {20: tuple(names[2:]), 21: tuple(names[:2])},
    ]


def test_small_groups_are_expected_to_be_compared_with_all_of_their_value() -> None:
    """Of the next level, only where the value before has too few."""
    sizes = {"n": 3, "c": 4, "h": 5, "s": 100}
    listed = [
        IndexGroup(name, (listed_shard(at, size, name),), lists=1, touched=True)
        for at, (name, size) in enumerate(sizes.items())
    ]
    n, c, h, s = (group.names[0] for group in listed)
    pair = planner.product_seconds(1, 1, 64)
    first = {5: (c, h, s), 6: (n,)}
    assert fill_up_seconds(listed, [first], 20, 64) == pytest.approx((9 * 109 + 3 * 3) * pair)
    assert fill_up_seconds(listed, [first, {7: (n, c, h, s)}], 20, 64) == pytest.approx((9 * 109 + 9 + 3 * 112) * pair)
    assert fill_up_seconds(listed, [first], 2, 64) == 0
    assert fill_up_seconds(listed, [], 20, 64) == 0


def test_groups_that_share_a_value_of_the_widest_level_follow_each_other() -> None:
    """Then those that share one of the level before."""
    names = ["n", "c", "h", "s"]
    listed = [IndexGroup(name, (listed_shard(at, 1, name),), lists=1, touched=True) for at, name in enumerate(names)]
    n, c, h, s = (group.names[0] for group in listed)
    assert by_fallback_value(listed, [{5: (n, h), 6: (c, s)}, {8: (s,), 7: (c, n, h)}]) == [0, 2, 1, 3]
    assert by_fallback_value(listed, [{8: (n,), 7: (s,), 6: (c, s, n), 5: (h,)}]) == [2, 1, 3, 0]
    assert by_fallback_value(listed, []) == [0, 1, 2, 3]


def test_group_that_no_task_can_hold_is_refused_before_anything_is_built(
    spark: SparkSession, settings: Callable[..., config.Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    similar = settings(similar={"group_by": "kind", "task_memory": 64 << 20}).similar
    items = spark.createDataFrame([("a", "shoe"), ("b", "shoe"), ("c", None)], "item_id string, kind string")
    check_memory(items, 3, similar)
    monkeypatch.setattr(planner, "ITEM_BYTES", 17 << 20)
    refused = (
        r"similar.task_memory: a task that searches the group shoe holds 34 MiB of its 2 items, .* set .* to 71303168 "
    )
    with pytest.raises(ConfigError, match=refused):
        check_memory(items, 3, similar)
    check_memory(items.where("item_id != 'a'"), 3, similar)
