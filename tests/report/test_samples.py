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


def test_items_of_large_groups_take_turns(spark: SparkSession) -> None:
    items = ids(*(f"shoe-{n}" for n in range(9)), *(f"sock-{n}" for n in range(5)), "hat-0", "1", "2")
    embeddings = make_tables(spark, items).embeddings
    found = samples.ids_by_group(embeddings, "category", 6)
    assert [one.rpartition("-")[0] for one in found] == ["shoe", "sock", "", "hat", "shoe", "sock"]
    assert len(set(found)) == 6
    assert found == samples.ids_by_group(embeddings.orderBy("image_path"), "category", 6)
    few = samples.ids_by_group(embeddings.where("category = 'shoe'"), "category", 6)
    assert len(few) == samples.MOST_OF_GROUP
    assert len(samples.ids_by_group(embeddings, None, 6)) == 6
    assert samples.ids_by_group(embeddings.limit(0), None, 6) == []


def test_items_without_a_list_are_found(spark: SparkSession) -> None:
    tables = make_tables(spark, ids("d", "c", "b", "a"), [("b", 1, "d", 0.5), ("b", 2, "a", 0.4)])
    assert samples.ids_without_list(tables, 2) == ["a", "c"]


def test_codes_tell_values_apart_and_null_from_all(spark: SparkSession) -> None:
    embeddings = spark.createDataFrame(
        [("a", "red", 1.5), ("b", "red", None), ("c", None, 2.5), ("d", "blue", 1.5)],
        "item_id string, `the colour` string, price double",
    )
    found = samples.find_codes(embeddings, ["a", "b", "c", "gone"], ["the colour", "price"])
    rows = {row["item_id"]: (row["the colour"], row["price"]) for row in found.to_pylist()}
    assert set(rows) == {"a", "b", "c"}
    assert rows["a"][0] == rows["b"][0] is not None
    assert (rows["c"][0], rows["b"][1]) == (None, None)
    assert rows["a"][1] not in (rows["c"][1], None)


def test_long_label_is_cut_before_it_comes(spark: SparkSession) -> None:
    tables = make_tables(spark, [("a", "a.jpg", "x" * 100_000)])
    (found,) = samples.find_items(tables.embeddings, ["a", "gone"]).values()
    assert found.labels == ("x" * samples.LONGEST_LABEL,)
