"""The index step through Spark: plain Annoy files, a manifest that describes them, the same bytes each time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from annoy import AnnoyIndex
from pyspark import SparkContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lookalike import config
from lookalike.errors import CountError
from lookalike.index import annoy as annoy_index
from lookalike.index import manifest, step
from lookalike.index.built import BuiltIndex, IndexGroup
from lookalike.index.layout import IndexLayout
from lookalike.index.refresh import RefreshPlan
from lookalike.storage import files
from lookalike.warehouse.record import ShardsRecord
from lookalike.warehouse.release import Staged
from support import built_index, staging
from support.grouped_embeddings import DIMENSIONS, embeddings
from support.shards import listed_shard


def build(table: DataFrame, folder: Path, settings: config.Settings) -> dict[str, dict[str, Any]]:
    """Index `table` in `folder`, with what else a run has there; the manifest's shards by file name."""
    staged = Staged(folder, folder / "work", parent=None)
    built_index.build(table, settings, staged)
    assert staged.part("index") == [file for file in staging.files_of(staged) if file.part == "index"]
    listed = json.loads((staged.index / "index.json").read_text())
    return {shard["file"]: shard for shard in listed["shards"]}


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
        golden = shard["golden"]
        assert golden["neighbours"] == plain.get_nns_by_item(golden["position"], 10)
        assert shard["ids_sha256"] == manifest.ids_digest(ids)
        for position, item in enumerate(ids):
            np.testing.assert_array_equal(np.float32(plain.get_item_vector(position)), vectors[item])
            found = [ids[n] for n in plain.get_nns_by_item(position, 3, search_k=10_000)]
            exact = sorted(ids, key=lambda other: -float(vectors[item] @ vectors[other]))[:3]
            assert found == exact


def test_same_items_in_another_order_on_more_cores_give_the_same_bytes(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = embeddings(spark, ["a", "b", None] * 20)
    chosen = settings(similar={"group_by": "kind"}, index={"shard_items": 8})
    first = build(table, tmp_path / "1", chosen)
    monkeypatch.setattr(SparkContext, "defaultParallelism", 37)
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


def test_shards_are_counted_as_built_or_reused(tmp_path: Path) -> None:
    shards = tuple(listed_shard(n, 9) for n in range(3))
    group = IndexGroup(None, shards, 1, touched=True, built=frozenset([2]))
    index = BuiltIndex([group], IndexLayout(tmp_path, tmp_path, 2), None)
    assert index.counts == ShardsRecord(built=1, reused=2)
    assert replace(index, groups=[]).counts == ShardsRecord(built=0, reused=0)


def test_shard_that_a_worker_wrote_elsewhere_ends_the_step(
    settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    staged = staging.stage(tmp_path)
    for name in ("a.ann", "b.ann"):
        staged.shared.here(staged.index / name).write_bytes(b"trees")
        staged.add([staged.save(staged.index / name)])
    assert step._finish(RefreshPlan(settings(), 0), [], 2, staged, None).groups == []
    (staged.index / "b.ann").unlink()
    with pytest.raises(CountError, match=r"1 of 3 files .*/b\.ann is not there as it was written; every worker"):
        step._finish(RefreshPlan(settings(), 0), [], 2, staged, None)


def test_nothing_embedded_gives_an_index_of_no_shards(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    table = embeddings(spark, ["a"]).where("false")
    assert build(table, tmp_path / "1", settings()) == {}
    assert build(table, tmp_path / "2", settings(similar={"group_by": "kind"})) == {}


def test_shard_of_vectors_that_are_not_finite_has_no_golden_answer_and_loads(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    """A gate refuses the release; the index step does not fail."""
    table = embeddings(spark, [None] * 2).withColumn("embedding", F.array_repeat(F.lit(float("inf")).cast("float"), 16))
    shards = build(table, tmp_path, settings())
    assert shards["shard-00000.ann"]["golden"] == {"position": 0, "neighbours": [], "distances": []}


def test_only_the_finished_files_are_left(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    build(embeddings(spark, [None] * 10), tmp_path, settings())
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == [
        "index.json",
        "shard-00000.ann",
        "shard-00000.items.parquet",
    ]


def test_large_group_lies_in_the_order_of_its_lists_in_ranges_of_them(
    spark: SparkSession, settings: Callable[..., config.Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each list is one slice of one shard, the nearest of its centroids; ids ascend in it. The same bytes each time."""
    table = embeddings(spark, [None] * 100)
    chosen = settings(similar={"plan": "ivf"}, index={"shard_items": 30})
    shards = build(table, tmp_path / "1", chosen)
    index = tmp_path / "1/index"
    centroids = np.load(index / "shard-00000.centroids.npy")
    assert json.loads((index / "index.json").read_text())["groups"] == [
        {"group": None, "centroids_file": "shard-00000.centroids.npy", "lists": 10}
    ]
    seen: list[int] = []
    for name in sorted(shards):
        items = pq.read_table(index / shards[name]["items_file"])
        vectors = annoy_index.map_vectors(index / name, len(items), DIMENSIONS)
        lists = items["list"].to_numpy()
        np.testing.assert_array_equal(lists, (vectors @ centroids.T).argmax(axis=1))
        ids = items["item_id"].to_pylist()
        assert list(zip(lists, ids, strict=True)) == sorted(zip(lists, ids, strict=True))
        seen += sorted(set(lists.tolist()))
    assert seen == list(range(10))
    monkeypatch.setattr(SparkContext, "defaultParallelism", 37)
    build(table.orderBy("item_id").repartition(7), tmp_path / "2", chosen)
    for file in index.iterdir():
        assert (tmp_path / "2/index" / file.name).read_bytes() == file.read_bytes()
