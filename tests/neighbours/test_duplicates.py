"""The duplicates step: what it returns for the search, and the table of another release under a new id."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.knn.candidates import open_shard
from lookalike.neighbours.duplicates import reuse_duplicates, write_duplicates
from lookalike.spark import schemas
from lookalike.topk.items import as_ids
from lookalike.warehouse.local import Warehouse
from support import built_index, constraint_items
from support.constraint_items import item, signs


@pytest.fixture
def chosen(settings: Callable[..., config.Settings]) -> config.Settings:
    return settings(similar={"group_by": "kind", "duplicate_cosine": 0.99}, index={"trees": 1})


def test_search_is_told_the_shards_with_duplicates_and_their_groups(
    spark: SparkSession, chosen: config.Settings
) -> None:
    """Two items of one picture in the shard of `hat`, none in that of `shoe`."""
    items = [item(0, 0), item(1, 1), item(2, 2, kind="hat"), item(3, 2, kind="hat"), item(4, 4, kind="hat")]
    table = spark.createDataFrame(constraint_items.embeddings(items, eligible=False))
    with Warehouse(chosen.warehouse.path).stage() as staged:
        found = write_duplicates(built_index.build(table, chosen, staged), chosen, staged, None)
        assert found.index.layout.with_duplicates == {"shard-00000"}
        hats = open_shard(found.index.layout, "shard-00000")
        same, _, other = hats.items.duplicate_groups
        assert hats.items.duplicate_groups.tolist() == [same, same, other]
        assert hats.represents[:, 0].tolist() == [True, False, True]
        assert open_shard(found.index.layout, "shard-00001").items.same_groups
        rows = [(row["item_id"], row["representative_item_id"]) for row in found.table.collect()]
        assert rows == [("003", "002")]


def test_items_without_duplicates_give_an_empty_table_and_no_files(
    spark: SparkSession, chosen: config.Settings
) -> None:
    items = [item(n, np.roll(signs(0), n)) for n in range(4)]
    table = spark.createDataFrame(constraint_items.embeddings(items, eligible=False))
    with Warehouse(chosen.warehouse.path).stage() as staged:
        found = write_duplicates(built_index.build(table, chosen, staged), chosen, staged, None)
        assert found.index.layout.with_duplicates == frozenset()
        assert found.table.isEmpty()


def test_duplicates_of_another_release_are_reused_with_the_new_id(spark: SparkSession, chosen: config.Settings) -> None:
    rows = [("b", "a", 1.0, "old"), ("a2", "a", 0.995, "old")]
    previous = spark.createDataFrame(rows, schemas.DUPLICATES)
    with Warehouse(chosen.warehouse.path).stage() as staged:
        found = reuse_duplicates(previous, staged)
        assert {row["release_id"] for row in found.collect()} == {staged.release_id}
        assert as_ids(found.toArrow()["item_id"]).tolist() == [b"a2", b"b"]
        assert found.drop("release_id").exceptAll(previous.drop("release_id")).isEmpty()
