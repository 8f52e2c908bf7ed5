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


def ids(*names: str) -> list[tuple[str, str, str | None]]:
    """Items by their category and number: shoe-3."""
    return [(name, f"{name}.jpg", name.rpartition("-")[0] or None) for name in names]


def test_items_of_large_groups_take_turns() -> None:
    groups = {"sock": ["s1", "s2"], "hat": ["h1"], "shoe": ["b1", "b2", "b3", "b4"], "belt": ["e1"]}
    assert samples.in_turns(groups, 6) == ["b1", "s1", "e1", "h1", "b2", "s2"]
    assert samples.in_turns(groups, 3) == ["b1", "s1", "e1"]
    assert samples.in_turns({"": ["a", "b", "c"]}, 9) == ["a", "b", "c"]
    assert samples.in_turns({}, 3) == []


def test_items_without_a_list_are_found(spark: SparkSession) -> None:
    tables = make_tables(spark, ids("d", "c", "b", "a"), [("b", 1, "d", 0.5), ("b", 2, "a", 0.4)])
    assert samples.ids_without_list(tables, 2) == ["a", "c"]


def test_items_are_described_by_their_paths_and_labels(spark: SparkSession) -> None:
    embeddings = spark.createDataFrame(
        [("a", "a.jpg", "red", 1.5), ("b", "b.jpg", None, None), ("c", "c.jpg", "red", 2.5)],
        "item_id string, image_path string, `the colour` string, price double",
    )
    assert samples.find_items(embeddings, ["a", "b", "gone"]) == {
        "a": samples.LabelledItem("a", "a.jpg", ("red", "1.5")),
        "b": samples.LabelledItem("b", "b.jpg", ("", "")),
    }
    assert samples.find_items(embeddings, []) == {}


def test_long_label_is_cut_before_it_comes(spark: SparkSession) -> None:
    tables = make_tables(spark, [("a", "a.jpg", "x" * 100_000)])
    (found,) = samples.find_items(tables.embeddings, ["a", "gone"]).values()
    assert found.labels == ("x" * samples.LONGEST_LABEL,)
