"""The items that most lists recommend."""

from __future__ import annotations

from pyspark.sql import SparkSession

from lookalike.spark import hubs
from support.small_release import SIMILAR


def test_hubs_are_the_items_of_most_lists_without_those_of_the_same_picture(spark: SparkSession) -> None:
    rows = [(f"i{n}", 1, "blank", 0.5) for n in range(5)] + [(f"i{n}", 2, "sock", 0.4) for n in range(4)]
    rows += [(f"i{n}", 3, f"x{place}", 0.3) for place in range(6) for n in range(3)]
    rows += [(f"i{n}", 4, "twin", 1.0) for n in range(5)]  # of the same picture: in no list
    found = hubs.count_lists(spark.createDataFrame(rows, SIMILAR))
    assert (found.rows, found.lists) == (32, 5)
    assert [(hub.item_id, hub.lists) for hub in found.hubs] == [
        ("blank", 5),
        ("sock", 4),
        *((f"x{place}", 3) for place in (5, 4, 3, 2)),  # of equal ones the last ids
    ]


def test_no_list_has_no_hub(spark: SparkSession) -> None:
    assert hubs.count_lists(spark.createDataFrame([], SIMILAR)) == hubs.ListCounts(0, 0, ())
