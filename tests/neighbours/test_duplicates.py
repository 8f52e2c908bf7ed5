"""The duplicates step: what it returns for the search, and the table of another release under a new id."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.index.built import BuiltIndex
from lookalike.index.items import read_items, write_items
from lookalike.index.layout import IndexLayout
from lookalike.knn.shard_items import open_shard
from lookalike.neighbours.duplicates import reuse_duplicates, write_duplicates
from lookalike.spark import schemas
from lookalike.topk.items import as_ids
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import Staged
from support import built_index, constraint_items
from support.constraint_items import item


@pytest.fixture
def chosen(settings: Callable[..., config.Settings]) -> config.Settings:
    return settings(similar={"group_by": "kind", "duplicate_cosine": 0.99}, index={"trees": 1})


def groups_of(index: BuiltIndex) -> dict[str, list[int | None]]:
    """The duplicate groups in the items of each shard."""
    paths = {shard.name: index.layout.items(shard.name) for shard in index.shards}
    return {name: read_items(path)["duplicate_group"].to_pylist() for name, path in paths.items()}


def without(index: BuiltIndex, left: str, staged: Staged) -> BuiltIndex:
    """The index of the next night, with a tombstone for an item."""
    shutil.copytree(index.layout.index, staged.index)
    layout = replace(IndexLayout.of(staged), dimensions=index.layout.dimensions)
    for shard in index.shards:
        rows = read_items(layout.items(shard.name))
        deleted = pa.array([item == left for item in rows["item_id"].to_pylist()])
        columns = {name: rows[name] for name in rows.column_names}
        write_items(layout.items(shard.name), pa.table({**columns, "deleted": deleted}))
    return replace(index, layout=layout)


def test_items_of_a_shard_have_the_duplicate_groups_until_these_are_gone(
    spark: SparkSession, chosen: config.Settings
) -> None:
    """Two items of one picture in the shard of `hat`, none in that of `shoe`; then one of the two leaves."""
    items = [item(0, 0), item(1, 1), item(2, 2, kind="hat"), item(3, 2, kind="hat"), item(4, 4, kind="hat")]
    table = spark.createDataFrame(constraint_items.embeddings(items, eligible=False))
    warehouse = Warehouse(chosen.warehouse.path)
    with warehouse.stage() as staged, warehouse.stage() as tomorrow:
        index = built_index.build(table, chosen, staged)
        before = {shard.name: index.layout.items(shard.name).stat().st_ino for shard in index.shards}
        found = write_duplicates(spark, index, chosen, staged, None)
        assert found.touched is None
        rows = [(row["item_id"], row["representative_item_id"], row["score"]) for row in found.table.collect()]
        assert rows == [("003", "002", 1.0)]
        hats, shoes = open_shard(index.layout, "shard-00000"), open_shard(index.layout, "shard-00001")
        same, _, other = hats.items.duplicate_groups
        assert hats.items.duplicate_groups.tolist() == [same, same, other]
        assert hats.represents[:, 0].tolist() == [True, False, True]
        assert shoes.items.same_groups
        assert index.layout.items("shard-00001").stat().st_ino == before["shard-00001"]  # it may be a link
        night = without(replace(index, changed=np.array([b"002"])), "002", tomorrow)
        again = write_duplicates(spark, night, chosen, tomorrow, found.table)
        assert again.table.isEmpty()
        assert again.touched is not None
        assert again.touched.tolist() == [b"002", b"003"]
        assert groups_of(night) == {"shard-00000": [None] * 3, "shard-00001": [None] * 2}


def test_duplicates_of_another_release_are_reused_with_the_new_id(spark: SparkSession, chosen: config.Settings) -> None:
    rows = [("b", "a", 1.0, "old"), ("a2", "a", 0.995, "old")]
    previous = spark.createDataFrame(rows, schemas.DUPLICATES)
    with Warehouse(chosen.warehouse.path).stage() as staged:
        found = reuse_duplicates(previous, staged)
        assert {row["release_id"] for row in found.collect()} == {staged.release_id}
        assert as_ids(found.toArrow()["item_id"]).tolist() == [b"a2", b"b"]
        assert found.drop("release_id").exceptAll(previous.drop("release_id")).isEmpty()
