"""The neighbours step through Spark, against brute force."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.knn import planner
from lookalike.neighbours import step
from lookalike.neighbours.step import reuse_neighbours, write_neighbours
from lookalike.progress import Progress
from lookalike.spark import schemas
from lookalike.spark.release_tables import ReleaseTables
from lookalike.warehouse.local import Warehouse
from support import built_index, records, staging
from support.brute_force import Neighbours, assert_same_neighbours, brute_force, published


@dataclass(frozen=True)
class Items:
    """Vectors [n, d] with their ids and groups."""

    ids: Sequence[str]
    vectors: np.ndarray
    groups: Sequence[str | None]

    def expected(self, k: int) -> Neighbours:
        """By brute force."""
        vectors = dict(zip(self.ids, self.vectors, strict=True))
        return brute_force(vectors, dict(zip(self.ids, self.groups, strict=True)), k)


def random_items(n: int, groups: Sequence[str | None] = (None,), seed: int = 0) -> Items:
    vectors = np.abs(np.random.default_rng(seed).normal(size=(n, 24))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Items([f"item-{i:04d}" for i in range(n)], vectors, [groups[i % len(groups)] for i in range(n)])


def search(spark: SparkSession, items: Items, settings: config.Settings, files: list[Path] | None = None) -> Neighbours:
    """The published table for `items`; the paths of its files are added to `files`."""
    rows = [
        (item, vector.tolist(), group)
        for item, vector, group in zip(items.ids, items.vectors, items.groups, strict=True)
    ]
    table = spark.createDataFrame(rows, "item_id string, embedding array<float>, kind string")
    with Warehouse(settings.warehouse.path).stage() as staged:
        found = write_neighbours(spark, built_index.build(table, settings, staged), settings, staged).similar_items
        assert found.columns == schemas.SIMILAR_ITEMS.fieldNames()
        assert {row["release_id"] for row in found.select("release_id").distinct().collect()} <= {staged.release_id}
        for file in sorted(staged.similar_items.glob("*.parquet")):
            if files is not None:
                files.append(file)
            listed = pq.read_table(file, columns=["item_id", "rank"]).to_pylist()
            assert listed == sorted(listed, key=lambda row: (row["item_id"].encode(), row["rank"]))
        return published(found)


@pytest.mark.parametrize("shard_items", [1000, 37])
@pytest.mark.parametrize("groups", [(None,), ("shoe", "bag", "bag", None)])
def test_neighbours_are_those_of_brute_force(
    spark: SparkSession,
    settings: Callable[..., config.Settings],
    groups: Sequence[str | None],
    shard_items: int,
) -> None:
    items = random_items(150, groups)
    group_by = "kind" if len(groups) > 1 else None
    chosen = settings(similar={"k": 7, "group_by": group_by}, index={"shard_items": shard_items})
    assert_same_neighbours(search(spark, items, chosen), items.expected(7))


def test_table_does_not_depend_on_how_the_work_is_cut(
    spark: SparkSession, settings: Callable[..., config.Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    items = random_items(120)
    whole = search(spark, items, settings(similar={"k": 9}))
    monkeypatch.setattr(planner, "block_rows", lambda *_: 17)
    assert search(spark, items, settings(similar={"k": 9}, index={"shard_items": 23})) == whole


def test_items_of_a_table_of_several_files_are_searched_once(
    spark: SparkSession, settings: Callable[..., config.Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    items = random_items(60)
    searched: list[Callable[[], int]] = []

    def watched(total: int, unit: str, done: Callable[[], int], failed: Callable[[], int]) -> Progress:
        searched.append(done)
        return Progress(total, unit, done, failed)

    monkeypatch.setattr(step, "Progress", watched)
    monkeypatch.setattr(step, "ROWS_PER_FILE", 50)
    files: list[Path] = []
    found = search(spark, items, settings(similar={"k": 4}), files)
    assert_same_neighbours(found, items.expected(4))
    assert len(files) > 1
    assert [done() for done in searched] == [60]


def test_group_of_one_has_no_neighbours_and_small_groups_have_fewer(
    spark: SparkSession, settings: Callable[..., config.Settings]
) -> None:
    items = random_items(6)
    items = Items(items.ids, items.vectors, ["hat", "bag", "bag", "shoe", "shoe", "shoe"])
    found = search(spark, items, settings(similar={"k": 5, "group_by": "kind"}))
    assert {item: len(listed) for item, listed in found.items()} == {
        "item-0001": 1,
        "item-0002": 1,
        "item-0003": 2,
        "item-0004": 2,
        "item-0005": 2,
    }


def test_same_pictures_tie_in_the_order_of_their_ids(
    spark: SparkSession, settings: Callable[..., config.Settings]
) -> None:
    """Sixty copies of one vector over several shards: the copies come first, smallest ids first."""
    items = random_items(100)
    items.vectors[20:80] = items.vectors[20]
    found = search(spark, items, settings(similar={"k": 4}, index={"shard_items": 16}))
    assert [other for other, _ in found["item-0050"]] == [
        "item-0020",
        "item-0021",
        "item-0022",
        "item-0023",
    ]
    assert [other for other, _ in found["item-0021"]] == [
        "item-0020",
        "item-0022",
        "item-0023",
        "item-0024",
    ]
    assert len({score for _, score in found["item-0050"]}) == 1


def test_all_zero_vectors_are_similar_to_nothing(spark: SparkSession, settings: Callable[..., config.Settings]) -> None:
    items = random_items(12)
    items.vectors[3] = 0
    found = search(spark, items, settings(similar={"k": 11}))
    assert {score for _, score in found["item-0003"]} == {0.0}
    assert found["item-0000"][-1] == ("item-0003", 0.0)


def test_ids_sort_and_come_back_as_utf8(spark: SparkSession, settings: Callable[..., config.Settings]) -> None:
    items = random_items(5)
    items.vectors[:] = items.vectors[0]
    ids = ["Ärmel", "z", "a long id with spaces", "ß", "10"]
    found = search(spark, Items(ids, items.vectors, items.groups), settings(similar={"k": 4}))
    in_order = ["10", "a long id with spaces", "z", "Ärmel", "ß"]
    assert [other for other, _ in found["Ärmel"]] == [item for item in in_order if item != "Ärmel"]


def test_neighbours_of_another_release_are_reused_with_the_new_id(
    spark: SparkSession, settings: Callable[..., config.Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "ROWS_PER_FILE", 50)
    items, chosen = random_items(30), settings(similar={"k": 4})
    table = spark.createDataFrame(
        [(item, vector.tolist()) for item, vector in zip(items.ids, items.vectors, strict=True)],
        "item_id string, embedding array<float>",
    )
    warehouse = Warehouse(chosen.warehouse.path)
    with warehouse.stage() as old, warehouse.stage() as new:
        written = write_neighbours(spark, built_index.build(table, chosen, old), chosen, old)
        records.write_record(old)
        tables = (table, table.limit(0), written.similar_items, None, written.neighbours)
        before = ReleaseTables(old, *tables, files=staging.paths_by_part(old))
        new = replace(new, parent=old)
        reused = reuse_neighbours(before, new)
        assert reused.neighbours.exceptAll(written.neighbours).isEmpty()
        assert (reused.neighbours.count(), reused.searched) == (30, 0)
        found = reused.similar_items
        assert found.columns == schemas.SIMILAR_ITEMS.fieldNames()
        assert [row["release_id"] for row in found.select("release_id").distinct().collect()] == [new.release_id]
        assert_same_neighbours(published(found), items.expected(4))
        files = sorted(new.similar_items.glob("*.parquet"))
        assert len(files) > 1
        listed = pq.read_table(files, columns=["item_id", "rank"]).to_pylist()
        assert listed == sorted(listed, key=lambda row: (row["item_id"], row["rank"]))


def test_nothing_embedded_gives_an_empty_table(spark: SparkSession, settings: Callable[..., config.Settings]) -> None:
    assert search(spark, random_items(0), settings()) == {}
