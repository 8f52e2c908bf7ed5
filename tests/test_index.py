"""The index step through Spark: plain Annoy files, a manifest that tells the truth, the same bytes twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from annoy import AnnoyIndex
from pyspark.sql import DataFrame, SparkSession

from lookalike import config, files, index
from lookalike.errors import ConfigError

DIMENSIONS = 16


def embeddings(spark: SparkSession, groups: list[str | None], seed: int = 3) -> DataFrame:
    """Random unit vectors, one item for each entry of `groups`, in an order that is not the ids'."""
    vectors = np.random.default_rng(seed).normal(size=(len(groups), DIMENSIONS))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = [
        (f"item-{n:03d}", vector.tolist(), group) for n, (vector, group) in enumerate(zip(vectors, groups, strict=True))
    ]
    return spark.createDataFrame(rows[::-1], "item_id string, embedding array<float>, kind string").repartition(3)


def build(table: DataFrame, folder: Path, settings: config.Settings) -> dict[str, dict[str, object]]:
    """Index `table` under `folder`; the manifest's shards by file name."""
    folders = index.Folders(folder / "index", folder / "work")
    index.build(table, index.plan(table, settings), folders, settings)
    manifest = json.loads((folder / "index" / "index.json").read_text())
    return {shard["file"]: shard for shard in manifest["shards"]}


def test_one_shard_a_group_with_the_null_group_on_its_own(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    table = embeddings(spark, ["shoe"] * 5 + ["bag"] * 3 + [None] * 2 + ["hat"])
    shards = build(table, tmp_path, settings(similar={"group_by": "kind"}))
    assert {shard["group"]: shard["items"] for shard in shards.values()} == {
        None: 2,
        "bag": 3,
        "hat": 1,
        "shoe": 5,
    }


def test_shards_by_size_hold_every_item_once(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    table = embeddings(spark, [None] * 100)
    shards = build(table, tmp_path, settings(index={"shard_items": 30}))
    assert len(shards) == 4
    listed = [
        item
        for shard in shards.values()
        for item in pq.read_table(tmp_path / "index" / str(shard["items_file"]))["item_id"].to_pylist()
    ]
    assert sorted(listed) == [f"item-{n:03d}" for n in range(100)]


def test_plain_annoy_gives_back_the_vectors_and_the_nearest_items(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    table = embeddings(spark, ["a"] * 40 + ["b"] * 25)
    vectors = {row["item_id"]: np.float32(row["embedding"]) for row in table.collect()}
    for shard in build(table, tmp_path, settings(similar={"group_by": "kind"})).values():
        path = tmp_path / "index" / str(shard["file"])
        assert (path.stat().st_size, files.sha256(path)) == (shard["bytes"], shard["sha256"])
        items = pq.read_table(tmp_path / "index" / str(shard["items_file"]))
        ids = items["item_id"].to_pylist()
        assert items["position"].to_pylist() == list(range(len(ids)))
        assert ids == sorted(ids)
        plain = AnnoyIndex(DIMENSIONS, "angular")
        plain.load(str(path))
        assert plain.get_n_items() == shard["items"]
        for position, item in enumerate(ids):
            np.testing.assert_array_equal(np.float32(plain.get_item_vector(position)), vectors[item])
            found = [ids[n] for n in plain.get_nns_by_item(position, 3, search_k=10_000)]
            exact = sorted(ids, key=lambda other: -float(vectors[item] @ vectors[other]))[:3]
            assert found == exact


def test_same_items_in_another_order_give_the_same_bytes(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    table = embeddings(spark, ["a", "b", None] * 20)
    chosen = settings(similar={"group_by": "kind"}, index={"shard_items": 8})
    first = build(table, tmp_path / "1", chosen)
    second = build(table.orderBy("item_id").repartition(7), tmp_path / "2", chosen)
    assert first == second
    for name, shard in first.items():
        for file in (name, str(shard["items_file"])):
            assert (tmp_path / "1/index" / file).read_bytes() == (tmp_path / "2/index" / file).read_bytes()


def test_another_seed_gives_other_trees(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    table = embeddings(spark, [None] * 60)
    first = build(table, tmp_path / "1", settings(index={"seed": 1}))
    second = build(table, tmp_path / "2", settings(index={"seed": 2}))
    assert first["shard-00000.ann"]["sha256"] != second["shard-00000.ann"]["sha256"]


def test_nothing_embedded_gives_an_index_of_no_shards(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    table = embeddings(spark, ["a"]).where("false")
    assert build(table, tmp_path / "1", settings()) == {}
    assert build(table, tmp_path / "2", settings(similar={"group_by": "kind"})) == {}


def test_group_column_with_a_value_an_item_is_refused(
    spark: SparkSession, settings: Callable[..., config.Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "MAX_GROUPS", 5)
    table = embeddings(spark, [f"kind-{n}" for n in range(6)])
    with pytest.raises(ConfigError, match="'kind' has more than 5 values; choose a coarser column"):
        index.plan(table, settings(similar={"group_by": "kind"}))


def test_only_the_finished_files_are_left(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    build(embeddings(spark, [None] * 10), tmp_path, settings())
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == [
        "index.json",
        "shard-00000.ann",
        "shard-00000.items.parquet",
    ]
