"""The few items of a release that people look at."""

from __future__ import annotations

from dataclasses import replace

from pyspark.sql import SparkSession

from lookalike.report import samples
from support.small_release import make_tables


def test_sample_is_bounded_ordered_and_the_same_each_time(spark: SparkSession) -> None:
    items: list[tuple[str, str, str | None]] = [(f"{i:02}", f"{i}.jpg", None) for i in range(30)]
    similar = [
        (one[0], rank, items[(i + rank) % 30][0], 1 - rank / 100)
        for i, one in enumerate(items)
        for rank in range(1, 10)
    ]
    forward = samples.draw(make_tables(spark, items, similar), 4, 3)
    backward = samples.draw(make_tables(spark, items[::-1], similar[::-1]), 4, 3)
    assert forward == backward
    assert len(forward) == 4
    for sample in forward:
        ids = [f"{(int(sample.item.item_id) + rank) % 30:02}" for rank in (1, 2, 3)]
        assert [neighbour.item.item_id for neighbour in sample.neighbours] == ids


def test_item_alone_in_its_group_has_no_neighbours(spark: SparkSession) -> None:
    (sample,) = samples.draw(make_tables(spark, [("a", "a.jpg", None)]), 12, 6)
    assert sample == samples.ItemWithNeighbours(samples.LabelledItem("a", "a.jpg", ("",)), ())


def test_embeddings_without_kept_columns_have_no_labels(spark: SparkSession) -> None:
    tables = make_tables(spark, [("a", "a.jpg", "shoes")])
    bare = replace(tables, embeddings=tables.embeddings.drop("category"))
    assert [sample.item.labels for sample in samples.draw(bare, 1, 1)] == [()]
