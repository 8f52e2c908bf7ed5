"""The few items of a release that people look at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from pyspark.sql import SparkSession

from lookalike.pages import texts
from lookalike.report import samples
from support import release_files, staging
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


def test_items_are_described_by_their_paths_and_labels(spark: SparkSession, tmp_path: Path) -> None:
    staged = staging.stage(tmp_path)
    columns = {
        "item_id": ["a", "b", "c"],
        "image_path": ["a.jpg", "b.jpg", "c.jpg"],
        "the colour": ["red", None, "x" * 100_000],
        "price": [1.5, None, 2.0],
    }
    release_files.write(staged.embeddings, columns, {"price": pa.float64()})
    tables = replace(make_tables(spark, []), release=staged)
    kept = ["the colour", "price"]
    paths = staging.paths_by_part(staged)["embeddings"]
    assert samples.find_items(tables, paths, kept, ["a", "b", "gone"]) == {
        "a": samples.LabelledItem("a", "a.jpg", ("red", "1.5")),
        "b": samples.LabelledItem("b", "b.jpg", ("", "")),
    }
    (long,) = samples.find_items(tables, paths, kept, {"c"}).values()
    assert long.labels[0] == "x" * texts.LONGEST_LABEL  # cut before it comes
    assert samples.find_items(tables, paths, [], ["a"]) == {"a": samples.LabelledItem("a", "a.jpg", ())}
    assert samples.find_items(tables, paths, kept, []) == {}
