"""Failures by reason: counted over all partitions, with the first few of each."""

from __future__ import annotations

from pyspark.sql import SparkSession

from lookalike.spark import failed_items
from lookalike.spark.failed_items import FailedItem, FailedReason

COLUMNS = "item_id string, image_path string, reason string, detail string, attempts int"


def test_examples_are_the_first_by_id_of_all_partitions(spark: SparkSession) -> None:
    ids = ["7", "3", "é", "1", "20", "5", "2"]
    rows = [(item, None, "empty", f"why {item}", 1) for item in ids]
    rows[3:3] = [("a", "a.jpg", "corrupt", None, 1)]
    found = failed_items.by_reason(spark.createDataFrame(rows, COLUMNS).repartition(3))
    first = [FailedItem(item, None, f"why {item}") for item in ("1", "2", "20")]
    assert found == [FailedReason("empty", 7, first), FailedReason("corrupt", 1, [FailedItem("a", "a.jpg", None)])]


def test_reasons_of_the_same_count_are_in_the_order_of_their_names(spark: SparkSession) -> None:
    rows = [(str(number), "", reason, "", 1) for number, reason in enumerate(["timeout", "corrupt", "empty"] * 2)]
    found = failed_items.by_reason(spark.createDataFrame(rows, COLUMNS).repartition(4))
    assert [(one.reason, one.count) for one in found] == [("corrupt", 2), ("empty", 2), ("timeout", 2)]


def test_no_failures_have_no_reasons(spark: SparkSession) -> None:
    assert failed_items.by_reason(spark.createDataFrame([], COLUMNS)) == []
